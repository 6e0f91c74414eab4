"""The command line: what it says, what it leaves, how it ends, and never a traceback for what a user can cause."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from soundscape.cli import main
from soundscape.demo.conversation import Timing, Turn
from soundscape.demo.scripted import Completion, ToolCall
from soundscape.demo.show import run
from soundscape.exceptions import Problem
from soundscape.library import list_clips
from soundscape.library.decode import decode
from soundscape.loader import shipped_scenes

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
    assert called("check", *shipped_scenes()) == 0
    assert capsys.readouterr().out == "".join(f"{name}: ok\n" for name in shipped_scenes())


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


MISTAKEN = """\
nmae = "desk"

[defaults]
crossfade = -1

[buses.desk]
level_lu = 3

[base]
source = "gone.wav"

[states.thinking]
pool = "kyes"
bus = "dsk"

[states.Tool]
source = "soundscape:rainn"

[[states.listening.layers]]
kind = "scatter"
source = "soundscape:chime"

[pools.keys]
entries = [{ source = "soundscape:keyboard-typing", volum = 1 }]

[[transitions]]
to = "listenin"
"""

WHERE = [
    (1, "", "unknown key 'nmae'"),
    (4, "defaults.crossfade", "must be at least 0, not -1"),
    (7, "buses.desk.level_lu", "must be below 0, not 3"),
    (10, "base.source", "'gone.wav': no such file"),
    (13, "states.thinking.pool", "no pool is called 'kyes'"),
    (14, "states.thinking.bus", "no bus is called 'dsk'"),
    (16, "states.Tool", "'Tool' is not a state's name"),
    (17, "states.Tool.source", "'soundscape:rainn': no clip of that name ships with soundscape"),
    (19, "states.listening.layers[0]", "a scatter needs an interval"),
    (24, "pools.keys.entries[0]", "unknown key 'volum'"),
    (27, "transitions[0].to", "no state is called 'listenin'"),
]


def test_check_names_each_of_many_mistakes_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In text, and in JSON with the same words in their own fields, beside what is right."""
    scene = tmp_path / "mistaken.toml"
    scene.write_text(MISTAKEN)
    assert called("check", str(scene)) == 1
    text = capsys.readouterr().out.splitlines()
    assert called("check", "--format", "json", str(scene), "office") == 1
    wrong, right = json.loads(capsys.readouterr().out)
    assert right == {"scene": "office", "path": right["path"], "ok": True, "problems": []}
    assert Path(right["path"]).name == "office.toml"
    assert (wrong["scene"], wrong["path"], wrong["ok"]) == (str(scene), str(scene), False)
    problems = [Problem(**problem) for problem in wrong["problems"]]
    assert [(found.line, found.where, found.message) for found in problems] == WHERE
    assert [str(problem) for problem in problems] == text
    assert text[0] == f"{scene}:1:1: unknown key 'nmae'; did you mean 'name'?"


def test_check_of_good_scenes_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("check", "--format", "json", "office", "cafe") == 0
    assert [(scene["scene"], scene["ok"]) for scene in json.loads(capsys.readouterr().out)] == [
        ("office", True),
        ("cafe", True),
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


def test_render_a_recorded_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"soundscape": 1, "scene": "office", "seed": 7, "sample_rate": 48_000},
        {"at": 0.0, "agent": "listening"},
        {"at": 0.5, "agent": "thinking"},
        {"at": 1.25, "end": True},
    ]
    (tmp_path / "call.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert called("render", "office", str(tmp_path / "call.jsonl"), "-o", str(tmp_path / "out.wav")) == 0
    assert len(sound_of(tmp_path / "out.wav")) == 1.25 * 48_000
    assert "    0.500  thinking\n" in capsys.readouterr().out


def test_render_until(tmp_path: Path) -> None:
    assert called("render", "office", SEQUENCE, "-o", str(tmp_path / "out.wav"), "--until", "1.5") == 0
    assert len(sound_of(tmp_path / "out.wav")) == 1.5 * 48_000


def power(sound: npt.NDArray[np.float32], rate: int, low: float, high: float) -> float:
    """Mean power between two frequencies in Hz."""
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    at = np.fft.rfftfreq(len(sound), 1 / rate)
    return float(spectrum[(at >= low) & (at < high)].sum() * 2 / len(sound) ** 2)


def db(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def test_render_as_a_telephone_leaves_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """8 kHz; nothing above 3.6 kHz; what is in the band as loud as without the telephone, within 1 dB."""
    for name, options in (("room", ()), ("phone", ("--phone", "--plot", str(tmp_path / "out.png")))):
        assert called("render", "office", SEQUENCE, "-o", str(tmp_path / f"{name}.wav"), *options) == 0
    with (tmp_path / "phone.wav").open("rb") as file:
        phone = decode(file, "phone.wav", 8_000)
    room = sound_of(tmp_path / "room.wav")
    assert len(phone) == 7 * 8_000
    assert int.from_bytes((tmp_path / "phone.wav").read_bytes()[24:28], "little") == 8_000
    band = power(phone, 8_000, 300, 3_400)
    assert db(power(phone, 8_000, 3_600, 4_000) / band) < -30
    assert db(band / power(room, 48_000, 300, 3_400)) == pytest.approx(0, abs=1)
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.endswith(f"wrote {tmp_path}/phone.wav\nwrote {tmp_path}/out.png\n")


# --- What a scene is -------------------------------------------------------------------------------------------------

SHOWN = """\
name = "desk"
description = "A desk."
seed = 3

[defaults]
fade_in = 1

[buses.room]
level_lu = -22

[buses.desk]
level_lu = -18

[[ducks]]
while = "agent_speaking"
by_db = -4
buses = ["room"]

[clips.bell]
source = "soundscape:chime"
gain_db = -3

[pools.keys]
mode = "shuffle"
avoid_repeat = 1
gain_jitter_db = [-2, 0]
entries = [
  { source = "soundscape:keyboard-typing" },
  { source = "soundscape:keyboard-typing-2", volume = 0.5, fade_in = 0 },
]

[base]
key = "room"
bus = "room"
source = "soundscape:office-ambience"
start = "random"

[[states.thinking.layers]]
key = "typing"
bus = "desk"
pool = "keys"
after = 0.7
min_play = 1

[[states.thinking.layers]]
kind = "scatter"
pool = [{ source = "bell", probability = 0.25 }, { source = "soundscape:pick-up", probability = 0.5 }]
interval = [5, 9]

[states.speaking]
key = "room"
bus = "room"
source = "soundscape:office-ambience"
gain_db = -6

[[transitions]]
to = "speaking"
crossfade = 0.2

[[transitions]]
from = ["thinking", "tool"]
to = "listening"
settle = 0.25
"""

SHOW = """\
desk: A desk.
{path}; the agent speaks at -20 LUFS, seed 3

  sound   kind     bus             LUFS       vs speech  what
every state
  room    loop     room           -42.0           -22.0  soundscape:office-ambience, start random
thinking
  typing  loop     desk  -46.0 to -38.0  -26.0 to -18.0  pool keys in shuffled rounds,
                                                         not the last one again, each -2 to 0 dB:
                                                         50% soundscape:keyboard-typing,
                                                         50% soundscape:keyboard-typing-2 at -6.0 dB fade_in 0,
                                                         after 0.7, min_play 1
  scatter bell+soundscape:pick-up
          scatter  main  -29.7 to -28.0    -9.7 to -8.0  pool: 25% bell, 50% soundscape:pick-up,
                                                         25% silence, interval 5 to 9
speaking
  room    loop     room           -48.0           -28.0  soundscape:office-ambience,
                                                         in place of every state's
initializing, idle, listening
  nothing but what sounds in every state
tool
  a rule names it, but a session is never in it without a table [states.NAME]

  buses                   room -22 LU, desk -18 LU against speech; what plays on one is brought to
                          that loudness
  while the agent speaks  room -4 dB in 0.2 s; up again in 0.6 s, 0.5 s after the end of it
"""

MATRIX = """
how one becomes another, in seconds; of the lines that fit, the first one counts
     from -> to                    out    in  settle  urgent  because of
  a  thinking, tool -> listening  0.80  1.00    0.25  no      settle: transitions[1] (line 60);
                                                              in: defaults (line 6)
  b  * -> speaking                0.20  0.20       0  yes     out, in: transitions[0] (line 56)
  c  * -> none                    0.80  1.00       0  no      in: defaults (line 6)
  d  none -> *                    0.80  1.00       0  no      in: defaults (line 6)
  e  * -> *                       0.80  1.00       0  no      in: defaults (line 6)
* is every state but none, which is before and after the session. What no rule is named for is built in.

the same from each state (down) to each (across)
                     none initializing, idle listening thinking speaking tool
  none                .           d              d        d        d      d
  initializing, idle  c           e              e        e        b      e
  listening           c           e              .        e        b      e
  thinking            c           e              a        .        b      e
  speaking            c           e              e        e        .      e
  tool                c           e              a        e        b      .
"""


def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that there is to say of a layer, in the file's words; loudness as it plays there."""
    path = tmp_path / "desk.toml"
    path.write_text(SHOWN)
    assert called("show", str(path)) == 0
    assert capsys.readouterr().out == SHOW.format(path=path)
    assert called("show", "--matrix", str(path)) == 0
    assert capsys.readouterr().out == SHOW.format(path=path) + MATRIX


def test_show_says_in_its_place_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rest is shown; the exit status is 1."""
    (tmp_path / "click.wav").write_bytes(b"")
    path = tmp_path / "desk.toml"
    path.write_text(
        '[base]\nkey = "room"\nsource = "gone.wav"\n'
        '[states.tool]\nkey = "click"\nsource = "click.wav"\n'
        '[states.thinking]\nkey = "rain"\nsource = "soundscape:rain"\nprobability = 0.5\n'
    )
    assert called("show", str(path)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "  room   loop      ?          ?  gone.wav, 'gone.wav': no such file" in lines
    assert "  click  loop      ?          ?  click.wav, 'click.wav' is empty" in lines
    assert "  rain   loop  -27.0       -7.0  soundscape:rain 50% of the time" in lines


def test_what_cannot_be_measured_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("render", "office", "listening@0", "--until", "0.2", "-o", str(tmp_path / "click.wav")) == 0
    path = tmp_path / "desk.toml"
    path.write_text(
        '[base]\nkey = "click"\nkind = "once"\nbus = "desk"\nsource = "click.wav"\n[buses.desk]\nlevel_lu = -9\n'
    )
    assert called("show", str(path)) == 0
    says = " ".join(capsys.readouterr().out.split())
    assert "click once desk - - click.wav, too short or too soft to be measured, so as loud as the file is" in says


@pytest.mark.parametrize("name", shipped_scenes())
def test_every_scene_that_ships_can_be_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In lines that fit, but for words that are longer than their column, and with nothing a file could not hold."""
    assert called("show", "--matrix", name) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "?" not in out
    assert all(len(line) <= 110 for line in out.splitlines()[2:])


def test_what_an_author_writes_cannot_command_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "desk.toml"
    hostile = '"\\u001b[2J [red]\\nx"'
    path.write_text(
        f"name = {hostile}\ndescription = {hostile}\n[base]\nkey = {hostile}\nsource = 'soundscape:chime'\n"
    )
    assert called("show", "--matrix", str(path)) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.startswith("\\x1b[2J [red]\\nx: \\x1b[2J [red]\\nx\n")
    assert "  \\x1b[2J [red]\\nx  loop" in out


HOSTILE = "\x1b[31m\x9b\udcff:cat:[red]\n"
"""What a file's name may hold: commands to a terminal, a byte that is no text, and what rich would read."""

SPELT = "\\x1b[31m\\x9b\\udcff:cat:[red]\\n"


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("check", "{}.toml"), 0, "{}.toml: ok"),
        (("check", "{}-wrong.toml"), 1, "{}-wrong.toml:1:1: unknown key 'nmae'; did you mean 'name'?"),
        (("check", "{}-gone.toml"), 1, "{}-gone.toml: no such file; "),
        (("show", "{}.toml"), 0, "{}.toml; the agent speaks at -20 LUFS"),
        (("show", "{}-wrong.toml"), 1, "{}-wrong.toml:1:1: unknown key 'nmae'; did you mean 'name'?"),
        (("render", "{}.toml", "idle@0", "--until", "1", "-o", "{}.wav"), 0, "wrote {}.wav"),
        (("render", "{}.toml", "idle@0", "--until", "1", "-o", "{}.mp3"), 2, "soundscape: {}.mp3: cannot write .mp3"),
    ],
)
def test_what_a_file_is_called_cannot_command_a_terminal(
    args: tuple[str, ...],
    status: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor end a call that has no other fault: such a name is spelt."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{HOSTILE}.toml").write_text("name = 'quiet'\n")
    (tmp_path / f"{HOSTILE}-wrong.toml").write_text("nmae = 'quiet'\n")
    assert called(*(arg.replace("{}", HOSTILE) for arg in args)) == status
    printed = capsys.readouterr()
    assert said.replace("{}", SPELT) in printed.out + printed.err
    assert all(line.isprintable() for line in (printed.out + printed.err).split("\n"))


def test_what_a_file_is_called_stands_in_json_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called("check", "--format", "json", HOSTILE) == 1
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed)[0]["path"] == HOSTILE


@pytest.mark.parametrize(
    ("options", "begin"), [((), '---\ntitle: "office"\n'), (("--format", "dot"), 'digraph "office" {\n')]
)
def test_graph(options: tuple[str, ...], begin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("graph", "office", *options) == 0
    assert capsys.readouterr().out.startswith(begin)


# --- A beginning -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "name"),
    [((), "scene.toml"), (("lobby",), "lobby.toml"), (("a b.toml",), "a b.toml"), (("LOBBY.TOML",), "LOBBY.TOML")],
)
def test_init(
    args: tuple[str, ...],
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it writes passes `check`, can be played, and names the schema that lies beside it."""
    monkeypatch.chdir(tmp_path)
    assert called("init", *args) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"wrote {name}\nwrote soundscape.schema.json: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "soundscape.schema.json"])
    assert (tmp_path / name).read_text().startswith("#:schema ./soundscape.schema.json\n")
    assert "NAME" not in (tmp_path / name).read_text()
    commands = [shlex.split(line) for line in printed.splitlines() if line.startswith("  soundscape ")]
    assert [command[1] for command in commands] == ["show", "render", "demo", "check"]
    assert [called(*command[1:]) for command in commands if command[1] != "demo"] == [0, 0, 0]


def test_what_init_comments_out_is_right_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    called("init")
    text = (tmp_path / "scene.toml").read_text()
    opened = re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.M)
    assert len(tomllib.loads(opened)) > len(tomllib.loads(text))
    (tmp_path / "scene.toml").write_text(opened)
    assert called("check", "scene.toml") == 0


def test_init_never_overwrites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scene.toml").write_text("mine")
    assert called("init") == 2
    assert "scene.toml is there already, and was left as it is; give another name" in capsys.readouterr().err
    (tmp_path / "soundscape.schema.json").write_text("mine as well")
    assert called("init", "other") == 0
    assert "left soundscape.schema.json as it is" in capsys.readouterr().out
    assert {path.name: path.read_text()[:12] for path in tmp_path.iterdir()} == {
        "scene.toml": "mine",
        "soundscape.schema.json": "mine as well",
        "other.toml": "#:schema ./s",
    }


def test_init_never_replaces_a_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it leads to a file or nowhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "scene.toml").symlink_to("mine")
    (tmp_path / "other.toml").symlink_to("nowhere")
    (tmp_path / "soundscape.schema.json").symlink_to("no-schema")
    assert [called("init"), called("init", "other"), called("init", "third")] == [2, 2, 0]
    assert "left soundscape.schema.json as it is" in capsys.readouterr().out
    names = ["mine", "other.toml", "scene.toml", "soundscape.schema.json", "third.toml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (tmp_path / "mine").read_text() == "mine"


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("schema") == 0
    schema: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {"base", "states", "transitions", "pools"} <= set(schema["properties"])


def test_clips(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours are at -27 LUFS, short ones about that, and free; of LiveKit's two have a licence of their own."""
    assert called("clips") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["source", "seconds", "LUFS", "dBTP", "licence"]
    rows = {line.split()[0]: line.split(None, 4)[1:] for line in lines if re.match(r"(soundscape|livekit):", line)}
    ours = {name.partition(":")[2]: row for name, row in rows.items() if name.startswith("soundscape:")}
    assert sorted(ours) == list_clips()
    assert ours["office-ambience"] == ["40.0", "-27.0", ours["office-ambience"][2], "CC0 1.0"]
    assert all(-28.5 < float(row[1]) < -26 and float(row[2]) < -3 and row[3] == "CC0 1.0" for row in ours.values())
    theirs = {name.partition(":")[2]: row[3] for name, row in rows.items() if name.startswith("livekit:")}
    assert len(theirs) == 7
    assert [name for name, licence in theirs.items() if licence == "CC BY 4.0 (1)"] == [
        "keyboard-typing",
        "keyboard-typing2",
    ]
    assert sum(licence == "no notice (2)" for licence in theirs.values()) == 5
    assert lines[-2].startswith("(1) by Anton, https://freesound.org/s/137/")


# --- Manners ---------------------------------------------------------------------------------------------------------


COMMANDS = ["check", "clips", "demo", "graph", "init", "play", "render", "schema", "show"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every argument and option has its words; no line is longer than a terminal of 80 is wide."""
    assert called(command, "--help") == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: soundscape {command}")
    assert all(len(line) <= 80 for line in text.splitlines())
    entries = re.findall(r"^  (\S.*?)(?:  +(\S.*))?$", text.partition("Options:")[2], re.M)
    assert entries
    assert all(words for _, words in entries)


def test_the_commands_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("--help") == 0
    listed = re.findall(r"^  ([a-z]+)  +(.*)$", capsys.readouterr().out.partition("Commands:")[2], re.M)
    assert sorted(name for name, _ in listed) == COMMANDS
    assert all(words.endswith(".") and not words.endswith("...") for _, words in listed)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("--version") == 0
    assert re.fullmatch(r"soundscape (\d+\.\d+.*|\(not installed\))\n", capsys.readouterr().out)


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A shell's run, in which `$S` is the program."""
    program = f"{sys.executable} -c 'from soundscape.cli import main; main()'"
    return subprocess.run(
        ["sh", "-c", script.replace("$S", program)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", ["schema", "show --matrix office", "graph office", "check --format json office"])
def test_a_reader_that_leaves_is_no_error(command: str) -> None:
    assert shell(f"$S {command} | :").stderr == ""


def test_what_a_terminal_cannot_show_is_spelt() -> None:
    done = shell("$S show cafe", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "A caf\\xe9 with" in done.stdout


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("check", "no-such-scene"), 1, "no-such-scene: no such file"),
        (("check", "ofice"), 1, "did you mean 'office'?"),
        (("check", "/dev/null"), 1, "not a regular file"),
        *(((command, ""), 2, "an empty name is no scene's") for command in ("check", "show", "graph", "demo")),
        (("render", "", "-o", "x.wav"), 2, "an empty name is no scene's"),
        (("render", "[base]", "-o", "x.wav"), 1, "[base]: no such file"),
        (("render", "office", SEQUENCE), 2, "name a sound file with -o"),
        (("render", "office", "thinking", "-o", "x.wav"), 2, "'thinking' is not a part of a sequence"),
        (("render", "office", "thinking@5 speaking@4", "-o", "x.wav"), 2, "goes back in time"),
        (("render", "office", "close@1 thinking@2", "-o", "x.wav"), 2, "comes after close"),
        (("render", "office", SEQUENCE, "-o", "x.mp3"), 2, ".wav"),
        (("render", "office", SEQUENCE, "-o", "nowhere/x.wav"), 1, "nowhere/x.wav"),
        *(
            (("render", "office", SEQUENCE, *output, "--plot", plot), status, said)
            for output in ((), ("-o", "x.wav"))
            for plot, status, said in (
                ("nowhere/x.png", 1, "nowhere/x.png: the picture cannot be written: there is no folder 'nowhere'"),
                ("x.xyz", 2, "x.xyz: a picture is a .png, .svg or .pdf"),
                ("x", 2, "x: a picture is a .png, .svg or .pdf"),
                ("..", 2, "is a directory"),
            )
        ),
        (("render", "office", SEQUENCE, "-o", "x.wav", "--until", "nan"), 2, "must be a number of seconds"),
        (("render", "office", SEQUENCE, "-o", "x.mp3", "--phone"), 2, ".wav"),
        (("render", "office", SEQUENCE, "-o", "nowhere/x.wav", "--phone"), 1, "nowhere/x.wav"),
        (("check", "--format", "yaml", "office"), 2, "yaml"),
        (("show", "ofice"), 1, "did you mean 'office'?"),
        (("show", "/dev/null"), 1, "not a regular file"),
        (("graph", "ofice"), 1, "did you mean 'office'?"),
        (("graph", "office", "--format", "png"), 2, "png"),
        (("init", "nowhere/scene"), 2, "there is no folder 'nowhere'"),
        *((("init", name), 2, "no name for a scene; write") for name in ("", ".", "..", "./", ".toml", "x/..")),
        (("init", "a\nb"), 2, "no name for a scene"),
        (("init", "x" * 300), 1, "cannot be written"),
        (("demo", "no-such-scene"), 1, "no such file"),
        (("no-such-command",), 2, "No such command"),
        (("shw",), 2, "No such command 'shw'"),
        ((), 2, "Usage: soundscape"),
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
