"""What the engine adds to the sums it cannot do without: three playbacks in blocks of 20 ms.

    python benchmarks/render.py

The floor is what any mixer has to do: clear a block, and for each playback multiply a piece of its clip by its gain and
add it; in a fade, work out the gain of each frame as well. Both are timed in turns, in one run.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from soundscape.clip import Clip
from soundscape.engine import Engine, Fact
from soundscape.loader import Scene

SAMPLE_RATE = 48_000
BLOCK = 960
BLOCKS = 500
ROUNDS = 40

SCENE = """
[base]
layers = [{ source = "a", volume = 0.5 }, { source = "b", volume = 0.4 }, { source = "c", volume = 0.3 }]

[states.thinking]
layers = [{ source = "a", volume = 0.2 }, { source = "b", volume = 0.2 }, { source = "c", volume = 0.2 }]
"""
FADE = 40  # blocks: the default crossfade, 0.8 s

Block = Callable[[], object]


def engine(clips: dict[str, Clip], *, fading: bool) -> Block:
    played = Engine(Scene.from_toml(SCENE), clips)
    played.post(Fact("agent", "listening"))
    played.render(SAMPLE_RATE)
    states = itertools.cycle(["thinking", *[None] * (FADE - 1), "listening", *[None] * (FADE - 1)])

    def block() -> object:
        if fading and (state := next(states)):
            played.post(Fact("agent", state))
        return played.render(BLOCK)

    return block


def floor(clips: dict[str, Clip], *, fading: bool) -> Block:
    samples = [clip.samples for clip in clips.values()]
    scratch = np.empty(BLOCK, np.float32)
    shape = np.sin(np.linspace(0, np.pi / 2, FADE * BLOCK)) ** 2
    positions = itertools.cycle(range(0, FADE * BLOCK, BLOCK))

    def block() -> object:
        out = np.zeros(BLOCK, np.float32)
        start = next(positions)
        for sound in samples:
            gain: Any = 0.4
            if fading:
                power = shape[start : start + BLOCK] * 0.21
                power += 0.04
                gain = np.sqrt(power, out=power).astype(np.float32)
            np.multiply(sound[start : start + BLOCK], gain, out=scratch)
            out += scratch
        return out

    return block


def microseconds(block: Block) -> float:
    started = time.perf_counter()
    for _ in range(BLOCKS):
        block()
    return (time.perf_counter() - started) / BLOCKS * 1e6


def main() -> None:
    rng = np.random.default_rng(1)
    clips = {
        name: Clip.from_samples(0.05 * rng.standard_normal(30 * SAMPLE_RATE, np.float32), SAMPLE_RATE) for name in "abc"
    }
    for what, fading in (("at rest", False), ("in a fade", True)):
        ours, bare = engine(clips, fading=fading), floor(clips, fading=fading)
        pairs = [(microseconds(ours), microseconds(bare)) for _ in range(ROUNDS)]
        us = statistics.median(a for a, _ in pairs)
        bare_us = statistics.median(b for _, b in pairs)
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{what:10} {us:6.1f} us a block, bare sums {bare_us:5.1f} us: {ratio:4.2f} times")


if __name__ == "__main__":
    main()
