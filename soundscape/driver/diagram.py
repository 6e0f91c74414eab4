"""The ways from state to state, told apart as far as the scene's rules tell them apart, and the drawing of them.

Every state leads to every other: n states have n^2 ways, and a scene has a handful of rules. `ways` says what the rules
come to in as few lines as that takes. The drawing is the same lines as edges, around one node for any state; the
`transitions` library writes it, from the states and the triggers of the machine that runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Literal, NamedTuple

from transitions.extensions.diagrams import GraphMachine
from transitions.extensions.diagrams_base import BaseGraph
from transitions.extensions.diagrams_mermaid import DigraphMock
from transitions.extensions.diagrams_mermaid import Graph as MermaidGraph

from soundscape.driver.states import StateTable
from soundscape.scene import AGENT_STATES, NONE, Rule, SceneModel
from soundscape.scene.tables import ALL, State

__all__ = ["Way", "alike", "diagram", "ways"]

ANY = "ANY"
"""The node for any state. No state is called that: their names are in lower case."""


class Way(NamedTuple):
    """How some states become some others.

    Attributes:
        sources: states, or `*` alone for every state but `none`.
        targets: likewise.
        rule: what is resolved for each of them.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    rule: Rule


def ways(scene: SceneModel) -> list[Way]:
    """What the rules come to: for each way from one state to another the first line that fits says all of it."""
    pairs, arrivals, departures = _named(scene)
    # A way that one rule names by where it comes from and another by where it goes takes values from both.
    pairs |= dict.fromkeys(product(departures, arrivals))
    found: dict[tuple[str, str], Rule] = {}
    for source, target in pairs:
        rule = scene.rule(source, target)
        if source != target and not (source != NONE and target in arrivals and rule == scene.rule(ALL, target)):
            found[source, target] = rule
    lines = _together(found)
    lines += _together({(ALL, target): scene.rule(ALL, target) for target in (*arrivals, NONE)})
    lines += _together({(source, ALL): scene.rule(source, ALL) for source in (*departures, NONE)})
    return [*lines, Way((ALL,), (ALL,), scene.rule(ALL, ALL))]


def _named(scene: SceneModel) -> tuple[dict[tuple[str, str], None], list[str], list[str]]:
    """The ways of which rules name both ends, and the states but `none` that rules name as one end."""
    pairs: dict[tuple[str, str], None] = {}
    arrivals: dict[str, None] = {"speaking": None}  # of the rule that is built in
    departures: dict[str, None] = {}
    for rule in scene.transitions:
        sources, targets = _names(rule.from_), _names(rule.to)
        if sources and targets:
            pairs |= dict.fromkeys(product(sources, targets))
        else:
            arrivals |= dict.fromkeys(targets)
            departures |= dict.fromkeys(sources)
    return pairs, [name for name in arrivals if name != NONE], [name for name in departures if name != NONE]


def _names(side: str | tuple[str, ...]) -> tuple[str, ...]:
    return () if side == ALL else (side,) if isinstance(side, str) else side


def _together(rules: Mapping[tuple[str, str], Rule]) -> list[Way]:
    """One line for all that resolve to the same, first by where they come from, then by where they go."""
    by_target: list[Way] = []
    for (source, target), rule in rules.items():
        for i, line in enumerate(by_target):
            if line.targets == (target,) and line.rule == rule and source not in line.sources:
                by_target[i] = line._replace(sources=(*line.sources, source))
                break
        else:
            by_target.append(Way((source,), (target,), rule))
    lines: list[Way] = []
    for way in by_target:
        for i, line in enumerate(lines):
            if set(line.sources) == set(way.sources) and line.rule == way.rule:
                lines[i] = line._replace(targets=tuple(dict.fromkeys((*line.targets, *way.targets))))
                break
        else:
            lines.append(way)
    return lines


def alike(scene: SceneModel) -> list[tuple[str, ...]]:
    """The states that a session may be in, `none` apart; those that no rule and no sound tells apart together.

    `tool` and `away` are among them where the scene defines them or a rule names them.
    """
    sides = [side for rule in scene.transitions for side in (_names(rule.from_), _names(rule.to))] + [("speaking",)]
    sides_of: dict[str, list[int]] = {}
    for i, side in enumerate(sides):
        for state in side:
            sides_of.setdefault(state, []).append(i)
    groups: dict[object, list[str]] = {}
    for state in dict.fromkeys((*AGENT_STATES, *scene.states, *sides_of)):
        if state != NONE:
            marks = (state in scene.states, frozenset(scene.wanted(state).items()), tuple(sides_of.get(state, ())))
            groups.setdefault(marks, []).append(state)
    return [tuple(members) for members in groups.values()]


# --- The drawing -----------------------------------------------------------------------------------------------------


def diagram(scene: SceneModel, form: Literal["mermaid", "dot"] = "mermaid") -> str:
    """The state machine of a scene as a text that can be drawn.

    States that are alike are one node; the sounds of every state stand in the node for any. An edge with a label says
    how a way is gone; of those that fit, the one between two states counts before the one from any state, and that
    before the one to any state. What no label says, the node for any state does.

    Args:
        scene: a scene without flaws.
        form: `mermaid` (a `stateDiagram-v2`), or `dot` for Graphviz, which need not be there.
    """
    groups = alike(scene)
    node = {state: group[0] for group in groups for state in group} | {NONE: NONE, ALL: ANY}
    machine = StateTable([NONE, *(group[0] for group in groups)]).machine
    drawn = _Drawing(
        model=None,
        states=[*machine.states, ANY],
        initial=machine.initial,
        auto_transitions=False,
        title=_plain(scene.name),
        graph_engine="graphviz" if form == "dot" else "mermaid",
    )
    *lines, rest = ways(scene)
    texts = {group[0]: f"{', '.join(group)}{_sounds(scene, scene.states.get(group[0], State()))}" for group in groups}
    texts |= {
        NONE: "none\nbefore and after the session",
        ANY: f"any state{_sounds(scene, scene.base)}\n{_says(rest.rule, ALL, ALL)}",
    }
    for name, text in texts.items():
        vars(drawn.get_state(name))["label"] = text
    edges = {(ANY, group[0]): "" for group in groups}
    for line in lines:
        for source, target in product(line.sources, line.targets):
            edges[node[source], node[target]] = _says(line.rule, source, target)
    for (source, target), says in edges.items():
        drawn.add_transition(f"go_{target}", source, target, label=says)
    graph: Any = drawn.graph_cls(drawn).get_graph()
    return str(graph.source)


def _sounds(scene: SceneModel, table: State) -> str:
    """The line that names a table's sounds."""
    keys = [_plain(scene.key(layer)) for layer in table.layers]
    if not keys:
        return "" if scene.base.layers else "\nsilence"
    return f"\n{', '.join(keys[:5])}{f' and {len(keys) - 5} more' if len(keys) > 5 else ''}"


def _says(rule: Rule, source: str, target: str) -> str:
    fades = []
    if source != NONE:  # in which nothing sounds
        fades.append(f"out {rule.fade_out:g} s")
    if target != NONE:
        fades.append(f"in {rule.fade_in:g} s")
    if rule.settle > 0:
        fades.append(f"settle {rule.settle:g} s")
    return ", ".join([*fades, "urgent"] if rule.urgent else fades)


def _plain(text: str) -> str:
    """A text of the scene's author on one line, without what either language takes for its own."""
    return "".join(c if c.isprintable() and c not in '"\\<>#;`%{}' else " " for c in text)


class _Drawing(GraphMachine):
    """The library's machine that can be drawn, with one more language and our colours."""

    style_attributes = {  # noqa: RUF012  # the library's, which is none of the instance's
        "node": {
            "default": {"fillcolor": "white", "color": "black"},
            "any": {"fillcolor": "#fff2cc", "color": "black"},
            "none": {"fillcolor": "#eeeeee", "color": "black"},
        },
    }

    def _init_graphviz_engine(self, graph_engine: str) -> type[BaseGraph]:
        return _Dot if graph_engine == "graphviz" else _Mermaid


_MERMAID_WORDS = frozenset(
    {
        *("accdescr", "acctitle", "as", "choice", "class", "classdef", "click", "default", "direction", "empty", "end"),
        *("fork", "hide", "href", "join", "left", "note", "of", "over", "right", "scale", "state", "statediagram"),
        *("style",),
    }
)
"""What Mermaid may take for a word of its own where an id stands. *Tried* with 11.12: half of them it does."""


class _Mermaid(MermaidGraph):
    """Mermaid's `stateDiagram-v2`, with ids and texts that it can read."""

    def get_graph(self, title: str | None = None, roi_state: Any = None) -> Any:
        self.set_node_style(ANY, "any")
        self.set_node_style(NONE, "none")
        return super().get_graph(f'title: "{title or self.machine.title}"', roi_state)

    def _get_elements(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        states, transitions = super()._get_elements()
        names = {state["name"] for state in states}
        return (
            [state | {"name": _id(state["name"], names)} for state in states],
            [way | {end: _id(way[end], names) for end in ("source", "dest")} for way in transitions],
        )

    def _convert_state_attributes(self, state: Mapping[str, Any]) -> str:
        return str(state["label"]).replace("\n", r"\n")

    def _add_edges(self, transitions: list[dict[str, str]], container: list[str]) -> None:
        edges: list[str] = []
        super()._add_edges(transitions, edges)
        container += [edge.removesuffix(": ") for edge in edges]

    def _transition_label(self, tran: Mapping[str, Any]) -> str:
        return str(tran.get("label", ""))


def _id(name: str, names: set[str]) -> str:
    if name not in _MERMAID_WORDS:
        return name
    name += "_"
    while name in names:
        name += "_"
    return name


class _Dot(BaseGraph):
    """Graphviz' language, written without Graphviz."""

    def generate(self) -> None:
        """Nothing to do ahead."""

    def set_previous_transition(self, src: str, dst: str) -> None:
        """Nothing runs in a drawing."""

    def reset_styling(self) -> None:
        """Nothing runs in a drawing."""

    def set_node_style(self, state: Any, style: str) -> None:
        """Nothing runs in a drawing."""

    def get_graph(self, title: str | None = None, roi_state: Any = None) -> Any:
        return DigraphMock("\n".join(self._lines(title or self.machine.title)))

    def _lines(self, title: str) -> Iterator[str]:
        states, transitions = self._get_elements()
        styles: Any = self.machine.style_attributes["node"]
        yield f"digraph {_quoted(title)} {{"
        yield f"  graph [label={_quoted(title)}, labelloc=t, rankdir=LR]"
        yield '  node [shape=box, style="rounded,filled"]'
        for state in states:
            style = styles[{ANY: "any", NONE: "none"}.get(state["name"], "default")]
            attributes = {"label": state["label"], **style}
            yield f"  {_quoted(state['name'])} [{_written(attributes)}]"
        for way in transitions:
            label = f" [label={_quoted(way['label'])}]" if "label" in way else ""
            yield f"  {_quoted(way['source'])} -> {_quoted(way['dest'])}{label}"
        yield "}"


def _written(attributes: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={_quoted(value)}" for key, value in attributes.items())


def _quoted(text: str) -> str:
    return '"' + text.replace("\n", r"\n") + '"'
