"""`soundscape demo`: a scene in a real agent session, in real time: on the terminal, as a sound and as a picture."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit.agents import AgentSession
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from soundscape.demo.conversation import Timing, Turn, converse
from soundscape.demo.scripted import PacedVoice
from soundscape.engine import Entry, Fact
from soundscape.gain import linear_to_db
from soundscape.loader import Scene, find_scene
from soundscape.outputs import MemoryOutput, Source
from soundscape.outputs.file import write_audio
from soundscape.plugin import Soundscape
from soundscape.plugin.host import use
from soundscape.testing import Take, describe

__all__ = ["run"]

ABOUT_SECONDS = 29.0
"""What the conversation takes; the progress bar needs an end to aim at."""

SAMPLE_RATE = 48_000
_STATE_STYLES = {"listening": "green", "thinking": "yellow", "speaking": "blue", "tool": "dark_orange", "none": "dim"}


class _Stage(MemoryOutput):
    """Keeps the background, and plays it together with the voice on the speakers where there are any."""

    def __init__(self, voice: PacedVoice, *, speakers: bool) -> None:
        super().__init__()
        self.since = 0.0
        self.level = 0.0
        self._voice = voice
        self._wanted = speakers
        self._speakers: Any = None
        self._unheard: list[npt.NDArray[np.float32]] = []

    @property
    def audible(self) -> bool:
        """Whether it comes out of the speakers."""
        return self._speakers is not None

    async def start(self, source: Source) -> None:
        self.since = asyncio.get_running_loop().time() - self._voice.origin
        if self._wanted:
            self._speakers = _open_speakers(source.sample_rate)
        await super().start(source)

    def _write(self, block: npt.NDArray[np.float32]) -> None:
        super()._write(block)
        self.level = float(np.abs(block).max(initial=0.0))
        if self._speakers is not None:
            self._unheard.append(block)
            if len(self._unheard) == 5:  # 100 ms: the voice is resampled less often
                self._play(np.concatenate(self._unheard))
                self._unheard.clear()

    def _play(self, block: npt.NDArray[np.float32]) -> None:
        until = self.since + len(self.samples) / SAMPLE_RATE
        voice = self._voice.heard(until, since=until - len(block) / SAMPLE_RATE, sample_rate=SAMPLE_RATE)
        self._speakers.write(np.clip(block + voice[:, np.newaxis], -1, 1))

    async def aclose(self, *, timeout: float = 0.0) -> None:
        await super().aclose(timeout=timeout)
        if self._speakers is not None:
            self._speakers.close()
            self._speakers = None

    def mixed(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The background and the voice as a caller heard them: twice float32 `(frames, 1)`."""
        background = self.samples
        until = self.since + len(background) / SAMPLE_RATE
        voice = self._voice.heard(until, since=self.since, sample_rate=SAMPLE_RATE)
        return background, voice[: len(background), np.newaxis]


def _open_speakers(sample_rate: int) -> Any:
    """A PortAudio stream, or None where there is no PortAudio or no device: the demo goes on without."""
    try:
        import sounddevice

        stream = sounddevice.OutputStream(sample_rate, channels=1, dtype="float32", latency=0.3)
        stream.start()
    except Exception:
        return None
    return stream


async def run(
    scene: str,
    *,
    folder: Path,
    seed: int,
    speakers: bool,
    allow_outside: bool,
    console: Console,
    timing: Timing | None = None,
    turns: Sequence[Turn] | None = None,
) -> None:
    """Holds the demo's conversation with a scene behind it.

    Leaves `soundscape-demo.wav` (voice and background together) and `soundscape-demo.png`.

    Args:
        scene: a scene file, or the name of a scene that ships.
        folder: where to leave the files.
        seed: of every draw.
        speakers: whether to play it as well, where there is something to play it on.
        allow_outside: whether sources may leave the scene's folder.
        console: where it is shown.
        timing: the conversation's; the demo's own unless given.
        turns: likewise.

    Raises:
        SceneError: the scene or one of its sounds is wrong; nothing was started.
        OutputError: the files cannot be written.
    """
    logging.getLogger("livekit").setLevel(logging.ERROR)  # the terminal belongs to the demo
    tables = Scene.from_file(find_scene(scene))
    voice = PacedVoice()
    stage = _Stage(voice, speakers=speakers)
    background = Soundscape(tables, seed=seed, allow_outside=allow_outside, output=stage)
    session: AgentSession[None] = AgentSession()
    session.output.audio = voice
    use(session, background)
    with _screen(console, background, stage) as say:
        await converse(session, timing=timing, turns=turns, on_line=say)
        await background.aclose()
    _leave(background, stage, folder, console)


def _leave(background: Soundscape, stage: _Stage, folder: Path, console: Console) -> None:
    """The transcript, the sound and the picture."""
    sound, voice = stage.mixed()
    engine = background.engine
    take = Take(
        background.scene,
        engine.facts,
        clips=background.clips,
        until=len(sound),
        seed=background.seed,
        sample_rate=SAMPLE_RATE,
    )
    console.print()
    for line in _transcript(engine.facts, engine.log):
        console.print(line)
    wav, png = folder / "soundscape-demo.wav", folder / "soundscape-demo.png"
    write_audio(wav, [sound + voice], SAMPLE_RATE)
    take.plot(png, sounds={"background": sound, "voice": voice})
    console.print(
        f"\nwrote {escape(str(wav))} ({len(sound) / SAMPLE_RATE:.1f} s, voice and background) and {escape(str(png))}"
    )


def _transcript(facts: list[tuple[int, Fact]], log: list[Entry]) -> Iterator[Text]:
    """What the session said and what became of it, in order."""
    lines = [(frame, 0, Text(f"{frame / SAMPLE_RATE:9.3f}  session: {_told(fact)}", "cyan")) for frame, fact in facts]
    lines += [(entry.frame, 1, Text(describe(entry))) for entry in log]
    yield from (line for _, _, line in sorted(lines, key=lambda line: line[:2]))


def _told(fact: Fact) -> str:
    if fact.kind == "close":
        return "closed"
    if fact.kind == "tool":
        return f"tool {fact.value} runs" if fact.value else "no tool runs any more"
    return f"{fact.kind} {fact.value}"


@contextlib.contextmanager
def _screen(console: Console, background: Soundscape, stage: _Stage) -> Iterator[Callable[[str, str], None]]:
    """Shows the session while it runs; gives the call that shows a line of the conversation."""
    lines: deque[tuple[str, str]] = deque(maxlen=3)
    if not console.is_terminal:
        yield lambda who, line: console.print(f"{who}: {escape(line)}")
        return
    meters = _Meters(background, stage, lines)
    with Live(console=console, refresh_per_second=12, get_renderable=meters.draw, transient=True):
        yield lambda who, line: lines.append((who, line))


class _Meters:
    def __init__(self, background: Soundscape, stage: _Stage, lines: deque[tuple[str, str]]) -> None:
        self._background = background
        self._stage = stage
        self._lines = lines
        scene = background.scene
        self._keys = list(dict.fromkeys(scene.key(layer) for _, layer in scene.all_layers))
        self._before = dict.fromkeys(self._keys, 0.0)

    def draw(self) -> Panel:
        engine = self._background.engine
        seconds = engine.position / SAMPLE_RATE
        state = engine.state
        head = Text.assemble(
            ("● ", _STATE_STYLES.get(state, "magenta")),
            (f"{state:<14}", f"bold {_STATE_STYLES.get(state, 'magenta')}"),
            f"{seconds:5.1f} s",
            ("   on the speakers" if self._stage.audible else "   no speakers: a file is being made", "dim"),
        )
        table = Table.grid(padding=(0, 2))
        for key in self._keys:
            gain = engine.gain(key)
            before, self._before[key] = self._before[key], gain
            doing = "rising" if gain > before + 1e-4 else "falling" if gain < before - 1e-4 else "on" if gain else ""
            level = f"{linear_to_db(gain):6.1f} dB" if gain > 0 else ""
            table.add_row(key, _bar(gain, 24), level, Text(doing, "dim"))
        table.add_row(Text("output", "bold"), _bar(self._stage.level, 24), _peak(self._stage.level), "")
        talk = Text("\n".join(f"{who}: {line}" for who, line in self._lines))
        bar = ProgressBar(total=ABOUT_SECONDS, completed=min(seconds, ABOUT_SECONDS), width=50)
        return Panel(Group(head, "", table, "", talk, "", bar), title=f"soundscape: {self._background.scene.name}")


def _peak(level: float) -> str:
    return f"{linear_to_db(level):6.1f} dB" if level > 0 else ""


def _bar(gain: float, width: int) -> Text:
    """A bar over 48 dB, full at 0 dB."""
    share = max(0.0, 1 + linear_to_db(gain) / 48) if gain > 0 else 0.0
    filled = min(width, round(share * width))
    return Text("█" * filled + "░" * (width - filled), "green")
