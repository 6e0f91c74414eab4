"""The format's table of exact answers, line by line, through `replay`."""

from __future__ import annotations

import pytest
from rules import EXACT

from soundscape.testing import Take, replay

MINUS_6_DB = pytest.approx(10 ** (-6 / 20), abs=1e-9)


def told(take: Take, key: str) -> list[tuple[float, str, object, object, float]]:
    """When, what, from which gain to which, and in what time: thousandths."""
    return [
        (round(e.at, 3), e.action, round(e.gain_from, 3), round(e.gain_to, 3), round(e.duration, 3))
        for e in take.log
        if e.key == key and e.action != "commit"
    ]


def commits(take: Take) -> list[tuple[float, str]]:
    return [(round(e.at, 3), e.key) for e in take.log if e.action == "commit"]


def test_an_answer_before_the_typing_began_and_it_is_never_heard() -> None:
    take = replay(EXACT, "listening@0 thinking@3 speaking@3.3")
    assert told(take, "hum")[1:] == [(3.0, "level", 1.0, 0.501, 0.8), (3.3, "release", 0.877, 0.0, 0.2)]
    assert told(take, "typing") == [(3.0, "arm", 0.0, 0.0, 0.7), (3.3, "cancel", 0.0, 0.0, 0.0)]
    assert all(take.gain("typing", at=at / 10) == 0 for at in range(83))


def test_typing_that_has_begun_goes_on_for_its_second_when_the_agent_changes_its_mind() -> None:
    take = replay(EXACT, "listening@0 thinking@3 listening@3.9")
    assert told(take, "typing") == [
        (3.0, "arm", 0.0, 0.0, 0.7),
        (3.7, "start", 0.0, 1.0, 0.8),
        (4.15, "hold", 0.773, 0.773, 0.55),
        (4.7, "release", 1.0, 0.0, 1.2),
    ]
    assert told(take, "hum")[1:] == [(3.0, "level", 1.0, 0.501, 0.8), (4.15, "level", 0.501, 1.0, 0.8)]
    assert told(take, "listening") == [(3.9, "settle", 0.0, 0.0, 0.25)]
    assert commits(take) == [(0.0, "listening"), (3.0, "thinking"), (4.15, "listening")]


def test_speech_does_not_wait_for_typing_that_has_just_begun() -> None:
    take = replay(EXACT, "listening@0 thinking@3 speaking@3.9")
    assert told(take, "typing")[1:] == [(3.7, "start", 0.0, 1.0, 0.8), (3.9, "release", 0.383, 0.0, 0.2)]
    assert told(take, "hum")[-1] == (3.9, "release", 0.501, 0.0, 0.2)
    assert take.gain("hum", at=3.9) == MINUS_6_DB


def test_typing_goes_on_through_tool_calls() -> None:
    take = replay(EXACT, "thinking@3 tool@4.5 thinking@5.2 speaking@6")
    assert told(take, "typing") == [
        (3.0, "arm", 0.0, 0.0, 0.7),
        (3.7, "start", 0.0, 1.0, 0.8),
        (6.0, "release", 1.0, 0.0, 0.2),
    ]


def test_a_moment_of_listening_never_commits() -> None:
    take = replay(EXACT, "thinking@3 listening@8 speaking@8.1")
    assert commits(take) == [(3.0, "thinking"), (8.1, "speaking")]
    assert told(take, "listening") == [(8.0, "settle", 0.0, 0.0, 0.25), (8.1, "cancel", 0.0, 0.0, 0.0)]
