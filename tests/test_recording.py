"""Recordings of calls: what is in them, that they play back exactly, and that writing one harms nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.agents import AgentSession
from made_up import examples

from soundscape import Fact, FileOutput, MemoryOutput, OutputError, Scene, SceneError, Soundscape, UsageError
from soundscape.demo.conversation import Timing, Turn, converse
from soundscape.demo.scripted import Completion, ToolCall
from soundscape.engine import Engine
from soundscape.library import SceneClips
from soundscape.library.decode import decode
from soundscape.outputs import to_int16
from soundscape.outputs.file import write_audio
from soundscape.recording import Recorder, RecorderRun, RecordingFile, read_recording
from soundscape.testing import replay

pytestmark = pytest.mark.long

SCENE = """
name = "tones"

[defaults]
crossfade = 0.05

[base]
key = "bed"
source = "bed.wav"
start = "random"

[states.thinking]
key = "think"
pool = [{ source = "one.wav", probability = 0.5 }, { source = "two.wav", probability = 0.5 }]
after = 0.1
min_play = 0.3

[states.tool]
kind = "scatter"
source = "one.wav"
interval = [0.05, 0.2]

[[transitions]]
to = "listening"
settle = 0.03

[[ducks]]
while = "agent_speaking"
by_db = -6
"""
"""Something of everything that chance and time have a say in, loud enough together for the ceiling."""


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    for name, hertz, seconds in (("bed", 300.0, 1.0), ("one", 900.0, 0.21), ("two", 2_000.0, 0.17)):
        tone = 0.8 * np.sin(2 * np.pi * hertz * np.arange(int(48_000 * seconds)) / 48_000)
        write_audio(tmp_path / f"{name}.wav", [tone.astype(np.float32)[:, np.newaxis]], 48_000)
    scene = tmp_path / "scene.toml"
    scene.write_text(SCENE)
    return scene


async def talk(session: AgentSession[None], *, tool: bool = False) -> None:
    """A conversation of a second, or of four with a tool: listening, thinking, the tool, speaking."""
    timing = Timing(pause=0.1, caller=0.05, tool=0.9, voice=0.02, tail=0.1)
    turns = [Turn("Hello.", (Completion("Yes.", think=0.4),))]
    if tool:
        call = ToolCall("look_up_order", {"order_number": "4713"})
        turns.append(
            Turn("Where is my lamp?", (Completion("Wait.", think=0.4, call=call), Completion("Here.", think=0.2)))
        )
    await converse(session, timing=timing, turns=turns)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "soundscape"]


# --- a call and its recording -------------------------------------------------------------------------------------


async def test_a_recorded_session_replays_exactly(tones: Path, tmp_path: Path) -> None:
    """The same log, entry for entry, and the same sound, frame for frame, from the file alone, and as long. Nothing
    that was said is in it."""
    session: AgentSession[None] = AgentSession()
    calls: list[tuple[str | Path, Path, Soundscape, MemoryOutput]] = []
    for scene in (tones, "office"):
        path, output = tmp_path / f"{Path(scene).stem}.jsonl", MemoryOutput()
        background = Soundscape.from_file(scene, seed=11, output=output, record=path).attach(session)
        calls.append((scene, path, background, output))
    await talk(session, tool=True)
    for scene, path, background, output in calls:
        await background.aclose()
        take = replay(scene, path)
        assert take.log == background.engine.log
        assert list(take.facts) == background.engine.facts
        assert (take.seed, take.sample_rate) == (11, 48_000)
        np.testing.assert_array_equal(take.audio(), output.samples)
    _, path, background, _ = calls[0]
    assert {entry.action for entry in background.engine.log} >= {"commit", "settle", "arm", "start", "shot", "release"}

    head, *rest = lines(path)
    assert head == {"soundscape": 1, "scene": "tones", "seed": 11, "sample_rate": 48_000}
    assert {tuple(line) for line in rest} == {("at", kind) for kind in ("agent", "user", "tool", "close", "end")}
    values = {value for line in rest for value in line.values() if isinstance(value, str)}
    assert values == {"initializing", "listening", "thinking", "speaking", "look_up_order"}


async def test_what_was_asked_for_in_mid_call_is_replayed_too(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A level, a sound of the moment, one that is stopped, and another scene, by the names that the caller gave."""
    monkeypatch.chdir(tmp_path)
    path, output = tmp_path / "call.jsonl", MemoryOutput()
    session: AgentSession[None] = AgentSession()
    background = Soundscape.from_file(tones, seed=11, output=output, record=path).attach(session)
    await asyncio.sleep(0.1)
    background.set_gain("main", -6, fade=0.1)
    await background.play("one.wav")
    handle = background.play("two.wav", loop=True)
    await asyncio.sleep(0.1)
    background.switch("office", crossfade=0.1)
    await asyncio.sleep(0.1)
    handle.stop()
    await asyncio.sleep(0.1)
    await background.aclose()
    assert {fact.kind for _, fact in background.engine.facts} >= {"gain", "play", "stop", "scene"}
    take = replay(tones, path, root=tmp_path)
    assert take.log == background.engine.log
    np.testing.assert_array_equal(take.audio(), output.samples)
    assert "play@" in repr(take)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"at": 1, "gain": {"of": "bus"}}', "what was asked for at 1 s cannot be replayed"),
        ('{"at": 1, "gain": "bus"}', "not a line of a recording"),
        ('{"at": 1, "play": {"number": 1, "source": "gone.wav"}}', "what was asked for at 1 s cannot be replayed"),
    ],
)
def test_what_was_asked_for_and_cannot_be_is_said(tones: Path, tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "call.jsonl"
    path.write_text('{"soundscape": 1, "scene": "tones", "seed": 1, "sample_rate": 48000}\n' + line + "\n")
    with pytest.raises(UsageError, match=message):
        replay(tones, path, root=tmp_path)


async def test_a_session_recorded_into_a_file_at_another_rate_replays_exactly(tones: Path, tmp_path: Path) -> None:
    path, sound = tmp_path / "call.jsonl", tmp_path / "call.flac"
    background = Soundscape.from_file(tones, output=FileOutput(sound), sample_rate=44_100, record=str(path))
    session: AgentSession[None] = AgentSession()
    background.attach(session)
    await talk(session)
    await background.aclose()
    take = replay(tones, str(path))
    assert take.log == background.engine.log
    with sound.open("rb") as file:
        heard = decode(file, sound.name, 44_100)
    np.testing.assert_array_equal(to_int16(take.audio()[:, 0]), np.round(heard * 32_768).astype(np.int16))


async def test_lines_are_there_while_the_call_goes_on(tones: Path, tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    background = Soundscape.from_file(tones, output=MemoryOutput(), record=path).attach(AgentSession())
    background.set_state("on_hold")
    async with asyncio.timeout(5):
        while len(read_recording(path).facts) < 3:
            await asyncio.sleep(0.01)
    recording = read_recording(path)
    assert Fact("app", "on_hold") in [fact for _, fact in recording.facts]
    assert recording.seconds is None
    await background.aclose()
    assert read_recording(path).seconds is not None


async def test_a_session_that_is_started_again_has_a_recording_for_each_run(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soundscape.plugin.output_of", lambda _: MemoryOutput())  # there is no room without a server
    path = tmp_path / "call.jsonl"
    session: AgentSession[None] = AgentSession()
    background = Soundscape.from_file(tones, record=path).attach(session)
    logs = []
    for _ in range(2):
        await talk(session)
        logs.append(background.engine.log)
    await background.aclose()
    assert sorted(name for name in os.listdir(tmp_path) if name.endswith(".jsonl")) == ["call-2.jsonl", "call.jsonl"]
    assert [replay(tones, tmp_path / name).log for name in ("call.jsonl", "call-2.jsonl")] == logs
    assert background.recording == tmp_path / "call-2.jsonl"


async def test_a_call_without_some_of_its_sounds_replays_exactly(
    tones: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With `on_error="skip"`: what was silent then is silent again, also when it has been found meanwhile. What was
    heard then has to be there."""
    path, output = tmp_path / "call.jsonl", MemoryOutput()
    (tmp_path / "one.wav").rename(tmp_path / "lost.wav")
    background = Soundscape.from_file(tones, seed=3, output=output, record=path, on_error="skip")
    session: AgentSession[None] = AgentSession()
    background.attach(session)
    await talk(session, tool=True)
    await background.aclose()
    assert lines(path)[0]["skipped"] == ["one.wav"]
    assert "one.wav" in {entry.clip for entry in background.engine.log}
    caplog.clear()
    for name in ("lost.wav", "one.wav"):
        (tmp_path / "lost.wav").rename(tmp_path / name)
        take = replay(tones, path)
        assert take.log == background.engine.log
        np.testing.assert_array_equal(take.audio(), output.samples)
    assert said(caplog) == ["silent, as in the call: 'one.wav'"] * 2
    (tmp_path / "bed.wav").unlink()
    with pytest.raises(SceneError, match=r"'bed\.wav': no such file"):
        replay(tones, path)


def test_a_call_with_all_of_its_sounds_skips_none(tones: Path, tmp_path: Path) -> None:
    Soundscape.from_file(tones, record=tmp_path / "call.jsonl", on_error="skip")
    assert "skipped" not in lines(tmp_path / "call.jsonl")[0]
    assert read_recording(tmp_path / "call.jsonl").skipped == ()


def test_a_crash_of_the_process_leaves_all_but_the_last_moment(tones: Path, tmp_path: Path) -> None:
    script = f"""
import asyncio, os
from livekit.agents import AgentSession
from soundscape import MemoryOutput, Soundscape

async def main():
    background = Soundscape.from_file({str(tones)!r}, output=MemoryOutput(), record={str(tmp_path / "c.jsonl")!r})
    background.attach(AgentSession())
    background.set_state("thinking")
    await asyncio.sleep(0.5)
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent.parent, timeout=60)
    assert ended.returncode == -9
    recording = read_recording(tmp_path / "c.jsonl")
    assert Fact("app", "thinking") in [fact for _, fact in recording.facts]
    take = replay(tones, tmp_path / "c.jsonl")
    assert take.frames == round((recording.facts[-1][0] + 5) * 48_000)
    assert take.state(at=4) == "thinking"


# --- what can go wrong while writing ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".", "no/such/folder/call.jsonl", "a\0b"])
def test_a_file_that_cannot_be_written_is_said_at_once(name: str, tones: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        Soundscape.from_file(tones, record=tmp_path / name)


def test_nothing_but_a_file_is_written_to(tones: Path, tmp_path: Path) -> None:
    """A pipe that nobody reads would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="pipe: cannot be written: not a regular file"):
        Soundscape.from_file(tones, record=tmp_path / "pipe")
    with pytest.raises(UsageError, match="record must be a path, not 7"):
        Soundscape.from_file(tones, record=7)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
async def test_a_full_disk_ends_the_recording_and_not_the_call(
    tones: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, output = tmp_path / "call.jsonl", MemoryOutput()
    background = Soundscape.from_file(tones, output=output, record=path)
    path.unlink()
    path.symlink_to("/dev/full")
    session: AgentSession[None] = AgentSession()
    background.attach(session)
    with caplog.at_level(logging.WARNING, "soundscape"):
        await talk(session)
        await background.aclose()
    assert background.engine.finished
    assert output.samples.any()
    assert said(caplog) == [f"{path}: the recording ends here, the call goes on: No space left on device"]


async def test_a_further_run_that_cannot_be_recorded_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    engine = Engine(Scene.from_toml(""), {}, sample_rate=RATE)
    recorder = Recorder(folder / "call.jsonl", scene="", seed=0, sample_rate=RATE)
    await recorder.follow(engine).aclose()
    folder.rename(tmp_path / "kept")
    with caplog.at_level(logging.WARNING, "soundscape"):
        await recorder.follow(engine).aclose()
    assert said(caplog) == [
        f"{folder}/call.jsonl: the recording ends here, the call goes on: No such file or directory"
    ]
    assert read_recording(tmp_path / "kept" / "call.jsonl").seconds == 0


async def test_a_session_that_never_starts_leaves_an_empty_recording(tones: Path, tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    background = Soundscape.from_file(tones, seed=2, output=MemoryOutput(), record=path)
    await background.aclose()
    recording = read_recording(path)
    assert (recording.seed, recording.facts, recording.seconds) == (2, (), None)
    assert replay(tones, path).log == []


# --- one file for each call ---------------------------------------------------------------------------------------


async def test_a_call_never_takes_the_place_of_another(
    tones: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before it, or at once: each has a file of its own, which the log names."""
    (tmp_path / "call.jsonl").write_text("an earlier one")
    with caplog.at_level(logging.INFO, "soundscape"):
        calls = [
            Soundscape.from_file(tones, seed=seed, output=MemoryOutput(), record=tmp_path / "call.jsonl")
            for seed in (2, 3)
        ]
        for background in calls:
            background.attach(AgentSession())
            background.set_state(f"state_{background.seed}")
        for background in calls:
            await background.aclose()
    assert (tmp_path / "call.jsonl").read_text() == "an earlier one"
    assert [background.recording for background in calls] == [tmp_path / f"call-{n}.jsonl" for n in (2, 3)]
    for background in calls:
        assert background.recording
        recording = read_recording(background.recording)
        assert recording.seed == background.seed
        assert recording.facts == tuple((frame / 48_000, fact) for frame, fact in background.engine.facts)
        assert recording.seconds is not None
    named = [record for record in caplog.records if hasattr(record, "recording")]
    assert {record.getMessage() for record in named} == {
        f"the call is recorded to {tmp_path}/call-{n}.jsonl" for n in (2, 3)
    }
    assert {vars(record)["recording"] for record in named} == {str(background.recording) for background in calls}
    assert Soundscape.from_file(tones).recording is None


def test_however_many_begin_at_once_each_has_its_own_file(tmp_path: Path) -> None:
    def record(seed: int) -> tuple[int, Path]:
        return seed, Recorder(tmp_path / "call.jsonl", scene="tones", seed=seed, sample_rate=48_000).path

    with ThreadPoolExecutor(16) as threads:
        files = dict(threads.map(record, range(200)))
    assert {seed: read_recording(path).seed for seed, path in files.items()} == {n: n for n in range(200)}
    numbered = {tmp_path / f"call-{n}.jsonl" for n in range(2, 201)}
    assert set(files.values()) == {tmp_path / "call.jsonl"} | numbered


def test_the_first_name_that_is_free_is_taken(tmp_path: Path) -> None:
    """Its own, where earlier calls were cleared away. A link that leads nowhere is not free."""
    for name in ("call-2.jsonl", "call-3.jsonl"):
        (tmp_path / name).write_text(name)
    (tmp_path / "call-4.jsonl").symlink_to(tmp_path / "nowhere")
    paths = [Recorder(tmp_path / "call.jsonl", scene="", seed=0, sample_rate=8_000).path for _ in range(3)]
    assert [path.name for path in paths] == ["call.jsonl", "call-5.jsonl", "call-6.jsonl"]
    assert (tmp_path / "call-2.jsonl").read_text() == "call-2.jsonl"
    assert not (tmp_path / "nowhere").exists()


def test_with_gaps_among_the_names_what_is_there_stays(tmp_path: Path) -> None:
    there = {tmp_path / f"call{n}.jsonl": str(n) for n in ("", *range(-90, -1, 7))}
    for path, text in there.items():
        path.write_text(text)
    paths = {Recorder(tmp_path / "call.jsonl", scene="", seed=0, sample_rate=8_000).path for _ in range(100)}
    assert len(paths) == 100
    assert {path: path.read_text() for path in there} == there


async def test_a_process_that_goes_elsewhere_records_where_it_was_told(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    background = Soundscape.from_file(tones, output=MemoryOutput(), record="call.jsonl")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    background.attach(AgentSession())
    await background.aclose()
    assert os.listdir() == []
    assert read_recording(tmp_path / "call.jsonl").seconds is not None


# --- an engine that goes back -------------------------------------------------------------------------------------


async def test_an_engine_that_goes_back_is_followed(tones: Path, tmp_path: Path) -> None:
    """`Engine.rewind`: what was taken meanwhile is taken again, after what came in its place."""
    scene = Scene.from_file(tones)
    engine = Engine(scene, SceneClips(scene), seed=5)
    path = tmp_path / "call.jsonl"
    run: RecorderRun = Recorder(path, scene="tones", seed=5, sample_rate=48_000).follow(engine)
    engine.post(Fact("agent", "listening"))
    engine.render(9_600)
    engine.post(Fact("agent", "thinking"), 12_000)
    engine.render(9_600)
    async with asyncio.timeout(5):
        while len(read_recording(path).facts) < 2:
            await asyncio.sleep(0.01)
    engine.rewind(10_000)
    engine.post(Fact("user", "speaking"))
    sound = engine.render(20_000)
    await run.aclose()
    recording = read_recording(path)
    assert recording.facts == (
        (0.0, Fact("agent", "listening")),
        (10_063 / 48_000, Fact("user", "speaking")),  # the ceiling looks ahead by 63 frames
        (0.25, Fact("agent", "thinking")),
    )
    take = replay(tones, path)
    assert take.log == engine.log
    assert take.frames == 30_000
    np.testing.assert_array_equal(take.audio()[10_000:], sound)


RATE = 8_000
HEAD = '{"soundscape": 1, "scene": "tones", "seed": 7, "sample_rate": 48000}\n'


@examples(50)
@given(st.integers(0, 2**32 - 1))
def test_what_is_written_is_what_was_taken_however_often_the_engine_goes_back(number: int) -> None:
    """At every look, whatever came in between: facts now and ahead, and frames gone back to before and after them."""
    random = Random(number)
    engine = Engine(Scene.from_toml(""), {}, sample_rate=RATE)
    file = BytesIO()
    recording = RecordingFile(file, HEAD.encode(), sample_rate=RATE)
    for n in range(80):
        deed = random.choice(("post", "post ahead", "render", "go back", "look"))
        if deed.startswith("post"):
            at = engine.position + random.randrange(600) if deed == "post ahead" else None
            engine.post(Fact("tool", random.choice(("look_up", f"tool_{n}"))), at)
        elif deed == "render":
            engine.render(random.randrange(1, 500))
        elif deed == "go back":
            engine.rewind(random.randrange(max(0, engine.position - 900), engine.position + 1))
        else:
            recording.update(engine.facts)
            assert in_the_file(file) == engine.facts
    recording.update(engine.facts)
    assert in_the_file(file) == engine.facts
    recording.end(engine.position)
    assert json.loads(file.getvalue().splitlines()[-1]) == {"at": engine.position / RATE, "end": True}


def in_the_file(file: BytesIO) -> list[tuple[int, Fact]]:
    told = [json.loads(line) for line in file.getvalue().splitlines()[1:]]
    return [(round(line["at"] * RATE), Fact("tool", line["tool"])) for line in told]


class Counted(list[tuple[int, Fact]]):
    """A list that knows how many of it were looked at."""

    looked = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.looked += len(found) if isinstance(key, slice) else 1
        return found

    def __iter__(self) -> Any:
        self.looked += len(self)
        return super().__iter__()


def test_a_look_costs_what_is_new_however_long_the_call() -> None:
    recording = RecordingFile(BytesIO(), HEAD.encode(), sample_rate=RATE)
    facts = Counted((frame, Fact("agent", "thinking")) for frame in range(10_000))
    recording.update(facts)
    facts.looked = 0
    for new in (0, 1, 0, 5):
        facts += [(10_000, Fact("agent", "speaking")) for _ in range(new)]
        recording.update(facts)
    assert facts.looked == 4 + 6
    assert recording.facts == 10_006


# --- reading ------------------------------------------------------------------------------------------------------


def test_a_time_tells_the_frame_exactly(tmp_path: Path) -> None:
    """At any rate, also after a day."""
    from soundscape.cues import to_frames

    for rate in (8_000, 44_100, 48_000, 96_000):
        for frame in (*range(2_000), 12_345_678, 86_400 * rate - 1, 86_400 * rate + 1):
            assert to_frames(json.loads(json.dumps(frame / rate)), rate) == frame


def test_what_was_said_last_may_not_have_been_heard_any_more(tones: Path, tmp_path: Path) -> None:
    """A fact counts from the frame that is mixed next, a moment ahead of what is given out."""
    path = tmp_path / "call.jsonl"
    path.write_text(HEAD + '{"at": 2, "agent": "thinking"}\n{"at": 1.999, "end": true}\n')
    assert replay(tones, path).frames == 95_952


def test_a_recording_is_found_by_its_name(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `Path`; a text that ends in `.jsonl`; the name of a file without an `@`. All else is a sequence."""
    text = HEAD + '{"at": 0.5, "agent": "thinking"}\n{"at": 2, "end": true}\n'
    for name in ("call.jsonl", "c@ll.jsonl", "call", "thinking@1"):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    for recording in ("call.jsonl", "c@ll.jsonl", "call", Path("call"), Path("thinking@1")):
        assert replay(tones, recording).states() == [(0.0, 0.5, "none"), (0.5, 2.0, "thinking")]
    assert replay(tones, "thinking@1").states() == [(0.0, 1.0, "none"), (1.0, 6.0, "thinking")]
    assert replay("scene.toml", "call", root=tmp_path).seed == 7
    with pytest.raises(UsageError, match="'calls' is not a part of a sequence"):
        replay(tones, "calls")
    with pytest.raises(UsageError, match=r"gone\.jsonl: the recording cannot be read: No such file"):
        replay(tones, "gone.jsonl")


def test_seed_rate_and_end_are_the_recordings_unless_given(tones: Path, tmp_path: Path) -> None:
    (tmp_path / "call.jsonl").write_text(HEAD + '{"at": 0.5, "agent": "thinking"}\n{"at": 2.5, "end": true}\n')
    take = replay(tones, tmp_path / "call.jsonl")
    assert (take.seed, take.sample_rate, take.frames) == (7, 48_000, 120_000)
    take = replay(tones, tmp_path / "call.jsonl", seed=8, sample_rate=16_000, until=1)
    assert (take.seed, take.sample_rate, take.frames) == (8, 16_000, 16_000)
    assert take.log[0].frame == 8_000


def test_another_scene_is_replayed_and_the_log_says_so(
    tones: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "call.jsonl").write_text(HEAD + '{"at": 0.5, "agent": "thinking"}\n')
    assert replay(tones, tmp_path / "call.jsonl").log
    assert said(caplog) == []
    assert replay("name = 'other'\n", tmp_path / "call.jsonl").state(at=1) == "thinking"
    assert said(caplog) == ["a recording of scene 'tones', replayed through scene 'other'"]


@pytest.mark.parametrize("rest", ['{"at": 2, "agent": "spea', '{"at": 2', "{", '{"at": 2, "agent": "speaking"}'])
def test_a_last_line_that_was_cut_off_is_left_out(rest: str, tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    path.write_text(HEAD + '{"at": 0.5, "agent": "thinking"}\n\n' + rest)
    assert len(read_recording(path).facts) == (2 if rest.endswith("}") else 1)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", ": not a recording"),
        ("listening@0 thinking@3\n", ": not a recording"),
        ("[1]\n", ": not a recording"),
        ('{"at": 1}\n', ": not a recording"),
        (HEAD.replace(": 1,", ": 2,"), ": a recording of version 2; this soundscape reads 1"),
        (HEAD.replace(": 1,", ": true,"), ": a recording of version True; this soundscape reads 1"),
        (HEAD.replace(": 1,", ": 1.0,"), ": a recording of version 1.0; this soundscape reads 1"),
        (HEAD.replace(": 1,", r': "\u001b[31m",'), r": a recording of version '\x1b[31m'; this soundscape reads 1"),
        (
            HEAD.replace(": 1,", f": {'9' * 4000},"),
            ": a recording of version 999999999999999999...9999999999999999999;",
        ),
        (HEAD.replace(": 1,", ': 1, "skipped": "bed.wav",'), ":1: skipped must be a list of sources"),
        (HEAD.replace(": 1,", ': 1, "skipped": [1],'), ":1: skipped must be a list of sources"),
        (HEAD.replace("48000", "0"), ":1: a sample rate is from 8,000 to 192,000, not 0"),
        (HEAD.replace("48000", "3000000000"), ":1: a sample rate is from 8,000 to 192,000"),
        (HEAD + '{"at": 1e15, "end": true}\n', ":2: not a line"),
        (HEAD + '{"at": ' + 400 * "9" + ', "end": true}\n', ":2: not a line"),
        (HEAD.replace("7", "true"), ":1: needs scene"),
        (HEAD.replace('"tones"', "null"), ":1: needs scene"),
        (HEAD + '{"at": 1, "agent": "thinking"\n{"at": 2, "agent": "x"}\n', ":2: not a line of a recording"),
        (HEAD + "\n7\n", ":3: not a line of a recording"),
        (HEAD + '{"agent": "thinking"}\n', ":2: not a line"),
        (HEAD + '{"at": 1}\n', ":2: not a line"),
        (HEAD + '{"at": 1, "agnt": "thinking"}\n', ":2: not a line"),
        (HEAD + '{"at": 1, "agent": "thinking", "user": null}\n', ":2: not a line"),
        (HEAD + '{"at": 1, "agent": 3}\n', ":2: not a line"),
        (HEAD + '{"at": 1, "close": false}\n', ":2: not a line"),
        (HEAD + '{"at": -1, "close": true}\n', ":2: not a line"),
        (HEAD + '{"at": NaN, "close": true}\n', ":2: not a line"),
        (HEAD + '{"at": "1", "close": true}\n', ":2: not a line"),
        (HEAD + '{"at": 1e999, "close": true}\n', ":2: not a line"),
        (HEAD + '{"at": 2, "agent": "x"}\n{"at": 1, "agent": "y"}\n', ":3: goes back in time; the line before is at 2"),
        ("[" * 100_000, ": not a recording"),
    ],
)
def test_what_is_wrong_with_a_recording_is_said(text: str, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        replay("[base]\n", path)
    assert str(caught.value).startswith(f"{path}{wrong}")


def test_whatever_a_tool_was_called_a_take_tells_what_it_is_on_one_line(tmp_path: Path) -> None:
    """And says nothing to a terminal."""
    (tmp_path / "call.jsonl").write_text(HEAD + r'{"at": 1, "tool": "a\u001b[31m\nb\u2028\ud800"}' + "\n")
    shown = repr(replay('name = "tones"', tmp_path / "call.jsonl"))
    assert shown == r"<Take of 'tones', seed 7, 6 s: 'tool=a\x1b[31m\nb\u2028\ud800@1'>"


def test_a_sound_is_no_recording(tones: Path) -> None:
    with pytest.raises(UsageError, match=r"bed\.wav: not a recording"):
        replay(tones, tones.with_name("bed.wav"))
