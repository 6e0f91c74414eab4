"""What ships: every clip with its length, its loudness and its licence."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich.text import Text

from soundscape.cli.layout import Row, columns
from soundscape.exceptions import DecodeError
from soundscape.library import list_clips, resolve
from soundscape.library.decode import decode
from soundscape.library.loudness import measure

__all__ = ["clips_table"]

_RATE = 48_000

_LIVEKIT = {
    "city-ambience": "",
    "crowded-room": "",
    "forest-ambience": "",
    "hold-music": "",
    "keyboard-typing": "CC BY 4.0 (1)",
    "keyboard-typing2": "CC BY 4.0 (1)",
    "office-ambience": "",
}
"""LiveKit's clips, and what the notice beside them says of each (livekit-agents 1.8.9, `resources/NOTICE`)."""

_NO_NOTICE = "no notice (2)"

_NOTES = (
    "(1) by Anton, https://freesound.org/s/137/; the licence asks to name him where it is used",
    "(2) comes with livekit-agents, whose notice of sounds does not name it",
)


class _Shipped(NamedTuple):
    source: str
    path: Path
    licence: str


def _shipped() -> Iterator[_Shipped]:
    for name in list_clips():
        yield _Shipped(f"soundscape:{name}", resolve(f"soundscape:{name}", Path()), "CC0 1.0")
    for name, licence in _LIVEKIT.items():
        try:
            yield _Shipped(f"livekit:{name}", resolve(f"livekit:{name}", Path()), licence or _NO_NOTICE)
        except DecodeError:
            continue  # not installed, or no longer part of it


def clips_table(*, width: int) -> Iterator[Text]:
    """The clips that a scene may name without a file of its own, in lines.

    Args:
        width: characters of a line.
    """
    shipped = list(_shipped())
    with ThreadPoolExecutor() as threads:  # decoding and measuring leave the interpreter to others
        rows = list(threads.map(_row, shipped))
    head = Row(("source", "seconds", "LUFS", "dBTP", "licence"), "dim")
    yield from columns([head, *rows], width=width, indent=0, right=(1, 2, 3))
    if any(clip.source.startswith("livekit:") for clip in shipped):
        yield Text()
        yield from (Text(note, "dim") for note in _NOTES)


def _row(clip: _Shipped) -> Row:
    try:
        with clip.path.open("rb") as file:
            samples = decode(file, clip.source, _RATE)
    except (OSError, DecodeError) as error:
        return Row((clip.source, "?", "?", "?", str(error)), "red")
    loudness = measure(samples, _RATE)
    lufs = "-" if loudness.lufs is None else f"{loudness.lufs:.1f}"
    return Row((clip.source, f"{len(samples) / _RATE:.1f}", lufs, f"{loudness.true_peak:.1f}", clip.licence))
