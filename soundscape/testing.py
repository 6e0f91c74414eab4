"""Replay sequences of states, and recordings of calls, through a scene without a call: what a scene's tests, its
pictures and its sound files are made with.

    take = replay("scenes/office.toml", "listening@0 thinking@3 speaking@6", seed=7)
    assert take.state(at=4) == "thinking"
    assert take.gain("typing", at=2.9) == 0
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from bisect import bisect_right
from collections import ChainMap, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from soundscape.clip import Clip
from soundscape.cues import to_frames
from soundscape.driver.facts import from_plain
from soundscape.driver.scenery import Scenery
from soundscape.engine import Engine, Entry, Fact
from soundscape.exceptions import DecodeError, UsageError
from soundscape.library import SceneClips
from soundscape.library.moments import find_moment
from soundscape.loader import Scene, find_scene, shipped_scenes
from soundscape.recording import Recording, read_recording
from soundscape.scene import MAIN, NONE
from soundscape.sequence import Sequenced, parse_sequence, write_seconds, write_sequence

__all__ = ["Sequenced", "Take", "describe", "parse_sequence", "replay", "watch"]

logger = logging.getLogger("soundscape")

_BLOCK = 48_000
_LONGEST = 86_400 * 2
_WIDEST_KEY = 32  # characters up to which the transcript's column of keys grows

_watching: list[deque[Take]] = []


def replay(
    scene: str | os.PathLike[str] | Scene,
    sequence: Sequenced,
    *,
    until: float | None = None,
    seed: int | None = None,
    sample_rate: int | None = None,
    allow_outside: bool = False,
    root: str | os.PathLike[str] = ".",
) -> Take:
    """Replays a sequence, or the recording of a call, through a scene. No audio file is opened until something asks for
    sound or for a length.

    Args:
        scene: a path, the name of a scene that ships, TOML text, or a `Scene`.
        sequence: see `parse_sequence`; or the path of a recording: a `Path`, or text that ends in `.jsonl` or names a
            file and has no `@` in it. Any scene will do for a recording: through the one it was made with it gives the
            same log and the same sound, frame for frame; what could not be loaded then is silent again.
        until: seconds; unless given the recording's end, else 5 s after the last event.
        seed: of every draw; the recording's, else the scene's, else 0, unless given.
        sample_rate: frames per second; the recording's, else 48,000, unless given.
        allow_outside: whether sources may leave the scene's folder.
        root: where relative paths are taken from.

    Raises:
        SceneError: the scene is wrong.
        UsageError: the sequence or the recording is.
    """
    recording = _recording(sequence, Path(root))
    played = _scene(scene, Path(root))
    if recording is not None:
        facts, end = list(recording.facts), recording.seconds
        seed = recording.seed if seed is None else seed
        sample_rate = recording.sample_rate if sample_rate is None else sample_rate
        if played.name != recording.scene:
            logger.warning("a recording of scene %r, replayed through scene %r", recording.scene, played.name)
    else:
        assert not isinstance(sequence, os.PathLike)
        facts, end = parse_sequence(sequence), None
    sample_rate = 48_000 if sample_rate is None else sample_rate
    if type(sample_rate) is not int or not 1 <= sample_rate <= 1_000_000:
        raise UsageError(f"sample_rate={sample_rate!r}: it is a whole number of frames per second, from 1 on")
    if seed is not None and not (type(seed) is int and seed.bit_length() <= 64):
        raise UsageError(f"seed={seed!r}: a seed is a whole number of 64 bits at most")
    if until is not None and not (isinstance(until, int | float) and 0 <= until <= _LONGEST):
        raise UsageError(f"until={until!r}: the end must be a number of seconds from 0 to {_LONGEST:,}")
    if until is None:
        until = (facts[-1][0] if facts else 0.0) + 5.0 if end is None else end
    own = SceneClips(played, sample_rate=sample_rate, allow_outside=allow_outside)
    clips: Mapping[str, Clip] = own
    if recording is not None:
        facts = list(_asked(facts, own, Path(root)))
    if recording is not None and recording.skipped:
        logger.warning("silent, as in the call: %s", ", ".join(map(repr, recording.skipped)))
        silence = Clip.from_samples(np.zeros(sample_rate, np.float32), sample_rate)  # as `load_all` puts in their place
        clips = ChainMap(dict.fromkeys(recording.skipped, silence), clips)  # type: ignore[arg-type]  # only read
    frames = [(to_frames(at, sample_rate), fact) for at, fact in facts]
    take = Take(played, frames, clips=clips, until=to_frames(until, sample_rate), seed=seed, sample_rate=sample_rate)
    for takes in _watching:
        takes.append(take)
    return take


def _asked(facts: Sequence[tuple[float, Fact]], clips: SceneClips, root: Path) -> Iterator[tuple[float, Fact]]:
    """The facts of a recording, with the sounds and scenes that were asked for in mid-call."""

    def clip(source: str) -> Clip:
        found = find_moment(source, clips, clips.sample_rate, folder=root)
        return found if isinstance(found, Clip) else found()

    def scenery(reference: str) -> Scenery:
        nonlocal clips
        other = _scene(Path(reference) if reference.endswith(".toml") else reference, root).checked()
        clips = SceneClips(other, sample_rate=clips.sample_rate, allow_outside=clips.allow_outside)
        return Scenery(other, clips)

    for at, fact in facts:
        if fact.kind not in ("gain", "play", "stop", "scene"):
            yield at, fact
            continue
        try:
            yield at, from_plain(fact.kind, fact.value, clip=clip, scenery=scenery)
        except (ValueError, DecodeError) as error:
            raise UsageError(f"what was asked for at {at:g} s cannot be replayed: {error}") from None


def _recording(sequence: Sequenced, root: Path) -> Recording | None:
    if isinstance(sequence, str):
        named = sequence.endswith(".jsonl")
        if not named and "@" not in sequence and sequence.strip():
            with contextlib.suppress(OSError, ValueError):  # too long for a name, or no name at all
                named = (root / sequence).is_file()
        if not named:
            return None
    return read_recording(root / sequence) if isinstance(sequence, str | os.PathLike) else None


def _scene(scene: str | os.PathLike[str] | Scene, root: Path) -> Scene:
    if isinstance(scene, Scene):
        return scene.checked()
    if scene == "" or (isinstance(scene, str) and re.search(r"[\n=\[]", scene) and not scene.endswith(".toml")):
        return Scene.from_toml(scene, root)
    path = root / scene
    return Scene.from_file(path if path.exists() or scene not in shipped_scenes() else find_scene(scene))


@contextlib.contextmanager
def watch(limit: int | None = None) -> Iterator[deque[Take]]:
    """Collects the takes that `replay` makes until the end of the `with`, the last `limit` of them."""
    takes = deque[Take](maxlen=limit)
    _watching.append(takes)
    try:
        yield takes
    finally:
        _watching[:] = [others for others in _watching if others is not takes]


class Take:
    """One run of a sequence through a scene.

    Args:
        scene: the scene.
        facts: frames and facts, in order.
        clips: clips by source.
        until: the frame it ends before.
        seed: of every draw.
        sample_rate: frames per second.
    """

    def __init__(
        self,
        scene: Scene,
        facts: Sequence[tuple[int, Fact]],
        *,
        clips: Mapping[str, Clip],
        until: int,
        seed: int | None = None,
        sample_rate: int = 48_000,
    ) -> None:
        self.scene = scene
        self.facts = tuple(facts)
        self.frames = until
        self.sample_rate = sample_rate
        self._clips = clips
        self._seed = seed
        self._probe = self.engine()
        self._probe.skip(until)
        self.seed = self._probe.seed
        self.log: list[Entry] = list(self._probe.log)

    def engine(self) -> Engine:
        """One that has not rendered yet and has been told all of it."""
        engine = Engine(self.scene, self._clips, seed=self._seed, sample_rate=self.sample_rate)
        for frame, fact in self.facts:
            engine.post(fact, frame)
        return engine

    @cached_property
    def keys(self) -> list[str]:
        """The layers' keys, in the scene's order."""
        return list(dict.fromkeys(self.scene.key(layer) for _, layer in self.scene.all_layers))

    @cached_property
    def buses(self) -> list[str]:
        """The buses' names: `main`, then the scene's."""
        return list(dict.fromkeys((MAIN, *self.scene.buses)))

    @cached_property
    def _commits(self) -> tuple[list[int], list[str]]:
        commits = [entry for entry in self.log if entry.action == "commit"]
        return [entry.frame for entry in commits], [NONE, *(entry.key for entry in commits)]

    def state(self, at: float) -> str:
        """The committed state at a time; at the frame of a commit the new one."""
        frames, names = self._commits
        return names[bisect_right(frames, self._frame(at))]

    def states(self) -> list[tuple[float, float, str]]:
        """From when to when (s) which state was committed."""
        commits = [(0.0, NONE), *((e.at, e.key) for e in self.log if e.action == "commit")]
        ends = [*(at for at, _ in commits[1:]), self.frames / self.sample_rate]
        return [(at, end, name) for (at, name), end in zip(commits, ends, strict=True) if end > at]

    def gain(self, key: str, at: float) -> float:
        """Layer gain times layer envelope of a key at a time, linear; 0 where nothing of it sounds.

        Raises:
            UsageError: no layer of the scene has that key.
        """
        if key not in self.keys:
            raise UsageError(f"no layer has the key {key!r}; the keys are {', '.join(map(repr, self.keys))}")
        engine, frame = self._at(at)
        return engine.gain(key, frame)

    def bus_gain(self, bus: str, at: float) -> float:
        """The ducks of a bus at a time, linear; 1 where none acts.

        Raises:
            UsageError: the scene has no such bus.
        """
        if bus not in self.buses:
            raise UsageError(f"no bus is called {bus!r}; the buses are {', '.join(map(repr, self.buses))}")
        engine, frame = self._at(at)
        return engine.bus_gain(bus, frame)

    def _at(self, at: float) -> tuple[Engine, int]:
        """An engine that has just gone past a time, and its frame. Going on costs little, going far back a run."""
        frame = self._frame(at)
        if self._probe.position > frame + 1:
            self._probe.rewind(frame)
        self._probe.skip(frame + 1 - self._probe.position)
        return self._probe, frame

    def gains(self, key: str, step: float = 0.01) -> npt.NDArray[np.float64]:
        """`gain` every `step` seconds from 0 on: float64 `(points,)`."""
        return self._curve(self.gain, key, step)

    def bus_gains(self, bus: str, step: float = 0.01) -> npt.NDArray[np.float64]:
        """`bus_gain` every `step` seconds from 0 on: float64 `(points,)`."""
        return self._curve(self.bus_gain, bus, step)

    def _curve(self, gain: Callable[[str, float], float], name: str, step: float) -> npt.NDArray[np.float64]:
        if not step > 0:
            raise UsageError(f"step={step!r}: it is a number of seconds above 0")
        count = int(self.frames / self.sample_rate / step)
        return np.array([gain(name, i * step) for i in range(count)])

    def audio(self, from_: float | None = None, to: float | None = None) -> npt.NDArray[np.float32]:
        """The sound, or a part of it: float32 `(frames, 1)`.

        Raises:
            SceneError: a source of the scene is missing or no sound.
        """
        last = self.frames if to is None else self._frame(to)
        blocks = list(self._blocks(0 if from_ is None else self._frame(from_), last))
        return np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)

    def _blocks(self, first: int, last: int) -> Iterator[npt.NDArray[np.float32]]:
        engine = self.engine()
        engine.skip(first)
        while engine.position < last:
            yield engine.render(min(_BLOCK, last - engine.position))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the sound as WAV, FLAC or OGG, by the path's suffix.

        Raises:
            UsageError: another suffix.
            OutputError: the file cannot be written.
        """
        from soundscape.outputs.file import write_audio

        write_audio(Path(path), self._blocks(0, self.frames), self.sample_rate)

    def plot(
        self, path: str | os.PathLike[str], *, sounds: Mapping[str, npt.NDArray[np.float32]] | None = None
    ) -> None:
        """Draws the states as bands, the gain of each layer, the ducks and the waveform as a picture (PNG, SVG or PDF).

        Args:
            path: where to.
            sounds: waveforms in place of the take's own: name to float32 `(frames, 1)` at the take's sample rate.

        Raises:
            UsageError: another suffix.
            OutputError: the picture cannot be written there.
        """
        from soundscape.plot import check_target, plot

        check_target(Path(path))
        seconds = self.frames / self.sample_rate
        step = max(0.01, seconds / 2_400)
        plot(
            Path(path),
            title=f"{self.scene.name}, seed {self.seed}",
            seconds=seconds,
            states=self.states(),
            gains={key: self.gains(key, step) for key in self.keys},
            ducks={bus: self.bus_gains(bus, step) for bus in self.buses if self.scene.ducks},
            sounds={"sound": self.audio()} if sounds is None else sounds,
        )

    def __str__(self) -> str:
        """The transcript: a line for each thing that was decided, states to the left of what becomes of the sounds."""
        keys = [len(_shown(entry.key)) for entry in self.log if entry.action != "commit"]
        width = min(max(keys, default=0), _WIDEST_KEY)
        return "\n".join(describe(entry, width=width) for entry in self.log)

    def __repr__(self) -> str:
        events = write_sequence((frame / self.sample_rate, fact) for frame, fact in self.facts)
        events = _shown(events if len(events) <= 120 else f"{events[:117]}...")
        seconds = write_seconds(self.frames / self.sample_rate)
        return f"<Take of {self.scene.name!r}, seed {self.seed}, {seconds} s: {events}>"

    def _frame(self, at: float) -> int:
        if not 0 <= at <= self.frames / self.sample_rate:
            raise UsageError(f"{at!r} is not within the take, which is {self.frames / self.sample_rate:g} s long")
        return to_frames(at, self.sample_rate)


def describe(entry: Entry, *, width: int = 0) -> str:
    """A line of a transcript.

    Args:
        entry: what was decided.
        width: characters of the column of keys, at least.
    """
    at, action, key = f"{entry.at:9.3f}", entry.action, _shown(entry.key)
    if action == "commit":
        return f"{at}  {key}"
    if action in ("arm", "settle"):
        how = f"in {entry.duration:.3f} s"
    elif action == "hold":
        how = f"for {entry.duration:.3f} s"
    elif action in ("cancel", "skip"):
        how = ""
    elif entry.duration == 0 and action in ("start", "shot"):
        how = f"at {entry.gain_to:.3f}"
    else:
        how = f"{entry.gain_from:.3f} -> {entry.gain_to:.3f} in {entry.duration:.3f} s"
    clip = _shown(entry.clip)
    if clip and clip not in key.split(" "):
        how = f"{how}  ({clip})" if how else f"({clip})"
    return f"{at}      {action:<8}{key:<{width}}  {how}".rstrip()


def _shown(name: str) -> str:
    """What others have named, on one line and harmless to a terminal."""
    return name if name.isprintable() else repr(name)
