"""Scenes that something happened to: what a slip of the hand, a bad merge or a broken disk makes of a right one."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

from soundscape.loader import find_scene, shipped_scenes

__all__ = ["mutated"]

SCENES = [*sorted((Path(__file__).parent / "scenes" / "valid").glob("*.toml")), *map(find_scene, shipped_scenes())]
TEXTS = [path.read_bytes() for path in SCENES if path.stem != "long-names"]
WORD = re.compile(rb"""[\w.*:-]+|'[^'\n]*'|"[^"\n]*\"""")
KEY = re.compile(rb"[a-z_]+(?=\s*=)")
VALUE = re.compile(rb"(?<== )[^\n,}#]+")
WORDS = sorted({word for text in TEXTS for word in WORD.findall(text)})
KEYS = sorted({key for text in TEXTS for key in KEY.findall(text)})
ODD = [
    *(
        b"nan",
        b"-inf",
        b"1e999",
        b"-0.0",
        b"0",
        b"-1",
        b"1.5",
        b"86400.1",
        b"9" * 19,
        b"9" * 4_301,
        b"0x" + b"f" * 4_000,
    ),
    *(
        b"''",
        b"'*'",
        b"'none'",
        b"'close'",
        b"'main'",
        b"'?'",
        b"'a\\u0000b'",
        b'"\\u0000"',
        b"'\xe2\x80\xa8'",
        b"'\xff'",
    ),
    *(b"true", b"[]", b"{}", b"[[]]", b"[{}]", b"[1, 2]", b"[2, 1]", b"['*', '*']", b"{ source = 'a' }", b"'a'"),
    *(b"2020-01-01", b"12:30:00", b"'loop'", b"'scatter'", b"'once'", b"layers = 1", b"\xf0\x9f\x8e\xa7", b"\x00"),
]
"""Values that somebody wrote once, or that a program would stumble over."""

Mutation = Callable[[bytes, random.Random], bytes]


def flip(text: bytes, chance: random.Random) -> bytes:
    """A byte or two become others."""
    changed = bytearray(text)
    for _ in range(chance.randint(1, 2)):
        changed[chance.randrange(len(changed))] = chance.choice((chance.randrange(256), *b"'\"[]{}=.,#\n\\"))
    return bytes(changed)


def lines(text: bytes, chance: random.Random) -> bytes:
    """A line is dropped, doubled, or changes places with another one."""
    parts = text.split(b"\n")
    one, other = chance.randrange(len(parts)), chance.randrange(len(parts))
    what = chance.randrange(3)
    if what == 0:
        del parts[one]
    elif what == 1:
        parts.insert(other, parts[one])
    else:
        parts[one], parts[other] = parts[other], parts[one]
    return b"\n".join(parts)


def words(text: bytes, chance: random.Random) -> bytes:
    """A word becomes a word of some scene."""
    return replaced(WORD, text, chance.choice(WORDS), chance)


def keys(text: bytes, chance: random.Random) -> bytes:
    """A key becomes another table's, or is misspelt."""
    other = chance.choice(KEYS)
    if chance.random() < 0.5:
        at = chance.randrange(len(other))
        other = other[:at] + other[at + 1 :]
    return replaced(KEY, text, other, chance)


def values(text: bytes, chance: random.Random) -> bytes:
    """A value becomes an odd one."""
    return replaced(VALUE, text, chance.choice(ODD), chance)


def cut(text: bytes, chance: random.Random) -> bytes:
    """The end is missing, or the beginning, or something between."""
    one, other = sorted((chance.randrange(len(text)), chance.randrange(len(text))))
    return chance.choice((text[:one], text[other:], text[:one] + text[other:]))


def joined(text: bytes, chance: random.Random) -> bytes:
    """Another scene follows, or a piece of one."""
    other = chance.choice(TEXTS)
    return text + other[chance.randrange(len(other) + 1) :]


MUTATIONS: list[Mutation] = [flip, lines, words, words, keys, keys, values, values, cut, joined]


def replaced(pattern: re.Pattern[bytes], text: bytes, by: bytes, chance: random.Random) -> bytes:
    places = [found.span() for found in pattern.finditer(text)] or [(0, 0)]
    first, last = chance.choice(places)
    return text[:first] + by + text[last:]


def mutated(chance: random.Random) -> bytes:
    """The text of a right scene after one to four mutations."""
    text = chance.choice(TEXTS)
    for _ in range(chance.randint(1, 4)):
        text = chance.choice(MUTATIONS)(text, chance) if text else text
    return text
