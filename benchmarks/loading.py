"""What reading a scene adds to parsing and modelling it: a scene of 200 lines.

    python benchmarks/loading.py

The floor is the standard library's TOML parser and pydantic's `model_validate`, from the file. `Scene.from_file` does
both, and looks at the text's limits and at what goes together. Both are timed in turns, in one run.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from soundscape.loader import Scene

ROUNDS = 400


def scene() -> str:
    """A scene of 200 lines in which every table is used as people use it."""
    lines = ['name = "busy"', 'description = "A busy office on a rainy day."', "seed = 7", ""]
    for n in range(4):
        lines += [f"[buses.bus{n}]", f"level_lu = -{9 + n}", ""]
    for n in range(6):
        lines += [f"[clips.clip{n}]", f'source = "sounds/{n}.ogg"', "gain_db = -3", f"loop = {{ start = {n}.5 }}", ""]
    for n in range(4):
        lines += [f"[pools.pool{n}]", 'mode = "shuffle"', "entries = ["]
        lines += [f'  {{ source = "sounds/{n}-{i}.ogg", volume = 0.{i + 2}, probability = 0.2 }},' for i in range(5)]
        lines += ["]", ""]
    for n in range(5):
        lines += ["[[base.layers]]", f'source = "clip{n}"', f'bus = "bus{n % 4}"', "volume = 0.5", ""]
    for n, state in enumerate(["listening", "thinking", "speaking", "tool", "away", "on_hold"]):
        lines += [f"[[states.{state}.layers]]  # what is heard in it", f'pool = "pool{n % 4}"', "fade_in = 0.2", ""]
        lines += [f"[[states.{state}.layers]]", 'kind = "scatter"', 'source = "clip5"', "interval = [4, 9]", ""]
    for n, state in enumerate(["listening", "thinking", "speaking", "on_hold"]):
        lines += ["[[transitions]]", f'to = "{state}"', f"crossfade = 0.{n + 2}", ""]
    lines += ["[[ducks]]", 'while = "user_speaking"', "by_db = -6", 'buses = ["bus0", "bus1"]']
    return "".join(f"{line}\n" for line in (*lines, *["# a remark"] * (200 - len(lines))))


def main() -> None:
    text = scene()
    assert text.count("\n") == 200, text.count("\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "busy.toml")
        path.write_text(text, encoding="utf-8")

        def floor() -> object:
            with path.open("rb") as file:
                return Scene.model_validate(tomllib.load(file))

        ways: dict[str, Callable[[], object]] = {"floor": floor, "from_file": lambda: Scene.from_file(path)}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, median in medians.items():
        print(f"{name:10} {median * 1e3:6.2f} ms")
    print(f"{'ratio':10} {medians['from_file'] / medians['floor']:6.2f}")


if __name__ == "__main__":
    main()
