"""The clips that ship: all there, at one level, clean, and loops that close."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from soundscape.library import list_clips, load, resolve
from soundscape.loader import data_dir

LOOPS = (
    "cafe",
    "city-ambience",
    "crowded-room",
    "forest-ambience",
    "hold-music",
    "keyboard-typing",
    "keyboard-typing-2",
    "office-ambience",
    "rain",
    "server-hum",
)
SHOTS = ("chime", "hang-up", "pick-up")


def samples(name: str) -> npt.NDArray[np.float32]:
    return load(resolve(f"soundscape:{name}", Path())).samples


def measured(sound: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Integrated loudness (LUFS) and true peak (dBTP), by FFmpeg's own meter."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=48_000, format="flt", layout="mono", time_base=None)
    meter = graph.add("ebur128", "peak=true:metadata=1")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(sound[np.newaxis], format="flt", layout="mono")
    frame.sample_rate = 48_000
    graph.push(frame)
    graph.push(None)
    loudness, peak = -70.0, 0.0
    while True:
        try:
            found = graph.pull()
        except (av.EOFError, BlockingIOError):
            return loudness, 20 * math.log10(peak)
        assert isinstance(found, av.AudioFrame)
        loudness = float(found.metadata.get("lavfi.r128.I", loudness))  # a frame that ends no window has none
        peak = max(peak, float(found.metadata.get("lavfi.r128.true_peaks_ch0", 0)))


def sounding(sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The part of a shot within 45 dB of its loudest 5 ms."""
    hop = 240
    powers = np.square(sound[: len(sound) // hop * hop]).reshape(-1, hop).mean(axis=1)
    heard = np.flatnonzero(powers > powers.max() * 10**-4.5)
    return sound[heard[0] * hop : (heard[-1] + 1) * hop]


def test_every_clip_ships() -> None:
    assert list_clips() == sorted(LOOPS + SHOTS)
    assert sum(path.stat().st_size for path in data_dir("resources/clips").iterdir()) < 8_000_000


@pytest.mark.parametrize("name", LOOPS + SHOTS)
def test_level(name: str) -> None:
    """All within 1 LU of each other over the parts that sound, under -3 dBTP, with no DC."""
    sound = samples(name)
    part = sound if name in LOOPS else sounding(sound)
    loudness, peak = measured(part)
    assert loudness == pytest.approx(-27.0, abs=0.5)
    assert peak < -3
    assert abs(float(sound.mean())) < 1e-3


@pytest.mark.parametrize("name", LOOPS)
def test_loops_close_by_themselves(name: str) -> None:
    """The end of the file flows into its beginning, so that nothing is crossfaded and a bar keeps its length."""
    clip = load(resolve(f"soundscape:{name}", Path()))
    assert (clip.period, len(clip.seam)) == (clip.length, 0)
    assert clip.length >= (15 if "typing" in name else 20) * 48_000


@pytest.mark.checkout
def test_the_script_makes_the_clips(tmp_path: Path) -> None:
    """What ships is what `resources/make_clips.py` makes, but for 40 dB less than its sound: on another CPU the codec
    rounds differently (50 dB less), and a level of 0.1 dB more or less would fail."""
    root = Path(__file__).parent.parent
    command = [sys.executable, str(root / "resources" / "make_clips.py"), "chime", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    made, ships = load(tmp_path / "chime.opus").samples, samples("chime")
    assert made.shape == ships.shape
    assert np.square(made - ships).mean() < 1e-4 * np.square(ships).mean()
