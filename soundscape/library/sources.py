"""Which file a scene's source means, and opening it: judged before anything is opened.

Scene files and sounds come from people the operator may not know.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn

from soundscape.exceptions import DecodeError
from soundscape.loader import data_dir

__all__ = ["list_clips", "open_regular", "resolve", "resolve_shipped"]

_PLAYLIST_NAME = re.compile(r".*\.(asx|b4s|cue|ffconcat|m3u8?|mpd|pls|ram|sdp|smil?|wax|wpl|wvx|xspf)", re.I | re.S)


def list_clips() -> list[str]:
    """The names of the clips that ship: what `soundscape:NAME` may name."""
    return sorted(path.stem for path in data_dir("resources/clips").glob("*.opus"))


def resolve(source: str, base_dir: Path, *, allow_outside: bool = False) -> Path:
    """The regular file that a scene's `source` means, its links followed. Nothing is opened.

    Args:
        source: `soundscape:NAME`, `livekit:NAME`, or the path of a file.
        base_dir: the scene's folder, from which paths are taken and which they may not leave.
        allow_outside: whether they may, and may be absolute.

    Raises:
        DecodeError: nothing there, nothing that may be played, or nothing that could be.
    """
    prefix, colon, name = source.partition(":")
    if colon and prefix == "soundscape":
        return resolve_shipped(name)
    if colon and prefix == "livekit":
        theirs = {re.sub("[-_]", "", path.stem).lower(): path for path in _livekit_clips()}
        if path := theirs.get(re.sub("[-_]", "", name).lower()):
            return path
        if not theirs:
            raise DecodeError(f"{source!r}: LiveKit's clips are not installed", hint="they come with livekit-agents")
        _unknown(
            source, name, [path.stem.replace("_", "-") for path in theirs.values()], "LiveKit has no clip of that name"
        )
    return _resolve_path(source, base_dir, allow_outside)


def resolve_shipped(name: str) -> Path:
    """The file of a clip that ships.

    Raises:
        DecodeError: none of that name does.
    """
    shipped = list_clips()
    if name not in shipped:
        _unknown(f"soundscape:{name}", name, shipped, "no clip of that name ships with soundscape")
    return data_dir("resources/clips") / f"{name}.opus"


def _unknown(source: str, name: str, known: Sequence[str], message: str) -> NoReturn:
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {source.partition(':')[0]}:{near[0]}?" if near else f"there are {', '.join(sorted(known))}"
    raise DecodeError(f"{source!r}: {message}", hint=hint)


def _livekit_clips() -> list[Path]:
    """LiveKit's own sounds in its installed package, found without importing it, which takes a second."""
    try:
        spec = importlib.util.find_spec("livekit.agents")
    except ModuleNotFoundError:
        return []
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    return sorted(path for folder in folders for path in Path(folder, "resources").glob("*.ogg"))


def _resolve_path(source: str, base_dir: Path, allow_outside: bool) -> Path:
    if not source or "\0" in source:
        raise DecodeError(f"{source!r} is no file name")
    if _PLAYLIST_NAME.fullmatch(source):
        raise DecodeError(f"{source!r}: playlists are not played", hint="name the sound files themselves, in a pool")
    inside = "only files in the scene's folder are played, unless the caller passes allow_outside=True"
    if not allow_outside:
        if Path(source).is_absolute() or Path(source).drive:
            raise DecodeError(f"{source!r} is an absolute path", hint=inside)
        if os.path.normpath(source).split(os.sep)[0] == os.pardir:
            raise DecodeError(f"{source!r} leaves the scene's folder", hint=inside)
    try:
        base, path = Path(os.path.realpath(base_dir)), Path(os.path.realpath(base_dir / source))
        if not allow_outside and not path.is_relative_to(base):
            raise DecodeError(f"{source!r} leads out of the scene's folder by a link", hint=inside)
        _check_regular(os.stat(path), source)
    except (FileNotFoundError, NotADirectoryError):
        raise DecodeError(f"{source!r}: no such file", hint=_missing(source, base_dir)) from None
    except (OSError, ValueError) as error:
        raise _unreadable(source, error) from None
    return path


def _missing(source: str, base_dir: Path) -> str:
    """What to do about a file that is not there."""
    if re.match(r"[A-Za-z][\w+.-]*://", source):
        return "URLs are not fetched: put the file into the scene's folder"
    prefix, colon, name = source.partition(":")
    if colon and (near := difflib.get_close_matches(prefix.lower(), ["soundscape", "livekit"], n=1)):
        return f"did you mean {near[0]}:{name}?"
    if source.startswith("~") or "$" in source:
        return "~ and $NAME are not expanded: write a path from the scene's folder"
    if not Path(source).is_absolute():
        try:
            with os.scandir(base_dir / Path(source).parent) as entries:
                names = [entry.name for entry, _ in zip(entries, range(1_000), strict=False)]
        except OSError:
            names = []
        if near := difflib.get_close_matches(Path(source).name, sorted(names), n=1):
            return f"did you mean {Path(source).with_name(near[0]).as_posix()!r}?"
    return "paths are taken from the scene's folder"


def _unreadable(name: str, error: Exception) -> DecodeError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DecodeError(f"{name!r} cannot be read: {reason[:1].lower()}{reason[1:]}")


def _check_regular(status: os.stat_result, name: str) -> None:
    """A pipe or a device is never opened: it could wait for ever, or do something."""
    if stat.S_ISDIR(status.st_mode):
        raise DecodeError(f"{name!r} is a folder", hint="name the sound files in it, in a pool")
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(f"{name!r} is a pipe or a device", hint="only regular files are played")


def open_regular(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """Opens a regular file and nothing else, also when it is exchanged for a pipe after the look at it."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        _check_regular(os.stat(path), name)
        descriptor = os.open(path, flags)
        try:
            _check_regular(os.fstat(descriptor), name)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except FileNotFoundError:
        raise DecodeError(f"{name!r}: no such file") from None
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from None
