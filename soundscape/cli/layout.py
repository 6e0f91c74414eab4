"""Text in columns, for a terminal and for what reads its output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap as textwrap
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

__all__ = ["Row", "columns", "listed", "plain"]

NARROWEST = 24
"""Characters of a last column: beyond that, the terminal may wrap."""

HARD = "\N{NO-BREAK SPACE}"


class Row(NamedTuple):
    """A line of a table.

    Attributes:
        cells: one text each; the last one is wrapped, not at its hard spaces.
        style: rich's, of all of it.
    """

    cells: Sequence[str]
    style: str = ""


def columns(rows: Sequence[Row], *, width: int, indent: int = 2, right: Sequence[int] = ()) -> Iterator[Text]:
    """The lines of a table: its columns as wide as what is in them, the last one as wide as there is room.

    A row of one cell is a line by itself, which begins at the margin.

    Args:
        rows: the rows, those of more than one cell all of the same length.
        width: characters of a line.
        indent: spaces before the first column.
        right: the columns that are flush right.
    """
    tabular = [row.cells for row in rows if len(row.cells) > 1]
    widths = [max(map(cell_len, column)) for column in zip(*tabular, strict=True)][:-1]
    for row in rows:
        if len(row.cells) == 1:
            yield Text(row.cells[0], row.style)
            continue
        start = " " * indent
        for i, (cell, size) in enumerate(zip(row.cells, widths, strict=False)):
            if size:
                space = " " * (size - cell_len(cell))
                start += f"{space}{cell}  " if i in right else f"{cell}{space}  "
        room = max(width - cell_len(start), NARROWEST)
        for line in textwrap(row.cells[-1], room, break_long_words=False, break_on_hyphens=False) or [""]:
            yield Text((start + line).rstrip().replace(HARD, " "), row.style)
            start = " " * cell_len(start)


def listed(items: Iterable[str], separator: str = ", ") -> str:
    """Items in one text, to be wrapped between them only, and at line ends within them."""
    return separator.join(item.replace(" ", HARD).replace("\n", " ") for item in items)


def plain(text: str) -> str:
    """A text of somebody else's on one line, with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
