"""How one state becomes another, each value with the rule it came from."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from soundscape.cli.layout import Row, columns, listed
from soundscape.driver.diagram import Way, alike, ways
from soundscape.loader import Scene
from soundscape.scene import NONE
from soundscape.scene.tables import ALL

__all__ = ["matrix"]

_VALUES = {"fade_out": "out", "fade_in": "in", "settle": "settle", "urgent": "urgent"}


def matrix(scene: Scene, *, width: int) -> Iterator[Text]:
    """The resolved transitions, in lines: what the rules come to, and which of that holds from where to where.

    Args:
        scene: a scene without flaws.
        width: characters of a line.
    """
    lines = ways(scene)
    head = Row(("", "from -> to", "out", "in", "settle", "urgent", "because of"), "dim")
    yield Text("how one becomes another, in seconds; of the lines that fit, the first one counts", "bold")
    yield from columns([head, *(_line(scene, i, way) for i, way in enumerate(lines))], width=width, right=(2, 3, 4))
    yield Text(
        f"* is every state but {NONE}, which is before and after the session. What no rule is named for is built in.",
        "dim",
    )
    if (grid := list(_grid(scene, lines))) and max(len(line) for line in grid) <= width:
        yield Text()
        yield Text("the same from each state (down) to each (across)", "bold")
        yield from (Text(line) for line in grid)


def _mark(i: int) -> str:
    """a to z, then a1, b1 and so on."""
    return "abcdefghijklmnopqrstuvwxyz"[i % 26] + (str(i // 26) if i > 25 else "")


def _line(scene: Scene, i: int, way: Way) -> Row:
    rule = way.rule
    return Row(
        (
            _mark(i),
            f"{', '.join(way.sources)} -> {', '.join(way.targets)}",
            _seconds(rule.fade_out),
            _seconds(rule.fade_in),
            _seconds(rule.settle) if rule.settle else "0",
            "yes" if rule.urgent else "no",
            _origins(scene, way),
        )
    )


def _seconds(value: float) -> str:
    short = f"{value:.2f}"
    return short if float(short) == value else f"{value:g}"


def _origins(scene: Scene, way: Way) -> str:
    """Where each value came from that is not built in: `out, in: transitions[0] (line 42)`."""
    found: dict[str, list[str]] = {}
    for key, short in _VALUES.items():
        found.setdefault(_origin(scene, key, way.rule.origins[key]), []).append(short)
    found.pop("built in", None)
    order = sorted(found, key=lambda origin: (not origin.startswith("transitions"), origin))
    return listed((f"{', '.join(found[origin])}: {origin}" for origin in order), "; ") or "built in"


def _origin(scene: Scene, key: str, origin: str) -> str:
    if origin.startswith("transitions["):
        line = scene.problem(("transitions", int(origin[12:-1])), "").line
        return f"{origin} (line {line})" if line else origin
    if origin == "defaults":
        written = [name for name in (key, "crossfade") if name in scene.defaults.model_fields_set]
        if key == "settle":
            written = written[:1] if key in scene.defaults.model_fields_set else []
        if not written:
            return "built in"
        line = scene.problem(("defaults", written[0]), "").line
        return f"defaults (line {line})" if line else "defaults"
    return origin


def _grid(scene: Scene, lines: list[Way]) -> Iterator[str]:
    groups = [(NONE,), *alike(scene)]
    heads = [", ".join(group) for group in groups]
    first = max(map(len, heads))
    yield " ".join([" " * (first + 2), *heads])
    for source, head in zip(groups, heads, strict=True):
        cells = []
        for target, name in zip(groups, heads, strict=True):
            same = source == target and len(source) == 1
            cells.append(("." if same else _found(lines, source[0], target[-1])).center(len(name)))
        yield " ".join([f"  {head:<{first}}", *cells]).rstrip()


def _found(lines: list[Way], source: str, target: str) -> str:
    def fits(names: tuple[str, ...], state: str) -> bool:
        return state in names or (names == (ALL,) and state != NONE)

    return next(_mark(i) for i, way in enumerate(lines) if fits(way.sources, source) and fits(way.targets, target))
