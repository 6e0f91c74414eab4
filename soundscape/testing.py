"""Replay sequences of states through a scene, without a call: what a scene's tests, its pictures and its sound files
are made with.

    take = replay("scenes/office.toml", "listening@0 thinking@3 speaking@6", seed=7)
    assert take.state(at=4) == "thinking"
    assert take.gain("soundscape:keyboard-typing", at=2.9) == 0
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from soundscape.clip import Clip
from soundscape.cues import to_frames
from soundscape.engine import Engine, Entry, Fact
from soundscape.exceptions import UsageError
from soundscape.library import SceneClips
from soundscape.loader import Scene, find_scene

__all__ = ["Take", "describe", "parse_sequence", "replay"]

_FACT = re.compile(r"(?:(?P<kind>user|tool|app)=)?(?P<value>[^@=\s]+)@(?P<at>\S+)")
_STATE = re.compile(r"[a-z][a-z0-9_]*")
_BLOCK = 48_000


def parse_sequence(sequence: str | Sequence[tuple[float, str]]) -> list[tuple[float, Fact]]:
    """The facts of a sequence with their times in seconds.

    Args:
        sequence: `NAME@SECONDS` for the agent's state, `user=NAME@SECONDS`, `tool=NAME@SECONDS`, `app=NAME@SECONDS`
            (`-` for none any more) and `close@SECONDS`, separated by white space; or a list of (seconds, what stands
            before the `@`).

    Raises:
        UsageError: it says what is wrong with which part.
    """
    words = sequence.split() if isinstance(sequence, str) else [f"{event}@{at}" for at, event in sequence]
    facts: list[tuple[float, Fact]] = []
    for word in words:
        found = _FACT.fullmatch(word)
        if found is None:
            raise UsageError(
                f"{word!r} is not a part of a sequence; write thinking@3, tool=lookup@4, app=-@9 or close@12"
            )
        at = _seconds(found["at"], word)
        if facts and facts[-1][1].kind == "close":
            raise UsageError(f"{word!r} comes after close; nothing does")
        if facts and at < facts[-1][0]:
            raise UsageError(f"{word!r} goes back in time; the one before is at {facts[-1][0]:g}")
        facts.append((at, _fact(found["kind"] or "agent", found["value"], word)))
    return facts


def _seconds(text: str, word: str) -> float:
    try:
        at = float(text)
    except ValueError:
        at = math.nan
    if not 0 <= at <= 86_400:
        raise UsageError(f"{word!r}: the time must be a number of seconds from 0 to 86,400")
    return at


def _fact(kind: str, value: str, word: str) -> Fact:
    if kind == "agent" and value == "close":
        return Fact("close")
    if kind != "agent" and value == "-":
        return Fact(kind)  # type: ignore[arg-type]
    if kind != "tool" and not _STATE.fullmatch(value):
        raise UsageError(f"{word!r}: {value!r} is not a state's name")
    return Fact(kind, value)  # type: ignore[arg-type]


def replay(
    scene: str | os.PathLike[str] | Scene,
    sequence: str | Sequence[tuple[float, str]],
    *,
    until: float | None = None,
    seed: int | None = None,
    sample_rate: int = 48_000,
    allow_outside: bool = False,
) -> Take:
    """Replays a sequence through a scene. No audio file is opened until something asks for sound or for a length.

    Args:
        scene: a path, the name of a scene that ships, TOML text, or a `Scene`.
        sequence: see `parse_sequence`.
        until: seconds; 5 s after the last event unless given.
        seed: of every draw; the scene's, else 0, unless given.
        sample_rate: frames per second.
        allow_outside: whether sources may leave the scene's folder.

    Raises:
        SceneError: the scene is wrong.
        UsageError: the sequence is.
    """
    facts = parse_sequence(sequence)
    if until is None:
        until = (facts[-1][0] if facts else 0.0) + 5.0
    if not 0 <= until <= 86_400 * 2:
        raise UsageError(f"until={until!r}: the end must be a number of seconds from 0")
    clips = SceneClips(_scene(scene), sample_rate=sample_rate, allow_outside=allow_outside)
    frames = [(to_frames(at, sample_rate), fact) for at, fact in facts]
    return Take(
        clips.scene, frames, clips=clips, until=to_frames(until, sample_rate), seed=seed, sample_rate=sample_rate
    )


def _scene(scene: str | os.PathLike[str] | Scene) -> Scene:
    if isinstance(scene, Scene):
        return scene.checked()
    if isinstance(scene, str) and re.search(r"[\n=\[]", scene):
        return Scene.from_toml(scene)
    return Scene.from_file(find_scene(scene))


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
        self._probe: Engine | None = None
        engine = self._engine()
        engine.skip(until)
        self.seed = engine.seed
        self.log: list[Entry] = engine.log

    def _engine(self) -> Engine:
        engine = Engine(self.scene, self._clips, seed=self._seed, sample_rate=self.sample_rate)
        for frame, fact in self.facts:
            engine.post(fact, frame)
        return engine

    @property
    def keys(self) -> list[str]:
        """The layers' keys, in the scene's order."""
        return list(dict.fromkeys(self.scene.key(layer) for _, layer in self.scene.all_layers))

    def state(self, at: float) -> str:
        """The committed state at a time; at the frame of a commit the new one."""
        frame = self._frame(at)
        return next((e.key for e in reversed(self.log) if e.action == "commit" and e.frame <= frame), "none")

    def states(self) -> list[tuple[float, float, str]]:
        """From when to when (s) which state was committed."""
        commits = [(0.0, "none"), *((e.at, e.key) for e in self.log if e.action == "commit")]
        ends = [*(at for at, _ in commits[1:]), self.frames / self.sample_rate]
        return [(at, end, name) for (at, name), end in zip(commits, ends, strict=True) if end > at]

    def gain(self, key: str, at: float) -> float:
        """Layer gain times layer envelope of a key at a time, linear; 0 where nothing of it sounds.

        Raises:
            UsageError: no layer of the scene has that key.
        """
        if key not in self.keys:
            raise UsageError(f"no layer has the key {key!r}; the keys are {', '.join(map(repr, self.keys))}")
        frame = self._frame(at)
        if self._probe is None or self._probe.position > frame + 1:
            self._probe = self._engine()
        self._probe.skip(frame + 1 - self._probe.position)
        return self._probe.gain(key, frame)

    def gains(self, key: str, step: float = 0.01) -> npt.NDArray[np.float64]:
        """`gain` every `step` seconds from 0 on: float64 `(points,)`."""
        count = int(self.frames / self.sample_rate / step)
        return np.array([self.gain(key, i * step) for i in range(count)])

    def audio(self, from_: float | None = None, to: float | None = None) -> npt.NDArray[np.float32]:
        """The sound, or a part of it: float32 `(frames, 1)`.

        Raises:
            SceneError: a source of the scene is missing or no sound.
        """
        first = 0 if from_ is None else self._frame(from_)
        last = self.frames if to is None else min(self._frame(to), self.frames)
        blocks = list(self._blocks(first, last))
        return np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)

    def _blocks(self, first: int, last: int) -> Iterator[npt.NDArray[np.float32]]:
        engine = self._engine()
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
        """Draws the states as bands, the gain of each layer and the waveform as a picture (PNG, SVG or PDF).

        Args:
            path: where to.
            sounds: waveforms in place of the take's own: name to float32 `(frames, 1)` at the take's sample rate.
        """
        from soundscape.plot import plot

        seconds = self.frames / self.sample_rate
        step = max(0.01, seconds / 2_400)
        plot(
            Path(path),
            title=f"{self.scene.name}, seed {self.seed}",
            seconds=seconds,
            states=self.states(),
            gains={key: self.gains(key, step) for key in self.keys},
            sounds={"sound": self.audio()} if sounds is None else sounds,
        )

    def __str__(self) -> str:
        """The transcript: a line for each thing that was decided."""
        return "\n".join(describe(entry) for entry in self.log)

    def _frame(self, at: float) -> int:
        if not 0 <= at <= self.frames / self.sample_rate:
            raise UsageError(f"{at!r} is not within the take, which is {self.frames / self.sample_rate:g} s long")
        return to_frames(at, self.sample_rate)


def describe(entry: Entry) -> str:
    """A line of a transcript."""
    at, action, key = f"{entry.at:9.3f}", entry.action, entry.key
    if action == "commit":
        return f"{at}  {key}"
    line = f"{at}      {action:<8}{key}"
    if action == "hold":
        line += f"  {entry.duration:.3f} s more"
    elif action not in ("cancel", "skip"):
        line += f"  {entry.gain_from:.3f} -> {entry.gain_to:.3f} in {entry.duration:.3f} s"
    return f"{line}  ({entry.clip})" if entry.clip and entry.clip not in key else line
