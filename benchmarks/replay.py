"""How quickly scenes are replayed: an hour of conversation for its log alone, and the sound of a rich scene.

    python benchmarks/replay.py

The conversation is made up: 2 to 6 s of listening while the caller speaks, 0.4 to 2 s of thinking, 2 to 8 s of
speaking, over and over. Rates are seconds of conversation in a second of this machine's; the clips are decoded before.
"""

from __future__ import annotations

import logging
import random
import statistics
import time
from collections.abc import Callable

from soundscape.loader import Scene
from soundscape.testing import replay

ROUNDS = 7

RICH = """
[buses.room]
level_lu = -18
[buses.near]
level_lu = -12

[[ducks]]
while = "user_speaking"
by_db = -9
[[ducks]]
while = "agent_speaking"
by_db = -6
buses = ["room"]

[base]
layers = [
  { source = "soundscape:office-ambience", bus = "room" },
  { source = "soundscape:rain", bus = "room" },
  { source = "soundscape:cafe", bus = "room" },
  { source = "soundscape:city-ambience" },
  { source = "soundscape:forest-ambience" },
  { source = "soundscape:server-hum" },
  { kind = "scatter", pool = "signals", bus = "near", interval = [1, 3] },
]

[pools.signals]
mode = "shuffle"
gain_jitter_db = [-4, 0]
entries = [{ source = "soundscape:chime" }, { source = "soundscape:pick-up" }]

[states.thinking]
layers = [
  { pool = [{ source = "soundscape:keyboard-typing" }, { source = "soundscape:keyboard-typing-2" }], after = 0.5 },
  { source = "soundscape:hold-music", start = "resume", bus = "near" },
  { source = "soundscape:crowded-room", start = "random", bus = "room", min_play = 2 },
]

[[transitions]]
to = "listening"
settle = 0.25
"""
"""Ten layers of three kinds on three buses, and two ducks."""


def conversation(seconds: float) -> list[tuple[float, str]]:
    rng = random.Random(1)
    events: list[tuple[float, str]] = []
    at = 0.0
    while at < seconds:
        events += [(at, "listening"), (at, "user=speaking")]
        at += rng.uniform(2, 6)
        events += [(at, "user=listening"), (at, "thinking")]
        at += rng.uniform(0.4, 2)
        events.append((at, "speaking"))
        at += rng.uniform(2, 8)
    return events


def rate(seconds: float, run: Callable[[], object]) -> float:
    run()
    took = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        took.append(time.perf_counter() - started)
    return seconds / statistics.median(took)


def main() -> None:
    logging.disable(logging.WARNING)
    hour, minutes = conversation(3_600), conversation(120)
    rich = Scene.from_toml(RICH)
    for name, scene in (("office", "office"), ("ten layers, two ducks", rich)):
        entries = len(replay(scene, hour, until=3_600).log)
        quick = rate(3_600, lambda scene=scene: replay(scene, hour, until=3_600))  # type: ignore[misc]
        print(f"an hour's log,  {name:22} {entries:5} entries   {quick:8,.0f} times real time")
    take = replay(rich, minutes, until=120)
    print(f"the sound of    ten layers, two ducks                  {rate(120, take.audio):8,.0f} times real time")


if __name__ == "__main__":
    main()
