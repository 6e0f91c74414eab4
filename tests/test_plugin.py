"""A real `AgentSession` with a scene behind it: what it says becomes states and cues, and no fault ends the call."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from livekit import rtc
from livekit.agents import AgentSession
from rooms import exact

import soundscape
from soundscape import Fact, MemoryOutput, OutputError, RoomOutput, Scene, SceneError, Soundscape, UsageError
from soundscape.demo.conversation import Timing, Turn, converse
from soundscape.demo.scripted import Completion, PacedVoice, ToolCall
from soundscape.outputs import Source
from soundscape.testing import Take

pytestmark = pytest.mark.long

TIMING = Timing(pause=0.3, caller=0.1, tool=1.3, voice=0.02, tail=0.4)
TURNS = (
    Turn("Hello.", (Completion("Good day.", think=0.4),)),
    Turn(
        "Where is my lamp?",
        (
            Completion("Wait.", think=0.4, call=ToolCall("look_up_order", {"order_number": "4713"})),
            Completion("It left.", think=0.4),
        ),
    ),
)


async def talk(session: AgentSession[None]) -> None:
    """A conversation of some five seconds: listening, thinking, a tool, speaking."""
    await converse(session, timing=TIMING, turns=TURNS)


TONES = """
[defaults]
crossfade = 0.05

[base]
key = "bed"
source = "bed.wav"

[states.thinking]
key = "think"
source = "think.wav"

[states.tool]
key = "work"
source = "work.wav"
"""

HERTZ = {"bed": 400.0, "think": 1000.0, "work": 2500.0}


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """A scene of three tones, one for each layer, so that each can be told from the others in what is heard."""
    from soundscape.outputs.file import write_audio

    for name, hertz in HERTZ.items():
        tone = 0.2 * np.sin(2 * np.pi * hertz * np.arange(48_000) / 48_000)
        write_audio(tmp_path / f"{name}.wav", [tone.astype(np.float32)[:, np.newaxis]], 48_000)
    scene = tmp_path / "tones.toml"
    scene.write_text(TONES)
    return scene


def level(samples: npt.NDArray[Any], hertz: float) -> float:
    """The amplitude of a tone in a piece of sound."""
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / 48_000)
    window = np.hanning(len(samples))
    return float(2 * abs(np.dot(samples * window, turns)) / window.sum())


def committed(background: Soundscape) -> list[str]:
    return [entry.key for entry in background.engine.log if entry.action == "commit"]


async def test_a_session_becomes_states_and_cues(tones: Path) -> None:
    """The states that are committed, and what each layer does, follow the session's own events in order."""
    output = MemoryOutput()
    background = Soundscape.from_file(tones, seed=1, output=output)
    session: AgentSession[None] = AgentSession()
    assert soundscape.use(session, background) is background
    await talk(session)
    await background.aclose()

    assert committed(background) == [
        "initializing",
        "listening",
        "thinking",
        "speaking",
        "listening",
        "thinking",
        "tool",
        "speaking",
        "tool",
        "thinking",
        "speaking",
        "listening",
        "none",
    ]
    steps = [(entry.action, entry.key) for entry in background.engine.log if entry.action != "commit"]
    bed = [action for action, key in steps if key == "bed"]
    assert (bed[0], bed[-1], set(bed[1:-1])) == ("start", "release", {"level"})  # the start is retargeted in mid-fade
    assert steps.count(("start", "think")) == 3
    assert steps.count(("release", "think")) >= 3
    assert {step for step in steps if step[1] == "work"} >= {("start", "work"), ("release", "work")}


async def test_a_live_run_replays_exactly(tones: Path) -> None:
    """The facts that a live run kept give the same log and the same sound, frame for frame."""
    output = MemoryOutput()
    background = Soundscape.from_file(tones, seed=3, output=output)
    session: AgentSession[None] = AgentSession()
    background.attach(session)
    await talk(session)
    await background.aclose()

    clips = {name: background.clips[name] for name in ("bed.wav", "think.wav", "work.wav")}
    take = Take(background.scene, background.engine.facts, clips=clips, until=len(output.samples), seed=3)
    assert take.log == background.engine.log
    np.testing.assert_array_equal(take.audio(), output.samples)


async def test_each_layer_is_in_the_room_when_it_should_be(tones: Path) -> None:
    """Read back from a real track: the bed throughout, the thinking tone in thinking and nowhere else."""
    output = RoomOutput(None)
    background = Soundscape.from_file(tones, seed=1, output=output)
    session: AgentSession[None] = AgentSession()
    background.attach(session)
    while output.track is None:
        await asyncio.sleep(0.01)
    heard: list[tuple[float, npt.NDArray[np.int16]]] = []
    states: list[tuple[float, str]] = []
    loop = asyncio.get_running_loop()
    session.on("agent_state_changed", lambda ev: states.append((loop.time(), ev.new_state)))

    async def listen(track: rtc.LocalAudioTrack) -> None:
        stream = rtc.AudioStream.from_track(track=track, sample_rate=48_000, num_channels=1)
        try:
            async for event in stream:
                heard.append((loop.time(), np.frombuffer(event.frame.data, np.int16).copy()))
        finally:
            await stream.aclose()

    listening = asyncio.create_task(listen(output.track))
    session.output.audio = PacedVoice()
    await talk(session)
    ended = loop.time()
    await background.aclose()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)

    # 10 ms each, in a row: one that is read late, for the loop was busy, was there 10 ms before the next at least.
    apart = 0.01 * np.arange(len(heard))
    times = np.minimum.accumulate((np.array([at for at, _ in heard]) - apart)[::-1])[::-1] + apart
    # 130 ms for the fade and the way to here: what a listener cannot miss.
    late = 0.13 + max(output.stats.latencies)
    spans = zip(states, [*(at for at, _ in states[1:]), ended], strict=True)
    checked = set()
    for (since, state), until in spans:
        blocks = [samples for at, (_, samples) in zip(times, heard, strict=True) if since + late <= at <= until]
        if len(blocks) < 10:
            continue
        piece = np.concatenate(blocks) / 32768
        assert not exact(output) or level(piece, HERTZ["bed"]) == pytest.approx(0.2, rel=0.05), state
        if state != "thinking":
            assert level(piece, HERTZ["think"]) < 0.02, state  # a gap on a busy machine smears a little of the bed
        else:
            assert max(level(piece, HERTZ["think"]), level(piece, HERTZ["work"])) > 0.05
        checked.add(state)
    # A machine that is too busy falls back, and answers half a second late: longer than some states are.
    assert checked == {"listening", "thinking", "speaking"} or output.stats.fallbacks


async def test_it_can_be_attached_by_the_session_itself(tones: Path) -> None:
    """`session.use(background)` is there once the plugin is imported, and returns what it was given."""
    background = Soundscape.from_file(tones, output=MemoryOutput())
    session: Any = AgentSession()
    assert session.use(background) is background
    await background.aclose()


async def test_attaching_twice_changes_nothing(tones: Path) -> None:
    output = MemoryOutput()
    background = Soundscape.from_file(tones, output=output)
    session: AgentSession[None] = AgentSession()
    background.attach(session).attach(session)
    await asyncio.sleep(0.1)
    assert background.engine.facts == [(0, Fact("user", session.user_state)), (0, Fact("agent", "initializing"))]
    await background.aclose()


async def test_one_soundscape_follows_one_session(tones: Path) -> None:
    background = Soundscape.from_file(tones, output=MemoryOutput()).attach(AgentSession())
    with pytest.raises(UsageError, match="one Soundscape follows one session"):
        background.attach(AgentSession())
    await background.aclose()
    with pytest.raises(UsageError, match="was closed"):
        background.attach(AgentSession())


async def test_the_switch_interval_is_held_while_it_sounds_and_the_least_of_all_calls_counts(tones: Path) -> None:
    before = sys.getswitchinterval()
    calls = []
    for interval in (0.001, 0.0002):
        call = Soundscape.from_file(tones, output=MemoryOutput(), switch_interval=interval).attach(AgentSession())
        calls.append(call)
        await asyncio.sleep(0.05)
        assert sys.getswitchinterval() == pytest.approx(interval)
    await calls[1].aclose()
    assert sys.getswitchinterval() == pytest.approx(0.001)
    await calls[0].aclose()
    assert sys.getswitchinterval() == before
    with pytest.raises(UsageError, match="a switch interval is a number from"):
        Soundscape.from_file(tones, switch_interval=0)


async def test_what_the_room_has_seen_is_told(tones: Path) -> None:
    session: AgentSession[None] = AgentSession()
    background = Soundscape.from_file(tones, output=RoomOutput(None)).attach(session)
    assert background.stats.captured == 0
    await asyncio.sleep(0.2)
    background.set_state("tool")
    await asyncio.sleep(0.2)
    await background.aclose()
    assert background.stats.captured > 0
    assert background.stats.changes >= 2
    with pytest.raises(UsageError, match="10 ms at a time"):
        Soundscape.from_file(tones, sample_rate=22_050)


async def test_closing_twice_and_in_mid_fade(tones: Path) -> None:
    """The second close waits for nothing; a close in mid-fade ends in silence, without a jump."""
    output = MemoryOutput()
    background = Soundscape.from_file(tones, output=output)
    background.attach(AgentSession())
    await asyncio.sleep(0.03)  # the bed is still fading in
    await asyncio.gather(background.aclose(), background.aclose())
    await background.aclose()
    sound = output.samples[:, 0]
    assert background.engine.finished
    assert background.state == "none"
    slope = 0.2 * 2 * np.pi * 400 / 48_000 + 0.2 * np.pi / 2 / 240
    assert np.abs(np.diff(sound)).max() < slope
    assert np.abs(sound[-1]) < 1e-3


async def test_a_cancelled_close_lets_go_at_once(tones: Path) -> None:
    scene = Scene.from_toml(TONES.replace("crossfade = 0.05", "crossfade = 60"), tones.parent)
    background = Soundscape(scene, output=MemoryOutput()).attach(AgentSession())
    await asyncio.sleep(0.05)
    before = {task.get_name() for task in asyncio.all_tasks()}
    closing = asyncio.create_task(background.aclose())
    await asyncio.sleep(0.05)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.sleep(0.05)
    assert {task.get_name() for task in asyncio.all_tasks()} <= before


async def test_a_session_that_closes_at_once_leaves_nothing(tones: Path) -> None:
    threads, tasks = threading.active_count(), len(asyncio.all_tasks())
    session: AgentSession[None] = AgentSession()
    background = Soundscape.from_file(tones, output=RoomOutput(None)).attach(session)
    await session.aclose()
    await background.aclose()
    await asyncio.sleep(0.05)
    assert (threading.active_count(), len(asyncio.all_tasks())) <= (threads, tasks)


async def test_a_close_that_was_cancelled_is_no_trouble_to_the_next(tones: Path) -> None:
    """Who waits for a close is cancelled only if he is; and a close after it finds nothing more to do."""
    scene = Scene.from_toml(TONES.replace("crossfade = 0.05", "crossfade = 60"), tones.parent)
    background = Soundscape(scene, output=MemoryOutput()).attach(AgentSession())
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(background.aclose())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(background.aclose(), 0.05)
    await waiting
    await background.aclose()


async def test_a_close_that_cannot_wait_declicks(tones: Path) -> None:
    """T19: cancelled in a fade of a minute, the sound still ends without a step."""
    scene = Scene.from_toml(TONES.replace("crossfade = 0.05", "crossfade = 60\nfade_in = 0"), tones.parent)
    background = Soundscape(scene, output=(output := MemoryOutput())).attach(AgentSession())
    await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(background.aclose(), 0.05)
    async with asyncio.timeout(5):
        while not background.engine.finished:
            await asyncio.sleep(0.01)
    sound = output.samples[:, 0]
    assert np.abs(sound).max() == pytest.approx(0.2, rel=0.01)
    assert np.abs(np.diff(sound)).max() < 0.2 * 2 * np.pi * 400 / 48_000 + 0.2 * np.pi / 2 / 240
    assert sound[-1] == 0


class Slow(MemoryOutput):
    """An output that takes its time to start."""

    async def start(self, source: Source) -> None:
        await asyncio.sleep(0.3)
        await super().start(source)


async def test_a_close_while_the_output_starts_leaves_nothing(tones: Path) -> None:
    background = Soundscape.from_file(tones, output=Slow()).attach(AgentSession())
    before = len(asyncio.all_tasks())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(background.aclose(), 0.05)
    await asyncio.sleep(0.5)
    assert len(asyncio.all_tasks()) < before


class Restless(MemoryOutput):
    """An output that cannot be told of a change."""

    def changed(self) -> None:
        raise RuntimeError("boom")


async def test_an_output_that_fails_to_be_told_is_closed_all_the_same(
    tones: Path, caplog: pytest.LogCaptureFixture
) -> None:
    background = Soundscape.from_file(tones, output=Restless()).attach(AgentSession())
    await asyncio.sleep(0.05)
    background.set_state("on_hold")
    background.set_state(None)
    await background.aclose()
    assert background.engine.finished
    assert len([record for record in caplog.records if record.name == "soundscape"]) == 1


async def test_a_session_that_is_started_again_has_its_background_again(
    tones: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an output of its own; one that was given has ended with the first run, and the log says so once. What was
    asked for in the first run stays: the level, and the scene, in which nothing sounds while the agent thinks."""
    outputs: list[MemoryOutput] = []

    def output_of(_: object) -> MemoryOutput:
        outputs.append(MemoryOutput())
        return outputs[-1]

    monkeypatch.setattr("soundscape.plugin.output_of", output_of)  # there is no room without a server
    session: AgentSession[None] = AgentSession()
    own = Soundscape.from_file(tones).attach(session)
    given = Soundscape.from_file(tones, output=MemoryOutput()).attach(session)
    with caplog.at_level(logging.WARNING, "soundscape"):
        await talk(session)
        own.set_gain("bed", -20)
        own.switch(Scene.from_toml("[base]\nkey = 'bed'\nsource = 'bed.wav'\n", tones.parent))
        await talk(session)
    await own.aclose()
    await given.aclose()
    first, second = (output.samples[:, 0] for output in outputs)
    assert np.abs(first).max() > 0.3
    assert np.abs(second).max() == pytest.approx(0.02, rel=0.01)
    said = [record.getMessage() for record in caplog.records if record.name == "soundscape"]
    assert said == [
        "no background in this session: the output it was given ended with the session's first run; "
        "give it none, or a new one"
    ]


async def test_a_change_of_state_writes_nothing_to_the_log(tones: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither ours nor a library's, at INFO: it would be written by the thread that renders."""
    background = Soundscape.from_file(tones, output=(output := MemoryOutput(paced=False))).attach(AgentSession())
    await asyncio.sleep(0.01)
    with caplog.at_level(logging.INFO):
        for state in ("thinking", "speaking", "listening"):
            background.engine.post(Fact("agent", state))
            output.pull(480)
    assert caplog.records == []
    await background.aclose()


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 2**64},
        {"seed": "7"},
        {"output": 42},
        {"output": MemoryOutput},
        {"sample_rate": 0},
        {"sample_rate": 44_100.5},
        {"on_error": "ignore"},
    ],
)
def test_a_wrong_call_is_said_at_the_call(options: dict[str, Any], tones: Path) -> None:
    with pytest.raises(UsageError):
        Soundscape.from_file(tones, **options)


def test_a_scene_built_in_code_is_looked_at_too() -> None:
    scene = Scene.model_validate({"base": {"layers": [{"pool": "nope"}]}})
    with pytest.raises(SceneError, match="no pool is called 'nope'"):
        Soundscape(scene)


class Broken:
    """An output that cannot be had."""

    heard = 0

    async def start(self, source: Source) -> None:
        raise OutputError("the device is gone")

    def changed(self) -> None:
        raise AssertionError("it never started")

    async def aclose(self, *, timeout: float = 0.0) -> None:
        raise AssertionError("it never started")


async def test_an_output_that_fails_does_not_touch_the_call(tones: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The conversation goes on to its end; the log says once why there is no background."""
    background = Soundscape.from_file(tones, output=Broken())
    session: AgentSession[None] = AgentSession()
    states = []
    session.on("agent_state_changed", lambda ev: states.append(ev.new_state))
    background.attach(session)
    with caplog.at_level(logging.WARNING, "soundscape"):
        await talk(session)
        await background.aclose()
    assert states[-2:] == ["speaking", "listening"]
    assert [record.getMessage() for record in caplog.records if record.name == "soundscape"] == [
        "no background in this session: the device is gone"
    ]


async def test_without_a_room_it_says_so(tones: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A session that runs without a room, and no output given: known before anything sounds where it can be."""
    session: AgentSession[None] = AgentSession()
    early = Soundscape.from_file(tones).attach(session)
    late = Soundscape.from_file(tones)

    def refused(ev: Any) -> None:
        if ev.new_state == "speaking":
            with pytest.raises(UsageError, match="give the Soundscape an output"):
                late.attach(session)

    session.on("agent_state_changed", refused)
    with caplog.at_level(logging.ERROR, "soundscape"):
        await talk(session)
    assert [r.getMessage() for r in caplog.records if r.name == "soundscape"] == [
        "no background in this session: the session runs without a room: "
        "start it with room=..., or give the Soundscape an output"
    ]
    await early.aclose()


async def test_the_applications_state_comes_first(tones: Path) -> None:
    output = MemoryOutput(paced=False)
    background = Soundscape.from_file(tones, output=output).attach(AgentSession())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    output.pull(480)
    background.set_state("on_hold")
    output.pull(480)
    assert background.state == "on_hold"
    background.set_state(None)
    output.pull(480)
    assert background.state == "initializing"
    with pytest.raises(UsageError, match="not a state's name"):
        background.set_state("On hold")
    await background.aclose()


def test_nothing_starts_with_a_scene_in_error(tones: Path) -> None:
    """Every sound that is missing is named where it stands, before there is a Soundscape to attach."""
    tones.write_text(TONES.replace("bed.wav", "bad.wav").replace("work.wav", "wrk.wav"))
    with pytest.raises(SceneError) as caught:
        Soundscape.from_file(tones)
    assert [(p.line, p.column, p.where) for p in caught.value.problems] == [
        (7, 1, "base.source"),
        (15, 1, "states.tool.source"),
    ]


async def test_a_sound_can_be_skipped(tones: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With `on_error="skip"` a missing sound is silence and one warning, and the rest is heard (T20)."""
    (tones.parent / "bed.wav").unlink()
    with caplog.at_level(logging.WARNING, "soundscape"):
        background = Soundscape.from_file(tones, output=(output := MemoryOutput(paced=False)), on_error="skip")
    assert len(caplog.records) == 1
    assert "bed.wav" in caplog.text
    background.attach(AgentSession())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not output.pull(4800).any()
    background.engine.post(Fact("agent", "thinking"))
    assert output.pull(4800).any()
    await background.aclose()


def test_a_seed_makes_a_soundscape_repeatable(tones: Path) -> None:
    """The caller's seed, else the scene's, else one of its own."""
    assert Soundscape.from_file(tones, seed=7).seed == 7
    assert Soundscape(Scene.from_toml("seed = 5\n" + TONES, tones.parent)).seed == 5
    assert Soundscape.from_file(tones).seed != Soundscape.from_file(tones).seed
