"""The ways from state to state, and the drawing of them: few lines, and each way in them as the rules resolve it."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundscape.driver.diagram import Way, alike, diagram, ways
from soundscape.driver.states import StateTable
from soundscape.exceptions import SceneError
from soundscape.loader import Scene, find_scene, shipped_scenes
from soundscape.scene import HOST_STATES, NONE, Rule

DESK = """
name = "desk"

[base]
key = "room"
source = "room.wav"

[states.thinking]
key = "typing"
source = "keys.wav"

[[transitions]]
to = "speaking"
crossfade = 0.2

[[transitions]]
from = ["thinking", "tool"]
to = "listening"
settle = 0.25
fade_out = 1.2

[[transitions]]
from = "none"
fade_in = 1.5
"""

MERMAID = """\
---
title: "desk"
---
stateDiagram-v2
  direction LR
  classDef s_default fill:white,color:black
  classDef s_any fill:#fff2cc,color:black
  classDef s_none fill:#eeeeee,color:black

  state "none\\nbefore and after the session" as none
  Class none s_none
  state "initializing, idle" as initializing
  Class initializing s_default
  state "listening" as listening
  Class listening s_default
  state "thinking\\ntyping" as thinking
  Class thinking s_default
  state "speaking" as speaking
  Class speaking s_default
  state "tool" as tool
  Class tool s_default
  state "any state\\nroom\\nout 0.8 s, in 0.8 s" as ANY
  Class ANY s_any

  ANY --> initializing
  ANY --> listening
  ANY --> thinking
  ANY --> speaking: out 0.2 s, in 0.2 s, urgent
  ANY --> tool
  ANY --> none: out 0.8 s
  thinking --> listening: out 1.2 s, in 0.8 s, settle 0.25 s
  tool --> listening: out 1.2 s, in 0.8 s, settle 0.25 s
  none --> ANY: in 1.5 s
  [*] --> none"""

DOT = """\
digraph "desk" {
  graph [label="desk", labelloc=t, rankdir=LR]
  node [shape=box, style="rounded,filled"]
  "none" [label="none\\nbefore and after the session", fillcolor="#eeeeee", color="black"]
  "initializing" [label="initializing, idle", fillcolor="white", color="black"]
  "listening" [label="listening", fillcolor="white", color="black"]
  "thinking" [label="thinking\\ntyping", fillcolor="white", color="black"]
  "speaking" [label="speaking", fillcolor="white", color="black"]
  "tool" [label="tool", fillcolor="white", color="black"]
  "ANY" [label="any state\\nroom\\nout 0.8 s, in 0.8 s", fillcolor="#fff2cc", color="black"]
"""

TANGLED = """
[defaults]
crossfade = 1.5
settle = 0.1
[base]
source = "room.wav"
[states.on_hold]
source = "music.wav"
[[transitions]]
from = ["thinking", "tool"]
settle = 2
[[transitions]]
from = "idle"
fade_in = 0.5
[[transitions]]
to = ["listening", "idle"]
crossfade = 3
[[transitions]]
from = "none"
to = "speaking"
urgent = true
[[transitions]]
from = "speaking"
to = ["listening", "on_hold"]
fade_out = 0.4
"""


def fitting(lines: list[Way], source: str, target: str) -> Rule:
    """What the first line that fits says."""

    def fits(names: tuple[str, ...], state: str) -> bool:
        return state in names or (names == ("*",) and state != NONE)

    return next(line.rule for line in lines if fits(line.sources, source) and fits(line.targets, target))


def assert_resolved(scene: Scene) -> None:
    """Every way, in the lines and in the drawing, is as the driver will go it."""
    lines, node = ways(scene), {NONE: NONE} | {state: group[0] for group in alike(scene) for state in group}
    text = diagram(scene, "dot")
    labels = dict(re.findall(r'^  ("\w+" -> "\w+") \[label="(.*)"\]$', text, re.M))
    rest = re.findall(r'^  "ANY" \[label=".*\\n(out .*?)",', text, re.M)[0]
    for source, target in product(node, node):
        if source == target:
            continue
        rule = scene.rule(source, target)
        assert fitting(lines, source, target) == rule
        edges = [(node[source], node[target]), ("ANY", node[target]), (node[source], "ANY")]
        if source == NONE:
            del edges[1]
        if target == NONE:
            del edges[2:]
        said = next((labels[f'"{a}" -> "{b}"'] for a, b in edges if f'"{a}" -> "{b}"' in labels), rest)
        numbers = {key: float(number) for key, number in re.findall(r"(out|in|settle) ([\d.e-]+) s", said)}
        if source != NONE:
            assert numbers["out"] == pytest.approx(rule.fade_out, rel=1e-5)
        if target != NONE:
            assert numbers["in"] == pytest.approx(rule.fade_in, rel=1e-5)
        assert numbers.get("settle", 0) == pytest.approx(rule.settle, rel=1e-5)
        assert said.endswith("urgent") == rule.urgent


def test_mermaid() -> None:
    """States that are alike are one node, what sounds everywhere stands once, rules are edges."""
    text = diagram(Scene.from_toml(DESK))
    assert [line.rstrip() for line in text.splitlines()] == MERMAID.splitlines()


def test_dot_says_the_same_without_graphviz() -> None:
    text = diagram(Scene.from_toml(DESK), "dot")
    assert text.startswith(DOT)
    edges = [line.strip() for line in text.splitlines() if "->" in line]
    theirs = [line.strip() for line in MERMAID.splitlines() if "-->" in line and "[*]" not in line]
    assert sorted(edges) == sorted(re.sub(r"(\w+) --> (\w+)(?:: (.*))?", in_dot, line) for line in theirs)


def in_dot(edge: re.Match[str]) -> str:
    return f'"{edge[1]}" -> "{edge[2]}"' + (f' [label="{edge[3]}"]' if edge[3] else "")


def test_a_rule_is_one_line() -> None:
    lines = ways(Scene.from_toml(DESK))
    assert [(line.sources, line.targets) for line in lines] == [
        (("thinking", "tool"), ("listening",)),
        (("*",), ("speaking",)),
        (("*",), ("none",)),
        (("none",), ("*",)),
        (("*",), ("*",)),
    ]


def test_a_way_that_two_rules_share_is_a_line_of_its_own() -> None:
    """`idle` says how to fade in, `speaking` how to fade out; what one rule says alone needs no such line."""
    scene = Scene.from_toml(
        '[[transitions]]\nfrom = "idle"\nfade_in = 2\n'
        '[[transitions]]\nto = "away"\ncrossfade = 1\nsettle = 1\nurgent = true\n'
    )
    assert [(line.sources, line.targets) for line in ways(scene)][:2] == [
        (("idle",), ("speaking",)),
        (("*",), ("speaking",)),
    ]
    assert ways(scene)[0].rule == scene.rule("idle", "speaking")
    assert (ways(scene)[0].rule.fade_in, ways(scene)[0].rule.fade_out) == (2, 0.25)


@pytest.mark.parametrize("name", shipped_scenes())
def test_every_way_of_the_scenes_that_ship(name: str) -> None:
    scene = Scene.from_file(find_scene(name))
    assert_resolved(scene)
    assert len(ways(scene)) <= 12


@pytest.mark.parametrize("text", ["", DESK, TANGLED])
def test_every_way_of_other_scenes(text: str) -> None:
    assert_resolved(Scene.from_toml(text))


SIDES = st.one_of(
    st.just("*"),
    st.sampled_from((*HOST_STATES, NONE, "hold")),
    st.lists(st.sampled_from(HOST_STATES), min_size=1, max_size=3, unique=True),
)
SECONDS = st.sampled_from([0, 0.2, 0.8, 1, 2.5])
RULES = st.fixed_dictionaries(
    {"from": SIDES, "to": SIDES},
    optional={
        "crossfade": SECONDS,
        "fade_in": SECONDS,
        "fade_out": SECONDS,
        "settle": SECONDS,
        "urgent": st.booleans(),
    },
)


@settings(max_examples=150, deadline=None)
@given(st.lists(RULES, max_size=5), st.fixed_dictionaries({}, optional={"crossfade": SECONDS, "settle": SECONDS}))
def test_every_way_of_any_scene(rules: list[dict[str, object]], defaults: dict[str, object]) -> None:
    tables = {"states": {"hold": {"layers": [{"source": "a.wav"}]}}, "transitions": rules, "defaults": defaults}
    try:
        scene = Scene.model_validate(tables).checked()
    except SceneError:
        return  # two rules of one rank for one way
    assert_resolved(scene)


def test_the_drawing_has_the_states_of_the_machine_that_runs() -> None:
    scene = Scene.from_toml(TANGLED)
    table = StateTable(scene.known_states)
    nodes = re.findall(r'^  state "(.*?)(?:\\n.*)?" as \w+$', diagram(scene), re.M)
    drawn = {state for node in nodes for state in node.split(", ")} - {"any state"}
    assert drawn < set(table.machine.states)
    assert set(table.machine.states) - drawn == {"away"}  # which this scene neither defines nor names


def test_nothing_goes_out_of_the_state_before_the_session_and_nothing_comes_in_after_it() -> None:
    text = diagram(Scene.from_toml('[[transitions]]\nfrom = ["none", "initializing"]\nfade_in = 1.5\n'))
    assert "  none --> ANY: in 1.5 s\n" in text
    assert "  initializing --> ANY: out 0.8 s, in 1.5 s\n" in text
    assert "  ANY --> none: out 0.8 s\n" in text


def test_states_that_differ_are_drawn_apart() -> None:
    scene = Scene.from_toml(
        "[states.a]\nsource = 'x'\n[states.b]\nsource = 'x'\n[states.c]\nsource = 'x'\nvolume = 0.5\n[states.d]\n"
    )
    assert alike(scene) == [
        ("initializing", "idle", "listening", "thinking"),
        ("speaking",),
        ("a", "b"),
        ("c",),
        ("d",),
    ]
    assert 'state "a, b\\nx" as a\n' in diagram(scene)
    assert 'state "d\\nsilence" as d\n' in diagram(scene)


def test_many_sounds_are_not_all_named() -> None:
    layers = "".join(f"[[states.tool.layers]]\nsource = '{i}.wav'\n" for i in range(9))
    assert 'state "tool\\n0.wav, 1.wav, 2.wav, 3.wav, 4.wav and 4 more" as tool\n' in diagram(Scene.from_toml(layers))


def test_words_of_mermaids_own_are_no_ids() -> None:
    """*Tried*: a state called `note` or `end` is a syntax error, whatever its case."""
    text = diagram(
        Scene.from_toml("".join(f"[states.{name}]\nsource = '{name}'\n" for name in ("note", "note_", "end", "ending")))
    )
    assert re.findall(r'state "(.*)\\n.*" as (.*)', text)[3:-1] == [
        ("note", "note__"),
        ("note_", "note_"),
        ("end", "end_"),
        ("ending", "ending"),
    ]
    assert "ANY --> note__\n" in text


def test_what_an_author_writes_stays_within_its_quotes() -> None:
    """Neither language's quotes, comments, directives, line ends or markup."""
    hostile = '"a\\" --> b: \\n---\\n%%{init: {}}%% [*] <script> ; # ` \\\\ \\u2028 \\u001b[31m"'
    scene = Scene.from_toml(f"name = {hostile}\n[base]\nkey = {hostile}\nsource = 'x'\n")
    kept = "a  --  b:  ---    init:       [*]  script             [31m"
    lines = diagram(scene).split("\n")
    assert lines[:4] == ["---", f'title: "{kept}"', "---", "stateDiagram-v2"]
    assert f'  state "any state\\n{kept}\\nout 0.8 s, in 0.8 s" as ANY' in lines
    node = r'state "[^"\\]*(\\n[^"\\]*)*" as \w+'
    grammar = rf"  (direction LR|classDef \w+ \S+|{node}|Class \w+ \w+|[\w*\[\]]+ --> \w+(: [\w ,.]+)?|)"
    assert all(re.fullmatch(grammar, line) for line in lines[4:])
    assert f'digraph "{kept}" {{\n' in diagram(scene, "dot")
    assert diagram(scene, "dot").count('"') % 2 == 0
