"""From the bytes of a sound file to mono samples, nothing lost at either end.

The format is told from the first bytes, before FFmpeg sees any, and only that format's reader is started: left to
itself FFmpeg takes a playlist for a sound and plays what it names, wherever that is. It is given file objects, never
names (`12:30.wav` would be a protocol), and may open nothing else. What comes out is bounded, not what goes in: a FLAC
of 1 MB can hold 24 hours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NoReturn

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from soundscape.exceptions import DecodeError
from soundscape.library.resample import Resampler

__all__ = ["decode"]

MAX_SECONDS = 30 * 60
MAX_CHANNELS = 6
"""The format's limits. PyAV ends the process at 8 planar channels, so they are counted before a frame is looked at."""

SAMPLE_RATES = range(1_000, 768_001)
"""Frames per second of a file. Under these there are only mistakes, such as a WAV at 1 Hz that lasts 26 hours."""

_BATCH = 1 << 16
"""Frames converted at a time: numpy's cost per call is gone by then, and a batch is a megabyte or two."""

_FORMATS = "WAV, FLAC, Ogg (Opus, Vorbis), MP3, M4A, AIFF, CAF or WebM"

_SIGNATURES = {
    "wav": rb"(RIFF|RF64|RIFX|BW64)....WAVE",
    "flac": rb"fLaC",
    "ogg": rb"OggS",
    "mov": rb"....ftyp",
    "aiff": rb"FORM....AIF[FC]",
    "caf": rb"caff\0",
    "w64": rb"riff\x2e\x91\xcf\x11",
    "matroska": rb"\x1a\x45\xdf\xa3",
    "aac": rb"\xff[\xf0\xf1\xf8\xf9]",
    "mp3": rb"\0*\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]",
}
"""FFmpeg's readers by what a file begins with; MP3's sync comes after ADTS's, whose layer is 0."""

_PLAYLIST_TEXT = re.compile(
    rb"\s*(#EXT|ffconcat|\[playlist\]|\[reference\]|#?\s*file\s|title\s|performer\s|rem\s"
    rb"|<\?xml|<\?wpl|<asx|<smil|<mpd|<playlist|v=0)",
    re.IGNORECASE,
)

_CODECS = re.compile(r"(pcm|adpcm)_\w+|flac|alac|opus|libopus|vorbis|libvorbis|mp[123](float)?|aac(_fixed)?|libfdk_aac")
"""What sounds come in. A container can name any of FFmpeg's 500 decoders, most of them old and little tried."""

_SCALES: dict[str, tuple[type[np.generic], float, float]] = {
    "u8": (np.uint8, 128.0, 1 / 128),
    "s16": (np.int16, 0.0, 1 / 32_768),
    "s32": (np.int32, 0.0, 1 / 2_147_483_648),
    "flt": (np.float32, 0.0, 1.0),
    "dbl": (np.float64, 0.0, 1.0),
}
"""By FFmpeg's sample format: what is in memory, its zero, and what one of it is worth."""


def decode(file: BinaryIO, name: str, sample_rate: int) -> NDArray[np.float32]:
    """The sound in a file: mono, at a sample rate, read-only.

    Mono is the mean of the channels, (L + R) / 2 of stereo, the low-frequency effects left out: nothing can exceed full
    scale that did not before, and stereo is no louder than its channels. (FFmpeg's own stereo to mono is 3 dB louder.)
    Encoder delay and padding are cut off where the file says how much they are. At the file's own rate integers up to
    24 bits are exact; at another, n frames become n * sample_rate / rate, rounded, each in its place.

    Args:
        file: open for reading, seekable.
        name: what to call it in errors.
        sample_rate: frames per second to resample to.

    Returns:
        float32 `(frames,)`, one frame at least.

    Raises:
        DecodeError: no sound, a damaged or incomplete one, or one beyond the format's limits.
    """
    try:
        return _decode(file, name, sample_rate)
    except DecodeError:
        raise
    except Exception as error:  # PyAV raises FFmpeg's errors as a dozen built-in ones, by what the bytes happen to be
        raise DecodeError(f"{name!r} cannot be decoded: it is damaged, or not what its first bytes say") from error


def _decode(file: BinaryIO, name: str, sample_rate: int) -> NDArray[np.float32]:
    demuxer, head = _recognise(file, name)
    file.seek(0)
    with av.open(
        file,
        mode="r",
        format=demuxer,
        io_open=_open_nothing,
        metadata_errors="replace",
        # FFmpeg looks for DTS in 5 MB of every 16-bit WAV, which takes five times as long as the decoding.
        options={"max_size": "32768", "probesize": "32768"} if demuxer == "wav" else {},
        buffer_size=1 << 16,
    ) as container:
        if not container.streams.audio:
            raise DecodeError(f"{name!r} has no sound in it")
        stream = container.streams.audio[0]
        _check(stream.codec_context.name if stream.codec_context else "", stream.channels, stream.rate, name)
        seconds = _seconds(container, stream, head)
        if seconds is not None and seconds > MAX_SECONDS + 1:
            raise _too_long(name)
        # FLAC's decoder is silent about a wrong checksum, and plays the noise, unless told otherwise.
        stream.codec_context.options = {"err_detect": "crccheck+explode"} if demuxer == "flac" else {}
        # Programs that write to a pipe cannot know a WAV's size: 0 or the largest number stands in its place.
        unsized = demuxer == "wav" and not 8 < int.from_bytes(head[4:8], "little") < 0x7FFF_0000
        frames = _frames(container, stream, name, seconds, unsized)
        pieces, total = [], 0
        for piece in _resampled(_batches(frames), sample_rate):
            pieces.append(piece)
            total += len(piece)
            if total > MAX_SECONDS * sample_rate:
                raise _too_long(name)
    if not total:
        raise DecodeError(f"{name!r} has not a single frame of sound")
    sound = np.concatenate(pieces)
    if demuxer == "mov" and seconds is not None:
        # FFmpeg leaves the padding of the last AAC packet in; the track's length is without it.
        sound = sound[: max(1, round(seconds * sample_rate))]
    if not math.isfinite(float(sound.min()) + float(sound.max())):
        raise DecodeError(f"{name!r} holds numbers that are no sound (NaN or infinity)", hint="write the file anew")
    sound.setflags(write=False)
    return sound


def _recognise(file: BinaryIO, name: str) -> tuple[str, bytes]:
    """FFmpeg's name for the format that the first bytes show, and those bytes, after any ID3 tag."""
    head = file.read(4096)
    if not head:
        raise DecodeError(f"{name!r} is empty")
    while head[:3] == b"ID3" and len(head) >= 10:
        length = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        file.seek(file.tell() - len(head) + 10 + length)
        head = file.read(4096)
    for demuxer, pattern in _SIGNATURES.items():
        if re.match(pattern, head, re.DOTALL):
            return demuxer, head
    if _PLAYLIST_TEXT.match(head):
        raise DecodeError(f"{name!r}: playlists are not played", hint="name the sound files themselves, in a pool")
    raise DecodeError(f"{name!r} is no sound file that is known", hint=f"convert it to {_FORMATS}")


def _open_nothing(url: str, *_: Any) -> NoReturn:
    raise PermissionError(f"a sound file may not open another: {url}")


def _too_long(name: str) -> DecodeError:
    return DecodeError(f"{name!r} is longer than {MAX_SECONDS // 60} minutes", hint="cut it")


def _check(codec: str, channels: int, rate: int, name: str) -> None:
    """Refuses what would not be played, or could not be decoded safely."""
    if not _CODECS.fullmatch(codec):
        coding = codec or "unknown"
        raise DecodeError(f"{name!r}: its coding ({coding}) is not played", hint=f"convert it to {_FORMATS}")
    if channels > MAX_CHANNELS:
        raise DecodeError(f"{name!r} has {channels} channels", hint=f"mix it down: {MAX_CHANNELS} is the most")
    if rate not in SAMPLE_RATES:
        limits = f"{SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]}"
        raise DecodeError(f"{name!r} has a sample rate of {rate} Hz", hint=f"it must be {limits} Hz")


def _seconds(container: InputContainer, stream: AudioStream, head: bytes) -> float | None:
    """The length that the file itself states; None where FFmpeg could only guess one from the bit rate."""
    formats = container.format.name
    if formats == "aac" or (formats == "mp3" and not re.search(rb"Xing|Info|VBRI", head)):
        return None
    # Of Opus in Ogg, FFmpeg counts the frames that the decoder skips at the beginning.
    skipped = head.find(b"OpusHead") if formats == "ogg" else -1
    seconds = -int.from_bytes(head[skipped + 10 : skipped + 12], "little") / 48_000 if skipped >= 0 else 0.0
    if stream.duration is not None and stream.time_base is not None:
        return seconds + float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None


def _frames(
    container: InputContainer, stream: AudioStream, name: str, seconds: float | None, unsized: bool
) -> Iterator[av.AudioFrame]:
    """The frames of a stream, whole and all alike, or a `DecodeError` that says how far it could be read."""
    read = 0
    like: tuple[str, int, int] | None = None
    broken = False

    def damage(what: str) -> DecodeError:
        heard = read / like[2] if like else 0.0
        place = f"{heard:.2f} s"
        # Of a WAV that breaks off FFmpeg takes what is left for the whole.
        if seconds is not None and f"{seconds:.2f} s" != place:
            place = f"{heard:.2f} of {seconds:.2f} s"
        return DecodeError(f"{name!r} {what} after {place}", hint="half a clip is not played: copy the file anew")

    for packet in container.demux(stream):
        cut = packet.is_corrupt and not unsized
        try:
            frames = packet.decode()
        except av.FFmpegError:
            # Some files end in what is no sound; an error after which sound goes on is a hole in it.
            broken = True
            continue
        for frame in frames:
            now = (frame.format.name, frame.layout.nb_channels, frame.sample_rate)
            if now != like:
                if like is not None:
                    raise DecodeError(f"{name!r} changes its format after {read / like[2]:.1f} s")
                like = now
                _check(stream.codec_context.name, now[1], now[2], name)
                if now[0].removesuffix("p") not in _SCALES:
                    raise DecodeError(f"{name!r}: samples of its kind ({now[0]}) are not played")
            if broken:
                raise damage("is damaged")
            read += frame.samples
            yield frame
        if cut:
            raise damage("breaks off")
    if like is None and broken:
        raise damage("is damaged")
    if like is not None and seconds is not None:
        # An MP4's length may count silence that an edit list puts before the sound; WebM's counts what Opus skips.
        slack = {"mov": 0.1 * max(1.0, seconds), "matroska": 0.1}.get(container.format.name.split(",")[0], 0.02)
        if read / like[2] < seconds - slack:
            raise damage("breaks off")


def _batches(frames: Iterable[av.AudioFrame]) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Mono samples and their rate, some 65,536 frames at a time."""
    batch: list[av.AudioFrame] = []
    length = 0
    for frame in frames:
        batch.append(frame)
        length += frame.samples
        if length >= _BATCH:
            yield _mono(batch), frame.sample_rate
            batch, length = [], 0
    if length:
        yield _mono(batch), batch[0].sample_rate


def _mono(frames: list[av.AudioFrame]) -> NDArray[np.float32]:
    """The mean of the channels of frames that are alike, without the low-frequency effects."""
    first = frames[0]
    count = first.layout.nb_channels
    dtype, zero, unit = _SCALES[first.format.name.removesuffix("p")]
    if first.format.is_planar:
        parts = [[np.frombuffer(plane, dtype, frame.samples) for plane in frame.planes] for frame in frames]  # type: ignore[call-overload]
        channels = [np.concatenate(plane) for plane in zip(*parts, strict=True)]
    else:
        packed = [np.frombuffer(frame.planes[0], dtype, frame.samples * count) for frame in frames]  # type: ignore[call-overload]
        channels = list(np.concatenate(packed).reshape(-1, count).T)
    heard = [c for c, place in zip(channels, first.layout.channels, strict=True) if not place.name.startswith("LFE")]
    heard = heard or channels
    with np.errstate(over="ignore", invalid="ignore"):
        total = heard[0].astype(np.float32)
        for channel in heard[1:]:
            total += channel
        if zero:
            total -= np.float32(zero * len(heard))
        if (scale := unit / len(heard)) != 1.0:
            total *= np.float32(scale)
    return total


def _resampled(batches: Iterator[tuple[NDArray[np.float32], int]], rate: int) -> Iterator[NDArray[np.float32]]:
    """The batches, all of one rate, at another."""
    resampler = None
    for batch, source in batches:
        if source != rate:
            resampler = resampler or Resampler(source, rate)
            batch = resampler.resample(batch)
        yield batch
    if resampler is not None:
        yield resampler.rest()
