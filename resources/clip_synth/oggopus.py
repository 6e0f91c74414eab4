"""Encoding to Ogg Opus without a trace of the codec at the ends.

An encoder starts from silence and is left hanging at the end, which would be heard where a loop
closes.  Here the encoder is fed some sound before the first frame (for a loop, the end of the
same loop) and some after the last.  The surplus is cut by the two means the container has for
it: the pre-skip of the header, and the granule position of the last page.
"""

from __future__ import annotations

import struct

import av
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext

from clip_synth.dsp import RATE, Array

FRAME = 960  # 20 ms, the usual Opus packet
PRE_SKIP = 3_840  # 80 ms, what the format recommends for a start in mid-stream
_PACKETS_PER_PAGE = 50
_DELAY = 312  # the look-ahead of the encoder, part of the pre-skip
_SERIAL = 0x534E4453


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = ((value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def _page(packets: list[bytes], granule: int, number: int, flags: int) -> bytes:
    """One Ogg page that holds `packets` whole."""
    lacing = b"".join(b"\xff" * (len(p) // 255) + bytes([len(p) % 255]) for p in packets)
    if len(lacing) > 255:
        raise ValueError("too many packets for one page")
    head = struct.pack("<4sBBqIII", b"OggS", 0, flags, granule, _SERIAL, number, 0)
    page = bytearray(head + bytes([len(lacing)]) + lacing + b"".join(packets))
    crc = 0
    for byte in page:
        crc = ((crc << 8) & 0xFFFFFFFF) ^ _CRC[(crc >> 24) ^ byte]
    page[22:26] = struct.pack("<I", crc)
    return bytes(page)


def _comment(tags: dict[str, str]) -> bytes:
    vendor = b"soundscape"
    out = b"OpusTags" + struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", len(tags))
    for key, value in tags.items():
        field = f"{key}={value}".encode()
        out += struct.pack("<I", len(field)) + field
    return out


def _packets(pcm: npt.NDArray[np.float32], bitrate: int) -> tuple[list[bytes], int]:
    """Opus packets for `pcm`, and the encoder's own delay in samples."""
    codec = av.CodecContext.create("libopus", "w")
    assert isinstance(codec, AudioCodecContext)
    codec.sample_rate = RATE
    codec.layout = "mono"
    codec.format = "flt"
    codec.bit_rate = bitrate
    codec.options = {"application": "audio", "vbr": "on", "compression_level": "10"}
    codec.open()
    packets: list[bytes] = []
    for start in range(0, len(pcm), FRAME):
        frame = av.AudioFrame.from_ndarray(pcm[None, start : start + FRAME], "flt", "mono")
        frame.sample_rate = RATE
        frame.pts = start
        packets += [bytes(p) for p in codec.encode(frame)]
    packets += [bytes(p) for p in codec.encode(None)]
    head = bytes(codec.extradata or b"")
    return packets, struct.unpack_from("<H", head, 10)[0]


def encode(x: Array, bitrate: int, *, loop: bool, tags: dict[str, str]) -> bytes:
    """The bytes of an Ogg Opus file that decodes to exactly `len(x)` frames."""
    n = len(x)
    count = -(-(PRE_SKIP + n) // FRAME)
    lead, size = PRE_SKIP - _DELAY, (count + 2) * FRAME
    index = np.arange(size) - lead
    pcm = x[index % n]
    if not loop:
        pcm[(index < 0) | (index >= n)] = 0.0
    packets, delay = _packets(pcm.astype(np.float32), bitrate)
    if delay != _DELAY or len(packets) < count:
        raise RuntimeError(f"unexpected encoder: delay {delay}, {len(packets)} packets")
    head = struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, PRE_SKIP, RATE, 0, 0)
    pages = [_page([head], 0, 0, 2), _page([_comment(tags)], 0, 1, 0)]
    for first in range(0, count, _PACKETS_PER_PAGE):
        last = min(first + _PACKETS_PER_PAGE, count)
        granule = PRE_SKIP + n if last == count else last * FRAME
        flags = 4 if last == count else 0
        pages.append(_page(packets[first:last], granule, len(pages), flags))
    return b"".join(pages)
