"""What the tests of the format's rules are written with: a small scene, a sequence of facts, and what comes of it.

A sequence is written as everywhere in this project: `thinking@3` (the agent's state), `user=away@2`, `tool=lookup@4`,
`tool=-@5` (none any more), `app=hold@7`, `close@12`; seconds. A log is read as a transcript, one line for each thing
decided: `3.3 release hum 0.877->0 in 0.2`. Every clip is 60 s of the constant 1 unless a test says otherwise, so that
what is rendered is the gain itself; fades without a rule take a second.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np

from soundscape.clip import Clip
from soundscape.driver.facts import FactKind
from soundscape.engine import Engine, Entry, Fact
from soundscape.loader import Scene

LAST = 20.0
"""Seconds that a take goes on after its last fact: longer than any fade here."""

EXACT = """
[defaults]
crossfade = 0.8

[[states.listening.layers]]
key = "hum"
source = "hum.wav"

[[states.thinking.layers]]
key = "hum"
source = "hum.wav"
gain_db = -6

[[states.thinking.layers]]
key = "typing"
source = "typing.wav"
after = 0.7
min_play = 1

[[states.tool.layers]]
key = "hum"
source = "hum.wav"
gain_db = -6

[[states.tool.layers]]
key = "typing"
source = "typing.wav"
after = 0.7
min_play = 1

[[transitions]]
to = "speaking"
crossfade = 0.2
urgent = true

[[transitions]]
from = ["thinking", "tool"]
to = "listening"
settle = 0.25
fade_out = 1.2
"""
"""The scene that the format's table of exact answers is about. Its files are nowhere: nothing that is asked of it there
needs one."""


class Take:
    """A sequence of facts played through a scene."""

    def __init__(
        self,
        scene: str,
        sequence: str,
        *,
        clips: Mapping[str, float | Sequence[float] | Clip] | None = None,
        rate: int = 1_000,
        seed: int | None = None,
    ) -> None:
        self.scene = Scene.from_toml(scene)
        self.rate = rate
        self.seed = seed
        self.facts = facts(sequence)
        self.clips = {source: clip(60.0, rate) for _, source in self.scene.all_sources}
        self.clips |= {source: clip(of, rate) for source, of in (clips or {}).items()}
        engine = self.engine()
        engine.skip(round((self.facts[-1][0] + LAST) * rate))
        self.entries = engine.log
        self.log = [line(entry) for entry in self.entries]

    def engine(self) -> Engine:
        engine = Engine(self.scene, self.clips, seed=self.seed, sample_rate=self.rate)
        for at, fact in self.facts:
            engine.post(fact, round(at * self.rate))
        return engine

    def of(self, key: str) -> list[str]:
        """The lines about one key, its name left out."""
        about = [entry for entry in self.entries if entry.key == key and entry.action != "commit"]
        return [line(entry).replace(f" {key}", "", 1) for entry in about]

    @property
    def commits(self) -> list[str]:
        """`thinking@3`, for each state committed."""
        return [f"{entry.key}@{entry.at:g}" for entry in self.entries if entry.action == "commit"]

    def picks(self, key: str) -> list[str]:
        """The sources that a key's starts and shots have drawn."""
        return [entry.clip for entry in self.entries if entry.key == key and entry.action in ("start", "shot", "skip")]

    def gain(self, key: str, at: float) -> float:
        engine, frame = self.engine(), round(at * self.rate)
        engine.skip(frame + 1)
        return engine.gain(key, frame)

    def bus_gain(self, bus: str, at: float) -> float:
        engine, frame = self.engine(), round(at * self.rate)
        engine.skip(frame + 1)
        return engine.bus_gain(bus, frame)

    def sound(self, frames: int, first: int = 0) -> list[float]:
        """The rendered frames from `first` on."""
        engine = self.engine()
        engine.skip(first)
        return [float(value) for value in engine.render(frames)[:, 0]]


def line(entry: Entry) -> str:
    text = f"{entry.at:g} {entry.action} {entry.key}"
    if entry.action in ("start", "level", "revive", "release", "shot"):
        text += f" {digits(entry.gain_from)}->{digits(entry.gain_to)} in {entry.duration:g}"
    return f"{text} {entry.duration:g} more" if entry.action in ("hold", "arm", "settle") else text


def digits(value: float) -> str:
    """Three of them, as in the format's table of exact answers."""
    return f"{round(value, 3):g}"


def facts(sequence: str) -> list[tuple[float, Fact]]:
    found = []
    for word in sequence.split():
        what, at = word.split("@")
        kind, _, value = what.rpartition("=")
        fact = Fact("close") if what == "close" else Fact(fact_kind(kind or "agent"), None if value == "-" else value)
        found.append((float(at), fact))
    return found


def fact_kind(kind: str) -> FactKind:
    found: FactKind = next(known for known in get_args(FactKind) if known == kind)
    return found


def clip(of: float | Sequence[float] | Clip, rate: int) -> Clip:
    """Seconds of the constant 1, or these frames."""
    if isinstance(of, Clip):
        return of
    return Clip.from_samples(np.ones(round(of * rate)) if isinstance(of, int | float) else np.array(of), rate)


def law(g0: float, g1: float, u: float) -> float:
    """The envelope law, as the format writes it."""
    return math.sqrt(g0**2 + (g1**2 - g0**2) * math.sin(math.pi * u / 2) ** 2)


def u(seed: int, key: str, purpose: str, n: int) -> float:
    """T15's number, from the hash itself."""
    text = f'[{seed}, "{key}", "{purpose}", {n}]'
    return int(hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), 16) / 2**64
