"""The command line. It parses, calls and prints; what it shows is made elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from soundscape.exceptions import Problem, SceneError, SoundscapeError, UsageError
from soundscape.library import SceneClips
from soundscape.loader import find_scene, inspect
from soundscape.testing import replay

__all__ = ["app", "main"]

app = typer.Typer(
    help="A living background for LiveKit voice agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

DEMO_SEQUENCE = "listening@0 thinking@3 speaking@6 listening@10 close@13"

SceneArgument = Annotated[str, typer.Argument(metavar="SCENE", help="A scene file, or the name of a scene that ships.")]
Outside = Annotated[bool, typer.Option("--allow-outside", help="Let sources leave the scene's folder.")]
Seed = Annotated[int | None, typer.Option(help="Of every draw; the scene's, else 0.")]


@app.command()
def check(
    scenes: Annotated[list[str], typer.Argument(metavar="SCENE...", help="Scene files, or names of scenes that ship.")],
    allow_outside: Outside = False,
) -> None:
    """Say everything that is wrong with scenes and their sounds."""
    wrong = False
    for name in scenes:
        problems = _problems(name, allow_outside)
        for problem in problems:
            out.print(escape(str(problem)))
        if not problems:
            out.print(f"{escape(name)}: ok")
        wrong = wrong or bool(problems)
    raise typer.Exit(1 if wrong else 0)


def _problems(name: str, allow_outside: bool) -> list[Problem]:
    """All that is wrong with a scene: its text and its sounds, as far as the text can be understood."""
    scene, problems = inspect(find_scene(name))
    if scene is not None:
        known = {(problem.line, problem.column) for problem in problems}
        found = SceneClips(scene, allow_outside=allow_outside).problems()
        problems += [problem for problem in found if (problem.line, problem.column) not in known]
    return list(SceneError(problems).problems)


@app.command()
def render(
    scene: SceneArgument,
    sequence: Annotated[
        str, typer.Argument(metavar="[SEQUENCE]", help="States and their times in seconds: NAME@SECONDS ...")
    ] = DEMO_SEQUENCE,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The sound file: .wav, .flac or .ogg.", dir_okay=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="A picture of the take: .png, .svg or .pdf.", dir_okay=False)
    ] = None,
    until: Annotated[float | None, typer.Option(help="Seconds; 5 after the last event unless given.")] = None,
    seed: Seed = None,
    allow_outside: Outside = False,
) -> None:
    """Render a sequence of states to a sound file, a picture, or both, and print what happens."""
    if output is None and plot is None:
        raise UsageError("nothing to do: name a sound file with -o, a picture with --plot, or both")
    take = replay(scene, sequence, until=until, seed=seed, allow_outside=allow_outside)
    if output is not None:
        take.write(output)
    if plot is not None:
        take.plot(plot)
    out.print(escape(str(take)))
    for path in (output, plot):
        if path is not None:
            out.print(f"wrote {escape(str(path))}")


@app.command()
def demo(
    scene: SceneArgument = "office",
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 1,
    folder: Annotated[
        Path, typer.Option("-o", "--output", help="Where the sound and the picture go.", file_okay=False)
    ] = Path(),
    quiet: Annotated[bool, typer.Option("--quiet", help="Leave the speakers alone.")] = False,
    allow_outside: Outside = False,
) -> None:
    """Hear and see a scene in a real agent session: a scripted conversation of half a minute, in real time."""
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
    try:
        app(args)
    except SceneError as error:
        err.print(escape(str(error)))
        sys.exit(1)
    except SoundscapeError as error:
        err.print(escape(f"soundscape: {error}"))
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
