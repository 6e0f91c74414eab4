"""How loud a clip is: integrated loudness and true peak after ITU-R BS.1770, read off FFmpeg's meter, `ebur128`.

The meter weights the sound (K) and says every 100 ms how loud the last 400 ms were. Those are the recommendation's
gating blocks, and the gates are put to them here. The meter's own integrated loudness would not do: it is -70 where
there is nothing to measure, stays at 10 however loud a float32 sound is, and gates in steps of 0.01 LU.

What the meter needs, *measured* with FFmpeg 8.1:

- *A level.* It writes three decimals, also of the linear peak: at -60 dBFS that would be 0.001. So what goes in is
  brought to a peak of 512 to 1024 by a power of two, which is exact, and what comes out is brought back.
- *A sample rate.* Its K-weighting is the one of BS.1770's table at 48 kHz only. Elsewhere its high-pass lets all that
  it passes through louder, 0.09 dB at 16 kHz. This is taken off again; what is left is within 0.07 LU of the table from
  16 kHz on. Below, its shelf is bent (0.3 LU at 8 kHz) and falls apart (3 kHz): such clips are resampled to 48 kHz on
  the way in, and then within 0.12 LU, whatever they hold just under half their rate.
- *No offset.* The weighting takes DC out, but not its first moment: constants would be as loud as their onset. So the
  mean is taken off first.
- *A rest.* It says nothing about the last, incomplete 100 ms, whose peak counts. So a pause follows the clip.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from soundscape.exceptions import DecodeError, UsageError

__all__ = ["Loudness", "integrated_loudness", "measure", "true_peak"]

_HOP = 0.1
_BLOCK = 4
"""A gating block is four hops of 100 ms."""

_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
"""LUFS; LU under the loudness of what passes the first gate (BS.1770-5, annex 1)."""

_NOTHING = -120.0
"""What the meter writes for no power at all is -120.691, far under what it is given; no block of sound comes near."""

_SLOWEST = 16_000
_RESAMPLED = "48000:filter_size=256:cutoff=0.995"
"""Clips under 16 kHz go to 48 kHz. FFmpeg's usual filter would take 0.2 LU from white noise at 8 kHz, this one 0.03."""


class Loudness(NamedTuple):
    """What was measured.

    Attributes:
        lufs: integrated loudness in LUFS; None where there is nothing that could be measured.
        true_peak: dBTP; minus infinity for silence.
    """

    lufs: float | None
    true_peak: float


def measure(samples: NDArray[np.float32], sample_rate: int) -> Loudness:
    """Both readings, at the price of both. Arguments and errors are those of `integrated_loudness`."""
    return Loudness(integrated_loudness(samples, sample_rate), true_peak(samples, sample_rate))


def integrated_loudness(samples: NDArray[np.float32], sample_rate: int) -> float | None:
    """Integrated loudness after ITU-R BS.1770-5. May be called from any thread.

    *Measured*: 0.6 ms for a second at 48 kHz, so a second for half an hour.

    Args:
        samples: mono, `(frames,)`, finite; full scale is 1, and may be exceeded.
        sample_rate: frames per second.

    Returns:
        LUFS. None for what has no loudness: less than 400 ms, nothing above -70 LUFS, nothing but DC. Such a clip is
        not to be normalised.

    Raises:
        UsageError: not one dimension, or not finite.
        DecodeError: this FFmpeg cannot measure. A loudness that is wanted and unknown is an error: a clip played as it
            is could drown the voice that it is to lie under.
    """
    gain = _gain(samples)
    hops = len(samples) * 10 // sample_rate
    if not gain or hops < _BLOCK:
        return None
    mean = float(samples.mean(dtype=np.float64))
    read = [float(said["lavfi.r128.M"]) for said in _readings(samples, mean, gain, sample_rate, "metadata=1")]
    rate = 48_000 if sample_rate < _SLOWEST else sample_rate
    gain_db = 20 * math.log10(gain * _passband(rate) / _passband(48_000))
    blocks = np.array(read[_BLOCK - 1 : hops])
    blocks = blocks[blocks > _NOTHING] - gain_db
    blocks = blocks[blocks > _ABSOLUTE_GATE]
    blocks = blocks[blocks > _mean_level(blocks) + _RELATIVE_GATE]
    return _mean_level(blocks) if len(blocks) else None


def true_peak(samples: NDArray[np.float32], sample_rate: int) -> float:
    """The largest magnitude between the frames as well as at them. May be called from any thread.

    *Measured*: 1.9 ms for a second at 48 kHz, three times the loudness, for it resamples to 192 kHz.

    Args:
        samples: mono, `(frames,)`, finite; full scale is 1, and may be exceeded.
        sample_rate: frames per second.

    Returns:
        dBTP; minus infinity for silence.

    Raises:
        UsageError: not one dimension, or not finite.
        DecodeError: this FFmpeg cannot measure.
    """
    gain = _gain(samples)
    if not gain:
        return -math.inf
    peak = gain * _sample_peak(samples)
    for said in _readings(samples, 0.0, gain, sample_rate, "metadata=1:peak=true"):
        peak = max(peak, float(said["lavfi.r128.true_peak"]))
    return 20 * math.log10(peak / gain)


def _gain(samples: NDArray[np.float32]) -> float:
    """The power of two that brings the samples to a peak of 512 to 1024; 0 for silence."""
    if samples.ndim != 1:
        raise UsageError(f"loudness is measured of mono frames, (frames,); these are {samples.shape}")
    peak = _sample_peak(samples)
    if not math.isfinite(peak):
        raise UsageError("loudness is measured of finite numbers; some of these are not")
    return math.ldexp(1.0, 10 - math.frexp(peak)[1]) if peak else 0.0


def _sample_peak(samples: NDArray[np.float32]) -> float:
    return max(-float(samples.min()), float(samples.max())) if len(samples) else 0.0


def _passband(sample_rate: int) -> float:
    """What the meter's high-pass makes of what it passes; its numerator is (1, -2, 1), as in the table, at any rate."""
    k = math.tan(math.pi * 38.13547087613982 / sample_rate)
    return 1 + k / 0.5003270373253953 + k * k


def _mean_level(blocks: NDArray[np.float64]) -> float:
    """The level, in dB, of the mean power; of nothing, minus infinity."""
    if not len(blocks):
        return -math.inf
    loudest = float(blocks.max())
    return loudest + 10 * math.log10(float(np.mean(10 ** ((blocks - loudest) / 10))))


def _readings(
    samples: NDArray[np.float32], mean: float, gain: float, sample_rate: int, options: str
) -> Iterator[dict[str, str]]:
    """What the meter says of (samples - mean) * gain, each 100 ms, until at least 100 ms after their end."""
    try:
        graph = av.filter.Graph()
        source = graph.add_abuffer(sample_rate=sample_rate, format="dbl", layout="mono", time_base=None)
        resampler = [graph.add("aresample", _RESAMPLED)] if sample_rate < _SLOWEST else []
        meter = graph.add("ebur128", options)
        graph.link_nodes(source, *resampler, meter, graph.add("abuffersink")).configure()
        for piece in _pieces(samples, mean, gain, sample_rate):
            frame = av.AudioFrame.from_ndarray(piece[np.newaxis], format="dbl", layout="mono")
            frame.sample_rate = sample_rate
            graph.push(frame)
            yield from _pulled(graph)
        graph.push(None)
        yield from _pulled(graph)
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError(
            f"loudness cannot be measured: FFmpeg's meter, ebur128, fails with {error}",
            hint="this FFmpeg is not the one that comes with PyAV's own wheels: install av from them",
        ) from error


def _pieces(samples: NDArray[np.float32], mean: float, gain: float, sample_rate: int) -> Iterator[NDArray[np.float64]]:
    """A second at a time: half an hour as one piece would be 700 MB, and again inside the meter."""
    for start in range(0, len(samples), sample_rate):
        piece = samples[start : start + sample_rate].astype(np.float64)
        piece -= mean
        piece *= gain
        yield piece
    yield np.zeros(max(1, math.ceil(3 * _HOP * sample_rate)))


def _pulled(graph: av.filter.Graph) -> Iterator[dict[str, str]]:
    while True:
        try:
            frame = graph.pull()
        except (av.EOFError, BlockingIOError):
            return
        if frame.metadata:  # one that ends no 100 ms has none
            yield frame.metadata
