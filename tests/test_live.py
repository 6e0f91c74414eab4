"""What is asked for in mid-call: a level.

Pure ones at a frame a second, or a thousand: a sound is a constant, so what is rendered is the sum of the gains.
"""

from __future__ import annotations

import asyncio
import json
import math
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from livekit.agents import AgentSession
from made_up import NUMBERS, Case, choose, examples, made, noise, steady
from test_answering import listens

from soundscape import MemoryOutput, Scene, Soundscape, UsageError
from soundscape.clip import Clip
from soundscape.driver.facts import from_plain, to_plain
from soundscape.engine import Engine, Fact, SetGain

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


# --- going back ---------------------------------------------------------------------------------------------------


def live(case: Case, rng: Random) -> Case:
    """The case with something asked for between its facts."""
    names = [("bus", "main"), *(("bus", bus) for bus in case.scene.buses), *(("layer", key) for key in case.kinds)]
    facts = list(case.facts)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(facts))
        of, name = choose(rng, *names)
        wish = SetGain(of, name, choose(rng, 0.0, -6.0, -40.0, SILENCE_DB, 6.0), choose(rng, 0.0, 0.03, 0.3, 2.0))  # type: ignore[arg-type]
        facts.insert(at, (facts[at][0], Fact("gain", wish)))
    return Case(case.text, tuple(facts), case.sounds, case.rate, case.seed)


@examples(300)
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


@pytest.mark.parametrize(
    "fact",
    [
        Fact("agent", "thinking"),
        Fact("tool"),
        Fact("close"),
        Fact("gain", SetGain("layer", "soundscape:rain", -6.5, 0.3)),
    ],
)
def test_a_fact_survives_being_written_as_json(fact: Fact) -> None:
    assert from_plain(fact.kind, json.loads(json.dumps(to_plain(fact)))) == fact


@pytest.mark.parametrize("value", [None, "loud", 3, {"of": "bus"}, {"name": "main", "gain": 3}])
def test_what_is_no_facts_value_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="gain"):
        from_plain("gain", value)


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
