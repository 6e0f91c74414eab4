"""Clips shared: among all that ask for one in a process, and, through the cache on disk, in a machine.

**A file is known by its bytes**, so that a copy, a new deployment or a new mount of it is the same clip. To hash them
takes a second for a gigabyte, so what a file's bytes were is kept by its stamp: device, inode, size, times. A stamp is
believed only if it is two seconds old when it is looked at: from then on a change shows in it, for the clock that
stamps has moved on. Of a younger file the bytes are looked at each time, so one rewritten within a tick of that clock
is heard as it is now. What is decoded is what was hashed, a copy in memory.

**A clip on disk is known by** those bytes, the rate, and what made it: the sources of decoder and seam, and FFmpeg's
versions; after an upgrade of either all is made anew. There is no other treatment: gains and loops of a scene's own are
put to the clip afterwards and leave the samples as they are. The seam is kept with the samples (*measured*: 2 to 10 ms
a clip to find it, 0.1 ms to map it), the loudness beside them, once it was asked for.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import struct
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import cache as cached
from pathlib import Path
from typing import BinaryIO
from weakref import WeakValueDictionary

import av
import numpy as np

import soundscape.clip
import soundscape.library.decode
import soundscape.library.loudness
import soundscape.library.resample
from soundscape.clip import Clip
from soundscape.library.cache import Cache
from soundscape.library.decode import decode
from soundscape.library.loudness import integrated_loudness
from soundscape.library.sources import open_regular

__all__ = ["count_loads", "load"]

_RECENT_BYTES = 1 << 29
"""How much sound is held for whoever asks next: 46 minutes at 48 kHz. It costs memory only where it is not mapped. What
still plays lives on regardless, and is found."""

_SETTLED = 2.0
"""Seconds after which a change shows in a file's stamp: FAT counts in twos, ext4 in hundredths at worst."""

_LARGEST = 1 << 28
"""Bytes of a file that are read into memory and hashed: 23 minutes of a stereo WAV at 48 kHz. A larger one, which may
be a hole of a terabyte, is known by its stamp alone."""

_LOOP = struct.Struct("=QQ")
"""Start and period; the seam's frames follow."""

_LUFS = struct.Struct("=d")
"""NaN: none."""

_Key = tuple[bytes, int, bool]
"""What the file's bytes were hashed to, or its stamp; the rate; whether measured."""

_lock = threading.Lock()
_alive: WeakValueDictionary[_Key, Clip] = WeakValueDictionary()
_recent: OrderedDict[Clip, None] = OrderedDict()
"""Least recently asked for first."""
_loading: dict[_Key, Future[Clip | None]] = {}
_loads = {"memory": 0, "cache": 0, "file": 0}
_origin = threading.local()  # of what the present thread loads


def count_loads() -> dict[str, int]:
    """How many clips were loaded in this process so far, by where they were found: in its `memory`, in the machine's
    `cache`, or in the `file`, to be decoded."""
    with _lock:
        return _loads.copy()


def load(
    path: str | os.PathLike[str], sample_rate: int = 48_000, *, name: str | None = None, measured: bool = False
) -> Clip:
    """The clip of a file, decoded at the machine's first call and shared from then on. May be called from any thread.

    Args:
        path: the file, as `resolve` gives it.
        sample_rate: the engine's, to which the file is resampled.
        name: what to call it in errors; the file's name unless said.
        measured: whether its loudness is to be known.

    Raises:
        DecodeError: it cannot be read, or is no sound.
    """
    name = Path(path).name if name is None else name
    _origin.name = "memory"  # until it is found elsewhere; counted at the end, for a metric never goes back
    with open_regular(path, name) as file:
        stamp = _stamp(file)
        with _lock:
            clip = None if stamp is None else _alive.get((stamp, sample_rate, measured))
        if clip is None:
            clip = _loaded(file, name, stamp, sample_rate, measured)
    _hold(clip)
    with _lock:
        _loads[_origin.name] += 1
        if stamp is not None:
            _alive[stamp, sample_rate, measured] = clip
    return clip


def _loaded(file: BinaryIO, name: str, stamp: bytes | None, rate: int, measured: bool) -> Clip:
    cache = Cache.from_environment() if _makers() else Cache(None)
    clip = None
    if stamp is not None and (index := cache.read(stamp)) is not None:
        content = index.rest
        clip = _shared(cache, content, rate, measured, lambda: _kept(cache, content, rate))
    if clip is None:
        data, content = _content(file)
        if stamp is not None:
            cache.write(stamp, np.empty(0, np.float32), content)
        clip = _shared(cache, content, rate, measured, lambda: _made(cache, data, name, content, rate))
    assert clip is not None
    return clip


def _stamp(file: BinaryIO) -> bytes | None:
    """What tells a file from what it was before; None for one that may change and keep it."""
    status = os.fstat(file.fileno())
    times = status.st_mtime_ns, status.st_ctime_ns
    # Windows tells when a file was made, not when it was changed.
    if os.name != "posix" or max(times) > (time.time() - _SETTLED) * 1e9:
        return None
    return _key("stamp", status.st_dev, status.st_ino, status.st_size, *times)


def _content(file: BinaryIO) -> tuple[BinaryIO, bytes]:
    """A file's bytes, and the hash of them."""
    status = os.fstat(file.fileno())
    if status.st_size > _LARGEST:
        return file, _key("large", status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    data = file.read(_LARGEST)
    return io.BytesIO(data), hashlib.blake2b(data, digest_size=32).digest()


def _shared(cache: Cache, content: bytes, rate: int, measured: bool, make: Callable[[], Clip | None]) -> Clip | None:
    """The clip of these bytes that lives, else another of the same samples, else the one that is made."""

    def found() -> Clip | None:
        if measured:
            plain = _shared(cache, content, rate, False, make)
            return None if plain is None else replace(plain, lufs=_loudness(cache, plain, content))
        with _lock:
            other = _alive.get((content, rate, True))
        return make() if other is None else replace(other, lufs=None)

    return _once((content, rate, measured), found)


def _once(key: _Key, make: Callable[[], Clip | None]) -> Clip | None:
    """What lives under a key, or is made now; threads that ask at once wait for one of them."""
    with _lock:
        clip = _alive.get(key)
        if clip is not None:
            return clip
        future = _loading.get(key)
        mine = future is None
        if future is None:
            future = _loading[key] = Future()
    if not mine:
        clip = future.result()
        return _once(key, make) if clip is None else clip
    try:
        clip = make()
        if clip is not None:
            with _lock:
                _alive[key] = clip
        future.set_result(clip)
        return clip
    except BaseException as error:
        future.set_exception(error)
        raise
    finally:
        with _lock:
            del _loading[key]


def _kept(cache: Cache, content: bytes, rate: int) -> Clip | None:
    """The clip that was found on disk."""
    clip = _mapped(cache, content, rate)
    if clip is not None:
        _origin.name = "cache"
    return clip


def _mapped(cache: Cache, content: bytes, rate: int) -> Clip | None:
    """The clip on disk."""
    entry = cache.read(_entry_key(content, rate))
    if entry is None:
        return None
    start, period = _LOOP.unpack_from(entry.rest)
    return Clip(entry.body, rate, period, np.frombuffer(entry.rest, np.float32, offset=_LOOP.size), start)


def _made(cache: Cache, data: BinaryIO, name: str, content: bytes, rate: int) -> Clip:
    """The clip on disk, else decoded and, if it can be, put there: from then on it is mapped here too."""
    if (clip := _kept(cache, content, rate)) is not None:
        return clip
    clip = Clip.from_samples(decode(data, name, rate), rate)
    _origin.name = "file"
    cache.write(_entry_key(content, rate), clip.samples, _LOOP.pack(clip.start, clip.period) + clip.seam.tobytes())
    return _mapped(cache, content, rate) or clip


def _loudness(cache: Cache, clip: Clip, content: bytes) -> float | None:
    key = _key("loudness", _entry_key(content, clip.sample_rate))
    entry = cache.read(key)
    if entry is None:
        lufs = integrated_loudness(clip.samples, clip.sample_rate)
        cache.write(key, np.empty(0, np.float32), _LUFS.pack(math.nan if lufs is None else lufs))
        return lufs
    (number,) = _LUFS.unpack(entry.rest)
    return None if math.isnan(number) else number


def _hold(clip: Clip) -> None:
    """Holds a clip, and lets go of those that were not asked for the longest."""
    with _lock:
        if clip in _recent:
            _recent.move_to_end(clip)
            return
        _recent[clip] = None
        while len(_recent) > 1 and sum({id(c.samples): c.samples.nbytes for c in _recent}.values()) > _RECENT_BYTES:
            _recent.popitem(last=False)


def _key(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=32).digest()


def _entry_key(content: bytes, rate: int) -> bytes:
    return _key("clip", content, rate, _makers())


@cached
def _makers() -> bytes | None:
    """What makes a clip of bytes: a format version that nobody has to think of. None where the sources are not files,
    and nothing is kept."""
    modules = (
        soundscape.clip,
        soundscape.library.decode,
        soundscape.library.resample,
        soundscape.library.loudness,
        sys.modules[__name__],
    )
    try:
        sources = [Path(str(module.__file__)).read_bytes() for module in modules]
    except OSError:
        return None
    return _key(*sources, av.__version__, sorted(av.library_versions.items()), sys.byteorder)
