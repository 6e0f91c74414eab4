"""The text of a scene: what it says, and where. Bounded in time whatever the text.

Values come from the standard library's parser. Where something is wrong, tree-sitter's TOML grammar says where it
stands; it is not asked otherwise, so a good scene pays nothing for it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["MAX_BYTES", "MAX_NESTING", "TOO_LARGE", "Loc", "Place", "Places", "TextError", "read"]

MAX_BYTES = 1_000_000
MAX_NESTING = 16

TOO_LARGE = f"larger than {MAX_BYTES:,} bytes", "split it into several scenes"

Loc = tuple[str | int, ...]
"""A place as a path of keys and indices."""

Place = tuple[int, int]
"""Line and column in characters, both from 1."""

_TOO_MANY_DIGITS = "a whole number beyond 64 bits", "write a smaller one"


class TextError(Exception):
    """What keeps a text from being read: where, what, and what to do."""

    def __init__(self, place: Place, message: str, hint: str = "") -> None:
        super().__init__(place, message, hint)
        self.place = place
        self.message = message
        self.hint = hint


def read(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        TextError: it is none, or beyond the limits.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise TextError(_at(text, error.start), "half a character (a lone surrogate)", "take it out") from None
    if size > MAX_BYTES:
        raise TextError((1, 1), *TOO_LARGE)
    # tomllib's time grows with the square of a key's dots, and it nests as deep as Python's stack allows.
    if any(line.count(".") > 2 * MAX_NESTING for line in text.split("\n")) and (deep := _too_deep(text)):
        raise _nested(deep)
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise _nested(_too_deep(text)) from None
    except tomllib.TOMLDecodeError as error:
        raise _syntax(text, str(error)) from None
    except ValueError:
        # An integer of more digits than Python converts.
        digits = re.search(r"[0-9_]{4300,}", text)
        raise TextError(_at(text, digits.start() if digits else 0), *_TOO_MANY_DIGITS) from None
    if _beyond_limits(data):
        for loc, value in _walk(data):
            if isinstance(value, dict | list) and len(loc) > MAX_NESTING:
                raise _nested(_too_deep(text))
            if isinstance(value, int) and value.bit_length() > 64:
                raise TextError(Places(text)[loc], *_TOO_MANY_DIGITS)
    return data


def _beyond_limits(data: dict[str, Any]) -> bool:
    """Whether something nests too deeply, or is a number that nothing needs and Python will not print."""
    level: list[Any] = [data]
    for _ in range(MAX_NESTING + 1):
        inner: list[Any] = []
        for table in level:
            for value in table.values() if isinstance(table, dict) else table:
                if isinstance(value, dict | list):
                    inner.append(value)
                elif isinstance(value, int) and value.bit_length() > 64:
                    return True
        if not inner:
            return False
        level = inner
    return True


def _at(text: str, index: int) -> Place:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def _nested(place: Place | None) -> TextError:
    return TextError(place or (1, 1), f"nested more than {MAX_NESTING} levels deep", "a scene needs no more than five")


def _syntax(text: str, message: str) -> TextError:
    """The standard library's message, its place taken out of the words."""
    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if found:
        place = (int(found[1]), int(found[2]))
        message = message[: found.start()]
    else:
        place = _at(text, len(text.rstrip("\n")))
        message = message.removesuffix(" (at end of document)") + " at the end of the file"
    line = text.split("\n")[place[0] - 1].removesuffix("\r")
    message, hint = _in_plain_words(message, line[: place[1] - 1], line[place[1] - 1 :])
    return TextError(place, f"not valid TOML: {message}", hint)


def _in_plain_words(message: str, before: str, after: str) -> tuple[str, str]:
    """The standard library's message and what to do, by what stands before and after the place."""
    token = re.match(r"[^\s,\]}#=]*", after)
    word = token[0] if token else ""
    if found := re.match(r"Cannot (?:declare|mutate immutable namespace) \((.*?),?\)(?: twice)?$", message):
        name = ".".join(re.findall(r"'([^']*)'", found[1]))
        return f"[{name}] is there already", "write it once, with all of its keys; several are written [[...]]"
    if message == "Cannot overwrite a value":
        return "the key in this line is there already", "write it once"
    if message.startswith("Invalid value"):
        if not word:
            return "a value is missing", "write one here, or take the key out"
        return f"{word[:40]!r} is no value", _instead(word)
    if message.startswith("Expected newline or end of document after a statement"):
        hint = "one key = value per line"
        if re.search(r"\d$", before):
            if re.match(r",\d", after):
                hint = "decimals are written with a point"
            elif re.match(r"\.(?!\d)", after):
                hint = "digits stand on both sides of a point"
            elif re.match(r"[A-Za-z%]", after):
                hint = "numbers are written without units: seconds, dB, LU"
        return "the line goes on after its end", hint
    if (
        message == "Invalid initial character for a key part"
        and before.rstrip().endswith(",")
        and after.startswith("}")
    ):
        return "a comma before the end of an inline table", "take it out"
    hint = next((hint for start, hint in _HINTS.items() if message.startswith(start)), "")
    return message[:1].lower() + message[1:], hint


_HINTS = {
    "Expected '=' after a key": "write key = value, or [table]",
    "Expected ']' at the end": "write [table]; what is no letter, digit, - or _ is quoted",
    "Expected ']]' at the end": "write [[table]]; what is no letter, digit, - or _ is quoted",
    "Invalid statement": "write key = value, or [table]; what is no letter, digit, - or _ is quoted",
    "Invalid initial character": "what is no letter, digit, - or _ is quoted",
    "Unescaped '\\' in a string": "folders are separated by /",
    "Invalid hex value": "folders are separated by /",
    "Illegal character '\\n'": "close the quote, or use three for a text of several lines",
    "Found invalid character": "take it out",
    "Unclosed array": "a comma between its elements, a ] after the last",
    "Unclosed inline table": "all on one line, a comma between its keys, a } after the last",
    "Unterminated string": "close the quotes",
    'Expected "\'"': "close the quote",
    "Duplicate inline table key": "write it once",
}
"""By how the standard library's messages begin."""


def _instead(word: str) -> str:
    """What to write in place of something that is no value."""
    if word.lower() in ("true", "false"):
        return f"write {word.lower()}"
    if word.lower() in ("yes", "on", "no", "off"):
        return "write true or false"
    if re.fullmatch(r"[+-]?\.\d+", word):
        return f"write {word.replace('.', '0.')}"
    if word.lower() in ("none", "null", "nil"):
        return 'leave the key out; the state before and after the session is written "none"'
    return f'a text is written in quotes: "{word}"' if re.fullmatch(r"[\w:./*-]{1,60}", word) else "texts are quoted"


def _walk(data: object) -> Iterator[tuple[Loc, object]]:
    """Every value in the data with its place."""
    stack: list[tuple[Loc, object]] = [((), data)]
    while stack:
        loc, value = stack.pop()
        yield loc, value
        if isinstance(value, dict):
            stack.extend(((*loc, key), child) for key, child in value.items())
        elif isinstance(value, list):
            stack.extend(((*loc, i), child) for i, child in enumerate(value))


def _tree(text: str) -> Any:
    # Imported on the first problem: most scenes have none.
    import tree_sitter_toml
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_toml.language())).parse(text.encode())


def _too_deep(text: str) -> Place | None:
    """The first table or list nested more deeply than allowed. Its time is that of the text's length."""
    lines = text.encode().split(b"\n")
    stack = [(_tree(text).root_node, 0)]
    while stack:
        node, depth = stack.pop()
        children = [child for child in node.named_children if child.type != "comment"]
        inside = depth
        if node.type in ("pair", "table", "table_array_element") and children:
            inside += _parts(children.pop(0)) + (node.type == "table_array_element")
            depth = inside - (node.type == "pair")  # what it is a pair of may be no table
        elif node.type == "array":
            inside += 1
        elif node.type == "ERROR":
            # What is never closed is no list or table to the parser: its brackets lie side by side.
            brackets = [child for child in node.children if child.type in ("[", "[[", "{")]
            if len(brackets) > MAX_NESTING:
                return _place(lines, brackets[MAX_NESTING].start_point)
        elif node.type not in ("document", "inline_table"):
            continue
        if depth > MAX_NESTING:
            return _place(lines, node.start_point)
        stack.extend((child, inside) for child in reversed(children))
    return None


def _parts(key: Any) -> int:
    """How many names a dotted key has."""
    count = 1
    while key.type == "dotted_key":
        key, count = key.children[0], count + 1
    return count


class Places:
    """Where each key and each list element of a text stands."""

    def __init__(self, text: str) -> None:
        self._lines = text.encode().split(b"\n")
        self._points: dict[Loc, tuple[int, int]] = {}
        for loc, point in _points(text):
            self._points.setdefault(loc, point)

    def __contains__(self, loc: Loc) -> bool:
        return loc in self._points

    def __getitem__(self, loc: Loc) -> Place:
        return _place(self._lines, self._points[loc])


def _place(lines: Sequence[bytes], point: tuple[int, int]) -> Place:
    """Line and column in characters; the parser counts bytes."""
    row, column = point
    return row + 1, len(lines[row][:column].decode()) + 1


def _points(text: str) -> Iterator[tuple[Loc, tuple[int, int]]]:
    """Row and column in bytes, from 0, of each key and each list element; a table's several times, its first first."""
    counts: dict[Loc, int] = {}

    def keys(node: Any) -> Iterator[Any]:
        if node.type == "dotted_key":
            for child in node.named_children:
                yield from keys(child)
        else:
            yield node

    def name(node: Any) -> str:
        raw = node.text.decode("utf-8", "replace")
        return str(next(iter(tomllib.loads(f"{raw} = 0")))) if node.type == "quoted_key" else str(raw)

    def value(node: Any, loc: Loc) -> Iterator[tuple[Loc, tuple[int, int]]]:
        if node.type == "array":
            for i, child in enumerate(c for c in node.named_children if c.type != "comment"):
                yield (*loc, i), child.start_point
                yield from value(child, (*loc, i))
        elif node.type == "inline_table":
            for child in node.named_children:
                yield from pair(child, loc)

    def pair(node: Any, loc: Loc) -> Iterator[tuple[Loc, tuple[int, int]]]:
        if node.type == "pair":
            for key in keys(node.named_children[0]):
                loc = (*loc, name(key))
                yield loc, key.start_point
            yield from value(node.named_children[-1], loc)

    def table(node: Any) -> Iterator[tuple[Loc, tuple[int, int]]]:
        loc: Loc = ()
        parts = list(keys(node.named_children[0]))
        for i, key in enumerate(parts):
            loc = (*loc, name(key))
            yield loc, key.start_point
            if i == len(parts) - 1 and node.type == "table_array_element":
                counts[loc] = counts.get(loc, -1) + 1
            if loc in counts:
                loc = (*loc, counts[loc])
                yield loc, key.start_point
        for child in node.named_children[1:]:
            yield from pair(child, loc)

    for node in _tree(text).root_node.named_children:
        yield from table(node) if node.type in ("table", "table_array_element") else pair(node, ())
