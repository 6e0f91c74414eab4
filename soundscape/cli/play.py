"""`soundscape play`: a scene on the speakers, its states under keys, or a sequence of them in real time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from soundscape.cli.keys import END, keys
from soundscape.cli.layout import plain
from soundscape.engine import Engine, Fact, Scenery, Switch
from soundscape.exceptions import SceneError
from soundscape.gain import linear_to_db
from soundscape.library import SceneClips
from soundscape.loader import Scene
from soundscape.outputs.speakers import SpeakersOutput
from soundscape.scene import AGENT_STATES, HOST_STATES
from soundscape.testing import Take, describe

__all__ = ["play_live", "play_take"]

CLOSE_SECONDS = 10.0
"""How long the last fade may take, at most."""

_DECLICK_SECONDS = 0.2
_DRAW_SECONDS = 0.1
_STATE_KEYS = "123456789abcdefghijklmnoprstvwxyz"  # `q` and `u` are taken
_ALWAYS = ("listening", "thinking", "speaking")


async def play_live(path: Path, *, seed: int | None, allow_outside: bool, out: Console) -> None:
    """Plays a scene, whose states and the caller's are under keys, until it is ended. A scene that is saved meanwhile
    is played from then on, unless it is wrong: then it is said why, and the present one goes on.

    Raises:
        SceneError: the scene or one of its sounds is wrong.
        OutputError: there are no speakers.
    """
    desk = _Desk(path, seed=seed, allow_outside=allow_outside, out=out)
    output = SpeakersOutput()
    with _until_told() as told:

        def pressed(key: str) -> None:
            if key in ("q", "\x1b", END):
                told.set()
            else:
                desk.press(key)

        desk.press("1")
        await output.start(desk.engine)
        watching = asyncio.create_task(desk.watch())
        with keys(pressed), Live(console=out, get_renderable=desk.draw, refresh_per_second=1 / _DRAW_SECONDS):
            await told.wait()
            watching.cancel()
            await _end(desk.engine, output)
            with suppress(asyncio.CancelledError):
                await watching


async def play_take(take: Take, *, out: Console) -> None:
    """Plays a sequence in real time, and prints what happens as it does.

    Raises:
        SceneError: a sound is wrong.
        OutputError: there are no speakers.
    """
    unheard = take.engine()  # a clip is loaded when it is asked for, which must not hold up the speakers
    while unheard.position < take.frames:
        unheard.render(take.sample_rate)
    engine, output, shown = take.engine(), SpeakersOutput(), 0
    with _until_told() as told:
        await output.start(engine)
        while not (told.is_set() or engine.finished or output.heard >= take.frames):
            shown = _say_new(engine, shown, out)
            with suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), _DRAW_SECONDS)
        await _end(engine, output)
        _say_new(engine, shown, out)


def _say_new(engine: Engine, shown: int, out: Console) -> int:
    entries = engine.log[shown:]
    for entry in entries:
        out.print(Text(describe(entry)))
    return shown + len(entries)


async def _end(engine: Engine, output: SpeakersOutput) -> None:
    engine.post(Fact("close"))
    closing = asyncio.create_task(output.aclose(timeout=CLOSE_SECONDS + _DECLICK_SECONDS))
    await asyncio.wait([closing], timeout=CLOSE_SECONDS)
    engine.post(Fact("cut"))  # what takes longer ends without a click
    await closing


@contextmanager
def _until_told() -> Iterator[asyncio.Event]:
    """Ctrl-C, or the system's request to end, sets the event; once more it is what it ever is."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def restore() -> None:
        for number, handler in before:
            signal.signal(number, handler)

    def tell(_number: int, _frame: FrameType | None) -> None:
        restore()
        loop.call_soon_threadsafe(told.set)

    before: list[tuple[int, Callable[[int, FrameType | None], object] | int | None]] = [
        (number, signal.signal(number, tell)) for number in numbers
    ]
    try:
        yield told
    finally:
        restore()


class _Desk:
    """The scene, the engine that plays it, and the states under the keys."""

    def __init__(self, path: Path, *, seed: int | None, allow_outside: bool, out: Console) -> None:
        self._path, self._allow_outside, self._out = path, allow_outside, out
        self._saved = _saved(path)
        scene, clips = self._load()
        self.engine = Engine(scene, clips, seed=seed, history=3600.0)
        self._user_speaks = False
        self._take(scene)

    def _load(self) -> tuple[Scene, SceneClips]:
        scene = Scene.from_file(self._path)
        clips = SceneClips(scene, allow_outside=self._allow_outside)
        clips.load_all()
        return scene, clips

    def _take(self, scene: Scene) -> None:
        self._states = dict(zip(_STATE_KEYS, dict.fromkeys((*_ALWAYS, *scene.states)), strict=False))
        self._layers = list(dict.fromkeys(scene.key(layer) for _, layer in scene.all_layers))

    async def watch(self) -> None:
        """Plays what is saved."""
        while True:
            await asyncio.sleep(0.3)
            saved = _saved(self._path)
            if saved == self._saved or saved == 0:  # editors may take it away for a moment
                continue
            self._saved = saved
            try:
                scene, clips = await asyncio.to_thread(self._load)
            except SceneError as error:
                for problem in error.problems:
                    self._out.print(Text(plain(str(problem)), "red"))
                continue
            self._take(scene)
            self.engine.post(Fact("scene", Switch(str(self._path), Scenery(scene, clips))))
            self._out.print(Text(plain(f"{self._path}: plays as saved")))

    def press(self, key: str) -> None:
        """A state's key makes it the state, in place of whatever was; `u` lets the caller begin or end to speak."""
        if key == "u":
            self._user_speaks = not self._user_speaks
            self.engine.post(Fact("user", "speaking" if self._user_speaks else "listening"))
        elif (state := self._states.get(key)) is not None:
            if state == "away":
                self._user_speaks = False
            by_agent = state in AGENT_STATES
            agent = state if by_agent else "thinking" if state == "tool" else "listening"
            user = "away" if state == "away" else "speaking" if self._user_speaks else "listening"
            self.engine.post(Fact("user", user))
            self.engine.post(Fact("tool", "tool" if state == "tool" else None))
            self.engine.post(Fact("app", None if state in HOST_STATES else state))
            self.engine.post(Fact("agent", agent))

    def draw(self) -> Text:
        """The keys, which state it is, and what sounds."""
        line = Text()
        present = self.engine.state
        for key, state in self._states.items():
            line.append(f"{key} ", "dim").append(state, "bold reverse" if state == present else "").append("  ")
        line.append("u ", "dim").append("caller speaks", "bold reverse" if self._user_speaks else "")
        line.append("  ").append("q ", "dim").append("end").append("  |  ", "dim")
        gains = ((layer, self.engine.gain(layer)) for layer in self._layers)
        sounding = [f"{plain(layer)} {round(linear_to_db(gain))} dB" for layer, gain in gains if gain > 0]
        return line.append(", ".join(sounding) or "nothing sounds")


def _saved(path: Path) -> int:
    """When a file was saved; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
