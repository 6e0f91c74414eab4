"""Sound into a file: WAV, FLAC or OGG by the suffix, as fast as it can or as a session goes.

WAV and FLAC hold exactly the frames that were written, 16 bit. OGG is Opus: the codec LiveKit itself sends, so what is
heard in the file is what a caller hears, and the only good one that every PyAV brings (its wheels come without
libvorbis, and FFmpeg's own Vorbis encoder is experimental).

The same sound gives the same bytes: nothing of the day or of the library's version is written.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.codec.context import Flags

from soundscape.exceptions import OutputError, UsageError
from soundscape.outputs import PacedOutput, Source, to_int16

__all__ = ["FileOutput", "write_audio"]

_FORMATS = {".wav": ("wav", "pcm_s16le"), ".flac": ("flac", "flac"), ".ogg": ("ogg", "libopus")}
_OPUS_RATES = (48000, 24000, 16000, 12000, 8000)
_OPUS_BITRATE = 96_000  # per channel: transparent for music
_LAYOUTS = {1: "mono", 2: "stereo"}


def write_audio(path: str | os.PathLike[str], blocks: Iterable[npt.NDArray[np.float32]], sample_rate: int) -> None:
    """Writes blocks to a file, as fast as they come.

    The file appears under its name when it is complete; on any failure, also one of `blocks`, whatever was there before
    stays. A symbolic link stays one: what it leads to is written.

    Args:
        path: ends in `.wav`, `.flac` or `.ogg`. OGG knows 8, 12, 16, 24 and 48 kHz; other rates become 48 kHz.
        blocks: float32 `(frames, channels)`, all with the channels of the first, 1 or 2.
        sample_rate: frames per second.

    Raises:
        UsageError: another suffix, more than two channels, or blocks that differ in theirs.
        OutputError: the file cannot be written.
    """
    _format_of(path)  # before the first block is asked for, which may take long
    rest = iter(blocks)
    first = next(rest, None)
    writer = _Writer(path, sample_rate, 1 if first is None else first.shape[1])
    try:
        if first is not None:
            for block in itertools.chain([first], rest):
                writer.write(block)
        writer.finish()
    except BaseException:
        writer.discard()
        raise


class FileOutput(PacedOutput):
    """Writes a live session to a file, in real time; complete after `aclose`.

    Until then it grows beside its place under a temporary name. A block that cannot be written is missing from it,
    which the log says once.

    Args:
        path: ends in `.wav`, `.flac` or `.ogg`, as for `write_audio`.

    Raises:
        UsageError: another suffix.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        _format_of(path)
        self._path = path
        self._writer: _Writer | None = None

    def _open(self, source: Source) -> None:
        self._writer = _Writer(self._path, source.sample_rate, source.num_channels)

    def _write(self, block: npt.NDArray[np.float32]) -> None:
        assert self._writer is not None
        self._writer.write(block)

    def _close(self) -> None:
        assert self._writer is not None
        try:
            self._writer.finish()
        except BaseException:
            self._writer.discard()
            raise


def _format_of(path: str | os.PathLike[str]) -> tuple[str, str]:
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        unknown = suffix or "a file without a suffix"
        raise UsageError(f"{os.fspath(path)}: cannot write {unknown}; use .wav, .flac or .ogg")
    return _FORMATS[suffix]


class _Writer:
    """One file on its way, under a temporary name in the same folder, so that renaming it is all or nothing.

    Renaming would put it in the place of a link, or of `/dev/null`: a link is followed, and a device refused.
    """

    def __init__(self, path: str | os.PathLike[str], sample_rate: int, num_channels: int) -> None:
        container, codec = _format_of(path)
        if num_channels not in _LAYOUTS:
            raise UsageError(f"{os.fspath(path)}: {num_channels} channels; a file is written with 1 or 2")
        self._path = Path(path)
        self._sample_rate = sample_rate
        self._num_channels = num_channels
        self._frames = 0
        with self._errors(), contextlib.ExitStack() as undo:
            self._target = Path(os.path.realpath(path))
            if os.path.exists(self._target) and not os.path.isfile(self._target):
                raise OSError("not a regular file")
            self._part = self._target.with_name(f".soundscape-{secrets.token_hex(6)}.part")
            # An open file, not a name: FFmpeg reads `12:30.wav` as a protocol.
            self._file = open(self._part, "xb")  # noqa: SIM115
            undo.callback(self._part.unlink)
            undo.callback(self._file.close)
            self._container = av.open(self._file, "w", format=container, options={"fflags": "+bitexact"})
            rate = sample_rate if codec != "libopus" or sample_rate in _OPUS_RATES else _OPUS_RATES[0]
            stream = self._container.add_stream(codec, rate=rate, layout=_LAYOUTS[num_channels])
            assert isinstance(stream, AudioStream)
            self._stream = stream
            self._stream.codec_context.format = av.AudioFormat("s16")
            self._stream.codec_context.flags |= Flags.bitexact
            if codec == "libopus":
                self._stream.bit_rate = _OPUS_BITRATE * num_channels
            self._container.start_encoding()  # so that no sound at all makes a file, too
            undo.pop_all()

    def write(self, block: npt.NDArray[np.float32]) -> None:
        if block.shape[1] != self._num_channels:
            raise UsageError(f"{self._path}: a block of {block.shape[1]} channels in a file of {self._num_channels}")
        if not len(block):
            return
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(to_int16(block)).reshape(1, -1), format="s16", layout=_LAYOUTS[self._num_channels]
        )
        frame.sample_rate = self._sample_rate
        frame.time_base = Fraction(1, self._sample_rate)
        frame.pts = self._frames
        self._frames += len(block)
        with self._errors():
            self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        with self._errors():
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._file.close()
            os.replace(self._part, self._target)

    def discard(self) -> None:
        """Leaves nothing behind. Never raises."""
        for undo in (self._container.close, self._file.close, self._part.unlink):
            with contextlib.suppress(Exception):
                undo()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, av.FFmpegError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{self._path}: cannot be written: {reason}") from error
