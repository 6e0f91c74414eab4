"""Decoded sound on disk, under keys of 32 bytes: every process of the machine maps the same pages, read-only.

An entry is a file, in the machine's byte order:

    magic 8 | key 32 | bytes of body 8 | bytes of rest 4 | digest 32 | zeros to 128 | body, float32 | rest

**Nobody sees half an entry.** It is written under another name and then linked to its own. The first one wins, so that
processes that fill an empty cache at once map one file, and nobody ever waits for another process.

**Nothing is believed.** Length and digest are looked at before an entry is used; one that is damaged is removed, as
one half on the disk when the power went is (so there is no fsync). The digest is BLAKE2b over the header and over one
64-bit sum for each 4 KiB of the body, which notices any one word that changed and any page that is another. *Measured*
for 5 minutes at 48 kHz: 6 ms, zlib's CRC-32 alone 15 to 24, BLAKE2b over all of it 55. It is taken by reading, not from
the mapping: there a bad sector is an error, here it would be SIGBUS, which ends the process.

**Entries are unlinked, never truncated or written to**, so what is mapped stays whole until its last user is gone. Left
to end a process by SIGBUS are a disk that fails later, a file server that forgets a file in use, and whoever truncates
entries by hand.

**Only the user's own.** The folder and each entry must belong to this user (or to root) and be writable by nobody else:
else others could put sound into one's calls.

**Whatever fails, sound does not.** Nothing here raises for a disk's sake; what is amiss is logged once.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import mmap
import os
import stat
import struct
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator
from functools import cache as cached
from io import FileIO
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import platformdirs
from numpy.typing import NDArray

__all__ = ["Cache", "Entry"]

logger = logging.getLogger("soundscape")

_LIMIT = 1 << 30
"""Bytes of all entries: 93 minutes at 48 kHz."""

_LEAST = 1 << 16
"""What the smallest entry counts for, so that there are 16,384 at most and a look at all of them takes 50 ms."""

_IN_USE = 600.0
"""Seconds in which an entry is not removed after its last use. Room that is not there by then is not made: scenes that
are larger than the cache would each throw out the other, or themselves, and find nothing at the next start."""

_MAGIC = b"soundsc1"
_SUFFIX = ".soundscape"
_HEAD = struct.Struct("=8s32sQI")
_BODY_AT = 128
_PAGE = 4_096
_PIECE = 1 << 18
"""Bytes read or summed at a time: they stay in the processor's own cache."""

_said: set[str] = set()


class Entry(NamedTuple):
    """What was written.

    Attributes:
        body: float32 `(n,)`, read-only, mapped.
        rest: what goes with it.
    """

    body: NDArray[np.float32]
    rest: bytes


class Cache:
    """A folder of entries.

    Args:
        folder: where; None: nowhere, nothing is kept. Made when there is something to keep.
        limit: bytes of all entries.
    """

    def __init__(self, folder: Path | None, *, limit: int = _LIMIT) -> None:
        self._folder = folder
        self._limit = limit

    @classmethod
    def from_environment(cls) -> Self:
        """The user's: in `SOUNDSCAPE_CACHE`, nowhere if that is `off`, else where the system keeps such things."""
        named = os.environ.get("SOUNDSCAPE_CACHE")
        if named == "off":
            return cls(None)
        # A user without a home has a cache that begins with `~`, which is no place.
        usual = Path(platformdirs.user_cache_dir("soundscape", appauthor=False))
        return cls(Path(named).expanduser() if named else usual if usual.is_absolute() else None)

    def read(self, key: bytes) -> Entry | None:
        """What was written under a key, if it is there and whole."""
        if self._folder is None:
            return None
        path = self._path(self._folder, key)
        try:
            if not _trusted(self._folder):
                return None
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
            with open(descriptor, "rb", buffering=0) as file:
                if not _own(os.fstat(descriptor)):
                    _say(f"{str(path)!r} is not used: it must be this user's and writable by nobody else")
                    return None
                entry = _entry(file, key)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _say(f"{str(self._folder)!r} cannot be read: {_reason(error)}")
            return None
        with contextlib.suppress(OSError):
            if entry is None:
                _say(f"{str(path)!r} is damaged: it is made again")
                path.unlink()
            else:
                os.utime(path)
        return entry

    def write(self, key: bytes, body: NDArray[np.float32], rest: bytes) -> None:
        """Keeps something, if it can be kept. What is there under its key stays."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _trusted(self._folder):
                return
            if not self._make_room(self._folder, _BODY_AT + body.nbytes + len(rest)):
                _say(f"{str(self._folder)!r} is full of what is in use: some sound is decoded anew in each process")
                return
            raw = body.view(np.uint8)
            head = _HEAD.pack(_MAGIC, key, len(raw), len(rest))
            digest = _digest(head, (raw[at : at + _PIECE] for at in range(0, len(raw), _PIECE)), rest)
            descriptor, temporary = tempfile.mkstemp(_SUFFIX, "writing-", self._folder)
            try:
                with open(descriptor, "wb") as file:
                    file.write((head + digest).ljust(_BODY_AT, b"\0"))
                    file.write(raw.data)
                    file.write(rest)
                _publish(temporary, self._path(self._folder, key))
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
        except (OSError, ValueError) as error:
            _say(f"{str(self._folder)!r} cannot be written to, each process decodes for itself: {_reason(error)}")

    @staticmethod
    def _path(folder: Path, key: bytes) -> Path:
        return folder / f"{key.hex()}{_SUFFIX}"

    def _make_room(self, folder: Path, size: int) -> bool:
        """Whether there is room for an entry, once those that were not used for the longest are gone.

        What a killed process left half written goes the same way.
        """
        entries = []
        with os.scandir(folder) as found:
            for each in found:
                if each.name.endswith(_SUFFIX):
                    with contextlib.suppress(FileNotFoundError):
                        status = each.stat(follow_symlinks=False)
                        entries.append((status.st_mtime, max(status.st_size, _LEAST), each.path))
        left = self._limit - max(size, _LEAST) - sum(cost for _, cost, _ in entries)
        if self._limit < max(size, _LEAST):
            return False
        for used, cost, path in sorted(entries):
            if left >= 0 or used > time.time() - _IN_USE:
                break
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            left += cost
        return left >= 0


def _say(message: str) -> None:
    if message not in _said:
        _said.add(message)
        logger.warning("the cache of decoded sound: %s", message)


def _reason(error: Exception) -> str:
    """Without the name that a file had while it was written: each would be another thing to say."""
    return str((isinstance(error, OSError) and error.strerror) or error)


def _trusted(folder: Path) -> bool:
    status = os.stat(folder)
    if trusted := stat.S_ISDIR(status.st_mode) and _own(status):
        return trusted
    _say(f"{str(folder)!r} is not used: it must be a folder, this user's and writable by nobody else (chmod 700)")
    return False


def _own(status: os.stat_result) -> bool:
    """Whether nobody but this user (and root) can have written it; where the system has no such users, yes."""
    return os.name != "posix" or (status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022)


def _publish(temporary: str, path: Path) -> None:
    """Gives a file its name, unless there is one of that name."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:
        os.replace(temporary, path)  # a file system without links


def _entry(file: FileIO, key: bytes) -> Entry | None:
    """What is in a file; None if it is damaged, or something else."""
    head = file.read(_BODY_AT)
    if len(head) < _BODY_AT:
        return None
    magic, name, length, more = _HEAD.unpack_from(head)
    size = _BODY_AT + length + more
    if (magic, name) != (_MAGIC, key) or length % 4 or os.fstat(file.fileno()).st_size != size:
        return None
    file.seek(_BODY_AT + length)
    rest = file.read(more)
    file.seek(_BODY_AT)
    if _digest(head[: _HEAD.size], _pieces(file, length), rest) != head[_HEAD.size : _HEAD.size + 32]:
        return None
    body = np.frombuffer(_mapped(file, size), np.float32, length // 4, _BODY_AT) if length else np.empty(0, np.float32)
    return Entry(body, rest)


def _pieces(file: FileIO, length: int) -> Iterator[NDArray[np.uint8]]:
    """The next bytes of a file, in pieces that are gone when the next one is asked for."""
    buffer = memoryview(bytearray(min(_PIECE, length)))
    while length > 0:
        piece = buffer[:length]
        filled = 0
        while filled < len(piece):
            if not (got := file.readinto(piece[filled:])):
                return
            filled += got
        yield np.frombuffer(piece, np.uint8)
        length -= filled


def _digest(head: bytes, pieces: Iterable[NDArray[np.uint8]], rest: bytes) -> bytes:
    """Of a header and what follows it; all pieces but the last are whole pages."""
    digest = hashlib.blake2b(head, digest_size=32)
    for piece in pieces:
        whole = len(piece) // _PAGE * _PAGE
        digest.update(piece[:whole].view(np.uint64).reshape(-1, _PAGE // 8).sum(axis=1).tobytes())
        digest.update(piece[whole:].tobytes())
    digest.update(rest)
    return digest.digest()


def _mapped(file: FileIO, size: int) -> memoryview:
    """A file in memory, shared with all that map it and read-only; where that cannot be, a copy.

    By the C library: Python's `mmap`, and numpy's `memmap` on it, hold a descriptor for each file for as long as it is
    mapped (3.13 can do without, `trackfd`), and a scene may have a thousand. On Windows nobody could remove what is
    mapped.
    """
    if os.name == "posix":
        with contextlib.suppress(OSError, AttributeError):  # a Python that is linked statically has no C library to ask
            return _mapped_by_libc(file.fileno(), size)
    file.seek(0)
    return memoryview(file.read(size))


def _mapped_by_libc(descriptor: int, size: int) -> memoryview:
    libc = _libc()
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    pages = (ctypes.c_ubyte * size).from_address(address)
    # Arrays hold their memory, and the last one to go lets go of it; not so at exit, when threads may still play.
    weakref.finalize(pages, libc.munmap, address, size).atexit = False
    return memoryview(pages).toreadonly()


@cached
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_ssize_t]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc
