"""What is wrong in a scene file is said in the file's words: where, what, and what to do."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soundscape.exceptions import Problem, SceneError
from soundscape.gain import draw
from soundscape.loader import Scene, find_scene, shipped_scenes

LAYER_KEYS = (
    "key, kind, bus, pool, source, probability, volume, gain_db, after, min_play, start, on_exit, fade_in, fade_out, "
    "interval, first, max_playbacks, cooldown"
)
TOP_KEYS = "name, description, seed, speech_lufs, defaults, base, states, pools, clips, buses, ducks, transitions"
SECONDS = 5.0
"""What reading a scene may take at most, whatever is in it."""


def problems(text: str) -> list[str]:
    """Each problem of a text, as it is printed, without the name that stands for its path."""
    with pytest.raises(SceneError) as caught:
        Scene.from_toml(text)
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    return [str(problem).removeprefix("<scene>:") for problem in caught.value.problems]


def read(text: str) -> tuple[Problem, ...]:
    """What is wrong with a text, if anything, said in time."""
    began = time.perf_counter()
    found: tuple[Problem, ...] = ()
    try:
        Scene.from_toml(text).checked()
    except SceneError as error:
        found = error.problems
    assert time.perf_counter() - began < SECONDS
    return found


def problems_of_file(path: Path) -> list[str]:
    """Likewise of a file, without its path."""
    with pytest.raises(SceneError) as caught:
        Scene.from_file(path)
    assert all(problem.path == str(path) for problem in caught.value.problems)
    return [str(problem).removeprefix(f"{path}:").lstrip() for problem in caught.value.problems]


# --- one thing wrong --------------------------------------------------------------------------------------------

SYNTAX = {
    "[base\n": (
        "1:6: not valid TOML: expected ']' at the end of a table declaration; "
        "write [table]; what is no letter, digit, - or _ is quoted"
    ),
    "[base]\nvolume = \n": "2:10: not valid TOML: a value is missing; write one here, or take the key out",
    "[base]\nsource = 'a": '2:12: not valid TOML: expected "\'" at the end of the file; close the quote',
    "[base]\nsource = 'a'\nsource = 'b'\n": (
        "3:13: not valid TOML: the key in this line is there already; write it once"
    ),
    "[base]\n[base]\n": (
        "2:6: not valid TOML: [base] is there already; write it once, with all of its keys; several are written [[...]]"
    ),
    "[base]\rsource = 'a'\n": "1:7: not valid TOML: the line goes on after its end; one key = value per line",
    "# a\0b\n": "1:4: not valid TOML: found invalid character '\\x00'; take it out",
}


@pytest.mark.parametrize("text", SYNTAX)
def test_what_is_not_toml_is_said_with_its_place(text: str) -> None:
    assert problems(text) == [SYNTAX[text]]


UNKNOWN = {
    # at the top, in a table, under a dotted name
    "bse = 1\n": "1:1: unknown key 'bse'; did you mean 'base'?",
    "zzz = 1\n": f"1:1: unknown key 'zzz'; keys here: {TOP_KEYS}",
    "[defaults]\ncrosfade = 1\n": "2:1: defaults: unknown key 'crosfade'; did you mean 'crossfade'?",
    "[base]\nsource = 'a'\nvolum = 1\n": "3:1: base: unknown key 'volum'; did you mean 'volume'?",
    "[base]\nsource = 'a'\nzzz = 1\n": f"3:1: base: unknown key 'zzz'; keys here: {LAYER_KEYS}, layers",
    "[states.thinking]\nsorce = 'a'\nsource = 'b'\n": (
        "2:1: states.thinking: unknown key 'sorce'; did you mean 'source'?"
    ),
    "[pools.bed]\nentries = [{ source = 'a' }]\nmodus = 1\n": (
        "3:1: pools.bed: unknown key 'modus'; did you mean 'mode'?"
    ),
    # inline tables, in an array
    "[base]\npool = [\n  { source = 'a' },\n  { source = 'b', volum = 1 },\n]\n": (
        "4:19: base.pool[1]: unknown key 'volum'; did you mean 'volume'?"
    ),
    "base = { source = 'a', volum = 1 }\n": "1:24: base: unknown key 'volum'; did you mean 'volume'?",
    "[base]\npool = [{ source = 'a', gain_db = 1 }]\n": (
        "2:25: base.pool[0]: unknown key 'gain_db'; it belongs to a layer or [clips.NAME]; "
        "keys here: source, volume, probability, fade_in, fade_out"
    ),
    # arrays of tables
    "[[states.thinking.layers]]\nsource = 'a'\n\n[[states.thinking.layers]]\nsource = 'b'\nonexit = 'fade'\n": (
        "6:1: states.thinking.layers[1]: unknown key 'onexit'; did you mean 'on_exit'?"
    ),
    "[[transitions]]\n[[transitions]]\nform = 'idle'\n": (
        "3:1: transitions[1]: unknown key 'form'; did you mean 'from'?"
    ),
    # dotted keys
    "base.source = 'a'\nbase.volum = 1\n": "2:6: base: unknown key 'volum'; did you mean 'volume'?",
    "[states]\nthinking.source = 'a'\n  thinking . volum = 1\n": (
        "3:14: states.thinking: unknown key 'volum'; did you mean 'volume'?"
    ),
    # quoted keys
    "[base]\nsource = 'a'\n'volum' = 1\n": "3:1: base: unknown key 'volum'; did you mean 'volume'?",
    "[base]\nsource = 'a'\n\"vol\\u0075m\" = 1\n": "3:1: base: unknown key 'volum'; did you mean 'volume'?",
    "[base]\nsource = 'a'\n'a.b' = 1\n": f"3:1: base: unknown key 'a.b'; keys here: {LAYER_KEYS}, layers",
    "[pools.'the bed']\nmodus = 'random'\nentries = [{ source = 'a' }]\n": (
        "2:1: pools.'the bed': unknown key 'modus'; did you mean 'mode'?"
    ),
    # the model's own name for `from` is none of the file's
    "[[transitions]]\nfrom_ = 'idle'\n": "2:1: transitions[0]: unknown key 'from_'; did you mean 'from'?",
}


@pytest.mark.parametrize("text", UNKNOWN)
def test_unknown_keys_are_errors_with_the_nearest_known_key_suggested(text: str) -> None:
    assert problems(text)[:1] == [UNKNOWN[text]]


TABLES = {
    "": "{key}\n",
    "defaults": "[defaults]\n{key}\n",
    "base": "[base]\nsource = 'a'\n{key}\n",
    "base.layers[0]": "[[base.layers]]\nsource = 'a'\n{key}\n",
    "base.pool[0]": "[base]\npool = [{{ source = 'a', {key} }}]\n",
    "states.idle": "[states.idle]\nsource = 'a'\n{key}\n",
    "states.idle.layers[0]": "[[states.idle.layers]]\nsource = 'a'\n{key}\n",
    "pools.bed": "[pools.bed]\nentries = [{{ source = 'a' }}]\n{key}\n",
    "pools.bed.entries[0]": "[pools.bed]\nentries = [{{ source = 'a', {key} }}]\n",
    "clips.a": "[clips.a]\nsource = 'a'\n{key}\n",
    "clips.a.loop": "[clips.a]\nsource = 'a'\nloop = {{ {key} }}\n",
    "buses.a": "[buses.a]\nlevel_lu = -9\n{key}\n",
    "ducks[0]": "[[ducks]]\nwhile = 'user_speaking'\nby_db = -9\n{key}\n",
    "transitions[0]": "[[transitions]]\n{key}\n",
}


@pytest.mark.parametrize("word", ["beat", "parameter", "pitch", "include", "curve"])
@pytest.mark.parametrize("table", TABLES)
def test_words_reserved_for_later_are_refused_as_that_in_every_table(table: str, word: str) -> None:
    text = TABLES[table].format(key=f"{word} = 1")
    line = next(number for number, line in enumerate(text.split("\n"), 1) if word in line)
    column = text.split("\n")[line - 1].index(word) + 1
    where = f"{table}: " if table else ""
    assert problems(text) == [f"{line}:{column}: {where}the key {word!r} is reserved for later; leave it out"]


@pytest.mark.parametrize("word", ["beat", "parameter", "pitch", "include", "curve"])
def test_words_reserved_for_later_are_names_like_any_other(word: str) -> None:
    text = f"[states.{word}]\n[pools.{word}]\nentries = [{{ source = 'a' }}]\n[buses.{word}]\nlevel_lu = -9\n"
    assert Scene.from_toml(text).known_states[-1] == word


VALUES = {
    # another type
    "[base]\nsource = 1\n": "2:1: base.source: must be a text in quotes, not 1",
    "[base]\nsource = 'a'\nvolume = 'loud'\n": (
        "3:1: base.volume: must be a number, not 'loud'; numbers are written without quotes and units"
    ),
    "[base]\nsource = 'a'\nfade_in = '200ms'\n": (
        "3:1: base.fade_in: must be a number, not '200ms'; write 0.2: numbers stand without quotes and units"
    ),
    "seed = 1.5\n": "1:1: seed: must be a whole number, not 1.5",
    "seed = '7'\n": "1:1: seed: must be a whole number, not '7'; write 7: numbers stand without quotes and units",
    "[[transitions]]\nurgent = 1\n": "2:1: transitions[0].urgent: must be true or false, not 1; write true",
    "[[transitions]]\nto = 1\n": (
        '2:1: transitions[0].to: must be a state\'s name or a list of names, not 1; write to = "NAME"'
    ),
    "[base]\npool = 1\n": (
        "2:1: base.pool: must be a pool's name or a list of sounds, not 1; "
        'write pool = "NAME" or pool = [{ source = "..." }]'
    ),
    "[base]\npool = [[]]\n": "2:9: base.pool[0]: must be a table, not []; write { source = ... }",
    "[base]\npool = ['a.wav']\n": "2:9: base.pool[0]: must be a table, not 'a.wav'; write { source = 'a.wav' }",
    "[base]\nlayers = 3\n": "2:1: base.layers: must be a list, not 3",
    "states = 1\n": "1:1: states: must be a table, not 1; write [states]",
    "[states]\nthinking = 'a'\n": "2:1: states.thinking: must be a table, not 'a'; write states.thinking.source = 'a'",
    "transitions = { to = 'idle' }\n": (
        "1:1: transitions: must be a list, not { to = 'idle' }; write [[transitions]], two brackets on each side"
    ),
    # no numbers
    "[base]\nsource = 'a'\nvolume = nan\n": "3:1: base.volume: must be finite, not nan; write a number",
    "[base]\nsource = 'a'\nfade_out = inf\n": "3:1: base.fade_out: must be finite, not inf; write a number",
    "[base]\nsource = 'a'\ngain_db = -inf\n": (
        "3:1: base.gain_db: must be finite, not -inf; for silence write volume = 0"
    ),
    "[defaults]\ndeclick = nan\n": "2:1: defaults.declick: must be finite, not nan; write a number",
    # beyond the limits
    "[base]\nsource = 'a'\nvolume = -1\n": "3:1: base.volume: must be at least 0, not -1",
    "[base]\nsource = 'a'\nvolume = 100.5\n": "3:1: base.volume: must be at most 100, not 100.5",
    "[base]\nsource = 'a'\ngain_db = 40.5\n": "3:1: base.gain_db: must be at most 40, not 40.5",
    "[base]\nsource = 'a'\nfade_in = 86401\n": (
        "3:1: base.fade_in: must be at most 86400, not 86401; a time is in seconds, a day at most"
    ),
    "[defaults]\ncrossfade = -0.1\n": "2:1: defaults.crossfade: must be at least 0, not -0.1",
    "[base]\npool = [{ source = 'a', probability = -0.1 }]\n": (
        "2:25: base.pool[0].probability: must be at least 0, not -0.1"
    ),
    "[base]\npool = [{ source = 'a', probability = 1.1 }]\n": (
        "2:25: base.pool[0].probability: must be at most 1, not 1.1"
    ),
    # not one of the words
    "[base]\nsource = 'a'\non_exit = 'stop'\n": "3:1: base.on_exit: must be 'fade' or 'finish', not 'stop'",
    "[base]\nsource = 'a'\nstart = 'begin'\n": (
        "3:1: base.start: must be 'beginning', 'random', 'resume' or 'elapsed', not 'begin'; did you mean 'beginning'?"
    ),
    # nothing there
    "[base]\nsource = ''\n": '2:1: base.source: must not be empty; write "soundscape:NAME", or a file beside the scene',
    "[base]\npool = []\n": '2:1: base.pool: must not be empty; write pool = [{ source = "..." }]',
    "[pools.bed]\nentries = []\n": '2:1: pools.bed.entries: must not be empty; write entries = [{ source = "..." }]',
    "[pools.bed]\n": ("1:8: pools.bed: the key 'entries' is missing; write entries = [{ source = \"...\" }]"),
    "[base]\npool = [{ volume = 1 }]\n": (
        "2:9: base.pool[0]: the key 'source' is missing; write source = \"soundscape:NAME\", or a file beside the scene"
    ),
    "[[transitions]]\nto = []\n": '2:1: transitions[0].to: must not be empty; write to = "*" for every state',
}


@pytest.mark.parametrize("text", VALUES)
def test_wrong_values_are_said_with_what_would_be_right(text: str) -> None:
    assert problems(text) == [VALUES[text]]


AT_THE_LIMIT = [
    "volume = 0",
    "volume = 100",
    "gain_db = 40",
    "gain_db = -1000",
    "fade_in = 0\nfade_out = 86_400",
    "probability = 1",
    "volume = 1",
]


@pytest.mark.parametrize("lines", AT_THE_LIMIT)
def test_at_the_limit_is_allowed(lines: str) -> None:
    assert len(Scene.from_toml(f"[base]\nsource = 'a'\n{lines}\n").base.layers) == 1


TWO = 'tell them apart with key = "..."'
TOGETHER = {
    # a layer's own keys
    "[base]\nvolume = 1\n": '1:2: base: a layer needs a source or a pool; write source = "..." or pool = ...',
    "[[base.layers]]\n": '1:8: base.layers[0]: a layer needs a source or a pool; write source = "..." or pool = ...',
    "[base]\nsource = 'a'\npool = [{ source = 'b' }]\n": (
        "2:1: base.source: a layer has a source or a pool, not both; leave one of them out"
    ),
    "[base]\npool = [{ source = 'b' }]\nprobability = 0.5\n": (
        "3:1: base.probability: beside a pool it has no meaning; give the pool's entries probabilities"
    ),
    "[base]\nsource = 'a'\nvolume = 1\ngain_db = 0\n": (
        "4:1: base.gain_db: a layer has a volume or a gain_db, not both; leave one of them out"
    ),
    "[base]\nkind = 'once'\nsource = 'a'\nstart = 'random'\n": (
        "4:1: base.start: only a 'loop' layer has it, and this one is a 'once'; leave it out, or write kind = \"loop\""
    ),
    "[states.idle]\nlayers = []\nvolume = 1\n": (
        "3:1: states.idle: 'volume' beside 'layers'; put it into one of the layers"
    ),
    "[base]\nsource = 'a'\n[[base.layers]]\nsource = 'b'\n": (
        "2:1: base: 'source' beside 'layers'; put it into one of the layers"
    ),
    # pools
    "[pools.keys]\nentries = [{ source = 'a' }]\n[base]\npool = 'key'\n": (
        "4:1: base.pool: no pool is called 'key'; did you mean 'keys'?"
    ),
    "[base]\npool = 'bed'\n": "2:1: base.pool: no pool is called 'bed'; define it as [pools.bed]",
    "[base]\npool = [{ source = 'a', probability = 0 }, { source = 'b', probability = 0 }]\n": (
        "2:1: base.pool: every probability is 0, nothing would ever sound; give one of them a share"
    ),
    "[pools.bed]\nentries = [{ source = 'a', probability = 0 }]\n": (
        "2:1: pools.bed.entries: every probability is 0, nothing would ever sound; give one of them a share"
    ),
    "[base]\nsource = 'a'\nprobability = 0\n": (
        "3:1: base.probability: at 0 it would never sound; leave the layer out"
    ),
    # states
    "[states.none]\n": (
        "1:9: states.none: 'none' is not a state that can be defined; "
        "it is before the session and after it, nothing sounds in it"
    ),
    "[states.close]\n": "1:9: states.close: 'close' is not a state that can be defined; call it otherwise",
    **{
        f"[states.{name}]\n": (
            f"1:9: states.{name}: {name.strip(chr(39))!r} is not a state's name; "
            f"{fixed}lower-case letters, digits and _ only, a letter first"
        )
        for name, fixed in {
            "Thinking": "write thinking: ",
            "_x": "write x: ",
            "on-hold": "write on_hold: ",
            "'on hold'": "write on_hold: ",
            "1st": "",
            "''": "",
            "'tür'": "",
        }.items()
    },
    # keys
    "[[base.layers]]\nsource = 'a'\n[[base.layers]]\nsource = 'a'\nvolume = 0.5\n": (
        f"3:8: base.layers[1]: the key 'a' is there twice in one state; {TWO}"
    ),
    "[base]\nkey = 'k'\nsource = 'a'\n[states.idle]\nkey = 'k'\nsource = 'a'\nkind = 'once'\n": (
        f"4:9: states.idle: the key 'k' has another kind in base; {TWO}"
    ),
    "[base]\nkey = 'k'\nsource = 'a'\n[states.idle]\nkey = 'k'\nsource = 'b'\n": (
        f"4:9: states.idle: the key 'k' has another pool in base; {TWO}"
    ),
    "[states.idle]\nkey = 'k'\npool = [{ source = 'a' }]\n"
    "[states.tool]\nkey = 'k'\npool = [{ source = 'a', volume = 0.5 }]\n": (
        f"4:9: states.tool: the key 'k' has another pool in states.idle; {TWO}"
    ),
    "[base]\nsource = 'a'\n[states.idle]\nsource = 'a'\nprobability = 0.5\n": (
        f"3:9: states.idle: the key 'a' has another pool in base; {TWO}"
    ),
    # transitions
    "[[transitions]]\nto = 'speking'\n": (
        "2:1: transitions[0].to: no state is called 'speking'; did you mean 'speaking'?"
    ),
    "[[transitions]]\nfrom = ['thinking', 'zzz']\n": (
        "2:21: transitions[0].from[1]: no state is called 'zzz'; define it as [states.zzz]"
    ),
    "[[transitions]]\nto = ['idle', '*']\n": ("2:15: transitions[0].to[1]: a list may not hold '*'; write to = \"*\""),
    "[[transitions]]\nto = 'idle'\nfade_in = 1\n\n[[transitions]]\nto = 'idle'\ncrossfade = 1\n": (
        "5:3: transitions[1]: sets fade_in for initializing -> idle, and so does transitions[0]; "
        "name the states of one of them more closely"
    ),
}


@pytest.mark.parametrize("text", TOGETHER)
def test_what_does_not_go_together_is_said(text: str) -> None:
    assert problems(text) == [TOGETHER[text]]


FINE = [
    "",
    "[base]\n",
    "[states.thinking]\n",
    "[base]\nlayers = []\n",
    "[base]\npool = [{ source = 'a' }]\nvolume = 0.5\nfade_in = 1\nfade_out = 1\n",
    "[base]\nsource = 'a'\nvolume = 1\n[states.idle]\nsource = 'a'\nvolume = 0.5\n",
    "[pools.bed]\nentries = [{ source = 'a' }]\n[base]\npool = 'bed'\n[states.idle]\npool = 'bed'\n",
    "[base]\nsource = 'a'\n[states.idle]\nkind = 'once'\nsource = 'a'\n",
    "[base]\nsource = 'a'\n[states.idle]\nkind = 'scatter'\nsource = 'a'\ninterval = [1, 1]\nfirst = [0, 0]\n",
    "[base]\nsource = 'a'\nbus = 'main'\n[states.idle]\nsource = 'a'\n",
    "[clips.'a.wav']\nsource = 'a.wav'\n[base]\nsource = 'a.wav'\n",
    "[base]\npool = [{ source = 'a', probability = 0.8 }, { source = 'b', probability = 0.8 }]\n",
]


@pytest.mark.parametrize("text", FINE)
def test_what_is_right_is_read(text: str) -> None:
    assert Scene.from_toml(text).checked().name == "scene"


# --- several things wrong ---------------------------------------------------------------------------------------


def test_all_problems_of_a_file_are_told_at_once_in_its_order() -> None:
    """Of the text, of the values and of what does not go together."""
    text = """\
name = 3
[[transitions]]
to = "speking"
urgent = "yes"
[states.thinking]
pool = "nope"
[states.none]
[base]
source = "a"
volume = 1
gain_db = 1
foo = 1
[[states.tool.layers]]
volume = -1
source = "b"
[[states.tool.layers]]
pool = [{ source = "c", volum = 1 }, { probability = 2, source = "d" }]
[defaults]
crosfade = 1
"""
    assert problems(text) == [
        "1:1: name: must be a text in quotes, not 3",
        "3:1: transitions[0].to: no state is called 'speking'; did you mean 'speaking'?",
        "4:1: transitions[0].urgent: must be true or false, not 'yes'; write true",
        "6:1: states.thinking.pool: no pool is called 'nope'; define it as [pools.nope]",
        "7:9: states.none: 'none' is not a state that can be defined; "
        "it is before the session and after it, nothing sounds in it",
        "11:1: base.gain_db: a layer has a volume or a gain_db, not both; leave one of them out",
        f"12:1: base: unknown key 'foo'; keys here: {LAYER_KEYS}, layers",
        "14:1: states.tool.layers[0].volume: must be at least 0, not -1",
        "17:25: states.tool.layers[1].pool[0]: unknown key 'volum'; did you mean 'volume'?",
        "17:40: states.tool.layers[1].pool[1].probability: must be at most 1, not 2; 2 in a hundred is 0.02",
        "19:1: defaults: unknown key 'crosfade'; did you mean 'crossfade'?",
    ]


ONE_MISTAKE = [
    "[base]\nsorce = 'a'\n",
    "[base]\nfile = 'a'\n",
    "[base]\nsource = 1\n[states.idle]\nsource = 'b'\n",
    "[base]\npools = [{ source = 'a' }]\nvolume = 1\n",
    "[pools.bed]\nentries = [{ sorce = 'a', source = 'b' }]\n[base]\npool = 'bed'\n",
    "[pools]\nbed = ['a']\n[base]\npool = 'bed'\n",
    "[pool.bed]\nentries = [{ source = 'a' }]\n[base]\npool = 'bed'\n",
    "[bus.far]\nlevel_lu = -9\n[base]\nsource = 'a'\nbus = 'far'\n[[ducks]]\nwhile = 'user_speaking'\nby_db = -3\n"
    "buses = ['far']\n",
    "buses = 1\n[base]\nsource = 'a'\nbus = 'far'\n",
    "[buses.far]\n[base]\nsource = 'a'\nbus = 'far'\n",
    "[state.on_hold]\n[[transitions]]\nto = 'on_hold'\nsettle = 1\n",
    "[[states.on_hold]]\n[[transitions]]\nto = 'on_hold'\nsettle = 1\n",
    "[base]\nkind = 'scater'\nsource = 'a'\ninterval = [1, 2]\nmax_playbacks = 2\n",
    "[base]\nkind = 'scatter'\nsource = 'a'\nintervall = [1, 2]\n",
    "[base]\nkind = 'scatter'\nsource = 'a'\ninterval = 5\n",
    "[base]\nkind = 'scatter'\nsource = 'a'\ninterval = [5, '9']\n",
    "[base]\nkey = 'k'\nsource = 'a'\n[states.idle]\nkey = 'k'\nsource = ['a']\n",
    "[base]\nkey = 'k'\nsource = 'a'\n[states.idle]\nkey = 1\nsource = 'a'\nprobability = 0.5\n",
    "[base]\npool = [{ source = 'a', probability = 0 }, { source = 'b', probability = '1' }]\n",
    "[clips.a]\nsource = 'a'\nloop = { start = '1', end = 0 }\n",
    "[[transitions]]\nfrom = 1\nto = 'idle'\nfade_in = 1\n[[transitions]]\nto = 'idle'\nfade_in = 2\n",
    "[[transitions]]\nform = 'tool'\nto = 'idle'\nfade_in = 1\n[[transitions]]\nto = 'idle'\nfade_in = 2\n",
]


@pytest.mark.parametrize("text", ONE_MISTAKE)
def test_one_mistake_is_one_problem(text: str) -> None:
    """What is missing or cannot be understood is not said to be wrong a second time."""
    assert len(problems(text)) == 1


def test_two_mistakes_in_one_table_are_two_problems() -> None:
    """What has nothing to do with the first one is said as well."""
    assert problems("[base]\nvolume = -1\n") == [
        '1:2: base: a layer needs a source or a pool; write source = "..." or pool = ...',
        "2:1: base.volume: must be at least 0, not -1",
    ]
    assert len(problems("[base]\nkind = 'once'\nsource = 'a'\nvolume = '1'\ninterval = [1, 2]\nbus = 'far'\n")) == 3


# --- lines and columns ------------------------------------------------------------------------------------------


def test_lines_count_line_feeds_alone() -> None:
    """U+2028, U+2029, U+0085 and a form feed in strings and comments are no lines of their own."""
    text = 'description = "a\u2028b\u2029c\u0085d" # \u2028\u0085\n[base]\nsource = "e\u2028" # \u2029\nvolum = 1\n'
    assert problems(text) == ["4:1: base: unknown key 'volum'; did you mean 'volume'?"]


def test_lines_are_right_with_carriage_returns() -> None:
    assert problems("[base]\r\nsource = 'a'\r\nvolum = 1\r\n") == [
        "3:1: base: unknown key 'volum'; did you mean 'volume'?"
    ]
    assert problems("[base]\r\nsource = 'a'\r\nvolume = \r\n") == [
        "3:10: not valid TOML: a value is missing; write one here, or take the key out"
    ]


def test_columns_count_characters() -> None:
    """Not bytes and not UTF-16 units."""
    assert problems("[base]\npool = [{ source = 'ä€😀', volum = 1 }]\n") == [
        "2:27: base.pool[0]: unknown key 'volum'; did you mean 'volume'?"
    ]


def test_lines_go_on_after_a_text_of_several_lines() -> None:
    text = "description = '''\na\nb'''\n[base]\nsource = 'a'\nvolum = 1\n"
    assert problems(text) == ["6:1: base: unknown key 'volum'; did you mean 'volume'?"]


def test_places_are_found_among_comments_and_trailing_commas() -> None:
    text = "[base]\npool = [ # one\n  # two\n  { source = 'a' }, # three\n  { source = 'b', volum = 1 }, # four\n]\n"
    assert problems(text) == ["5:19: base.pool[1]: unknown key 'volum'; did you mean 'volume'?"]


# --- files ------------------------------------------------------------------------------------------------------


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_scene_is_called_after_its_file_unless_said(tmp_path: Path) -> None:
    assert Scene.from_file(written(tmp_path / "office.toml", b"")).name == "office"
    assert Scene.from_file(written(tmp_path / "office.toml", b"name = 'x'\n")).name == "x"
    assert Scene.from_file(tmp_path / "office.toml").base_dir == tmp_path


def test_the_path_stands_before_line_and_column(tmp_path: Path) -> None:
    path = written(tmp_path / "a.toml", b"[base]\nsource = 'a'\nvolum = 1\n")
    with pytest.raises(SceneError) as caught:
        Scene.from_file(path)
    assert str(caught.value) == f"{path}:3:1: base: unknown key 'volum'; did you mean 'volume'?"


def test_a_bom_is_skipped(tmp_path: Path) -> None:
    """And moves no column."""
    assert Scene.from_file(written(tmp_path / "a.toml", b"\xef\xbb\xbf[base]\nsource = 'a'\n")).base.layers
    path = written(tmp_path / "b.toml", b"\xef\xbb\xbfbse = 1\n")
    assert problems_of_file(path) == ["1:1: unknown key 'bse'; did you mean 'base'?"]


def test_what_is_not_utf_8_is_said_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path / "a.toml", "[base]\n# ä caf".encode() + b"\xe9\n")
    assert problems_of_file(path) == ["2:8: not UTF-8 text; save the file as UTF-8"]


def test_a_file_of_1_000_000_bytes_is_allowed_and_one_more_is_not(tmp_path: Path) -> None:
    line = b"# " + b"x" * 97 + b"\n"
    whole = line * 10_000
    assert Scene.from_file(written(tmp_path / "a.toml", whole)).name == "a"
    path = written(tmp_path / "b.toml", whole + b"\n")
    assert problems_of_file(path) == ["1:1: larger than 1,000,000 bytes; split it into several scenes"]
    assert problems(whole.decode() + "\n") == ["1:1: larger than 1,000,000 bytes; split it into several scenes"]


def test_a_missing_file_is_said_with_the_scenes_that_ship(tmp_path: Path) -> None:
    assert problems_of_file(tmp_path / "a.toml") == [f"no such file; scenes that ship: {', '.join(shipped_scenes())}"]
    with pytest.raises(SceneError, match=r"^offce: no such file; did you mean 'office'\?$"):
        Scene.from_file("offce")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A FIFO that nobody writes to would wait for ever."""
    path = tmp_path / "a.toml"
    make(path)
    assert problems_of_file(path) == ["not a regular file; name a scene's TOML file"]


def test_a_device_is_no_regular_file() -> None:
    path = Path("/dev/null")
    assert problems_of_file(path) == ["not a regular file; name a scene's TOML file"]


def test_a_name_no_file_can_have_is_said() -> None:
    with pytest.raises(SceneError, match="cannot be read: "):
        Scene.from_file("a\0b.toml")
    with pytest.raises(SceneError, match="cannot be read: "):
        Scene.from_file("a" * 5_000)


@pytest.mark.parametrize("name", shipped_scenes())
def test_the_scenes_that_ship_are_read(name: str) -> None:
    assert Scene.from_file(find_scene(name)).checked().name == name


# --- limits -----------------------------------------------------------------------------------------------------


def test_1_000_layers_are_allowed_and_the_next_is_refused_on_its_line() -> None:
    layers = "".join(f"[[base.layers]]\nsource = 's{n}'\n" for n in range(1_000))
    assert len(Scene.from_toml(layers).base.layers) == 1_000
    message = "more than 1,000 layers in one scene; split it into several scenes"
    assert problems(f"{layers}[[base.layers]]\nsource = 'x'\n") == [f"2001:8: base.layers[1000]: {message}"]
    assert problems(f"{layers}[states.idle]\nsource = 'x'\n") == [f"2001:9: states.idle: {message}"]
    assert problems(f"{layers}[[states.idle.layers]]\nsource = 'x'\n") == [f"2001:15: states.idle.layers[0]: {message}"]


def test_16_ducks_are_allowed_and_the_next_is_refused_on_its_line() -> None:
    """However they are written, and whatever is wrong with them."""
    duck = "[[ducks]]\nwhile = 'user_speaking'\nby_db = -1\n"
    assert len(Scene.from_toml(duck * 16).ducks) == 16
    message = "ducks[16]: more than 16 ducks in one scene; one duck may name several buses"
    assert problems(f"{duck * 16}[[ducks]]\n") == [f"49:3: {message}"]
    assert problems(f"ducks = [{'{},' * 16}\n{{}}]\n") == [f"2:1: {message}"]


def test_the_layer_too_many_is_the_first_in_the_files_order() -> None:
    layers = "".join(f"[[states.idle.layers]]\nsource = 's{n}'\n" for n in range(999))
    text = f"{layers}[base]\nlayers = [\n{{ source = 'a' }},\n{{ source = 'b' }},\n]\n"
    assert [found.split(":")[0] for found in problems(text)] == ["2002"]


LISTS_AND_TABLES = {
    "[base]\npool = [{}]\n": ("{{ source = 's{n}' }},", "base.pool[1000]"),
    "[[transitions]]\ncrossfade = 1\nto = [{}]\n": ("'idle',", "transitions[0].to[1000]"),
    "transitions = [{}]\n": ("{{}},", "transitions[1000]"),
    "[states]\n{}": ("s{n} = {{}}\n", "states.s1000"),
    "[buses]\n{}": ("b{n}.level_lu = -1\n", "buses.b1000"),
    "[clips]\n{}": ("c{n}.source = 'c'\n", "clips.c1000"),
    "[pools]\n{}": ("p{n}.entries = [{{ source = 'c' }}]\n", "pools.p1000"),
}


@pytest.mark.parametrize("text", LISTS_AND_TABLES)
def test_1_000_of_a_kind_are_allowed_and_the_next_is_refused_on_its_line(text: str) -> None:
    """Lists and tables, whatever is in them."""
    entry, where = LISTS_AND_TABLES[text]
    entries = [entry.format(n=n) for n in range(1_001)]
    Scene.from_toml(text.replace("{}", "".join(entries[:-1]))).checked()
    what = "list" if where.endswith("]") else "table"
    (found,) = problems(text.replace("{}", "".join(entries)))
    assert found.split(": ", 1)[1] == f"{where}: more than 1,000 entries in one {what}; split it into several scenes"


def test_50_000_values_are_allowed_and_the_next_is_refused_on_its_line() -> None:
    """Tables and lists count as well: here one of pools, in each a list, and in that tables of one source each."""
    pool = "[pools.p{n}]\nentries = [" + "{{ source = 'a' }}," * 61 + "]\n"
    text = "".join(pool.format(n=n) for n in range(403))  # 1 + 403 * (1 + 1 + 61 + 61) values
    spare = 50_000 - 1 - 403 * 124
    text += f"[[transitions]]\n{'settle = 1'}\n" + "[defaults]\n" + "[states]\n"
    spare -= 1 + 1 + 1 + 1 + 1
    states = "".join(f"s{n} = {{}}\n" for n in range(spare + 1))
    assert Scene.from_toml(text + states.removesuffix(f"s{spare} = {{}}\n")).checked()
    (found,) = problems(text + states)
    assert found.endswith("more than 50,000 values in one scene; split it into several scenes")


def test_16_levels_of_nesting_are_allowed_and_17_are_refused_on_their_line() -> None:
    """Tables and lists are levels; what stands in the innermost is none."""
    for inner in ("", "1"):
        deep = "[" * 16 + inner + "]" * 16
        assert problems(f"\n\nx = {deep}\n") == [f"3:1: unknown key 'x'; keys here: {TOP_KEYS}"]
        found = read(f"\n\nx = [{deep}]\n")
        assert [problem.message for problem in found] == ["nested more than 16 levels deep"]
        assert found[0].line == 3


@pytest.mark.parametrize(
    "text",
    [
        "\nx = " + "[" * 100_000 + "]" * 100_000 + "\n",
        "\nx = " + "[" * 400_000 + "\n",
        "\nx = " + "{ a = " * 3_000 + "1" + " }" * 3_000 + "\n",
        "\na" + ".a" * 100_000 + " = 1\n",
        "\n['a'" + ".'a'" * 100_000 + "]\n",
    ],
    ids=["lists", "open lists", "tables", "dotted key", "dotted table"],
)
def test_too_deep_a_text_is_refused_quickly(text: str) -> None:
    """tomllib is quadratic in a key's dots and as deep as Python's stack."""
    found = read(text)
    assert [problem.message for problem in found] == ["nested more than 16 levels deep"]
    assert found[0].line == 2


def test_many_dots_that_are_no_key_are_fine() -> None:
    """A text and a comment may have as many as they like."""
    assert read(f"description = '{'.' * 100_000}' # {'.' * 100_000}\n") == ()


@pytest.mark.parametrize("key", ["volume", "name", "start", "seed", "fade_in"])
@pytest.mark.parametrize("number", ["9" * 5_000, "-" + "9" * 5_000, "9" * 400, "0x" + "f" * 5_000, "0b" + "1" * 20_000])
def test_numbers_of_thousands_of_digits_are_refused_quickly(key: str, number: str) -> None:
    """Decimal or not: Python neither reads nor prints them, and nothing of that leaks."""
    table = "" if key in ("name", "seed") else "[base]\nsource = 'a'\n"
    text = f"{table}{key} = {number}\n"
    found = read(text)
    if key == "seed" and not found:
        assert 0 <= draw(Scene.from_toml(text).seed or 0, "key", "pick", 0) < 1
    else:
        assert [problem.line for problem in found] == [1 + table.count("\n")]


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"[states.s{n}]\n" for n in range(300))
        + "".join(f"[[transitions]]\nto = 's{n}'\nfade_in = 1\n" for n in range(300)),
        "".join(f"[[transitions]]\nto = 's{n}'\n" for n in range(600)) + "[states]\n",
        "[[transitions]]\nfade_in = 1\n" * 300,
        "".join(f"key{n} = 1\n" for n in range(10_000)),
        f"x = [{'1, ' * 150_000}]\n",
        "".join(f"[pools.q{n}]\nentries = [{{ source = 'a' }}]\n" for n in range(3_000))
        + "".join(f"[[base.layers]]\npool = 'p{n}'\n" for n in range(1_000)),
    ],
    ids=["states and rules", "rules to nowhere", "ambiguous rules", "unknown keys", "one long line", "missing pools"],
)
def test_a_long_scene_is_read_in_time(text: str) -> None:
    """Far below a megabyte, and no more work than its length asks for."""
    assert all(problem.line for problem in read(text))


def test_half_a_character_is_no_reason_to_fall_over() -> None:
    """Text from elsewhere than a file may hold lone surrogates."""
    for text in ("'\ud800' = 1\n", "description = '\ud800'\nbse = 1\n", "[base]\nsource = '\ud800'\nvolum = 1\n"):
        assert read(text)


# --- whatever is in it ------------------------------------------------------------------------------------------

VALID = [
    *(find_scene(name).read_text(encoding="utf-8") for name in shipped_scenes()),
    """\
seed = 7
[defaults]
fade_in = 1
[pools."the bed"]
entries = [{ source = "a", probability = 0.5, fade_in = 0 }, { source = "b" }]
[base]
layers = [{ pool = "the bed", start = "resume" }, { kind = "once", source = "c", gain_db = -6 }]
[states]
thinking.source = "d"
thinking.on_exit = "finish"
[states.tool]
[[states.tool.layers]]
key = "k"
pool = [{ source = "e" }]
[[transitions]]
from = ["thinking", "tool"]
to = "*"
crossfade = 0.5
urgent = true
""",
]
WORD = re.compile(r"""[\w.-]+|'[^'\n]*'|"[^"\n]*\"""")
SPLICES = [
    *("[", "]", "[[", "]]", "{", "}", "=", ".", ",", "'", '"', "'''", "\\", "#"),
    *("\n", "\r\n", "\r", "\0", "\u2028", "\x85"),
    *("nan", "inf", "-inf", "1e999", "0x" + "f" * 4_000, "9" * 4_301, "true", "2020-01-01", "12:30", "''", "[]", "{}"),
    *("layers", "pool", "source", "states", "transitions", "entries", "from", "base", "none", "*", "close"),
    *("name", "list", "[states.list]\n", "[states.layers]\n", "[[base.layers]]\n", "[[transitions]]\n"),
    *("key = 1\n", "a.b.c = 1\n"),
]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid scene with up to five words replaced, or pieces cut out, put in, doubled or moved."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 5))):
        first, last = draw(st.sampled_from([found.span() for found in WORD.finditer(text)] or [(0, 0)]))
        if draw(st.booleans()):
            first = draw(st.integers(0, len(text)))
            last = first + draw(st.sampled_from((0, 0, 1, 2, 8, 40)))
        other = draw(st.integers(0, len(text)))
        piece = draw(st.one_of(st.sampled_from(SPLICES), st.text(max_size=3), st.just(text[other : other + 30])))
        text = text[:first] + piece + text[last:]
    return text


@settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(text=mutated())
def test_a_mutated_scene_is_read_or_refused_as_a_scene_error(text: str) -> None:
    """Nothing else comes out of it, each place is one of the text's, and it is done in time."""
    lines, found = text.split("\n"), read(text)
    for problem in found:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert "\n" not in str(problem)
    places = [(problem.line, problem.column) for problem in found]
    assert places == sorted(places)
