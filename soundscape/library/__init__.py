"""The library: from what a scene calls a source to a `Clip`, decoded once per machine.

source --sources--> path --shared--> Clip
                             |
                             cache, on disk; else decode: bytes --PyAV--> mono float32 at the engine's rate

blocks that an application makes as it goes --stream--> the same, piece by piece
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from soundscape.clip import Clip, Loop
from soundscape.cues import to_frames
from soundscape.exceptions import DecodeError, Problem, SceneError, UsageError
from soundscape.gain import db_to_linear
from soundscape.library.shared import count_loads, load
from soundscape.library.sources import list_clips, resolve
from soundscape.loader import Scene, find_scene
from soundscape.scene import Loc

__all__ = ["SceneClips", "count_loads", "list_clips", "load", "prewarm", "resolve"]

logger = logging.getLogger("soundscape")


class SceneClips(Mapping[str, Clip]):
    """The clips of a scene by their sources, each loaded when it is first asked for.

    Attributes:
        scene: the scene.
        sample_rate: frames per second of the clips.
        allow_outside: whether sources may leave the scene's folder.
    """

    def __init__(self, scene: Scene, *, sample_rate: int = 48_000, allow_outside: bool = False) -> None:
        self.scene = scene
        self.sample_rate = sample_rate
        self.allow_outside = allow_outside
        self._clips: dict[str, Clip] = {}
        self._files: list[Clip] = []  # as loaded: while one lives, no other name of its file is loaded anew

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
            self._files.append(clip)
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
            path = resolve(file, self.scene.base_dir, allow_outside=self.allow_outside)
        except DecodeError as error:
            near = difflib.get_close_matches(source, self.scene.clips, n=1) if named is None else []
            raise DecodeError(error.message, hint=f"did you mean {near[0]!r}?") if near else error from None
        return load(path, self.sample_rate, name=file, measured=source in self._levelled)

    def _treated(self, name: str, clip: Clip) -> Clip:
        """A clip as its table says."""
        table = self.scene.clips[name]
        clip = replace(clip, gain=db_to_linear(table.gain_db))
        if table.loop is None:
            return clip
        start, end, crossfade = (
            None if seconds is None else to_frames(seconds, self.sample_rate)
            for seconds in (table.loop.start, table.loop.end, table.loop.crossfade)
        )
        loop = Loop(start or 0, clip.length if end is None else end, crossfade)
        if flaw := loop.flaw(clip.length):
            hint = f"the clip is {clip.length / self.sample_rate:.3f} s long"
            if "two crossfades" in flaw:
                longest = (loop.end - loop.start) / 2 / self.sample_rate
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
        for source in self.keys() - self._clips.keys():
            self._clips[source] = Clip.from_samples(np.zeros(self.sample_rate, np.float32), self.sample_rate)


# --- Before a call ---------------------------------------------------------------------------------------------------

_prewarmed: dict[tuple[Path, int, bool], SceneClips] = {}


def prewarm(
    *scenes: str | os.PathLike[str], sample_rate: int = 48_000, allow_outside: bool = False
) -> Callable[[object], None]:
    """Loads all sounds of some scenes and holds them: a `Soundscape` of one then has nothing to decode.

    For LiveKit, which calls its `prewarm_fnc` once in each process that is to take calls:

        AgentServer(setup_fnc=prewarm("office", "scenes/mine.toml"))
        WorkerOptions(entrypoint_fnc=entrypoint, prewarm_fnc=prewarm("office", "scenes/mine.toml"))

    or within a function of one's own, as `prewarm("office")`. In the first two the worker itself loads the sounds too,
    so that they are on disk before the first process asks.

    What is wrong in a scene or a sound is logged as an error, in the words in which `Soundscape.from_file` raises it in
    the call, and not raised: LiveKit gives up a process whose prewarming fails and starts another, for ever.

    Args:
        scenes: paths of scene files, or names of scenes that ship.
        sample_rate: as for `Soundscape`.
        allow_outside: as for `Soundscape`.

    Returns:
        What does the same in another process; it may be pickled.

    Raises:
        UsageError: something that is no path, or no scene at all.
    """
    if not scenes or not all(isinstance(scene, str | os.PathLike) for scene in scenes):
        raise UsageError("prewarm takes scenes, by name or path: prewarm_fnc=prewarm('office')")
    found = [find_scene(scene) for scene in scenes]
    again = _Prewarm(tuple(path.absolute() if path.is_file() else path for path in found), sample_rate, allow_outside)
    again()
    return again


@dataclass(frozen=True)
class _Prewarm:
    paths: tuple[Path, ...]
    sample_rate: int
    allow_outside: bool

    def __call__(self, process: object = None) -> None:
        for path in self.paths:
            try:
                scene = Scene.from_file(path).checked()
                clips = SceneClips(scene, sample_rate=self.sample_rate, allow_outside=self.allow_outside)
                problems = clips.problems()
            except SceneError as error:
                problems = list(error.problems)
            else:
                _prewarmed[path, self.sample_rate, self.allow_outside] = clips
            for problem in problems:
                logger.error("%s: it is not prewarmed", problem)
