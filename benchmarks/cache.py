"""The start of a scene of five minutes of sound, cold and from the cache, and what a further process of it costs.

    python benchmarks/cache.py

Ten sounds of 30 s on a bus, so that their loudness is wanted: three stereo WAVs, three FLACs, four Opus. Each start is
a fresh interpreter that imports first, then takes the time of `Scene.from_file` and of loading all its clips, beside
plain PyAV decoding to mono at 48 kHz, and `numpy.memmap` over the decoded samples with one pass through them (which is
what it takes to have looked at every byte). In turns, in one run. Then processes that hold the scene and have read all
of its samples are counted, until each further one costs the same: proportional set size (Linux).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream

from soundscape.library import SceneClips, load
from soundscape.loader import Scene

ROUNDS = 7
SECONDS = 30
SUFFIXES = ["wav"] * 3 + ["flac"] * 3 + ["ogg"] * 4
CODECS = {"wav": "pcm_s16le", "flac": "flac", "ogg": "libopus"}


def write_sound(path: Path, seed: int) -> None:
    """Pink-ish noise that comes and goes."""
    frames = SECONDS * 48_000
    noise = np.random.default_rng(seed).standard_normal((2, frames))
    smooth = np.apply_along_axis(np.convolve, 1, noise, np.hanning(64) / 200, "same")
    swell = 1 + 0.5 * np.sin(np.arange(frames) / 48_000)
    samples = np.ascontiguousarray((0.3 * smooth * swell).T, np.float32).reshape(1, -1)
    with av.open(str(path), "w") as out:
        stream = cast(AudioStream, out.add_stream(CODECS[path.suffix[1:]], rate=48_000))
        stream.layout = "stereo"
        out.start_encoding()
        whole = av.AudioFrame.from_ndarray(samples, format="flt", layout="stereo")
        whole.sample_rate = 48_000
        queue = av.AudioFifo()
        for piece in av.AudioResampler(format=stream.format, layout="stereo", rate=48_000).resample(whole):
            piece.pts = None
            queue.write(piece)
        at = 0
        while block := queue.read(stream.codec_context.frame_size or 4_096, partial=True):
            block.pts, block.time_base, at = at, Fraction(1, 48_000), at + block.samples
            out.mux(stream.encode(block))
        out.mux(stream.encode(None))


def write_scene(folder: Path) -> Path:
    lines = ["[buses.room]", "level_lu = -20"]
    for n, suffix in enumerate(SUFFIXES):
        write_sound(folder / f"{n}.{suffix}", n)
        lines += ["[[base.layers]]", f'source = "{n}.{suffix}"', 'bus = "room"', "volume = 0.1"]
    path = folder / "scene.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def sounds(scene: Path) -> list[Path]:
    return [scene.with_name(f"{n}.{suffix}") for n, suffix in enumerate(SUFFIXES)]


def soundscape(scene: Path) -> object:
    clips = SceneClips(Scene.from_file(scene))
    clips.load_all()
    return clips


def plain(scene: Path) -> object:
    found = []
    for path in sounds(scene):
        with av.open(str(path)) as file:
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=48_000)
            frames = [out.to_ndarray()[0] for frame in file.decode(audio=0) for out in resampler.resample(frame)]
            found.append(np.concatenate(frames + [out.to_ndarray()[0] for out in resampler.resample(None)]))
    return found


def memmap(scene: Path) -> object:
    arrays = [np.memmap(path, np.float32, "r") for path in sorted(scene.parent.glob("?.f32"))]
    return arrays, [array.sum() for array in arrays]


def nothing(_: Path) -> object:
    return {}


WAYS: dict[str, Callable[[Path], object]] = {
    "soundscape": soundscape,
    "plain": plain,
    "memmap": memmap,
    "nothing": nothing,
}


def child(way: str, scene: Path, wait: bool) -> None:
    """One start: says how long it took, and, if it is to wait, what the process costs then whenever it is asked."""
    began = time.perf_counter()
    held = WAYS[way](scene)
    print(time.perf_counter() - began, flush=True)
    if wait:
        assert isinstance(held, Mapping)
        for clip in held.values():
            clip.samples.sum()
        print(len(held), flush=True)
        for _ in sys.stdin:
            lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
            print(next(int(line.split()[1]) for line in lines if line.startswith("Pss:")), flush=True)


def start(way: str, scene: Path, cache: str, *, wait: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "child", way, str(scene), "wait" if wait else ""]
    environment = {**os.environ, "SOUNDSCAPE_CACHE": cache}
    return subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def seconds(way: str, scene: Path, cache: str) -> float:
    return float(start(way, scene, cache).communicate()[0])


def memory(way: str, scene: Path, cache: str, count: int) -> list[float]:
    """PSS (MB) of all processes together with one of them, two, ..., each having read all samples."""
    running: list[subprocess.Popen[str]] = []
    totals = []
    try:
        for _ in range(count):
            running.append(start(way, scene, cache, wait=True))
            assert running[-1].stdout is not None
            for _ in range(2):
                running[-1].stdout.readline()
            total = 0
            for process in running:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("?\n")
                process.stdin.flush()
                total += int(process.stdout.readline())
            totals.append(total / 1024)
    finally:
        for process in running:
            process.communicate()
    return totals


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = write_scene(folder)
        for path in sounds(scene):
            os.environ["SOUNDSCAPE_CACHE"] = "off"
            load(path).samples.tofile(folder / f"{path.stem}.f32")
        time.sleep(2.5)  # the cache hashes a file anew that was written just now
        times: dict[str, list[float]] = {name: [] for name in ("cold", "cached", "plain", "memmap")}
        for n in range(ROUNDS):
            cache = str(folder / f"cache{n}")
            times["cold"].append(seconds("soundscape", scene, cache))
            times["cached"].append(seconds("soundscape", scene, cache))
            times["plain"].append(seconds("plain", scene, cache))
            times["memmap"].append(seconds("memmap", scene, cache))
        medians = {name: statistics.median(found) for name, found in times.items()}
        for name, found in times.items():
            print(f"{name:8} {medians[name] * 1e3:7.1f} ms (best {min(found) * 1e3:.1f})")
        print(f"cold   / plain  {medians['cold'] / medians['plain']:6.2f}")
        print(f"cached / plain  {medians['cached'] / medians['plain']:6.3f}")
        print(f"cached / memmap {medians['cached'] / medians['memmap']:6.2f}")
        for said, way, cache in (
            ("imports alone", "nothing", "off"),
            ("with the cache", "soundscape", str(folder / "cache0")),
            ("without", "soundscape", "off"),
        ):
            totals = memory(way, scene, cache, 4)
            steps = ", ".join(f"{after - before:.1f}" for before, after in pairwise(totals))
            print(f"{said:14} {totals[0]:6.1f} MB, each further process {steps} MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(sys.argv[2], Path(sys.argv[3]), wait=sys.argv[4] == "wait")
    else:
        main()
