"""What operators see: metrics that say what the log says, and a log line where a call begins and ends."""

from __future__ import annotations

import ast
import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit.agents import AgentSession
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from simulated import VirtualLoop

from soundscape import Fact, MemoryOutput, RoomOutput, Scene, Soundscape
from soundscape.demo.conversation import Timing, Turn, converse
from soundscape.demo.scripted import Completion, ToolCall
from soundscape.engine import Engine
from soundscape.library import SceneClips, count_loads, load
from soundscape.outputs.file import write_audio
from soundscape.plugin.metrics import Report

pytestmark = pytest.mark.long

TIMING = Timing(pause=0.2, caller=0.1, tool=0.4, voice=0.02, tail=0.3)
TURNS = (
    Turn(
        "Where is my lamp?",
        (
            Completion("Wait.", think=0.3, call=ToolCall("look_up_order", {"order_number": "4713"})),
            Completion("It left.", think=0.3),
        ),
    ),
)


@pytest.fixture(scope="module")
def reader() -> Iterator[InMemoryMetricReader]:
    """Of a provider that is set as an application sets it: after the import, once in a process."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    metrics.set_meter_provider(provider)
    yield reader
    provider.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, hertz in {"bed": 400, "think": 1_000}.items():
        tone = 0.1 * np.sin(2 * np.pi * hertz * np.arange(48_000) / 48_000)
        write_audio(tmp_path / f"{name}.wav", [tone.astype(np.float32)[:, np.newaxis]], 48_000)
    return tmp_path


def scene(name: str, folder: Path) -> Scene:
    text = f'name = "{name}"\n[base]\nkey = "bed"\nsource = "bed.wav"\n[states.thinking]\nsource = "think.wav"\n'
    return Scene.from_toml(text, folder)


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """The data points of every metric, as they are now."""
    data = reader.get_metrics_data()
    found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
    return {metric.name.removeprefix("soundscape."): list(metric.data.data_points) for metric in found}


class Collected:
    """The metrics of one scene, as they are now."""

    def __init__(self, reader: InMemoryMetricReader, scene: str) -> None:
        self.points = {
            name: [point for point in there if point.attributes.get("soundscape.scene") == scene]
            for name, there in points(reader).items()
        }

    def number(self, name: str) -> float:
        return float(sum(point.value for point in self.points.get(name, ())))

    def by(self, name: str, attribute: str) -> dict[str, int]:
        return {point.attributes[f"soundscape.{attribute}"]: point.value for point in self.points.get(name, ())}


async def test_the_metrics_of_a_call_are_what_its_log_and_its_output_say(
    reader: InMemoryMetricReader, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A real session, a real source; the log names the scene at the beginning and sums up at the end."""
    caplog.set_level(logging.INFO, "soundscape")
    output = RoomOutput(None)
    background = Soundscape(scene("a call", folder), seed=1, output=output)
    session: AgentSession[None] = AgentSession()
    background.attach(session)
    during: list[float] = []
    session.on("close", lambda _: during.append(Collected(reader, "a call").number("calls")))
    await converse(session, timing=TIMING, turns=TURNS)
    await background.aclose()

    told, log, stats = Collected(reader, "a call"), background.engine.log, background.stats
    assert during == [1]
    assert told.number("calls") == 0
    assert told.by("state.changes", "state") == Counter(e.key for e in log if e.action == "commit")
    assert told.by("playbacks", "key") == Counter(e.key for e in log if e.action in ("start", "shot"))
    (latency,) = told.points["change.duration"]
    assert (latency.count, latency.sum) == (stats.changes, pytest.approx(sum(stats.latencies)))
    assert latency.explicit_bounds[0] < 0.025 < latency.explicit_bounds[-1] <= 2.5
    assert told.number("gaps") == stats.gaps
    assert told.number("fallbacks") == stats.fallbacks
    assert told.number("render.time") == pytest.approx(stats.render_seconds)
    assert told.number("output.time") == pytest.approx(stats.seconds)
    assert told.number("output.time") > 1

    first, last = (record for record in caplog.records if hasattr(record, "scene"))
    assert vars(first).items() >= {"scene": "a call", "seed": 1, "clips": 2, "loudness": {}}.items()
    assert vars(last).items() >= {"scene": "a call", "changes": stats.changes, "gaps": stats.gaps}.items()
    assert "lamp" not in caplog.text


def test_a_call_tells_of_itself_while_it_lasts(reader: InMemoryMetricReader, folder: Path) -> None:
    """A call of a day is not told of at its end alone; what is not heard yet is not told."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(_hold(reader, folder))


async def _hold(reader: InMemoryMetricReader, folder: Path) -> None:
    played = scene("a long call", folder)
    engine = Engine(played, SceneClips(played), seed=1)
    output = MemoryOutput()
    await output.start(engine)
    report = Report(played.name, engine, output)
    engine.post(Fact("agent", "thinking"))
    await asyncio.sleep(1)
    assert Collected(reader, "a long call").by("state.changes", "state") == {}
    await asyncio.sleep(5)
    assert Collected(reader, "a long call").by("state.changes", "state") == {"thinking": 1}
    engine.post(Fact("agent", "listening"))
    await asyncio.sleep(600)
    engine.post(Fact("close"))
    await output.aclose(timeout=5)
    for _ in "twice":
        report.close()
    told = Collected(reader, "a long call")
    assert told.by("state.changes", "state") == {"thinking": 1, "listening": 1, "none": 1}
    assert told.by("playbacks", "key") == {"bed": 1, "think.wav": 1}
    assert told.number("calls") == 0


async def test_sounds_of_the_moment_are_told_without_the_names_of_their_files(
    reader: InMemoryMetricReader, folder: Path
) -> None:
    """There may be any number of names, and a metric keeps a series for each."""
    background = Soundscape(scene("moments", folder), output=RoomOutput(None)).attach(AgentSession())
    for _ in range(3):
        handle = background.play(str(folder / "think.wav"))
    await handle
    await background.aclose()
    assert Collected(reader, "moments").by("playbacks", "key") == {"bed": 1, "play": 3}


LOADS = """
from soundscape.library import count_loads, load
held = load("bed.wav"), load("bed.wav")
print(count_loads())
"""


def test_loads_are_told_by_where_the_sound_was_found(folder: Path) -> None:
    """The first process decodes the file, the next one maps what that left; asked for again, it is there."""
    environment = os.environ | {"SOUNDSCAPE_CACHE": str(folder / "cache")}

    def loads() -> Any:
        run = subprocess.run(
            [sys.executable, "-c", LOADS], cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        return ast.literal_eval(run.stdout)

    assert loads() == {"memory": 1, "cache": 0, "file": 1}
    assert loads() == {"memory": 1, "cache": 1, "file": 0}


def test_loads_are_a_metric(reader: InMemoryMetricReader, folder: Path) -> None:
    SceneClips(scene("loads", folder)).load_all()
    loads = {point.attributes["soundscape.clip.origin"]: point.value for point in points(reader)["clip.loads"]}
    assert loads.keys() == {"memory", "cache", "file"}
    assert sum(loads.values()) >= 2


class Going(MemoryOutput):
    """Has been heard up to some frame."""

    frame = 0

    @property
    def heard(self) -> int:
        return self.frame


async def test_a_look_while_the_engine_goes_back_loses_nothing(reader: InMemoryMetricReader, folder: Path) -> None:
    """On its way back to answer a fact the log is shorter for a moment, by what was heard long ago."""
    played = scene("going back", folder)
    engine, output = Engine(played, SceneClips(played), seed=1), Going()
    report = Report(played.name, engine, output)
    engine.post(Fact("agent", "thinking"))
    engine.render(48_000)
    output.frame = 24_000
    engine.rewind(0)
    report.look()
    for _ in "twice":
        engine.render(12_000)
        report.look()
    report.close()
    told = Collected(reader, "going back")
    assert told.by("state.changes", "state") == {"thinking": 1}
    assert told.by("playbacks", "key") == {"bed": 1, "think.wav": 1}


class Deaf(MemoryOutput):
    """Cannot say what is heard once it was started; what it counts is its own affair."""

    stats = ("none",)

    @property
    def heard(self) -> int:
        if self._source is None:
            return 0
        raise RuntimeError("no clock")


async def test_what_cannot_be_told_leaves_the_call_and_its_recording_alone(
    reader: InMemoryMetricReader, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = folder / "call.jsonl"
    background = Soundscape(scene("deaf", folder), output=Deaf(), record=record).attach(AgentSession())
    await asyncio.sleep(0.1)
    assert Collected(reader, "deaf").number("calls") == 1
    await background.aclose()
    assert Collected(reader, "deaf").number("calls") == 0
    assert '"close"' in record.read_text()
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == [
        "the background's metrics could not be told, said once"
    ]


async def test_what_plays_nothing_is_told_as_well(
    reader: InMemoryMetricReader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A background that cannot start, once for each attempt, and one whose engine fails."""
    session: AgentSession[None] = AgentSession()
    background = Soundscape(scene("mute", folder)).attach(session)  # there is no room
    for state in ("idle", "listening"):
        session._update_agent_state(state)
        await asyncio.sleep(0.1)
    assert Collected(reader, "mute").number("start.failures") == 2
    assert Collected(reader, "mute").number("calls") == 0
    await background.aclose()

    output = RoomOutput(None)
    background = Soundscape(scene("failing", folder), output=output).attach(AgentSession())
    await asyncio.sleep(0.1)
    with monkeypatch.context() as broken:
        broken.setattr(background.engine, "render", lambda _: 1 // 0)
        await asyncio.sleep(0.8)  # what it has ahead is 0.6 s
    await background.aclose()
    failures = Collected(reader, "failing").number("render.failures")
    assert failures == background.stats.render_failures > 0


class Stuck(MemoryOutput):
    """Does not close."""

    async def aclose(self, *, timeout: float = 0.0) -> None:
        await super().aclose()
        await asyncio.Event().wait()


async def test_a_close_that_is_given_up_twice_ends_the_call_all_the_same(
    reader: InMemoryMetricReader, folder: Path
) -> None:
    before, tasks = sys.getswitchinterval(), asyncio.all_tasks()
    background = Soundscape(scene("stuck", folder), output=Stuck(), switch_interval=0.001).attach(AgentSession())
    await asyncio.sleep(0.1)
    for _ in "twice":
        closing = asyncio.create_task(background.aclose())
        await asyncio.sleep(0.1)
        closing.cancel()
        await asyncio.wait([closing])
        await asyncio.sleep(0.1)
    assert Collected(reader, "stuck").number("calls") == 0
    assert sys.getswitchinterval() == before
    assert asyncio.all_tasks() == tasks


def test_a_load_under_way_takes_none_of_those_that_were_counted(tmp_path: Path) -> None:
    """A count that goes back passes for a process that began anew, and what it counts is counted twice."""
    noise = np.random.default_rng(1).normal(0, 0.1, (20 * 48_000, 1)).astype(np.float32)
    write_audio(tmp_path / "long.wav", [noise], 48_000)
    before, seen = count_loads()["memory"], []
    loading = threading.Thread(target=lambda: load(tmp_path / "long.wav", measured=True))
    loading.start()
    while loading.is_alive():
        seen.append(count_loads()["memory"])
    assert set(seen) == {before}
