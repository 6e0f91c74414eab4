"""What metrics cost a call: one look at its counts, of which there is one every five seconds, without a meter provider
and with one.

    python benchmarks/metrics.py
"""

from __future__ import annotations

import asyncio
import timeit

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from soundscape import RoomOutput, Scene
from soundscape.engine import Engine, Fact
from soundscape.library import SceneClips
from soundscape.loader import find_scene
from soundscape.plugin.metrics import REPORT_SECONDS, Report

LOOKS = 300


class HalfwayThere(RoomOutput):
    """Has been heard up to some frame."""

    frame = 0

    @property
    def heard(self) -> int:
        return self.frame


async def look() -> float:
    """Seconds that a look takes, at a call of an hour that changes its state every other second."""
    scene = Scene.from_file(find_scene("office"))
    engine, output = Engine(scene, SceneClips(scene), seed=1), HalfwayThere(None)
    for number in range(1_800):
        engine.post(Fact("agent", ("listening", "thinking", "speaking")[number % 3]), at=number * 96_000)
    engine.skip(1_800 * 96_000)
    report = Report(scene.name, engine, output)
    output.frame = 900 * 96_000
    report.look()

    def once() -> None:
        output.frame += round(REPORT_SECONDS * 48_000)
        for seconds in (0.015, 0.02):
            output.stats.answered(seconds)
        output.stats.seconds += REPORT_SECONDS
        output.stats.render_seconds += 0.001
        report.look()

    taken = timeit.timeit(once, number=LOOKS) / LOOKS
    report.close()
    return taken


def show(name: str) -> None:
    seconds = asyncio.run(look())
    print(f"{name:18} {1e6 * seconds:5.1f} us each {REPORT_SECONDS:.0f} s: {seconds / REPORT_SECONDS:.1e} of a core")


def main() -> None:
    show("no meter provider")
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
    show("with one")


if __name__ == "__main__":
    main()
