"""What a telephone line leaves of a sound: 300 to 3400 Hz, 8000 frames per second, G.711 mu-law there and back.

FFmpeg does all of it: `aresample` brings the sound to the line's rate, `firequalizer` cuts the band out of it, and the
encoder and decoder `pcm_mulaw` do to it what the exchange does: 8 bits a frame, the noise that comes with them, and
clipping where the line does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.filter import Graph
from numpy.typing import NDArray

from soundscape.exceptions import UsageError

__all__ = ["TELEPHONE_RATE", "telephone"]

TELEPHONE_RATE = 8_000
"""Frames per second of a telephone line."""

_FORMAT = f"sample_rates={TELEPHONE_RATE}:channel_layouts=mono"
_BAND = "gain='if(between(f,300,3400),0,-INF)':delay=0.05:zero_phase=on"
"""*Measured*: -4 dB at 300 and 3400 Hz, within 0.2 dB from 330 to 3380, under -40 dB below 270 and above 3440."""


def telephone(blocks: Iterable[NDArray[np.float32]], sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """The sound as it comes out of a telephone at the far end, not delayed.

    Args:
        blocks: float32 `(frames, 1)`; full scale is 1.
        sample_rate: their frames per second.

    Yields:
        float32 `(frames, 1)` at `TELEPHONE_RATE`; as long as the sound, a begun frame of the line being a whole one.

    Raises:
        UsageError: blocks of another number of channels than one.
    """
    line = _Line(sample_rate)
    frames = 0
    for block in blocks:
        if block.shape[1:] != (1,):
            raise UsageError(f"a telephone line carries one channel; a block is (frames, 1), not {block.shape}")
        frames += len(block)
        yield from line.carried(block)
    if frames:
        yield from line.rest(-(-frames * TELEPHONE_RATE // sample_rate))


class _Line:
    """A filter graph, an encoder and a decoder, one behind the other."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._pushed = 0
        self._given = 0
        self._graph = Graph()
        nodes = [
            self._graph.add_abuffer(
                format="flt", sample_rate=sample_rate, layout="mono", time_base=Fraction(1, sample_rate)
            ),
            self._graph.add("aformat", f"sample_fmts=flt:{_FORMAT}"),
            self._graph.add("firequalizer", _BAND),
            self._graph.add("aformat", f"sample_fmts=s16:{_FORMAT}"),
            self._graph.add("abuffersink"),
        ]
        self._graph.link_nodes(*nodes).configure()
        self._encoder = _codec("w")
        self._decoder = _codec("r")

    def carried(self, block: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        if len(block):
            self._push(block)
            yield from self._pulled(None)

    def rest(self, total: int) -> Iterator[NDArray[np.float32]]:
        """What is still in the filters; `total` frames have been given at the end of it."""
        # The resampler gives nothing at all for a sound that is shorter than its filter.
        self._push(np.zeros((self._sample_rate // 10, 1), np.float32))
        self._graph.push(None)
        yield from self._pulled(total)

    def _push(self, block: NDArray[np.float32]) -> None:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block.T), format="flt", layout="mono")
        frame.sample_rate = self._sample_rate
        frame.time_base = Fraction(1, self._sample_rate)
        frame.pts = self._pushed
        self._pushed += len(block)
        self._graph.push(frame)

    def _pulled(self, total: int | None) -> Iterator[NDArray[np.float32]]:
        while True:
            try:
                frame = self._graph.pull()
            except (BlockingIOError, av.EOFError):
                return
            assert isinstance(frame, av.AudioFrame)
            assert frame.pts is not None, "the filters count frames"
            # The band filter looks ahead: it begins 50 ms before the sound does, and ends 50 ms after it.
            samples = frame.to_ndarray()[0][max(0, -frame.pts) :]
            samples = samples[: None if total is None else max(0, total - self._given)]
            if len(samples):
                self._given += len(samples)
                yield self._coded(samples)

    def _coded(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1)), format="s16", layout="mono")
        frame.sample_rate = TELEPHONE_RATE
        packets = self._encoder.encode(frame)
        heard = [decoded.to_ndarray()[0] for packet in packets for decoded in self._decoder.decode(packet)]
        return np.concatenate(heard).astype(np.float32).reshape(-1, 1) / np.float32(2**15)


def _codec(mode: Literal["r", "w"]) -> AudioCodecContext:
    codec = av.CodecContext.create("pcm_mulaw", mode)
    codec.sample_rate = TELEPHONE_RATE
    codec.layout = "mono"
    if mode == "w":
        codec.format = "s16"
        codec.time_base = Fraction(1, TELEPHONE_RATE)
    codec.open()
    return codec
