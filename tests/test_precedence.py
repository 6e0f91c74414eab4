"""Which transition rule wins: rules in, resolved values and where each one came from out."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from soundscape.clip import Clip
from soundscape.engine import Engine, Fact
from soundscape.exceptions import SceneError
from soundscape.loader import Scene


def resolved(rules: str, way: str) -> dict[str, str]:
    """The values for a way, such as `thinking -> speaking`, each followed by its origin.

    Rules are written one to a line, as inline tables; the n-th is `rule n`.
    """
    source, target = way.split(" -> ")
    rule = scene(rules).rule(source, target)
    found = {"fade_in": f"{rule.fade_in:g}", "fade_out": f"{rule.fade_out:g}", "urgent": str(rule.urgent).lower()}
    names = {key: rule.origins[key].replace("transitions[", "rule ").rstrip("]") for key in found}
    return {key: f"{value} {names[key]}" for key, value in found.items()}


def scene(rules: str) -> Scene:
    lines = [line.strip() for line in rules.strip().splitlines()]
    tables = [line for line in lines if line.startswith("{")]
    rest = "\n".join(line for line in lines if not line.startswith("{"))
    return Scene.from_toml(f"transitions = [{', '.join(tables)}]\n{rest}\n[states.on_hold]\n")


def problems(rules: str) -> list[str]:
    with pytest.raises(SceneError) as caught:
        scene(rules)
    return [f"{problem.where}: {problem.message}; {problem.hint}" for problem in caught.value.problems]


PLAIN = {"fade_in": "0.8 defaults", "fade_out": "0.8 defaults", "urgent": "false built in"}
"""What holds where no rule says anything."""


# --- 1: which rules match ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "way", "matches"),
    [
        ("{ crossfade = 3 }", "idle -> listening", True),
        ("{ crossfade = 3 }", "none -> listening", False),
        ("{ crossfade = 3 }", "listening -> none", False),
        ('{ from = "*", to = "*", crossfade = 3 }', "idle -> listening", True),
        ('{ from = "*", to = "*", crossfade = 3 }', "listening -> none", False),
        ('{ from = "none", crossfade = 3 }', "none -> listening", True),
        ('{ from = "none", crossfade = 3 }', "idle -> listening", False),
        ('{ to = "none", crossfade = 3 }', "listening -> none", True),
        ('{ to = "none", crossfade = 3 }', "none -> listening", False),
        ('{ to = "listening", crossfade = 3 }', "idle -> listening", True),
        ('{ to = "listening", crossfade = 3 }', "none -> listening", False),
        ('{ to = "listening", crossfade = 3 }', "listening -> idle", False),
        ('{ from = "none", to = "listening", crossfade = 3 }', "none -> listening", True),
        ('{ from = ["idle", "none"], to = "listening", crossfade = 3 }', "none -> listening", True),
        ('{ from = ["idle", "none"], to = "listening", crossfade = 3 }', "idle -> listening", True),
        ('{ from = ["idle", "none"], to = "listening", crossfade = 3 }', "thinking -> listening", False),
        ('{ to = ["tool", "away"], crossfade = 3 }', "idle -> away", True),
        ('{ to = "on_hold", crossfade = 3 }', "idle -> on_hold", True),
        ("{ crossfade = 3 }", "idle -> dancing", True),
    ],
)
def test_a_rule_matches_if_from_and_to_both_match_and_a_star_is_every_state_but_none(
    rule: str, way: str, matches: bool
) -> None:
    expected = {**PLAIN, "fade_in": "3 rule 0", "fade_out": "3 rule 0"}
    assert resolved(rule, way) == (expected if matches else PLAIN)


# --- 2: rank ----------------------------------------------------------------------------------------------------

RANKED = [
    '{ from = "thinking", to = "listening", crossfade = 1 }',
    '{ to = "listening", crossfade = 2 }',
    '{ from = "thinking", crossfade = 3 }',
    "{ crossfade = 4 }",
]


@pytest.mark.parametrize("left_out", range(5))
def test_both_named_over_to_named_over_from_named_over_stars_over_defaults(left_out: int) -> None:
    """One rank after the other is left out; what is next takes its place."""
    rules = RANKED[left_out:]
    found = resolved("\n".join(rules), "thinking -> listening")
    winner = f"{left_out + 1} rule 0" if rules else "0.8 defaults"
    assert found == {"fade_in": winner, "fade_out": winner, "urgent": "false built in"}


def test_the_order_in_the_file_never_matters() -> None:
    for order in permutations(enumerate(RANKED, 1)):
        found = resolved("\n".join(rule for _, rule in order), "thinking -> listening")
        first = [n for n, _ in order].index(1)
        assert (found["fade_in"], found["fade_out"]) == (f"1 rule {first}", f"1 rule {first}")


@pytest.mark.parametrize(
    ("way", "winner"),
    [
        ("thinking -> listening", "1 rule 0"),
        ("idle -> listening", "2 rule 1"),
        ("thinking -> idle", "3 rule 2"),
        ("idle -> initializing", "4 rule 3"),
        ("none -> idle", "0.8 defaults"),
    ],
)
def test_each_way_has_its_own_winner(way: str, winner: str) -> None:
    assert resolved("\n".join(RANKED), way)["fade_in"] == winner


def test_a_list_counts_as_naming() -> None:
    rules = """
        { to = ["listening", "idle"], crossfade = 2 }
        { from = ["thinking", "tool"], crossfade = 3 }
        { crossfade = 4 }
    """
    assert resolved(rules, "thinking -> listening")["fade_in"] == "2 rule 0"
    assert resolved(rules, "tool -> away")["fade_in"] == "3 rule 1"


def test_a_list_of_every_state_still_outranks_a_star() -> None:
    rules = """
        { from = "thinking", to = "*", crossfade = 2 }
        { from = "*", to = ["initializing", "idle", "listening", "thinking", "speaking", "tool"], crossfade = 3 }
    """
    assert resolved(rules, "thinking -> listening")["fade_in"] == "3 rule 1"


# --- 3: key by key ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "fade_in", "fade_out", "urgent"),
    [
        # a rule that sets one thing takes the others from the next rule down
        (
            """
            { from = "thinking", to = "listening", urgent = true }
            { to = "listening", fade_out = 2 }
            { from = "thinking", crossfade = 3 }
            """,
            "3 rule 2",
            "2 rule 1",
            "true rule 0",
        ),
        # crossfade is short for both, and the fades of the same rule win over it
        ('{ to = "listening", crossfade = 3, fade_in = 1 }', "1 rule 0", "3 rule 0", "false built in"),
        ('{ to = "listening", crossfade = 3, fade_out = 1 }', "3 rule 0", "1 rule 0", "false built in"),
        ('{ to = "listening", crossfade = 3, fade_in = 0, fade_out = 2 }', "0 rule 0", "2 rule 0", "false built in"),
        # a crossfade higher up wins over a fade further down: it sets both
        (
            """
            { to = "listening", crossfade = 3 }
            { from = "thinking", fade_in = 1, fade_out = 1 }
            """,
            "3 rule 0",
            "3 rule 0",
            "false built in",
        ),
        # a 0 that is written is a value
        ('{ to = "listening", fade_out = 0 }', "0.8 defaults", "0 rule 0", "false built in"),
        # so is a false
        (
            """
            { from = "thinking", to = "listening", urgent = false }
            { to = "listening", urgent = true }
            """,
            "0.8 defaults",
            "0.8 defaults",
            "false rule 0",
        ),
        # an empty rule says nothing
        ('{ to = "listening" }', "0.8 defaults", "0.8 defaults", "false built in"),
    ],
)
def test_values_are_resolved_key_by_key(rules: str, fade_in: str, fade_out: str, urgent: str) -> None:
    assert resolved(rules, "thinking -> listening") == {"fade_in": fade_in, "fade_out": fade_out, "urgent": urgent}


@pytest.mark.parametrize(
    ("defaults", "fade_in", "fade_out"),
    [
        ("", "0.8", "0.8"),
        ("crossfade = 2", "2", "2"),
        ("fade_in = 3", "3", "0.8"),
        ("fade_out = 3", "0.8", "3"),
        ("crossfade = 2\nfade_in = 0", "0", "2"),
        ("fade_in = 1\nfade_out = 4", "1", "4"),
    ],
)
def test_the_lowest_rule_is_defaults(defaults: str, fade_in: str, fade_out: str) -> None:
    """Also on the way out of none and into it, where no `*` reaches."""
    for way in ("idle -> listening", "none -> listening", "listening -> none"):
        found = resolved(f"[defaults]\n{defaults}", way)
        assert (found["fade_in"], found["fade_out"]) == (f"{fade_in} defaults", f"{fade_out} defaults")


# --- 4: ambiguity -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "value", "way"),
    [
        (['{ to = "idle", fade_in = 1 }', '{ to = "idle", fade_in = 2 }'], "fade_in", "initializing -> idle"),
        # also if the values agree
        (['{ to = "idle", fade_in = 1 }', '{ to = "idle", fade_in = 1 }'], "fade_in", "initializing -> idle"),
        (["{ fade_out = 1 }", "{ fade_out = 2 }"], "fade_out", "initializing -> idle"),
        (
            ['{ from = "tool", urgent = true }', '{ from = ["tool", "away"], urgent = true }'],
            "urgent",
            "tool -> initializing",
        ),
        # crossfade sets both fades
        (['{ to = "idle", crossfade = 1 }', '{ to = "idle", fade_out = 2 }'], "fade_out", "initializing -> idle"),
        # lists that have one state in common
        (
            [
                '{ from = ["tool", "away"], to = ["idle", "listening"], fade_in = 1 }',
                '{ from = ["away", "idle"], to = ["listening", "thinking"], fade_in = 1 }',
            ],
            "fade_in",
            "away -> listening",
        ),
        (['{ to = "none", fade_out = 1 }', '{ to = ["none", "idle"], fade_out = 2 }'], "fade_out", None),
    ],
)
def test_two_rules_of_one_rank_that_set_one_key_for_one_way_are_an_error(
    rules: list[str], value: str, way: str | None
) -> None:
    """The message stands at the second rule and names the first, the value and a way."""
    for order in (rules, rules[::-1]):
        found = problems("\n".join(order))
        assert len(found) == 1
        assert found[0].startswith(f"transitions[1]: sets {value} for ")
        assert found[0].endswith(", and so does transitions[0]; name the states of one of them more closely")
        assert way is None or f" for {way}, " in found[0]


def test_every_rule_that_collides_with_one_before_it_is_named_with_that_one() -> None:
    """Of the four, the first, the third and the fourth collide."""
    rules = """
        { to = "idle", fade_in = 1 }
        { to = "idle", fade_out = 1 }
        { to = ["idle", "away"], fade_in = 1 }
        { to = ["idle", "tool"], fade_in = 1 }
    """
    pairs = {(text.split(":")[0], text.split("so does ")[1].split(";")[0]) for text in problems(rules)}
    assert pairs - {("transitions[3]", "transitions[2]")} == {
        ("transitions[2]", "transitions[0]"),
        ("transitions[3]", "transitions[0]"),
    }


@pytest.mark.parametrize(
    "rules",
    [
        # another rank
        ['{ to = "idle", fade_in = 1 }', '{ from = "thinking", fade_in = 1 }'],
        ['{ from = "thinking", to = "idle", fade_in = 1 }', '{ to = "idle", fade_in = 1 }'],
        # another key
        ['{ to = "idle", fade_in = 1 }', '{ to = "idle", fade_out = 1 }'],
        ['{ to = "idle", crossfade = 1 }', '{ to = "idle", urgent = true }'],
        # no state in common
        ['{ to = "idle", fade_in = 1 }', '{ to = ["tool", "away"], fade_in = 1 }'],
        ['{ from = "tool", to = "idle", fade_in = 1 }', '{ from = "away", to = "idle", fade_in = 1 }'],
        # the only pair in common leads from a state to itself
        ['{ from = ["idle", "tool"], to = "idle", urgent = true }', '{ from = "idle", to = ["idle"], urgent = true }'],
        # a star does not reach none
        ['{ to = "idle", fade_in = 1 }', '{ from = "none", to = "idle", fade_in = 1 }'],
    ],
)
def test_rules_that_do_not_collide_are_no_error(rules: list[str]) -> None:
    assert len(scene("\n".join(rules)).transitions) == 2


def test_a_rule_beside_the_built_in_one_is_no_error() -> None:
    """The built-in rule lies under the author's rules of its rank."""
    rule = '{ to = "speaking", fade_out = 1, urgent = false }'
    assert resolved(rule, "thinking -> speaking") == {
        "fade_in": "0.8 defaults",
        "fade_out": "1 rule 0",
        "urgent": "false rule 0",
    }


# --- 7: the built-in rule ---------------------------------------------------------------------------------------


def test_built_in_speech_fades_out_in_a_quarter_second_and_is_urgent() -> None:
    expected = {"fade_in": "0.8 defaults", "fade_out": "0.25 built in", "urgent": "true built in"}
    assert resolved("", "thinking -> speaking") == expected


def test_built_in_is_for_speech_alone_and_not_for_the_first_state() -> None:
    assert resolved("", "speaking -> thinking") == PLAIN
    assert resolved("", "none -> speaking") == PLAIN


@pytest.mark.parametrize(
    ("rule", "fade_out", "urgent"),
    [
        # its own rank and the one above win over it, key by key
        ('{ to = "speaking", fade_out = 1 }', "1 rule 0", "true built in"),
        ('{ to = "speaking", crossfade = 1 }', "1 rule 0", "true built in"),
        ('{ to = "speaking", fade_in = 1 }', "0.25 built in", "true built in"),
        ('{ to = "speaking", urgent = false }', "0.25 built in", "false rule 0"),
        ('{ from = "thinking", to = "speaking", fade_out = 2, urgent = false }', "2 rule 0", "false rule 0"),
        ('{ from = ["thinking", "tool"], to = ["speaking", "idle"], fade_out = 2 }', "2 rule 0", "true built in"),
        # the ranks below do not
        ('{ from = "thinking", fade_out = 3, urgent = false }', "0.25 built in", "true built in"),
        ("{ fade_out = 4, urgent = false }", "0.25 built in", "true built in"),
        ("[defaults]\nfade_out = 5", "0.25 built in", "true built in"),
    ],
)
def test_built_in_lies_under_the_authors_rules_of_its_rank(rule: str, fade_out: str, urgent: str) -> None:
    found = resolved(rule, "thinking -> speaking")
    assert (found["fade_out"], found["urgent"]) == (fade_out, urgent)


# --- 6: which fade a change takes -------------------------------------------------------------------------------

FADES = """
    [defaults]
    fade_in = 2
    fade_out = 3
    [states.listening]
    layers = [{ source = "a" }]
    [states.thinking]
    layers = [{ source = "a", volume = 2 }, { source = "b" }]
"""


def changes(text: str, sequence: str) -> list[str]:
    """What was logged of a sequence, but for the commits: one state each second of ten frames."""
    model = Scene.from_toml(text)
    engine = Engine(model, {name: Clip.from_samples(np.ones(900), 10) for name in "abc"}, sample_rate=10)
    for word in sequence.split():
        state, at = word.split("@")
        engine.post(Fact("agent", state), round(float(at) * 10))
    engine.skip(900)
    return [f"{entry.at:g} {entry.action} {entry.key} in {entry.duration:g}" for entry in engine.log if entry.clip]


def test_a_start_takes_the_fade_in_and_a_release_the_fade_out() -> None:
    assert changes(FADES, "listening@0 idle@9") == ["0 start a in 2", "9 release a in 3"]


def test_a_revival_takes_the_fade_in() -> None:
    assert changes(FADES, "listening@0 idle@9 listening@10")[2:] == ["10 revive a in 2"]


def test_a_level_takes_the_fade_in_when_it_rises_and_the_fade_out_when_it_falls() -> None:
    found = changes(FADES, "listening@0 thinking@9 listening@20")
    assert [text for text in found if "level" in text] == ["9 level a in 2", "20 level a in 3"]


def test_a_retargeted_level_rises_or_falls_from_where_it_is() -> None:
    """Going from 1 up to 2 it turns back to 1 in mid-fade: that falls, though it had never been higher before."""
    found = changes(FADES, "listening@0 thinking@9 listening@10")
    assert [text for text in found if " a " in text][2:] == ["10 level a in 3"]


def test_a_level_rises_or_falls_from_its_present_gain_not_from_where_it_was_going() -> None:
    """On its way from 1 to 2 it is at 1.22 when 1.5 is asked for: that rises, though 2 was the target before."""
    text = f"""
        {FADES}
        [states.tool]
        layers = [{{ source = "a", volume = 1.5 }}]
    """
    found = changes(text, "listening@0 thinking@9 tool@9.8")
    assert [text for text in found if " a " in text][2:] == ["9.8 level a in 2"]


def test_a_fade_that_only_changes_its_clock_takes_the_fade_in_or_the_fade_out_as_it_rises_or_falls() -> None:
    """In mid-fade at 10: one still rises, one still falls, one is on its way out."""
    text = """
        [defaults]
        fade_in = 2
        fade_out = 3
        [states.idle]
        layers = [{ source = "a" }, { source = "c" }]
        [states.thinking]
        layers = [{ source = "a", volume = 0.5 }, { source = "b" }]
        [states.tool]
        layers = [{ source = "a", volume = 0.5 }, { source = "b" }]
    """
    found = changes(text, "idle@0 thinking@9 tool@10")
    assert found[2:] == [
        *("9 level a in 3", "9 start b in 2", "9 release c in 3"),
        *("10 level a in 3", "10 level b in 2", "10 release c in 3"),
    ]


def test_rules_of_one_transition_reach_what_comes_what_goes_and_what_stays() -> None:
    text = f"""
        {FADES}
        [[transitions]]
        from = "thinking"
        to = "listening"
        crossfade = 5
        fade_out = 4
    """
    found = changes(text, "thinking@0 listening@9")
    assert found[2:] == ["9 level a in 4", "9 release b in 4"]


# --- what a rule may name ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["initializing", "idle", "listening", "thinking", "speaking", "tool", "away", "none", "on_hold"]
)
def test_a_rule_may_name_livekits_states_tool_away_none_and_defined_ones(name: str) -> None:
    assert scene(f'{{ from = "{name}", fade_in = 1 }}').transitions[0].from_ == name
    assert scene(f'{{ to = ["{name}"], fade_in = 1 }}').transitions[0].to == (name,)


def test_any_other_name_is_an_error_that_suggests_the_nearest() -> None:
    assert problems('{ to = "speeking", fade_in = 1 }') == [
        "transitions[0].to: no state is called 'speeking'; did you mean 'speaking'?"
    ]
    assert problems('{ from = ["thinking", "hold"], fade_in = 1 }') == [
        "transitions[0].from[1]: no state is called 'hold'; did you mean 'on_hold'?"
    ]
    assert problems('{ to = "xyz", fade_in = 1 }') == [
        "transitions[0].to: no state is called 'xyz'; define it as [states.xyz]"
    ]


def test_a_list_may_not_hold_a_star() -> None:
    assert problems('{ to = ["speaking", "*"], fade_in = 1 }') == [
        """transitions[0].to[1]: a list may not hold '*'; write to = "*\""""
    ]


def test_a_list_may_not_be_empty() -> None:
    assert problems("{ from = [], fade_in = 1 }") == [
        'transitions[0].from: must not be empty; write from = "*" for every state'
    ]
