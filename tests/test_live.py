"""What is asked for in mid-call: a level, a sound of the moment.

Pure ones at a frame a second, or a thousand: a sound is a constant, so what is rendered is the sum of the gains.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice.background_audio import AudioConfig, BuiltinAudioClip
from made_up import NUMBERS, Case, choose, examples, made, noise, steady
from test_answering import listens
from test_room_output import tapped

from soundscape import DecodeError, MemoryOutput, OutputError, RoomOutput, Scene, Soundscape, UsageError
from soundscape.clip import Clip
from soundscape.driver.facts import from_plain, to_plain
from soundscape.engine import Engine, Fact, Moment, SetGain
from soundscape.outputs import Source
from soundscape.outputs.file import write_audio

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


# --- going back ---------------------------------------------------------------------------------------------------


def asked(case: Case, rng: Random, number: int) -> Fact:
    """Something that may be asked for in mid-call."""
    names = [("bus", "main"), *(("bus", bus) for bus in case.scene.buses), *(("layer", key) for key in case.kinds)]
    seconds = (0.0, 0.03, 0.3, 2.0)
    what = choose(rng, "gain", "gain", "play", "play", "stop")
    if what == "gain":
        of, name = choose(rng, *names)
        return Fact("gain", SetGain(of, name, choose(rng, 0.0, -6.0, SILENCE_DB, 6.0), choose(rng, *seconds)))  # type: ignore[arg-type]
    if what == "stop":
        return Fact("stop", rng.randint(0, number))
    samples = np.random.default_rng(number).standard_normal(rng.randint(1, case.rate)) * 0.1
    clip = Clip.from_samples(samples, case.rate)
    fades = choose(rng, *seconds), choose(rng, *seconds)
    return Fact("play", Moment(number, "a0", clip, choose(rng, 0.5, 1.0), choose(rng, True, False), *fades))


def live(case: Case, rng: Random) -> Case:
    """The case with something asked for between its facts."""
    facts = list(case.facts)
    for number in range(rng.randint(1, 12)):
        at = rng.randrange(len(facts))
        facts.insert(at, (facts[at][0], asked(case, rng, number)))
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

RAIN = steady(1.0, 3, 1)


@pytest.mark.parametrize(
    "fact",
    [
        Fact("agent", "thinking"),
        Fact("tool"),
        Fact("close"),
        Fact("gain", SetGain("layer", "soundscape:rain", -6.5, 0.3)),
        Fact("play", Moment(3, "rain.wav", RAIN, 0.5, True, 0.1, 0.2)),
        Fact("stop", 3),
    ],
)
def test_a_fact_survives_being_written_as_json(fact: Fact) -> None:
    assert from_plain(fact.kind, json.loads(json.dumps(to_plain(fact))), clip={"rain.wav": RAIN}.__getitem__) == fact


@pytest.mark.parametrize("value", [None, "loud", 3.5, {"of": "bus"}, {"name": "main", "gain": 3}, {"source": "a"}])
@pytest.mark.parametrize("kind", ["gain", "play", "stop"])
def test_what_is_no_facts_value_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=kind):
        from_plain(kind, value, clip={"a": RAIN}.__getitem__)


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


async def sound() -> AsyncIterator[rtc.AudioFrame]:
    yield rtc.AudioFrame(b"\0\0", 48_000, 1, 1)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (sound(), "made as it goes"),
        (AudioConfig(sound()), "made as it goes"),
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


async def test_a_list_of_no_probability_is_silence(folder: Path) -> None:
    call, _ = await quietly(folder)
    assert call.play([AudioConfig("bell", probability=0)]).done()
    assert call.play([]).done()
    await call.aclose()


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
