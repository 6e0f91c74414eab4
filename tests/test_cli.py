"""The command line: what it says, what it leaves, how it ends, and never a traceback for what a user can cause."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from soundscape.cli import main
from soundscape.demo.conversation import Timing, Turn
from soundscape.demo.scripted import Completion, ToolCall
from soundscape.demo.show import run
from soundscape.library.decode import decode

SEQUENCE = "listening@0 thinking@1 speaking@2"


def called(*args: str) -> int:
    """The exit status of a call."""
    with pytest.raises(SystemExit) as ended:
        main(args)
    return int(ended.value.code or 0)


def sound_of(path: Path) -> npt.NDArray[np.float32]:
    with path.open("rb") as file:
        return decode(file, path.name, 48_000)


def test_scenes_that_ship_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("check", "office", "cafe", "quiet-typing") == 0
    assert capsys.readouterr().out == "office: ok\ncafe: ok\nquiet-typing: ok\n"


def test_check_names_every_problem_of_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the text and of the sounds, in the files' order, in one go; exit status 1."""
    (tmp_path / "empty.wav").touch()
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text('[base]\nsource = "gone.wav"\nvolume = -1\n\n[states.thinking]\nsorce = "x"\nsource = "empty.wav"\n')
    two.write_text('[base]\nsource = "../out.wav"\n[states.tool]\npool = "keys"\n')
    assert called("check", str(one), "office", str(two)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.replace(f"{tmp_path}/", "") for line in lines] == [
        "one.toml:2:1: base.source: 'gone.wav': no such file; paths are taken from the scene's folder",
        "one.toml:3:1: base.volume: must be at least 0, not -1",
        "one.toml:6:1: states.thinking: unknown key 'sorce'; did you mean 'source'?",
        "one.toml:7:1: states.thinking.source: 'empty.wav' is empty",
        "office: ok",
        "two.toml:2:1: base.source: '../out.wav' leaves the scene's folder; "
        "only files in the scene's folder are played, unless the caller passes allow_outside=True",
        "two.toml:4:1: states.tool.pool: no pool is called 'keys'; define it as [pools.keys]",
    ]


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_render_leaves_a_sound(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Until 5 s after the last event, and says what happens in it."""
    out = tmp_path / f"out.{suffix}"
    assert called("render", "office", SEQUENCE, "-o", str(out), "--seed", "3") == 0
    sound = sound_of(out)
    assert len(sound) == 7 * 48_000
    assert np.abs(sound[:48_000]).max() > 0.01
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:-1] if len(line.split()) == 2] == ["listening", "thinking", "speaking"]
    assert lines[-1] == f"wrote {out}"


def test_render_leaves_a_picture(tmp_path: Path) -> None:
    assert called("render", "quiet-typing", SEQUENCE, "--plot", str(tmp_path / "out.png")) == 0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_renders_the_same_file(tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        called("render", "office", SEQUENCE, "-o", str(tmp_path / f"{name}.wav"), "--seed", seed)
    a, b, c = ((tmp_path / f"{name}.wav").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("check", "no-such-scene"), 1, "no-such-scene: no such file"),
        (("check", "ofice"), 1, "did you mean 'office'?"),
        (("check", "/dev/null"), 1, "not a regular file"),
        (("render", "office", SEQUENCE), 2, "name a sound file with -o"),
        (("render", "office", "thinking", "-o", "x.wav"), 2, "'thinking' is not a part of a sequence"),
        (("render", "office", "thinking@5 speaking@4", "-o", "x.wav"), 2, "goes back in time"),
        (("render", "office", "close@1 thinking@2", "-o", "x.wav"), 2, "comes after close"),
        (("render", "office", SEQUENCE, "-o", "x.mp3"), 2, ".wav"),
        (("render", "office", SEQUENCE, "-o", "nowhere/x.wav"), 1, "nowhere/x.wav"),
        (("render", "office", SEQUENCE, "--plot", "nowhere/x.png"), 1, "nowhere/x.png"),
        (("render", "office", SEQUENCE, "--plot", "x.xyz"), 1, "xyz"),
        (("demo", "no-such-scene"), 1, "no such file"),
        (("no-such-command",), 2, "No such command"),
        (("render",), 2, "Missing argument"),
    ],
)
def test_what_is_wrong_is_said(
    args: tuple[str, ...],
    status: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1 where a scene, a sound or the disk is wrong, 2 where the call is; one line that says which; no traceback."""
    monkeypatch.chdir(tmp_path)
    assert called(*args) == status
    printed = capsys.readouterr()
    assert said in printed.out + printed.err
    assert "Traceback" not in printed.out + printed.err
    assert list(tmp_path.iterdir()) == []


async def test_the_demo(tmp_path: Path) -> None:
    """A real session, cut short: the log says what came from the session, typing is heard in thinking and not in
    listening, and the sound holds the voice as well as the room."""
    console = Console(file=(shown := io.StringIO()), width=200)
    turns = (
        Turn(
            "Where is my lamp?",
            (
                Completion("Wait.", think=1.2, call=ToolCall("look_up_order", {"order_number": "4713"})),
                Completion("It left.", think=0.5),
            ),
        ),
    )
    timing = Timing(pause=1.2, caller=0.1, tool=1.5, voice=0.02, tail=0.5)
    await run(
        "office",
        folder=tmp_path,
        seed=1,
        speakers=False,
        allow_outside=False,
        console=console,
        timing=timing,
        turns=turns,
    )
    lines = shown.getvalue().splitlines()
    said = [line.split("session: ")[1] for line in lines if "session: " in line]
    assert [what for what in said if what.startswith("agent")][:4] == [
        "agent initializing",
        "agent listening",
        "agent thinking",
        "agent speaking",
    ]
    assert said[-1] == "closed"
    assert "tool look_up_order runs" in said
    assert (tmp_path / "soundscape-demo.png").read_bytes().startswith(b"\x89PNG")

    sound = sound_of(tmp_path / "soundscape-demo.wav")
    times = {line.split("agent ")[1]: float(line.split()[0]) for line in lines if "session: agent" in line}
    thinking = next(float(line.split()[0]) for line in lines if "start   typing" in line)
    speaking = next(float(line.split()[0]) for line in lines if line.endswith("session: agent speaking"))
    assert set(times) == {"initializing", "listening", "thinking", "speaking"}
    listened = bright(sound[int(48_000 * (thinking - 0.9)) : int(48_000 * (thinking - 0.02))])
    typed = bright(sound[int(48_000 * (thinking + 0.1)) : int(48_000 * (speaking - 0.05))])
    voiced = float(np.square(sound[int(48_000 * (speaking + 0.1)) :][:14_400]).mean())
    assert typed > 10 * listened
    assert voiced > 10 * float(np.square(sound[int(48_000 * (thinking - 0.9)) : int(48_000 * thinking)]).mean())


def bright(sound: npt.NDArray[np.float32]) -> float:
    """The power above 4 kHz, where keys are and a room is not."""
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    return float(spectrum[int(len(sound) * 4_000 / 48_000) :].sum() / len(sound) ** 2)
