"""The command line. It parses, calls and prints; what it shows is made elsewhere."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from soundscape.cli.clips import clips_table
from soundscape.cli.layout import plain
from soundscape.cli.matrix import matrix as matrix_lines
from soundscape.cli.play import play_live, play_take
from soundscape.cli.show import Levels, shown
from soundscape.cli.start import SCHEMA_NAME, begin, schema_text
from soundscape.driver.diagram import diagram
from soundscape.exceptions import Problem, SceneError, SoundscapeError, UsageError
from soundscape.library import SceneClips
from soundscape.library.telephone import TELEPHONE_RATE, telephone
from soundscape.loader import Scene, find_scene, inspect
from soundscape.outputs.file import write_audio
from soundscape.plot import check_target
from soundscape.testing import Take, replay

__all__ = ["app", "main"]

app = typer.Typer(
    help="A living background for LiveKit voice agents: sound that follows the agent's state, as a scene file says.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

WIDEST = 100
"""Characters of a line: what is written to a file or a pipe is as wide."""

DEMO_SEQUENCE = "listening@0 thinking@3 speaking@6 listening@10 close@13"

SceneArgument = Annotated[str, typer.Argument(metavar="SCENE", help="A scene file, or the name of a scene that ships.")]
SEQUENCE = typer.Argument(
    metavar="SEQUENCE",
    help="What happens when, in seconds: NAME@SECONDS for the agent's state, user=, tool= or app=NAME@SECONDS "
    "(- for none), close@SECONDS, in one argument; or the path of a recorded call.",
)
Outside = Annotated[bool, typer.Option("--allow-outside", help="Let sounds lie outside the scene's folder.")]
Seed = Annotated[int | None, typer.Option(help="What every draw comes from; the scene's own, else 0, unless given.")]


class Report(StrEnum):
    """How problems are told."""

    TEXT = "text"
    JSON = "json"


class Drawing(StrEnum):
    """What a drawing is written in."""

    MERMAID = "mermaid"
    DOT = "dot"


def _version(asked: bool) -> None:
    if asked:
        try:
            number = version("livekit-plugins-soundscape")
        except PackageNotFoundError:  # run from its source, not installed
            number = "(not installed)"
        typer.echo(f"soundscape {number}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and exit.")
    ] = False,
) -> None:
    """A living background for LiveKit voice agents: sound that follows the agent's state, as a scene file says.

    Exit status: 0; 1 where a scene, a sound or the disk is wrong; 2 where the call is.
    """


def _say(line: str, console: Console = out) -> None:
    """A line that may hold a file's name, which may be somebody else's that a pattern of the shell has found."""
    console.print(Text(plain(line)))


def _print(lines: Iterable[Text]) -> None:
    for line in lines:
        out.print(line)


def _width() -> int:
    return min(out.width, WIDEST) if out.is_terminal else WIDEST


# --- Scenes ----------------------------------------------------------------------------------------------------------


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The file's name, with or without .toml.")] = "scene",
) -> None:
    """Write a scene to begin with.

    It can be heard as it is, and says what to change. Beside it comes the schema that editors complete and check it by.
    What is there already is never overwritten.
    """
    path, with_schema = begin(name)
    schema = path.with_name(SCHEMA_NAME)
    typer.echo(f"wrote {path}")
    if with_schema:
        typer.echo(f"wrote {schema}: what editors complete and check it by (VS Code: Even Better TOML)")
    else:
        typer.echo(f"left {schema} as it is; a newer one: soundscape schema > {quote(str(schema))}")
    scene, sound = quote(str(path)), quote(str(path.with_suffix(".wav")))
    typer.echo(
        f"\nNext:\n"
        f"  soundscape show {scene}\n"
        f"  soundscape render {scene} -o {sound}\n"
        f"  soundscape demo {scene}\n"
        f"and after each change:\n"
        f"  soundscape check {scene}"
    )


@app.command()
def check(
    scenes: Annotated[list[str], typer.Argument(metavar="SCENE", help="Scene files, or names of scenes that ship.")],
    form: Annotated[
        Report,
        typer.Option("--format", help="text: a line for each problem. json: a list with an object for each scene."),
    ] = Report.TEXT,
    allow_outside: Outside = False,
) -> None:
    """Say all that is wrong with scenes and their sounds.

    At once, with line, column and what to do. The exit status is 1 where anything is.
    """
    found = [(name, _problems(name, allow_outside)) for name in scenes]
    if form is Report.JSON:
        report = [
            {
                "scene": name,
                "path": str(find_scene(name)),
                "ok": not problems,
                "problems": [asdict(problem) for problem in problems],
            }
            for name, problems in found
        ]
        typer.echo(json.dumps(report, indent=2))
    else:
        for name, problems in found:
            for problem in problems:
                _say(str(problem))
            if not problems:
                _say(f"{name}: ok")
    raise typer.Exit(1 if any(problems for _, problems in found) else 0)


def _problems(name: str, allow_outside: bool) -> list[Problem]:
    """All that is wrong with a scene: its text and its sounds, as far as the text can be understood."""
    scene, problems = inspect(find_scene(name))
    if scene is not None:
        known = {(problem.line, problem.column) for problem in problems}
        found = SceneClips(scene, allow_outside=allow_outside).problems()
        problems += [problem for problem in found if (problem.line, problem.column) not in known]
    return list(SceneError(problems).problems)


@app.command()
def show(
    scene: SceneArgument,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Also how each state becomes each other one, and which rules say so.")
    ] = False,
    allow_outside: Outside = False,
) -> None:
    """Say what plays in which state, and how loud.

    With --matrix also how one state becomes another. Levels are integrated loudness, of a pool the least and the
    largest that a pick may have, without what ducks take away. A sound that cannot be loaded is said in its place; the
    exit status is 1 then.
    """
    path = find_scene(scene)
    read = Scene.from_file(path)
    levels = Levels(read, SceneClips(read, allow_outside=allow_outside))
    _print(shown(read, levels, path=plain(str(path)), width=_width()))
    if matrix:
        out.print()
        _print(matrix_lines(read, width=_width()))
    raise typer.Exit(1 if levels.problems else 0)


@app.command()
def graph(
    scene: SceneArgument,
    form: Annotated[
        Drawing,
        typer.Option("--format", help="mermaid: for Markdown and mermaid.live. dot: for Graphviz."),
    ] = Drawing.MERMAID,
) -> None:
    """Draw the state machine: states, sounds, ways.

    As text for a drawing program. A label on a way says in how many seconds the sounds of the one state go out and
    those of the other come in; what no label says, the node for any state does.
    """
    typer.echo(diagram(Scene.from_file(find_scene(scene)), "dot" if form is Drawing.DOT else "mermaid"))


@app.command()
def schema() -> None:
    """Print the JSON Schema of scene files, for editors.

    In an editor with Taplo (VS Code: Even Better TOML) a scene names the schema in its first line:

    #:schema ./soundscape.schema.json
    """
    typer.echo(schema_text())


@app.command()
def clips() -> None:
    """List the sounds that ship, and LiveKit's.

    With length, integrated loudness (LUFS), true peak (dBTP) and licence. A scene names them as they stand here.
    """
    _print(clips_table(width=_width()))


# --- Sound -----------------------------------------------------------------------------------------------------------


@app.command()
def render(
    scene: SceneArgument,
    sequence: Annotated[str, SEQUENCE] = DEMO_SEQUENCE,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The sound file: .wav, .flac or .ogg.", dir_okay=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="A picture of it as well: .png, .svg or .pdf.", dir_okay=False)
    ] = None,
    phone: Annotated[
        bool, typer.Option("--phone", help="What a telephone line leaves of it: 300 to 3400 Hz, mu-law, 8 kHz.")
    ] = False,
    until: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Where it ends; 5 s after the last event unless given.")
    ] = None,
    seed: Seed = None,
    allow_outside: Outside = False,
) -> None:
    """Render a sequence of states to a sound, a picture, or both.

    And print what happens, a line for each thing.
    """
    if output is None and plot is None:
        raise UsageError("nothing to do: name a sound file with -o, a picture with --plot, or both")
    if plot is not None:
        check_target(plot)
    played = Scene.from_file(find_scene(scene))
    take = replay(played, sequence, until=until, seed=seed, allow_outside=allow_outside)
    if phone:
        _render_phone(take, output, plot)
    else:
        if output is not None:
            take.write(output)
        if plot is not None:
            take.plot(plot)
    if text := str(take):
        _print([Text(text)])
    for path in (output, plot):
        if path is not None:
            _say(f"wrote {path}")


def _render_phone(take: Take, output: Path | None, plot: Path | None) -> None:
    sound = take.audio()
    heard = list(telephone([sound], take.sample_rate))
    if output is not None:
        write_audio(output, heard, TELEPHONE_RATE)
    if plot is not None:
        import numpy as np

        take.plot(plot, sounds={"sound": sound, "telephone": np.concatenate(heard) if heard else sound})


@app.command()
def play(
    scene: SceneArgument,
    sequence: Annotated[str | None, SEQUENCE] = None,
    seed: Seed = None,
    allow_outside: Outside = False,
) -> None:
    """Hear a scene on the speakers, its states under keys.

    A key for each state, shown with what sounds; u: the caller begins or ends to speak; q, Escape or Ctrl-C: fade out
    and end, at once the second time. A scene that is saved meanwhile is heard at once. With a SEQUENCE, or where the
    input is no terminal, a sequence in real time, with a line for each thing that happens.
    """
    path = find_scene(scene)
    if sequence is None and sys.stdin.isatty() and out.is_terminal:
        asyncio.run(play_live(path, seed=seed, allow_outside=allow_outside, out=out))
    else:
        take = replay(Scene.from_file(path), sequence or DEMO_SEQUENCE, seed=seed, allow_outside=allow_outside)
        asyncio.run(play_take(take, out=out))


@app.command()
def demo(
    scene: SceneArgument = "office",
    seed: Annotated[int, typer.Option(help="What every draw comes from.")] = 1,
    folder: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the files go.", file_okay=False)
    ] = Path(),
    quiet: Annotated[bool, typer.Option("--quiet", help="Leave the speakers alone.")] = False,
    allow_outside: Outside = False,
) -> None:
    """Hear and see a scene in a real agent session.

    A scripted conversation of half a minute, in real time. Leaves soundscape-demo.wav (voice and background together)
    and soundscape-demo.png.
    """
    # The demo brings the whole host along, which takes a second to import.
    from soundscape.demo.show import run

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror}") from None
    asyncio.run(run(scene, folder=folder, seed=seed, speakers=not quiet, allow_outside=allow_outside, console=out))


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line: exit status 0, 1 where a scene or a sound is wrong, 2 where the call is.

    Args:
        args: what stands after the program's name; the process' own arguments unless given.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="backslashreplace")
    try:
        app(args, prog_name="soundscape")
    except SceneError as error:
        for problem in error.problems:
            _say(str(problem), err)
        sys.exit(1)
    except SoundscapeError as error:
        _say(f"soundscape: {error}", err)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except OSError as error:
        _say(f"soundscape: cannot write: {error.strerror or error}", err)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
