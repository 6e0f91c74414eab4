"""What is asked for in mid-call: a level, a sound of the moment, another scene.

Pure ones at a frame a second, or a thousand: a sound is a constant, so what is rendered is the sum of the gains.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from livekit.agents import AgentSession
from livekit.agents.voice.background_audio import AudioConfig, BuiltinAudioClip
from made_up import NUMBERS, Case, choose, examples, made, noise, steady
from rooms import tapped
from test_answering import listens

from soundscape import (
    DecodeError,
    MemoryOutput,
    OutputError,
    RoomOutput,
    Scene,
    SceneError,
    Soundscape,
    UsageError,
)
from soundscape.clip import Clip
from soundscape.driver.facts import from_plain, to_plain
from soundscape.engine import Engine, Fact, Moment, Piece, Scenery, SetGain, Switch
from soundscape.library import SceneClips
from soundscape.outputs import Source
from soundscape.outputs.file import write_audio

pytestmark = pytest.mark.long

QUARTER, HALF, THREE_QUARTERS = 0.38268343236508984, 0.7071067811865476, 0.9238795325112867
"""sin(pi u / 2) at u = 1/4, 1/2 and 3/4: the gains of a fade of four frames from nothing."""

SILENCE_DB = -1e4
"""So far down that the factor is 0."""

TWO = """
defaults = { crossfade = 0, declick = 0 }
buses.room = { level_lu = -10 }

[[base.layers]]
key = "hum"
source = "a"

[[base.layers]]
key = "fan"
source = "b"
bus = "room"
"""


def engine(text: str = TWO, rate: int = 1, **clips: Clip) -> Engine:
    """Of constants: `a` is 1 and `b` is 2, unless said."""
    sounds = {"a": steady(1.0, 1_000 * rate, rate), "b": steady(2.0, 1_000 * rate, rate)} | clips
    return Engine(Scene.from_toml(text), sounds, sample_rate=rate)


def begun(text: str = TWO, rate: int = 1, **clips: Clip) -> Engine:
    """An engine that has rendered a frame of `listening`."""
    made = engine(text, rate, **clips)
    made.post(Fact("agent", "listening"))
    made.render(1)
    return made


def frames(made: Engine, count: int) -> list[float]:
    return [float(value) for value in made.render(count)[:, 0]]


def about(*values: float) -> Any:
    """Numbers in single precision, of sums below 10."""
    return pytest.approx(list(values), abs=2e-6)


# --- levels -------------------------------------------------------------------------------------------------------


def test_a_level_moves_by_the_envelope_law_and_no_other_with_it() -> None:
    made = begun()
    made.post(Fact("gain", SetGain("layer", "hum", SILENCE_DB, 4)))
    assert frames(made, 6) == about(3, 2 + THREE_QUARTERS, 2 + HALF, 2 + QUARTER, 2, 2)


def test_a_level_is_set_of_a_bus_or_of_what_is_on_none() -> None:
    made = begun()
    made.post(Fact("gain", SetGain("bus", "room", SILENCE_DB, 0)))
    assert frames(made, 1) == [1]
    made.post(Fact("gain", SetGain("bus", "main", SILENCE_DB, 0)))
    assert frames(made, 1) == [0]


def test_a_level_that_is_set_again_goes_on_from_where_it_is() -> None:
    made = begun(TWO.replace('source = "b"', 'source = "silent"'), silent=steady(0.0, 9, 1))
    made.post(Fact("gain", SetGain("layer", "hum", SILENCE_DB, 4)))
    made.render(2)
    made.post(Fact("gain", SetGain("layer", "hum", 0, 2)))
    assert frames(made, 3) == about(HALF, math.sqrt(0.75), 1)


def test_the_levels_of_a_bus_and_of_its_layer_multiply() -> None:
    made = begun()
    for of, name in (("bus", "room"), ("layer", "fan")):
        made.post(Fact("gain", SetGain(of, name, 20 * math.log10(0.5), 0)))  # type: ignore[arg-type]
    assert frames(made, 1) == about(1.5)


def test_a_level_is_on_top_of_ducks_and_beyond_their_floor() -> None:
    made = begun(TWO + "[[ducks]]\nwhile = 'user_speaking'\nby_db = -60\nfade_out = 0\n")
    made.post(Fact("user", "speaking"))
    made.post(Fact("gain", SetGain("bus", "main", SILENCE_DB, 0)))
    assert frames(made, 1) == about(2 * 10 ** (-24 / 20))
    assert made.bus_gain("main") == pytest.approx(10 ** (-24 / 20))


def test_a_level_stays_for_what_begins_later_and_through_changes_of_state() -> None:
    made = begun(TWO + "[states.thinking]\nkey = 'typing'\nsource = 'a'\n")
    made.post(Fact("gain", SetGain("layer", "typing", 20 * math.log10(0.25), 0)))
    assert frames(made, 1) == [3]
    made.post(Fact("agent", "thinking"))
    assert frames(made, 1) == about(3.25)


def test_what_was_never_set_is_rendered_to_the_same_bit() -> None:
    """And a level of 0 dB changes no bit either."""
    plain, set_ = begun(rate=1_000), begun(rate=1_000)
    set_.post(Fact("gain", SetGain("layer", "hum", 0.0, 0.1)))
    assert plain.render(300).tobytes() == set_.render(300).tobytes()


def test_a_level_is_no_entry_of_the_log() -> None:
    """As ducks: the facts tell of it, and the gains of the log are those that the scene leads to."""
    made = begun()
    before = list(made.log)
    made.post(Fact("gain", SetGain("layer", "hum", -6, 4)))
    made.render(10)
    assert made.log == before
    assert made.gain("hum") == 1


def test_what_is_no_fact_is_refused_and_nothing_happened() -> None:
    made = begun()
    for fact in (Fact("gain", -6), Fact("gain"), Fact("shout", "loud"), Fact("agent")):  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="is no fact"):
            made.post(fact)
    assert frames(made, 1) == [3]


# --- sounds of the moment ----------------------------------------------------------------------------------------


def moment(number: int = 1, *values: float, **options: Any) -> Fact:
    """A sound of these frames; 8, 8 and 8 unless said."""
    clip = Clip.from_samples(np.array(values or (8, 8, 8), np.float32), 1)
    return Fact("play", Moment(number, "ding", clip, **options))


def quiet(text: str = "defaults = { crossfade = 0, declick = 0 }\n") -> Engine:
    """An engine that has rendered a frame of `listening`, in which nothing sounds."""
    return begun(text)


def test_a_sound_of_the_moment_is_heard_once_and_whole_beside_the_scene() -> None:
    made = begun()
    made.post(moment(1, 10, 20, 30, volume=0.5))
    assert made.moment_ends(1) is None
    assert frames(made, 5) == [8, 13, 18, 3, 3]
    assert made.moment_ends(1) == 4


def test_a_looped_one_goes_on_until_it_is_stopped() -> None:
    made = quiet()
    made.post(moment(1, 1, 2, loop=True))
    assert frames(made, 5) == [1, 2, 1, 2, 1]
    assert made.moment_ends(1) == math.inf
    made.post(Fact("stop", 1))
    assert frames(made, 2) == [0, 0]
    assert made.moment_ends(1) == 6


def test_it_fades_in_and_when_it_is_stopped_out_from_where_it_is() -> None:
    made = quiet()
    made.post(moment(1, *[1] * 9, fade_in=4, fade_out=2))
    assert frames(made, 2) == about(0, QUARTER)
    made.post(Fact("stop", 1))
    assert frames(made, 3) == about(HALF, HALF * HALF, 0)
    assert made.moment_ends(1) == 5


def test_its_natural_end_is_not_faded_and_comes_first() -> None:
    made = quiet()
    made.post(moment(1, 1, 1, 1, fade_out=4))
    made.render(2)
    made.post(Fact("stop", 1))
    assert frames(made, 3) == [1, 0, 0]
    assert made.moment_ends(1) == 4


def test_one_that_is_stopped_before_its_first_frame_is_not_heard() -> None:
    made = quiet()
    made.post(moment(fade_out=4))
    made.post(Fact("stop", 1))
    assert frames(made, 4) == [0, 0, 0, 0]
    assert made.moment_ends(1) == 1


def test_stopping_again_or_what_is_over_or_never_was_changes_nothing() -> None:
    made = quiet()
    made.post(moment(1, *[1] * 9, fade_out=2))
    made.render(1)
    for number in (1, 1, 2):
        made.post(Fact("stop", number))
    assert frames(made, 1) == [1]
    made.post(Fact("stop", 1))
    assert frames(made, 2) == about(HALF, 0)
    made.post(Fact("stop", 1))
    assert frames(made, 1) == [0]


def test_without_a_fade_out_it_declicks() -> None:
    made = quiet("defaults = { crossfade = 0, declick = 2 }\n")
    made.post(moment(1, *[1] * 9))
    made.render(1)
    made.post(Fact("stop", 1))
    assert frames(made, 3) == about(1, HALF, 0)


def test_states_do_not_touch_it_and_ducks_do() -> None:
    made = quiet(TWO + "[[ducks]]\nwhile = 'agent_speaking'\nby_db = -20\nfade_out = 0\n")
    made.post(moment(1, 10, loop=True))
    made.post(Fact("agent", "thinking"))
    assert frames(made, 1) == [13]
    made.post(Fact("agent", "speaking"))
    assert frames(made, 1) == about(1.3)


def test_two_of_one_source_are_two() -> None:
    made = quiet()
    made.post(moment(1, 1, 1, 1))
    made.render(1)
    made.post(moment(2, 1, 1, 1))
    assert frames(made, 4) == [2, 2, 1, 0]


def test_a_name_of_the_scene_may_be_another_sound() -> None:
    made = begun()
    made.post(Fact("play", Moment(1, "a", steady(100.0, 2, 1))))
    assert frames(made, 3) == [103, 103, 3]


CLOSING = "defaults = { crossfade = 4, declick = 0 }\n"


def test_the_close_fades_it_as_the_scene_is_faded() -> None:
    """T19. And nothing begins after it."""
    made = quiet(CLOSING)
    made.post(moment(1, 1, loop=True))
    made.render(1)
    made.post(Fact("close"))
    made.post(moment(2, 1, loop=True))
    assert frames(made, 5) == about(1, THREE_QUARTERS, HALF, QUARTER, 0)
    assert made.finished
    assert made.moment_ends(2) is None


def test_its_own_fade_out_comes_first_and_an_urgent_close_caps_it() -> None:
    for rule, expected in (
        ("", (1, HALF, 0)),
        ("[[transitions]]\nto = 'none'\nfade_out = 1\nurgent = true", (1, 0, 0)),
    ):
        made = quiet(CLOSING + rule)
        made.post(moment(1, 1, loop=True, fade_out=2))
        made.render(1)
        made.post(Fact("close"))
        assert frames(made, 3) == about(*expected)


def test_a_close_that_cannot_wait_declicks_it() -> None:
    made = quiet(CLOSING.replace("declick = 0", "declick = 2"))
    made.post(moment(1, 1, loop=True))
    made.render(1)
    made.post(Fact("close"))
    made.render(1)
    made.post(Fact("cut"))
    assert frames(made, 3) == about(THREE_QUARTERS, THREE_QUARTERS * HALF, 0)


def test_the_log_tells_of_it_as_of_a_layer() -> None:
    made = quiet()
    made.post(moment(1, *[1] * 9, volume=0.5, fade_in=2, fade_out=4))
    made.post(moment(2, 1, loop=True))
    made.render(2)
    made.post(Fact("stop", 1))
    made.render(1)
    assert [entry[1:] for entry in made.log[1:]] == [
        (1, "shot", "play ding", 0.0, 0.5, 2.0, "ding"),
        (1, "start", "play ding", 1.0, 1.0, 0.0, "ding"),
        (3, "release", "play ding", 0.5, 0.0, 4.0, "ding"),
    ]


# --- scenes -------------------------------------------------------------------------------------------------------


def scene(text: str, crossfade: float | None = None, rate: int = 1, **clips: Clip) -> Fact:
    """A switch to a scene of constants: `a` is 1 and `b` is 2, unless said."""
    sounds = {"a": steady(1.0, 1_000 * rate, rate), "b": steady(2.0, 1_000 * rate, rate)} | clips
    return Fact("scene", Switch("other.toml", Scenery(Scene.from_toml(text), sounds), crossfade))


def lines(made: Engine, since: int = 1) -> list[str]:
    """The log from the second frame on, gains as numbers of three digits."""
    found = []
    for e in made.log:
        gains = (
            f" {e.gain_from:.3g}->{e.gain_to:.3g}"
            if e.action in ("start", "level", "release", "revive", "shot")
            else ""
        )
        if e.frame >= since:
            found.append(f"{e.frame} {e.action} {e.key}{gains}{f' in {e.duration:g}' if e.duration else ''}")
    return found


HUM = "defaults = { crossfade = 0, declick = 0 }\nbase = { key = 'hum', source = 'a' }\n"
FAN = "defaults = { crossfade = 4, declick = 0 }\nbase = { key = 'fan', source = 'b' }\n"


def test_what_the_other_scene_does_not_have_leaves_and_what_it_has_comes_by_its_crossfade() -> None:
    made = begun(HUM)
    made.post(scene(FAN))
    expected = [math.sqrt(1 - u) + 2 * math.sqrt(u) for u in (0, QUARTER**2, HALF**2, THREE_QUARTERS**2, 1)]
    assert frames(made, 5) == about(*expected)
    assert lines(made) == ["1 commit listening", "1 start fan 0->1 in 4", "1 release hum 1->0 in 4"]


def test_a_crossfade_that_is_given_comes_first() -> None:
    made = begun(HUM)
    made.post(scene(FAN, crossfade=2))
    assert frames(made, 3) == about(1, HALF + 2 * HALF, 2)


def test_an_equal_key_goes_on_where_it_is_with_its_own_clip_and_only_its_level_moves() -> None:
    """T3: the same text may name another file in another folder."""
    made = begun(HUM, a=Clip.from_samples(np.arange(100, dtype=np.float32), 1))
    quieter = FAN.replace("key = 'fan', source = 'b'", "key = 'hum', source = 'a', volume = 0.5")
    made.post(scene(quieter, a=steady(50.0, 100, 1)))
    law = [math.sqrt(1 - 0.75 * u) for u in (0, QUARTER**2, HALF**2, THREE_QUARTERS**2)]
    assert frames(made, 6) == about(*(n * gain for n, gain in enumerate([*law, 0.5, 0.5], 1)))
    assert lines(made) == ["1 commit listening", "1 level hum 1->0.5 in 4"]


ROOM = "defaults = { crossfade = 0, declick = 0 }\nbuses.room = { level_lu = -10 }\n"


@pytest.mark.parametrize(
    ("other", "comes"),
    [("source = 'b'", "start"), ("source = 'a'\nkind = 'once'", "shot"), ("source = 'a'\nbus = 'room'", "start")],
)
def test_an_equal_key_of_another_sound_is_another_sound(other: str, comes: str) -> None:
    """What in one scene would be an error: another pool, kind or bus. What goes is not revived either."""
    made = begun(HUM)
    made.post(scene(f"{ROOM}[base]\nkey = 'hum'\n{other}", crossfade=4))
    made.render(2)
    made.post(Fact("agent", "thinking"))
    made.render(9)
    told = [(e.frame, e.action) for e in made.log if e.key == "hum" and e.frame]
    assert told[:2] == [(1, "release"), (1, comes)]
    assert not {action for _, action in told} & {"revive", "skip"}


def test_a_level_of_a_bus_that_is_another_moves_as_a_layers_does() -> None:
    text = ROOM + "base = { source = 'a', bus = 'room' }"
    made = begun(text, a=replace(steady(1.0, 100, 1), lufs=-30.0))
    made.post(scene(text.replace("-10", "-16"), crossfade=4))
    made.render(4)
    assert frames(made, 1) == about(10 ** (-6 / 20))
    assert lines(made)[1] == "1 level a @room 1->0.501 in 4"
    made.post(scene(text))
    assert frames(made, 1) == about(1)


def test_the_state_stays_and_what_it_means_is_the_other_scenes() -> None:
    made = begun(HUM)
    made.post(Fact("agent", "thinking"))
    made.render(1)
    made.post(scene("defaults = { crossfade = 0, declick = 0 }\nstates.thinking = { source = 'b' }"))
    assert frames(made, 1) == [2]
    assert made.state == "thinking"


def test_with_a_change_of_state_in_the_same_frame_there_is_one_commit_by_the_new_scenes_rule() -> None:
    made = begun(HUM)
    made.post(Fact("agent", "thinking"))
    made.post(scene(FAN + "[[transitions]]\nto = 'thinking'\ncrossfade = 2"))
    made.render(1)
    assert lines(made) == ["1 commit thinking", "1 start fan 0->1 in 2", "1 release hum 1->0 in 2"]


def test_a_change_that_has_not_settled_goes_on_settling_by_the_new_scenes_rule() -> None:
    """T8: counted from when the committed state was left."""
    rule = "[[transitions]]\nto = 'thinking'\nsettle = 9"
    made = begun(HUM + rule)
    made.post(Fact("agent", "thinking"))
    made.render(3)
    made.post(scene(FAN + rule.replace("9", "5")))
    made.render(5)
    assert [line for line in lines(made) if "hum" not in line and "fan" not in line] == [
        "1 settle thinking in 9",
        "4 commit listening",
        "4 cancel thinking",
        "4 settle thinking in 2",
        "6 commit thinking",
    ]


def test_what_waits_dies_with_its_scene_unless_its_key_is_wanted_in_the_other() -> None:
    """A timer of an equal key runs on (T7)."""
    text = HUM + "[[states.listening.layers]]\nsource = 'b'\nafter = 3\n"
    rain = "[[states.listening.layers]]\nkey = 'rain'\nkind = 'scatter'\nsource = 'b'\ninterval = [3, 3]\n"
    made = begun(text + rain)
    made.post(scene(text))
    made.render(9)
    assert lines(made) == ["1 commit listening", "1 cancel rain", "3 start b 0->1"]


def test_a_shot_of_an_equal_key_is_not_played_again() -> None:
    text = HUM + "[[base.layers]]\nkey = 'bell'\nkind = 'once'\nsource = 'b'\n"
    text = text.replace("base = { key = 'hum', source = 'a' }", "").replace("\n\n", "\n")
    made = begun(text)
    made.post(scene(text))
    made.render(1)
    assert lines(made) == ["1 commit listening"]


def test_what_fell_silent_is_resumed_only_where_it_is_the_same_sound() -> None:
    text = HUM + "[states.thinking]\nkey = 'music'\nsource = 'm'\nstart = 'resume'\n"
    ramp = Clip.from_samples(np.arange(100, dtype=np.float32), 1)
    for source, expected in (("m", 3), ("n", 0)):
        made = begun(text, m=ramp)
        made.post(Fact("agent", "thinking"))
        made.render(3)
        made.post(Fact("agent", "listening"))
        made.post(scene(text.replace("'m'", f"'{source}'"), m=ramp, n=ramp))
        made.render(1)
        made.post(Fact("agent", "thinking"))
        assert frames(made, 1) == [1 + expected]


def test_what_fades_while_the_scene_changes_is_resumed_as_the_sound_it_was() -> None:
    """Equal keys: also where the same text names another file."""
    text = "defaults = { crossfade = 2, declick = 0 }\n"
    text += "[states.thinking]\nkey = 'music'\nsource = 'm'\nstart = 'resume'\nfade_in = 1\n"
    made = begun(text, m=Clip.from_samples(np.arange(100, dtype=np.float32), 1))
    made.post(Fact("agent", "thinking"))
    made.render(5)
    made.post(Fact("agent", "listening"))
    made.render(1)
    made.post(scene(text, m=steady(1_000.0, 100, 1)))
    made.render(9)
    made.post(Fact("agent", "thinking"))
    fell_silent = 5 + 3  # it began a fade of two frames, which the other scene turned one frame later
    assert frames(made, 2) == [0, fell_silent + 1]


POOL = """
defaults = {{ crossfade = 0, declick = 0 }}
pools.sounds = {{ mode = "sequence", entries = [{{ source = "{0}" }}, {{ source = "{1}" }}] }}
base = {{ key = "hum", pool = "sounds", fade_in = 0 }}
"""


def test_another_pool_of_a_key_begins_anew_and_the_one_that_leaves_draws_for_itself() -> None:
    made = begun(POOL.format("a", "b"), a=steady(0.0, 3, 1), b=steady(0.0, 3, 1))
    made.post(scene(POOL.format("c", "d"), crossfade=20, c=steady(1.0, 4, 1), d=steady(2.0, 4, 1)))
    assert frames(made, 12) == [1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1]


DUCK = "[[ducks]]\nwhile = 'agent_speaking'\nby_db = -20\nfade_out = 2\nfade_in = 4\n"


def speaking(text: str) -> Engine:
    """An engine that has spoken for as long as the duck takes."""
    made = begun(text)
    made.post(Fact("agent", "speaking"))
    made.render(4)
    return made


def test_a_duck_that_the_other_scene_does_not_have_comes_up_from_where_it_is() -> None:
    made = speaking(HUM + DUCK)
    made.post(scene(HUM))
    assert frames(made, 5) == about(
        *(math.sqrt(0.01 + 0.99 * u) for u in (0, QUARTER**2, HALF**2, THREE_QUARTERS**2, 1))
    )


def test_one_that_it_has_too_stays_and_another_goes_down_where_it_applies() -> None:
    made = speaking(HUM + DUCK)
    made.post(scene(HUM + DUCK.replace("-20", "-6") + DUCK))
    assert frames(made, 3) == about(0.1, 0.1 * math.sqrt((1 + 10**-0.6) / 2), 10 ** (-24 / 20))
    assert made.bus_gain("main") == pytest.approx(10 ** (-24 / 20))
    made.post(scene(HUM + DUCK))
    made.render(4)
    assert frames(made, 1) == about(0.1)


def test_a_duck_that_comes_back_while_it_comes_up_is_turned() -> None:
    made = speaking(HUM + DUCK)
    made.post(scene(HUM))
    made.render(2)
    made.post(scene(HUM + DUCK))
    halfway = math.sqrt((1 + 0.01) / 2)
    assert frames(made, 3) == about(halfway, math.sqrt((halfway**2 + 0.01) / 2), 0.1)
    for text, expected in ((HUM + DUCK, 0.1), (HUM, 1)):
        made.post(scene(text))
        made.render(4)
        assert frames(made, 1) == about(expected)
        assert made.bus_gain("main") == pytest.approx(expected)


def test_levels_that_were_set_stay() -> None:
    made = begun(HUM)
    made.post(Fact("gain", SetGain("layer", "hum", 20 * math.log10(0.5), 0)))
    made.post(scene(HUM.replace("'a'", "'b'")))
    assert frames(made, 1) == about(1)


def test_a_state_that_the_other_scene_does_not_know_has_its_base_alone_and_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """T16."""
    made = begun(HUM + "[states.lunch]\nsource = 'b'\n")
    made.post(Fact("app", "lunch"))
    assert frames(made, 1) == [3]
    made.post(scene(HUM))
    made.render(2)
    made.post(Fact("agent", "thinking"))
    assert frames(made, 1) == [1]
    assert made.state == "lunch"
    assert [record.getMessage() for record in caplog.records] == [
        "scene 'scene': state 'lunch' is not defined; only the base layers sound"
    ]


def test_after_the_close_there_is_no_other_scene_and_in_its_frame_no_longer_fade() -> None:
    made = begun(HUM)
    made.post(scene(HUM, crossfade=60))
    made.post(Fact("close"))
    made.post(scene(FAN))
    assert frames(made, 2) == [0, 0]
    assert made.finished


def test_sounds_of_the_moment_go_on() -> None:
    made = begun(HUM)
    made.post(moment(1, 10, 20, 30))
    made.render(1)
    made.post(scene(FAN, crossfade=0))
    assert frames(made, 3) == [22, 32, 2]


STEADY = """
defaults = {{ crossfade = 0.2 }}
transitions = [{{ to = "speaking", crossfade = 0.2 }}]
buses.room = {{ level_lu = {level} }}
ducks = [{{ while = "agent_speaking", by_db = {by}, fade_out = 0.2, fade_in = 0.2, recovery = 0.1 }}]
base = {{ key = "x", source = "{x}", volume = {volume} }}
states.speaking = {{ key = "y", source = "{y}", volume = {volume} }}
[[states.thinking.layers]]
key = "y"
source = "{y}"
[[states.thinking.layers]]
key = "z"
source = "c"
bus = "room"
volume = {volume}
"""


@examples(30)
@given(number=NUMBERS)
def test_nothing_steps(number: int) -> None:
    """Whatever is asked for whenever: every gain follows the law, whose steepest is pi / 2 in the time of a fade."""
    rng = Random(number)

    def text() -> str:
        sources = {"x": choose(rng, *"ab"), "y": choose(rng, *"ab")}
        return STEADY.format(**sources, level=choose(rng, -10, -13), by=choose(rng, -6, -9), volume=choose(rng, 0.5, 1))

    clips = {name: replace(steady(0.25, 10_000, 1_000), lufs=-30.0) for name in "abc"}
    made = Engine(Scene.from_toml(text()), clips, sample_rate=1_000)
    made.post(Fact("agent", "listening"))
    blocks = [made.render(400)]
    for _ in range(30):
        gain = Fact("gain", SetGain("layer", choose(rng, *"xyz"), choose(rng, 0.0, -40.0), 0.2))
        state = Fact("agent", choose(rng, "listening", "thinking", "speaking"))
        made.post(choose(rng, state, gain, scene(text(), None, 1_000, a=clips["a"], b=clips["b"], c=clips["c"])))
        blocks.append(made.render(choose(rng, 0, 1, 50, 300)))
        assert len(made._driver._playbacks.playing) < 40
    sounding = len(made._mixer._playbacks)
    sound = np.concatenate(blocks)[:, 0]
    # Each key has one that is wanted and others on their way out, whose powers add up to less than it gives way.
    assert np.abs(np.diff(sound)).max() < 12 * 0.25 * math.pi / 2 / 200
    assert sounding < 40


# --- going back ---------------------------------------------------------------------------------------------------


def asked(case: Case, rng: Random, number: int) -> Fact:
    """Something that may be asked for in mid-call."""
    names = [("bus", "main"), *(("bus", bus) for bus in case.scene.buses), *(("layer", key) for key in case.kinds)]
    seconds = (0.0, 0.03, 0.3, 2.0)
    what = choose(rng, "gain", "gain", "play", "play", "stop", "scene", "scene", "fed", "feed", "feed", "feed")
    if what == "gain":
        of, name = choose(rng, *names)
        return Fact("gain", SetGain(of, name, choose(rng, 0.0, -6.0, SILENCE_DB, 6.0), choose(rng, *seconds)))  # type: ignore[arg-type]
    if what == "stop":
        return Fact("stop", rng.randint(0, number))
    if what == "scene":
        other = choose(rng, case, case, made(rng.getrandbits(60), rates=[case.rate]))
        text = other.text.replace("speech_lufs = -20", "speech_lufs = -23").replace("volume = 0.5", "volume = 0.25")
        known = Scenery(Scene.from_toml(choose(rng, text, other.text)), noise(other, 0.2))
        return Fact("scene", Switch("other", known, choose(rng, None, *seconds)))
    samples = np.random.default_rng(number).standard_normal(rng.randint(1, case.rate)) * 0.1
    if what == "feed":
        piece = Clip(samples.astype(np.float32), case.rate, len(samples), np.empty(0, np.float32))
        return Fact("feed", Piece(rng.randint(0, number), "s", {"s": piece}, choose(rng, 0, *[len(samples)] * 4)))
    clip = Clip.from_samples(samples, case.rate) if what == "play" else None
    fades = choose(rng, *seconds), choose(rng, *seconds)
    return Fact(
        "play", Moment(number, "a0", clip, choose(rng, 0.5, 1.0), clip is not None and choose(rng, True, False), *fades)
    )


def live(case: Case, rng: Random) -> Case:
    """The case with something asked for between its facts."""
    facts = list(case.facts)
    for number in range(rng.randint(1, 12)):
        at = rng.randrange(len(facts))
        facts.insert(at, (facts[at][0], asked(case, rng, number)))
    return Case(case.text, tuple(facts), case.sounds, case.rate, case.seed)


@examples(150)
@given(number=NUMBERS)
def test_what_is_heard_is_what_the_facts_make_of_it_whatever_was_taken_back(number: int) -> None:
    rng = Random(number)
    case = live(made(number), rng)
    clips = noise(case)
    listens(case, case.engine(clips, facts=[]), case.engine(clips, facts=[]), rng)


@examples()
@given(number=NUMBERS)
def test_any_frame_can_be_gone_back_to(number: int) -> None:
    """And any split into blocks gives the same frames."""
    rng = Random(number)
    case = live(made(number), rng)
    clips = noise(case)
    one, other = case.engine(clips), case.engine(clips)
    whole = one.render(case.frames)
    sound = np.zeros_like(whole)
    while other.position < case.frames:
        frame = other.position
        count = min(rng.randint(1, case.rate), case.frames - frame)
        sound[frame : frame + count] = other.render(count)
        if rng.random() < 0.3:
            other.rewind(rng.randint(max(0, other.position - 2 * case.rate), other.position))
    assert sound.tobytes() == whole.tobytes()
    assert one.log == other.log
    assert one.facts == other.facts


# --- as a recording has it ----------------------------------------------------------------------------------------

RAIN = steady(1.0, 3, 1)
CAFE = Scenery(Scene.from_toml(""), {})
FOUND: dict[str, Any] = {"clip": {"rain.wav": RAIN}.__getitem__, "scenery": {"cafe": CAFE}.__getitem__}


@pytest.mark.parametrize(
    "fact",
    [
        Fact("agent", "thinking"),
        Fact("tool"),
        Fact("close"),
        Fact("gain", SetGain("layer", "soundscape:rain", -6.5, 0.3)),
        Fact("play", Moment(3, "rain.wav", RAIN, 0.5, True, 0.1, 0.2)),
        Fact("stop", 3),
        Fact("scene", Switch("cafe", CAFE, 0.5)),
    ],
)
def test_a_fact_survives_being_written_as_json(fact: Fact) -> None:
    assert from_plain(fact.kind, json.loads(json.dumps(to_plain(fact))), **FOUND) == fact


@pytest.mark.parametrize("value", [None, "loud", 3.5, {"of": "bus"}, {"name": "main", "gain": 3}, {"source": "a"}])
@pytest.mark.parametrize("kind", ["gain", "play", "stop", "scene"])
def test_what_is_no_facts_value_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=kind):
        from_plain(kind, value, **FOUND)


# --- the calls ----------------------------------------------------------------------------------------------------


def background(**options: Any) -> Soundscape:
    scene = Scene.from_toml(TWO.replace('"a"', '"soundscape:chime"').replace('"b"', '"soundscape:rain"'))
    return Soundscape(scene, seed=1, **options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hmm", -6), "no bus and no key is called 'hmm'; did you mean 'hum'?"),
        (("xyzzy", -6), "there are 'main', 'room', 'hum', 'fan'"),
        ((["hum"], -6), "no bus and no key"),
        (("hum", math.nan), "a gain is a number of dB, 40 at most, not nan"),
        (("hum", -math.inf), "40 at most, not -inf"),
        (("hum", 40.5), "40 at most, not 40.5"),
        (("hum", "-6"), "not '-6'"),
        (("hum", True), "not True"),
        (("hum", -6, math.inf), "a fade is a number from 0 to 86,400, not inf"),
        (("hum", -6, -1), "not -1"),
    ],
)
def test_a_level_that_cannot_be_set_is_said_at_the_call(arguments: tuple[Any, ...], said: str) -> None:
    call = background()
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        call.set_gain(*arguments[:2], **({"fade": arguments[2]} if len(arguments) > 2 else {}))


# --- in a session -------------------------------------------------------------------------------------------------


async def attached(call: Soundscape) -> Soundscape:
    """Followed by its output."""
    call.attach(AgentSession())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return call


async def test_a_level_is_heard_in_the_session_and_before_it_begins() -> None:
    output = MemoryOutput(paced=False)
    call = background(output=output)
    call.set_gain("main", SILENCE_DB, fade=60)
    await attached(call)
    call.set_gain("room", SILENCE_DB, fade=0.01)
    assert output.pull(960).any()
    assert not output.pull(4_800).any()
    call.set_gain("main", 0, fade=0)
    assert output.pull(4_800).any()
    await call.aclose()


# --- sounds of the moment in a session ----------------------------------------------------------------------------

SILENT = "defaults = { crossfade = 0.1 }\nclips.bell = { source = 'bell.wav', gain_db = -20 }\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a second of full scale in it."""
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "bell.wav", [np.full((48_000, 1), 0.5, np.float32)], 48_000)
    return tmp_path


async def quietly(folder: Path, text: str = SILENT, **options: Any) -> tuple[Soundscape, MemoryOutput]:
    """A session in which nothing sounds, its output pulled by hand."""
    output = MemoryOutput(paced=False)
    call = Soundscape(Scene.from_toml(text, folder), seed=1, output=output, **options)
    return await attached(call), output


async def posted(call: Soundscape, output: MemoryOutput, plays: int = 1) -> None:
    """So many sounds have been decoded, and the last one has begun."""
    async with asyncio.timeout(10):
        while sum(fact.kind == "play" for _, fact in call.engine.facts) < plays:
            await asyncio.sleep(0.001)
            output.pull(48)


async def test_a_handle_is_done_when_its_last_frame_was_heard(folder: Path) -> None:
    call, output = await quietly(folder)
    handle = call.play("bell.wav")
    await posted(call, output)
    output.pull(40_000)
    await asyncio.sleep(0.2)
    assert not handle.done()
    output.pull(20_000)
    async with asyncio.timeout(5):
        assert await handle is handle
        await handle.wait_for_playout()
    assert handle.done()
    assert np.count_nonzero(output.samples) == 48_000
    handle.stop()
    await call.aclose()


async def test_a_stop_without_a_fade_out_is_done_at_once_and_one_with_it_when_it_was_heard(folder: Path) -> None:
    call, output = await quietly(folder)
    for plays, fade_out in ((1, 0.0), (2, 0.1)):
        handle = call.play(AudioConfig("bell.wav", fade_out=fade_out), loop=True)
        await posted(call, output, plays)
        output.pull(4_800)
        handle.stop()
        assert handle.done() is (not fade_out)
        output.pull(9_600)
        async with asyncio.timeout(5):
            await handle
        assert not output.pull(480).any()
    await call.aclose()


async def test_one_that_is_stopped_at_once_is_not_heard(folder: Path) -> None:
    """Not even decoded, or decoded and not heard yet."""
    call, output = await quietly(folder)
    handle = call.play("bell.wav")
    handle.stop()
    assert handle.done()
    handle = call.play("bell")
    await asyncio.sleep(0)
    handle.stop()
    await asyncio.sleep(0.05)
    assert not output.pull(9_600).any()
    assert [fact.kind for _, fact in call.engine.facts][2:] == ["play", "stop"]
    await call.aclose()


async def test_every_kind_of_source_is_played(folder: Path) -> None:
    call, output = await quietly(folder)
    sources: dict[Any, str] = {
        "bell": "bell",
        "bell.wav": "bell.wav",
        folder / "bell.wav": str(folder / "bell.wav"),
        "soundscape:chime": "soundscape:chime",
        "livekit:keyboard-typing": "livekit:keyboard-typing",
        BuiltinAudioClip.HOLD_MUSIC: "livekit:hold_music",
        AudioConfig(BuiltinAudioClip.KEYBOARD_TYPING2, volume=0.5): "livekit:keyboard-typing2",
    }
    for plays, (source, name) in enumerate(sources.items(), 1):
        handle = call.play(source)
        await posted(call, output, plays)
        fact = call.engine.facts[-1][1]
        assert (fact.kind, fact.value.source) == ("play", name)
        assert output.pull(24_000).any()
        handle.stop()
        output.pull(480)
    await call.aclose()


async def test_a_name_from_the_scenes_clips_comes_first_and_as_its_table_says(folder: Path) -> None:
    call, output = await quietly(folder)
    call.play("bell")
    await asyncio.sleep(0)  # it was decoded before the call
    assert output.pull(480)[-1, 0] == pytest.approx(0.05, rel=1e-3)
    await call.aclose()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("bel.wav", "did you mean 'bell.wav'"),
        ("nowhere/at-all.wav", "paths are taken from the working directory"),
        ("soundscape:chyme", "did you mean soundscape:chime"),
    ],
)
async def test_what_is_not_there_is_said_at_the_call(source: str, said: str, folder: Path) -> None:
    call, _ = await quietly(folder)
    with pytest.raises(DecodeError, match=said):
        call.play(source)
    await call.aclose()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([], "is empty"),
        ([AudioConfig("bell", probability=0)], "all probabilities are 0"),
        (None, "None cannot be played"),
        ("", "'' cannot be played"),
        (["bell"], "has AudioConfigs in it, not 'bell'"),
        (AudioConfig("bell", volume=math.nan), "a volume is a number from 0 to 100, not nan"),
        (AudioConfig("bell", probability=2), "a probability is a number from 0 to 1, not 2"),
        (AudioConfig("bell", fade_in=-1), "a fade_in is a number"),
        ([AudioConfig("bell", fade_out=math.inf)], "a fade_out is a number"),
    ],
)
async def test_what_cannot_be_played_is_said_at_the_call(source: Any, said: str, folder: Path) -> None:
    call, _ = await quietly(folder)
    with pytest.raises(UsageError, match=said):
        call.play(source)
    await call.aclose()


async def test_what_is_no_sound_is_raised_where_it_is_waited_for_and_logged(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "bell.wav").write_text("no bell")
    call, output = await quietly(folder, "")
    handle = call.play("bell.wav")
    async with asyncio.timeout(5):
        with pytest.raises(DecodeError, match=r"bell\.wav"):
            await handle
    assert handle.done()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert not output.pull(480).any()
    await call.aclose()


async def test_nothing_can_be_played_before_the_start_and_after_the_end(folder: Path) -> None:
    call = Soundscape(Scene.from_toml(SILENT, folder), output=MemoryOutput())
    with pytest.raises(UsageError, match="before the session's background has started"):
        call.play("bell")
    await attached(call)
    with pytest.raises(UsageError, match="event loop"):
        await asyncio.to_thread(call.play, "bell")
    closing = asyncio.create_task(call.aclose())
    await asyncio.sleep(0)
    with pytest.raises(UsageError, match="after its end"):
        call.play("bell")
    await closing


async def test_every_handle_is_done_when_the_session_closes_and_no_task_is_left(folder: Path) -> None:
    """What sounds fades with the scene, and what is being decoded is not heard any more."""
    tasks = asyncio.all_tasks()
    call, output = await quietly(folder)
    sounding = call.play("bell.wav", loop=True)
    await posted(call, output)
    output.pull(480)
    decoding = call.play(BuiltinAudioClip.HOLD_MUSIC)
    await call.aclose()
    assert sounding.done()
    assert decoding.done()
    assert asyncio.all_tasks() == tasks
    assert not call.engine.render(480).any()
    sounding.stop()


class Late(MemoryOutput):
    """An output that cannot be had, which it says late."""

    async def start(self, source: Source) -> None:
        await asyncio.sleep(0.1)
        raise OutputError("the device is gone")


async def test_every_handle_is_done_when_there_is_no_output(folder: Path) -> None:
    tasks = asyncio.all_tasks()
    call = Soundscape(Scene.from_toml(SILENT, folder), output=Late()).attach(AgentSession())
    handle = call.play("bell")
    async with asyncio.timeout(5):
        await handle
    with pytest.raises(UsageError, match="nothing can be played"):
        call.play("bell")
    await call.aclose()
    assert asyncio.all_tasks() == tasks


async def test_of_a_list_one_is_drawn_by_the_seed(folder: Path) -> None:
    """By LiveKit's probabilities: what is left of 1 is silence, of which the handle is done."""
    text = "clips.a = { source = 'bell.wav' }\nclips.b = { source = 'bell.wav' }\n"
    sounds = [AudioConfig("a", probability=0.5), AudioConfig("b", probability=0.25)]
    drawn: list[list[str]] = []
    for _ in range(2):
        call, output = await quietly(folder, text)
        handles = [call.play(sounds) for _ in range(400)]
        silent = [handle for handle in handles if handle.done()]
        await asyncio.sleep(0.01)
        output.pull(10)
        drawn.append([fact.value.source for _, fact in call.engine.facts if fact.kind == "play"])
        assert len(silent) + len(drawn[-1]) == 400
        await call.aclose()
    assert drawn[0] == drawn[1]
    counts = Counter(drawn[0])
    # Three standard deviations of 400 draws are 30 and 26.
    assert counts["a"] == pytest.approx(200, abs=30)
    assert counts["b"] == pytest.approx(100, abs=26)


async def test_in_a_room_it_is_heard_whole_and_the_handle_waits_for_it(folder: Path) -> None:
    """Read back from a real track. Half a second is rendered ahead of what is heard."""
    output = RoomOutput(None)
    call = Soundscape(Scene.from_toml(SILENT, folder), output=output).attach(AgentSession())
    while output.track is None:
        await asyncio.sleep(0.01)
    async with tapped(output) as tap:
        await asyncio.sleep(0.5)
        handle = call.play("bell.wav")
        async with asyncio.timeout(10):
            await handle
        done = len(np.concatenate(tap.blocks))
        await asyncio.sleep(0.3)
        stopped = call.play(AudioConfig("bell.wav", fade_out=0.1))
        await asyncio.sleep(0.4)
        stopped.stop()
        async with asyncio.timeout(10):
            await stopped
    heard = np.concatenate(tap.blocks)
    sounding = np.flatnonzero(heard)
    first = int(sounding[0])
    exact = not (output.stats.gaps or output.stats.disagreements)  # else on a machine that is too busy: it says so
    assert not exact or (heard[first:][:48_000] == 16_384).all()
    assert not exact or not heard[first + 48_000 :][:4_800].any()
    # The track is read back some 10 ms after the queue has let go of a frame.
    assert done >= first + 48_000 - 2_400
    second = sounding[sounding > first + 60_000]
    assert 14_400 < len(second) < 40_000
    await call.aclose()


# --- scenes in a session ------------------------------------------------------------------------------------------

BELL = "defaults = { crossfade = 0.1 }\nbase = { source = 'bell.wav' }\n"


async def test_another_scene_is_heard_in_the_session_and_replays(folder: Path) -> None:
    """The same text in another folder is another file; a name from `[clips]` is the present scene's."""
    call, output = await quietly(folder, BELL)
    output.pull(9_600)
    (folder / "other").mkdir()
    write_audio(folder / "other" / "bell.wav", [np.full((48_000, 1), 0.125, np.float32)], 48_000)
    text = "clips.quiet = { source = 'bell.wav' }\nbase = { key = 'quiet', source = 'bell.wav' }\n"
    (folder / "other" / "night.toml").write_text(text)
    call.switch(Path("other/night.toml"), crossfade=0.05)
    output.pull(9_600)
    assert output.pull(480)[-1, 0] == pytest.approx(0.125, rel=1e-3)
    call.play("quiet")
    await asyncio.sleep(0)
    output.pull(480)
    assert output.pull(480)[-1, 0] == pytest.approx(0.25, rel=1e-3)
    assert call.scene.name == "night"
    with pytest.raises(UsageError, match="no bus and no key"):
        call.set_gain("bell.wav", -6)
    await call.aclose()
    again = Engine(Scene.from_toml(BELL, folder), SceneClips(Scene.from_toml(BELL, folder)), seed=1)
    assert to_plain(call.engine.facts[2][1]) == {"reference": "other/night.toml", "crossfade": 0.05}
    for frame, fact in call.engine.facts:
        again.post(fact, frame)
    assert again.render(len(output.samples)).tobytes() == output.samples.tobytes()
    assert again.log == call.engine.log


async def test_a_scene_that_cannot_be_played_changes_nothing(folder: Path) -> None:
    call, output = await quietly(folder, BELL)
    output.pull(9_600)
    before, log = call.scene, list(call.engine.log)
    (folder / "bad.toml").write_text("base = { source = 'bel.wav' }\n")
    for wrong, said in (
        ("bad.toml", "did you mean 'bell.wav'"),
        ("bed.toml", "no such file; scenes that ship"),
        (Scene.model_validate({"base": {"layers": [{"pool": "nope"}]}}), "no pool is called 'nope'"),
    ):
        with pytest.raises(SceneError, match=said):
            call.switch(wrong)
    for arguments, said in (({"scene": 3}, "3 is no scene"), ({"scene": "office", "crossfade": -1}, "a crossfade")):
        with pytest.raises(UsageError, match=said):
            call.switch(**arguments)
    assert output.pull(480)[-1, 0] == pytest.approx(0.5, rel=1e-3)
    assert call.scene is before
    assert call.engine.log == log
    await call.aclose()


async def test_options_are_those_that_it_was_made_with(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "out.toml").write_text("base = { source = '../bell.wav' }\n")
    call, _ = await quietly(folder, BELL)
    with pytest.raises(SceneError, match="leaves the scene's folder"):
        call.switch("in/out.toml")
    await call.aclose()
    call, output = await quietly(folder, BELL, allow_outside=True, on_error="skip", sample_rate=8_000)
    call.switch("in/out.toml")
    assert call.clips["../bell.wav"].sample_rate == 8_000
    call.switch(Scene.from_toml("base = { source = 'no.wav' }\n"), crossfade=0)
    output.pull(800)
    assert not output.pull(800).any()
    assert [record.levelname for record in caplog.records if record.name == "soundscape"] == ["WARNING"]
    await call.aclose()


async def test_another_scene_may_be_loaded_in_a_thread(folder: Path) -> None:
    call, output = await quietly(folder, BELL)
    await asyncio.to_thread(call.switch, "office")
    output.pull(480)
    assert call.scene.name == "office"
    assert {entry.key for entry in call.engine.log if entry.action == "start"} == {"room"}
    await call.aclose()
    with pytest.raises(UsageError, match="was closed"):
        call.switch("office")


async def test_of_two_that_are_loaded_at_once_the_one_that_was_asked_for_last_stays(folder: Path) -> None:
    loading, ready = threading.Event(), threading.Event()

    class Slow(Soundscape):
        def _load(self, scene: Scene) -> SceneClips:
            if scene.name == "office":
                loading.set()
                assert ready.wait(10)
            return super()._load(scene)

    call = Slow(Scene.from_toml(BELL, folder), output=(output := MemoryOutput(paced=False)))
    await attached(call)
    first = asyncio.create_task(asyncio.to_thread(call.switch, "office"))
    await asyncio.to_thread(loading.wait, 10)
    await asyncio.to_thread(call.switch, "night")
    ready.set()
    await first
    output.pull(480)
    assert call.scene.name == "night"
    assert [fact.value.reference for _, fact in call.engine.facts if fact.kind == "scene"] == ["night"]
    await call.aclose()


async def test_a_scene_that_was_switched_to_before_the_start_is_the_one_that_plays(folder: Path) -> None:
    output = MemoryOutput(paced=False)
    call = Soundscape(Scene.from_toml(BELL, folder), seed=1, output=output)
    call.switch(Scene.from_toml("base = { key = 'other', source = 'bell.wav' }\n", folder), crossfade=9)
    await attached(call)
    output.pull(480)
    assert [(entry.action, entry.key, entry.duration) for entry in call.engine.log] == [
        ("commit", "initializing", 0.0),
        ("start", "other", 0.8),
    ]
    await call.aclose()


async def test_in_a_room_another_scene_is_heard_at_once_without_a_step(folder: Path) -> None:
    """Read back from a real track: half a second was rendered ahead, and is taken back."""
    output = RoomOutput(None)
    call = Soundscape(Scene.from_toml(BELL, folder), output=output).attach(AgentSession())
    while output.track is None:
        await asyncio.sleep(0.01)
    async with tapped(output) as tap:
        await asyncio.sleep(0.8)
        call.switch(
            Scene.from_toml("base = { key = 'low', source = 'bell.wav', volume = 0.25 }", folder), crossfade=0.1
        )
        await asyncio.sleep(0.3)
        asked = len(np.concatenate(tap.blocks))
        await call.aclose()
    heard = np.concatenate(tap.blocks).astype(np.int64)[:asked]
    exact = not (output.stats.gaps or output.stats.disagreements)  # else on a machine that is too busy: it says so
    assert heard[-480:] == pytest.approx(np.full(480, 4_096), abs=1)
    # pi / 2 in 100 ms, of two sounds, at half of full scale.
    assert not exact or np.abs(np.diff(heard[np.flatnonzero(heard)[0] :])).max() < 2 * 16_384 * math.pi / 2 / 4_800
