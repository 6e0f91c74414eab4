"""What a scene is to sound like, as tests of your own project: no agent, no keys, no sound card.

    pytest examples/test_scene.py

The fixture comes with the package. With `--soundscape-plots=plots` every test leaves a picture of what it replayed.
"""

from collections.abc import Callable

import pytest

from soundscape.testing import Take

SCENE = "scenes/office.toml"  # from the project's root
Replay = Callable[..., Take]


def test_a_quick_answer_is_not_typed(soundscape_replay: Replay) -> None:
    take = soundscape_replay(SCENE, "listening@0 thinking@3 speaking@3.6")
    assert [(entry.action, entry.at) for entry in take.log if entry.key == "typing"] == [("arm", 3.0), ("cancel", 3.6)]


def test_typing_is_gone_before_the_agent_is_heard(soundscape_replay: Replay) -> None:
    take = soundscape_replay(SCENE, "listening@0 thinking@3 speaking@6")
    assert take.gain("typing", at=5.9) > 0
    assert take.gain("typing", at=6.2) == 0


@pytest.mark.parametrize(("seconds", "heard"), [(0.9, False), (3.0, True)])
def test_servers_are_heard_in_a_long_lookup_only(soundscape_replay: Replay, seconds: float, heard: bool) -> None:
    take = soundscape_replay(SCENE, f"thinking@0 tool=look_up_order@2 tool=-@{2 + seconds} speaking@6")
    assert any(entry.action == "start" for entry in take.log if entry.key == "servers") == heard


def test_two_steps_of_work_are_one_stretch_of_typing(soundscape_replay: Replay) -> None:
    take = soundscape_replay(SCENE, "thinking@0 listening@4 thinking@4.1 speaking@8")
    assert [entry.action for entry in take.log if entry.key == "typing"] == ["arm", "start", "release"]


def test_the_room_makes_way_for_the_caller(soundscape_replay: Replay) -> None:
    take = soundscape_replay(SCENE, "listening@0 user=speaking@2 user=listening@4", until=8)
    assert take.bus_gain("room", at=1.9) == 1
    assert take.bus_gain("room", at=3.9) == pytest.approx(10 ** (-8 / 20))
    assert take.bus_gain("room", at=8) == 1


@pytest.mark.parametrize("seed", range(10))
def test_the_room_is_there_from_the_first_state_to_the_last(soundscape_replay: Replay, seed: int) -> None:
    """Whatever is drawn in a call."""
    take = soundscape_replay(SCENE, "listening@0 thinking@5 speaking@9 listening@12 close@15", seed=seed)
    assert all(take.gain("room", at=at) == take.gain("room", at=2) > 0 for at in (5, 8, 9.5, 12, 14.9))
    assert take.gain("room", at=16) == 0
