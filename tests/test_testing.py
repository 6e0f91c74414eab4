"""Replaying sequences: what can be written, what is read off a take, and the transcript."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.container import InputContainer
from rules import EXACT

from soundscape import Entry, Fact, OutputError, Scene, SceneError, UsageError
from soundscape.outputs.file import write_audio
from soundscape.testing import Take, parse_sequence, replay, watch

SCENE = f"""{EXACT}
[[states.tool.layers]]
kind = "once"
source = "chime.wav"
cooldown = 60

[[ducks]]
while = "user_speaking"
by_db = -6
buses = ["voices"]
recovery = 0

[buses.voices]
level_lu = -20
"""
"""With a chime and a duck."""


def actions(take: Take, key: str) -> list[tuple[str, float]]:
    return [(entry.action, entry.at) for entry in take.log if entry.key == key]


@pytest.fixture
def sounding(tmp_path: Path) -> Path:
    """The scene with its sounds, loud enough together for the ceiling to have work."""
    for name, hertz in (("hum", 200.0), ("typing", 900.0), ("chime", 2_000.0)):
        tone = 0.7 * np.sin(2 * np.pi * hertz * np.arange(9_600) / 48_000)
        write_audio(tmp_path / f"{name}.wav", [tone.astype(np.float32)[:, np.newaxis]], 48_000)
    path = tmp_path / "scene.toml"
    path.write_text(SCENE)
    return path


# --- sequences ----------------------------------------------------------------------------------------------------


def test_a_sequence_says_what_became_true_and_when() -> None:
    assert parse_sequence("listening@0 user=speaking@2.5 tool=look-up@4 tool=-@5 app=on_hold@7 app=-@7 close@12") == [
        (0.0, Fact("agent", "listening")),
        (2.5, Fact("user", "speaking")),
        (4.0, Fact("tool", "look-up")),
        (5.0, Fact("tool", None)),
        (7.0, Fact("app", "on_hold")),
        (7.0, Fact("app", None)),
        (12.0, Fact("close")),
    ]


def test_a_sequence_may_be_a_list() -> None:
    written = "listening@0 tool=lookup@0.1 close@3"
    assert parse_sequence([(0, "listening"), (0.1, "tool=lookup"), (3, "close")]) == parse_sequence(written)


@pytest.mark.parametrize("state", ["listening", "tool", "away", "on_hold", "reading_out_2"])
def test_the_agents_state_may_be_any(state: str) -> None:
    assert replay("[states.on_hold]", f"{state}@0").state(at=0) == state


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        ("thinking", "'thinking' is not a part of a sequence; write thinking@3"),
        ("agent=thinking@3", "not a part of a sequence"),
        ("thinking@3@4", "'thinking@3@4': the time must be"),
        ("thinking@x", "'thinking@x': the time must be a number of seconds from 0 to 86,400"),
        ("thinking@nan", "the time must be"),
        ("thinking@-1", "the time must be"),
        ("Thinking@1", "'Thinking' is not a state's name"),
        ("none@1", "'none' is before the session and after it"),
        ("app=close@1", "'close' is before the session and after it"),
        ("-@1", "'-' is not a state's name"),
        ("thinking@5 speaking@4", "'speaking@4' goes back in time; the one before is at 5"),
        ("close@1 close@2", "'close@2' comes after close; nothing does"),
        ([(0, "thinking"), (-1, "speaking")], "'speaking@-1': the time must be"),
        (["thinking"], "a sequence is a string or a list of"),
        (7, "a sequence is a string or a list of"),
    ],
)
def test_what_is_wrong_with_a_sequence_is_said(sequence: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        replay(SCENE, sequence)


def test_it_goes_on_for_five_seconds_unless_said() -> None:
    assert replay(SCENE, "thinking@3").frames == 8 * 48_000
    assert replay(SCENE, "").frames == 5 * 48_000
    assert replay(SCENE, "thinking@3", until=1, sample_rate=16_000).frames == 16_000
    with pytest.raises(UsageError, match="until=-1"):
        replay(SCENE, "thinking@3", until=-1)
    with pytest.raises(UsageError, match="sample_rate=0"):
        replay(SCENE, "thinking@3", sample_rate=0)


# --- scenes -------------------------------------------------------------------------------------------------------


def test_a_scene_is_a_path_or_a_name_or_text_or_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine=[1].toml"
    path.write_text(SCENE)
    assert replay("office", "").scene.name == "office"
    for scene in (path, str(path), SCENE, Scene.from_file(path)):
        assert replay(scene, "").keys == ["hum", "typing", "once chime.wav"]
    with pytest.raises(SceneError, match=r"no-such\.toml: no such file"):
        replay("no-such.toml", "")


def test_paths_are_taken_from_the_root(sounding: Path) -> None:
    assert replay("scene.toml", "thinking@0", root=sounding.parent, until=1).audio().any()
    assert replay(SCENE, "thinking@0", root=sounding.parent, until=1).audio().any()
    assert replay("office", "", root=sounding.parent).scene.name == "office"


def test_a_seed_is_the_callers_else_the_scenes() -> None:
    assert [replay(text, "", seed=seed).seed for text, seed in ((SCENE, None), ("seed = 5\n", None), (SCENE, 7))] == [
        0,
        5,
        7,
    ]


# --- what is read off a take --------------------------------------------------------------------------------------


def test_an_entry_is_compared_and_taken_apart_as_a_tuple(sounding: Path) -> None:
    """The format's first example of exact answers: a quick answer never types."""
    take = replay(sounding, "listening@0 thinking@3 speaking@3.3")
    assert actions(take, "typing") == [("arm", 3.0), ("cancel", 3.3)]
    assert take.gain("typing", at=3.8) == 0
    last = take.log[-1]
    assert last == (3.3, 158_400, "cancel", "typing", 0, 0, 0, "")
    at, frame, action, key, *_ = last
    assert (at, frame, action, key) == (3.3, 158_400, "cancel", "typing")
    release = next(entry for entry in take.log if entry.action == "release")
    assert release == pytest.approx(Entry(3.3, 158_400, "release", "hum", 0.877, 0, 0.2, "hum.wav"), abs=5e-4)


def test_the_state_at_the_frame_of_a_commit_is_the_new_one(sounding: Path) -> None:
    take = replay(sounding, "listening@1 thinking@3 listening@5 close@7", until=8)
    frame = 1 / 48_000
    assert [take.state(at) for at in (0, 1 - frame, 1, 3, 5, 5.25 - frame, 5.25, 7, 8)] == [
        *("none", "none", "listening", "thinking", "thinking", "thinking", "listening", "none", "none")
    ]
    assert take.states() == [
        (0.0, 1.0, "none"),
        (1.0, 3.0, "listening"),
        (3.0, 5.25, "thinking"),
        (5.25, 7.0, "listening"),
        (7.0, 8.0, "none"),
    ]


def test_a_gain_is_the_layers_with_its_envelope() -> None:
    take = replay(SCENE, "listening@0 thinking@3")
    assert take.gain("hum", at=0) == 0
    assert take.gain("hum", at=0.4) == pytest.approx(0.5**0.5)
    assert take.gain("hum", at=2) == 1
    assert take.gain("hum", at=4) == pytest.approx(10 ** (-6 / 20))


def test_the_ducks_of_a_bus_are_apart_from_its_layers() -> None:
    take = replay(SCENE, "listening@0 user=speaking@2 user=listening@4", until=6)
    assert [take.bus_gain("voices", at=at) for at in (0, 2)] == [1, 1]
    assert take.bus_gain("voices", at=3) == pytest.approx(10 ** (-6 / 20))
    assert take.bus_gain("voices", at=6) == pytest.approx(1)
    assert [take.bus_gain("main", at=at) for at in (0, 3)] == [1, 1]


def test_times_may_be_asked_for_in_any_order(sounding: Path) -> None:
    sequence = "listening@0 thinking@3 tool@4 listening@5 user=speaking@6 speaking@7"
    take = replay(sounding, sequence)
    times = [i / 7 for i in range(80)]
    forwards = [(take.gain("typing", at), take.bus_gain("voices", at), take.state(at)) for at in times]
    backwards = [(take.gain("typing", at), take.bus_gain("voices", at), take.state(at)) for at in reversed(times)]
    assert backwards[::-1] == forwards
    assert max(gain for gain, _, _ in forwards) == 1
    assert take.log == replay(sounding, sequence).log


def test_what_is_not_in_the_take_is_said() -> None:
    take = replay(SCENE, "listening@0", until=2)
    with pytest.raises(UsageError, match="no layer has the key 'typng'; the keys are 'hum', 'typing', 'once chime"):
        take.gain("typng", at=1)
    with pytest.raises(UsageError, match="no bus is called 'voice'; the buses are 'main', 'voices'"):
        take.bus_gain("voice", at=1)
    for ask in (take.state, lambda at: take.gain("hum", at), lambda at: take.bus_gain("main", at), take.audio):
        for at in (-0.1, 2.1, float("nan")):
            with pytest.raises(UsageError, match="not within the take, which is 2 s long"):
                ask(at)


def test_asking_is_quick(sounding: Path) -> None:
    """An hour with a change every two seconds: a thousand questions in order take well under a second of processor, one
    back at the beginning a fraction of it."""
    sequence = " ".join(f"{('listening', 'thinking', 'speaking')[i % 3]}@{2 * i}" for i in range(1_800))
    take = replay(sounding, sequence)
    began = time.thread_time()
    for i in range(1_000):
        at = 3.5 * i
        take.gain("typing", at), take.bus_gain("voices", at), take.state(at)
    for _ in range(3):
        take.gain("typing", 1.0)
        take.gain("typing", 3_600.0)
    assert time.thread_time() - began < 3


# --- sound --------------------------------------------------------------------------------------------------------


def test_no_file_is_opened_until_something_asks_for_sound() -> None:
    take = replay(SCENE, "listening@0 thinking@1")
    assert take.gain("hum", at=0.5) > 0
    with pytest.raises(SceneError, match=r"'hum\.wav': no such file"):
        take.audio()
    assert take.gain("hum", at=0.4) > 0


def test_a_piece_of_the_sound_is_the_sound_there(sounding: Path) -> None:
    """Also where the ceiling is at work."""
    take = replay(sounding, "listening@0 tool@1 thinking@2.2 close@3", until=4)
    whole = take.audio()
    assert whole.dtype == np.float32
    assert whole.shape == (4 * 48_000, 1)
    assert 0.7 < np.abs(whole).max() < 0.9
    for from_, to in ((0, 0.5), (0.013, 0.4), (1.05, 1.06), (2.9, 4), (2, 2)):
        piece = take.audio(from_, to)
        np.testing.assert_array_equal(piece, whole[round(from_ * 48_000) : round(to * 48_000)])
    np.testing.assert_array_equal(take.audio(from_=3.5), whole[int(3.5 * 48_000) :])
    np.testing.assert_array_equal(take.audio(to=0.2), whole[:9_600])


def test_a_take_is_written_and_drawn(sounding: Path, tmp_path: Path) -> None:
    take = replay(sounding, "listening@0 user=speaking@1 tool@2 close@3", until=4)
    take.write(tmp_path / "out.wav")
    take.plot(tmp_path / "out.png")
    take.plot(tmp_path / "out.svg", sounds={})
    import av

    with av.open(str(tmp_path / "out.wav")) as container:
        assert isinstance(container, InputContainer)
        assert container.streams.audio[0].duration == take.frames
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "ducks of voices" in (tmp_path / "out.svg").read_text("utf-8")


# --- the transcript -----------------------------------------------------------------------------------------------

GOLDEN = """\
    0.000  listening
    0.000      start   hum             0.000 -> 1.000 in 0.800 s  (hum.wav)
    2.000  tool
    2.000      level   hum             1.000 -> 0.501 in 0.800 s  (hum.wav)
    2.000      shot    once chime.wav  at 1.000
    2.000      arm     typing          in 0.700 s
    2.300      settle  listening       in 0.250 s
    2.400      cancel  listening
    2.700      start   typing          0.000 -> 1.000 in 0.800 s  (typing.wav)
    2.900      settle  listening       in 0.250 s
    3.150  listening
    3.150      level   hum             0.501 -> 1.000 in 0.800 s  (hum.wav)
    3.150      hold    typing          for 0.550 s  (typing.wav)
    3.500  tool
    3.500      level   hum             0.743 -> 0.501 in 0.800 s  (hum.wav)
    3.500      skip    once chime.wav
    3.500      cancel  typing          (typing.wav)
    4.000      settle  listening       in 0.250 s
    4.250  listening
    4.250      level   hum             0.504 -> 1.000 in 0.800 s  (hum.wav)
    4.250      release typing          1.000 -> 0.000 in 1.200 s  (typing.wav)
    5.000  none
    5.000      release hum             0.996 -> 0.000 in 0.800 s  (hum.wav)
    5.000      release typing          0.556 -> 0.000 in 0.800 s  (typing.wav)"""


def test_the_transcript_is_kept_as_a_golden_file(sounding: Path) -> None:
    sequence = "listening@0 tool@2 listening@2.3 tool@2.4 listening@2.9 tool@3.5 listening@4 close@5"
    assert str(replay(sounding, sequence)) == GOLDEN
    assert str(replay(sounding, sequence, sample_rate=8_000)) == GOLDEN


def test_a_transcript_has_a_line_for_each_entry() -> None:
    """Whatever an author calls things."""
    text = '[base]\nkey = "two\\nlines"\nsource = "a\\u001b[31m.wav"\n'
    take = replay(text, "listening@0")
    assert len(str(take).splitlines()) == len(take.log) == 2
    assert str(take).splitlines()[1].endswith(r"start   'two\nlines'  0.000 -> 1.000 in 0.800 s  ('a\x1b[31m.wav')")
    assert str(replay("", "")) == ""


def test_a_take_tells_what_it_is() -> None:
    """On one line, for the message of a failed assertion."""
    take = replay(
        "name = 'office'\n", "listening@0 tool=look_up@1.25 tool=-@2 user=speaking@2.5 close@3", until=4, seed=7
    )
    assert repr(take) == (
        "<Take of 'office', seed 7, 4 s: listening@0 tool=look_up@1.25 tool=-@2 user=speaking@2.5 close@3>"
    )
    many = " ".join(f"thinking@{i}" for i in range(100))
    assert len(repr(replay("", many))) < 200


def test_takes_are_collected_while_watched(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "soundscape"), watch() as outer:
        one = replay(SCENE, "listening@0")
        with watch() as inner:
            two = replay(SCENE, "thinking@0")
    replay(SCENE, "thinking@0")
    assert (list(outer), list(inner)) == ([one, two], [two])
    with watch(limit=2) as last:
        takes = [replay(SCENE, "thinking@0") for _ in range(3)]
    assert list(last) == takes[1:]
    assert caplog.records == []


def test_gains_are_those_of_gain_at_each_step() -> None:
    """What a picture draws is what a test asks for."""
    take = replay(SCENE, "listening@0 thinking@1 speaking@2.2", until=3)
    for key in take.keys:
        assert take.gains(key, 0.05).tolist() == [take.gain(key, n * 0.05) for n in range(60)]
    with pytest.raises(UsageError, match="step=0"):
        take.gains(take.keys[0], 0)


def test_a_take_is_two_days_long_at_most() -> None:
    assert replay("", "", until=172_800, sample_rate=1).frames == 172_800
    with pytest.raises(UsageError, match="from 0 to 172,800"):
        replay("", "", until=172_801, sample_rate=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1.5}, "a seed is a whole number"),
        ({"seed": True}, "a seed is a whole number"),
        ({"seed": 2**64}, "a seed is a whole number"),
        ({"sample_rate": 0}, "a whole number of frames per second"),
        ({"sample_rate": 48_000.5}, "a whole number of frames per second"),
        ({"until": "3"}, "a number of seconds"),
        ({"until": float("nan")}, "a number of seconds"),
    ],
)
def test_odd_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replay("", "listening@0", **options)


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("user=spekaing@3", "is not a state of LiveKit's user; did you mean 'speaking'?"),
        ("none@3", "'none' is before the session and after it; write close@12"),
        ("app=close@3", "'close' is before the session and after it"),
    ],
)
def test_names_that_would_do_nothing_are_refused(sequence: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        replay("", sequence)


def test_a_picture_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a picture is a"):
        replay("", "listening@0").plot(tmp_path / "take.xyz")


def test_where_a_picture_cannot_be_is_said_before_anything_is_rendered(tmp_path: Path) -> None:
    """Rendering would name the sound that is missing."""
    take = replay("[base]\nsource = 'missing.wav'", "listening@0", root=tmp_path)
    with pytest.raises(OutputError, match="no-folder"):
        take.plot(tmp_path / "no-folder" / "take.png")
