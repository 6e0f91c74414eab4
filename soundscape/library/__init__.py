"""The library: from what a scene calls a source to a `Clip`, decoded once per process.

    source --resolve--> path --load--> Clip
                                 |
                                 open_regular, decode: bytes --PyAV--> mono float32 at the engine's rate

Scene files and sounds come from people the operator may not know: a source is judged before anything is opened.
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from soundscape.clip import Clip, Loop
from soundscape.cues import to_frames
from soundscape.exceptions import DecodeError, Problem, SceneError
from soundscape.gain import db_to_linear
from soundscape.library.decode import decode
from soundscape.library.loudness import integrated_loudness
from soundscape.loader import Scene, data_dir
from soundscape.scene import Loc

__all__ = ["SceneClips", "list_clips", "load", "resolve"]

logger = logging.getLogger("soundscape")

_CACHE_BYTES = 1 << 29
"""How much decoded sound is kept for whoever asks next: 46 minutes at 48 kHz. What still plays lives on regardless."""


# --- Names -----------------------------------------------------------------------------------------------------------

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
        shipped = list_clips()
        if name in shipped:
            return data_dir("resources/clips") / f"{name}.opus"
        _unknown(source, name, shipped, "no clip of that name ships with soundscape")
    if colon and prefix == "livekit":
        theirs = {re.sub("[-_]", "", path.stem).lower(): path for path in _livekit_clips()}
        if path := theirs.get(re.sub("[-_]", "", name).lower()):
            return path
        if not theirs:
            raise DecodeError(f"{source!r}: LiveKit's clips are not installed", hint="they come with livekit-agents")
        _unknown(source, name, [path.stem for path in theirs.values()], "LiveKit has no clip of that name")
    return _resolve_path(source, base_dir, allow_outside)


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


# --- Clips in memory -------------------------------------------------------------------------------------------------

_Key = tuple[int, int, int, int, int, int, bool]
_lock = threading.Lock()
_clips: OrderedDict[_Key, Future[Clip]] = OrderedDict()
"""By the file itself (device, inode, size, times: a file rewritten under its name is another one), the rate, and
whether it was measured; least recently asked for first. A future, so that threads that ask at once wait for one
decoder."""


def load(
    path: str | os.PathLike[str], sample_rate: int = 48_000, *, name: str | None = None, measured: bool = False
) -> Clip:
    """The clip of a file, decoded at the first call and shared from then on. May be called from any thread.

    Args:
        path: the file, as `resolve` gives it.
        sample_rate: the engine's, to which the file is resampled.
        name: what to call it in errors; the file's name unless said.
        measured: whether its loudness is to be known.

    Raises:
        DecodeError: it cannot be read, or is no sound.
    """
    name = Path(path).name if name is None else name
    with _open_regular(path, name) as file:
        status = os.fstat(file.fileno())
        times = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        key = (status.st_dev, status.st_ino, *times, sample_rate, measured)
        with _lock:
            future = _clips.get(key)
            mine = future is None
            if future is None:
                future = _clips[key] = Future()
            _clips.move_to_end(key)
        if mine:
            try:
                if measured:
                    clip = load(path, sample_rate, name=name)
                    clip = replace(clip, lufs=integrated_loudness(clip.samples, sample_rate))
                else:
                    clip = Clip.from_samples(decode(file, name, sample_rate), sample_rate)
                future.set_result(clip)
            except BaseException as error:
                with _lock:
                    _clips.pop(key, None)
                future.set_exception(error)
                raise
            _trim()
    return future.result()


def _trim() -> None:
    """Forgets the clips that were not asked for the longest, until what is kept is within its limit."""
    with _lock:
        done = {key: future.result().samples for key, future in _clips.items() if future.done()}
        for key in list(done)[:-1]:
            if sum({id(samples): samples.nbytes for samples in done.values()}.values()) <= _CACHE_BYTES:
                break
            del _clips[key], done[key]


def _open_regular(path: str | os.PathLike[str], name: str) -> BinaryIO:
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


# --- Scenes ----------------------------------------------------------------------------------------------------------


class SceneClips(Mapping[str, Clip]):
    """The clips of a scene by their sources, each loaded when it is first asked for.

    Args:
        scene: the scene.
        sample_rate: frames per second of the clips.
        allow_outside: whether sources may leave the scene's folder.
    """

    def __init__(self, scene: Scene, *, sample_rate: int = 48_000, allow_outside: bool = False) -> None:
        self.scene = scene
        self._sample_rate = sample_rate
        self._allow_outside = allow_outside
        self._clips: dict[str, Clip] = {}

    def __getitem__(self, source: str) -> Clip:
        """The clip of a source.

        Raises:
            SceneError: it is missing, forbidden or no sound, or its loop is not in it; with its line.
        """
        if source not in self._clips:
            places = self._places.get(source)
            if places is None:
                raise KeyError(source)
            try:
                clip = self._load(source)
            except DecodeError as error:
                raise SceneError([self.scene.problem(loc, error.message, error.hint) for loc in places]) from None
            self._clips[source] = self._treated(source, clip) if source in self.scene.clips else clip
        return self._clips[source]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    @cached_property
    def _places(self) -> dict[str, list[Loc]]:
        """Where the file behind each source is named: of a clip with a name, there."""
        places: dict[str, list[Loc]] = {name: [("clips", name, "source")] for name in self.scene.clips}
        for loc, source in self.scene.all_sources:
            if source not in self.scene.clips:
                places.setdefault(source, []).append(loc)
        return places

    @cached_property
    def _levelled(self) -> set[str]:
        """The sources that play on a bus with a level, whose loudness is to be known."""
        layers = [layer for _, layer in self.scene.all_layers if self.scene.level_lufs(layer) is not None]
        sources = {entry.source for layer in layers for entry in self.scene.pool(layer).entries}
        return {name for name in sources if name not in self.scene.clips or self.scene.clips[name].normalize}

    def _load(self, source: str) -> Clip:
        named = self.scene.clips.get(source)
        file = source if named is None else named.source
        try:
            path = resolve(file, self.scene.base_dir, allow_outside=self._allow_outside)
        except DecodeError as error:
            near = difflib.get_close_matches(source, self.scene.clips, n=1) if named is None else []
            raise DecodeError(error.message, hint=f"did you mean {near[0]!r}?") if near else error from None
        return load(path, self._sample_rate, name=file, measured=source in self._levelled)

    def _treated(self, name: str, clip: Clip) -> Clip:
        """A clip as its table says."""
        table = self.scene.clips[name]
        clip = replace(clip, gain=db_to_linear(table.gain_db))
        if table.loop is None:
            return clip
        start, end, crossfade = (
            None if seconds is None else to_frames(seconds, self._sample_rate)
            for seconds in (table.loop.start, table.loop.end, table.loop.crossfade)
        )
        loop = Loop(start or 0, clip.length if end is None else end, crossfade)
        if flaw := loop.flaw(clip.length):
            hint = f"the clip is {clip.length / self._sample_rate:.3f} s long"
            if "two crossfades" in flaw:
                longest = (loop.end - loop.start) / 2 / self._sample_rate
                hint = f"write a crossfade of {longest:g} at most, or a later start"
            raise SceneError([self.scene.problem(("clips", name, "loop"), f"the loop {flaw}", hint)])
        return clip.with_loop(loop)

    def problems(self) -> list[Problem]:
        """Loads every clip.

        Returns:
            What is wrong with those that cannot be loaded, each time that the scene names them.
        """
        found: list[Problem] = []
        for source in self:
            try:
                self[source]
            except SceneError as error:
                found += error.problems
        return found

    def load_all(self, *, skip_errors: bool = False) -> None:
        """Loads every clip.

        Args:
            skip_errors: whether one that cannot be loaded is silence and a warning.

        Raises:
            SceneError: with all that cannot be loaded.
        """
        problems = self.problems()
        if problems and not skip_errors:
            raise SceneError(problems)
        for problem in problems:
            logger.warning("%s: it is silent", problem)
        silence = Clip.from_samples(np.zeros(self._sample_rate, np.float32), self._sample_rate)
        for source in self:
            self._clips.setdefault(source, silence)
