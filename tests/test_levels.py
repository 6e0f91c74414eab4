"""The scene format: what multiplies the gain of a playback. Buses and loudness, clips with their own treatment, ducks
(T17). How a test reads stands in `rules`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rules import Take, clip, law

from soundscape.clip import Clip, Loop
from soundscape.gain import db_to_linear

# --- buses ------------------------------------------------------------------------------------------------------

BUSES = """
    speech_lufs = -18
    [buses.room]
    level_lu = -20
    [states.thinking]
    source = "a"
    bus = "room"
    fade_in = 0
"""


def loud(lufs: float | None, gain: float = 1.0) -> Clip:
    return replace(clip(60.0, 1_000), lufs=lufs, gain=gain)


def test_a_layer_on_a_bus_is_brought_to_the_buses_level() -> None:
    """Speech at -18 LUFS and 20 LU under it is -38: a clip of -30 LUFS comes down by 8 dB."""
    take = Take(BUSES, "thinking@0", clips={"a": loud(-30.0)})
    assert take.sound(1) == pytest.approx([db_to_linear(-8)])


def test_the_buses_level_is_no_part_of_the_layers_gain() -> None:
    assert Take(BUSES, "thinking@0", clips={"a": loud(-30.0)}).gain("a @room", 0) == 1


def test_speech_is_at_minus_20_lufs_unless_said() -> None:
    scene = BUSES.replace("speech_lufs = -18", "")
    assert Take(scene, "thinking@0", clips={"a": loud(-30.0)}).sound(1) == pytest.approx([db_to_linear(-10)])


def test_a_layer_on_no_bus_plays_the_file_as_it_is() -> None:
    for scene in (BUSES.replace('bus = "room"', ""), BUSES.replace('bus = "room"', 'bus = "main"')):
        assert Take(scene, "thinking@0", clips={"a": loud(-30.0)}).sound(1) == [1.0]


def test_what_cannot_be_measured_is_left_as_it_is_without_the_buses_level() -> None:
    assert Take(BUSES, "thinking@0", clips={"a": loud(None)}).sound(1) == [1.0]


def test_a_sound_with_every_gain_at_its_limit_is_loud_and_no_fault() -> None:
    """160 dB by the file's words: the ceiling, which takes what is over +120 dB for a fault, still gets the sound."""
    scene = (
        "[pools.p]\nentries = [{ source = 'a', volume = 100 }]\ngain_jitter_db = [40, 40]\n"
        + """
        [states.thinking]
        pool = "p"
        gain_db = 40
        fade_in = 0
    """
    )
    take = Take(scene, "thinking@0", clips={"a": replace(clip([1.0, -1.0] * 500, 1_000), gain=100.0)})
    assert np.abs(take.sound(100)).max() == pytest.approx(db_to_linear(60 + 40))


def test_normalisation_clip_pick_layer_bus_and_duck_multiply() -> None:
    scene = """
        [buses.room]
        level_lu = -10
        [[ducks]]
        while = "user_speaking"
        by_db = -6
        [states.thinking]
        pool = [{ source = "a", volume = 0.5 }]
        gain_db = -3
        bus = "room"
        fade_in = 0
    """
    take = Take(scene, "user=speaking@0 thinking@1", clips={"a": loud(-40.0, gain=db_to_linear(2.0))})
    assert take.sound(1, first=1_500) == pytest.approx([0.5 * db_to_linear(-30 + 40 + 2 - 3 - 6)])


def test_main_is_the_bus_of_layers_that_name_none_and_their_key_is_the_same() -> None:
    scene = """
        [states.thinking]
        source = "a"
        bus = "main"
        [states.tool]
        source = "a"
    """
    assert Take(scene, "thinking@0 tool@2").of("a") == ["0 start 0->1 in 0.8"]


def test_a_key_on_a_bus_ends_in_its_name() -> None:
    assert Take(BUSES, "thinking@0").of("a @room") == ["0 start 0->1 in 0"]


# --- T17: ducks -------------------------------------------------------------------------------------------------

DUCKS = """
    [buses.room]
    level_lu = -20
    [[ducks]]
    while = "user_speaking"
    by_db = -12
    buses = ["room"]
    fade_out = 0.2
    recovery = 0.5
    fade_in = 0.6
    [base]
    source = "a"
    bus = "room"
"""

DOWN = db_to_linear(-12)


def test_t17_a_duck_goes_down_while_its_condition_holds_and_comes_up_after_its_recovery() -> None:
    take = Take(DUCKS, "listening@0 user=speaking@1 user=listening@3")
    assert take.bus_gain("room", 1) == 1
    assert take.bus_gain("room", 1.1) == pytest.approx(law(1, DOWN, 0.5))
    assert take.bus_gain("room", 1.2) == pytest.approx(DOWN)
    assert take.bus_gain("room", 3.5) == pytest.approx(DOWN)
    assert take.bus_gain("room", 3.8) == pytest.approx(law(DOWN, 1, 0.5))
    assert take.bus_gain("room", 4.1) == 1


def test_t17_recovery_restarts_when_the_condition_returns() -> None:
    take = Take(DUCKS, "listening@0 user=speaking@1 user=listening@3 user=speaking@3.4 user=listening@3.6")
    assert take.bus_gain("room", 4.1) == pytest.approx(DOWN)
    assert take.bus_gain("room", 4.4) == pytest.approx(law(DOWN, 1, 0.5))


def test_t17_a_duck_moves_from_its_present_gain_in_its_full_time() -> None:
    """Back in the middle of the way up: down again over the whole 0.2 s from there."""
    take = Take(DUCKS, "listening@0 user=speaking@1 user=listening@3 user=speaking@3.8")
    middle = law(DOWN, 1, 0.5)
    assert take.bus_gain("room", 3.8) == pytest.approx(middle)
    assert take.bus_gain("room", 3.9) == pytest.approx(law(middle, DOWN, 0.5))
    assert take.bus_gain("room", 4) == pytest.approx(DOWN)


def test_t17_a_condition_that_ends_on_the_way_down_lets_it_go_down_first() -> None:
    take = Take(DUCKS, "listening@0 user=speaking@1 user=listening@1.1")
    assert take.bus_gain("room", 1.2) == pytest.approx(DOWN)
    assert take.bus_gain("room", 1.6) == pytest.approx(DOWN)
    assert take.bus_gain("room", 1.9) == pytest.approx(law(DOWN, 1, 0.5))


def test_t17_ducks_act_on_buses_and_states_on_layers_and_they_multiply() -> None:
    scene = DUCKS + '[states.thinking]\nsource = "a"\nbus = "room"\nvolume = 0.5'
    take = Take(scene, "thinking@0 user=speaking@2")
    assert take.sound(1, first=3_000) == pytest.approx([0.5 * DOWN])
    assert take.gain("a @room", 3) == 0.5


def test_t17_a_duck_leaves_no_entry_in_the_log_and_no_other_bus_moves() -> None:
    scene = DUCKS + '[states.thinking]\nsource = "b"'
    quiet, loud = Take(scene, "thinking@0"), Take(scene, "thinking@0 user=speaking@2 user=listening@3")
    assert loud.log == quiet.log
    assert loud.bus_gain("main", 2.5) == 1


def test_t17_a_duck_for_no_bus_in_particular_acts_on_all_and_on_main() -> None:
    take = Take(DUCKS.replace('buses = ["room"]', ""), "listening@0 user=speaking@1")
    assert take.bus_gain("room", 2) == take.bus_gain("main", 2) == pytest.approx(DOWN)
    take = Take(DUCKS.replace('["room"]', '["main"]'), "listening@0 user=speaking@1")
    assert take.bus_gain("room", 2) == 1
    assert take.bus_gain("main", 2) == pytest.approx(DOWN)


TWO = """
    [[ducks]]
    while = "user_speaking"
    by_db = -5
    [[ducks]]
    while = "agent_speaking"
    by_db = -7
"""


def test_t17_ducks_on_one_bus_add_up_in_db() -> None:
    take = Take(TWO, "speaking@0 user=speaking@1")
    assert take.bus_gain("main", 0.5) == pytest.approx(db_to_linear(-7))
    assert take.bus_gain("main", 2) == pytest.approx(db_to_linear(-12))


def test_t17_their_product_is_never_under_24_db() -> None:
    deep = TWO.replace("-5", "-20").replace("-7", "-10") + '[base]\nsource = "a"\nfade_in = 0'
    take = Take(deep, "speaking@0 user=speaking@1")
    assert take.bus_gain("main", 2) == db_to_linear(-24)
    assert take.sound(1, first=2_000) == pytest.approx([db_to_linear(-24)])
    assert take.sound(300, first=1_000) == pytest.approx(
        [max(db_to_linear(-24), db_to_linear(-10) * law(1, db_to_linear(-20), min(1, n / 200))) for n in range(300)]
    )


def test_t17_agent_speaking_is_the_raw_fact_without_settle_or_application_state() -> None:
    scene = TWO + '[[transitions]]\nto = "speaking"\nsettle = 3\n[states.hold]'
    take = Take(scene, "listening@0 app=hold@1 speaking@2")
    assert take.commits == ["listening@0", "hold@1"]
    assert take.bus_gain("main", 3) == pytest.approx(db_to_linear(-7))


def test_t17_a_condition_that_comes_and_goes_in_one_frame_is_nothing() -> None:
    take = Take(DUCKS, "listening@0 user=speaking@1 user=listening@1")
    assert {take.bus_gain("room", at) for at in (1, 1.1, 1.5, 2)} == {1}


def test_t17_a_duck_of_no_time_lasts_declick() -> None:
    scene = DUCKS.replace("fade_out = 0.2", "fade_out = 0").replace(
        "[buses.room]", "[defaults]\ndeclick = 0.02\n[buses.room]"
    )
    take = Take(scene, "listening@0 user=speaking@1")
    assert take.bus_gain("room", 1.01) == pytest.approx(law(1, DOWN, 0.5))


def test_t19_at_the_close_ducks_finish_the_fade_they_are_in_and_stay_there() -> None:
    take = Take(DUCKS, "listening@0 user=speaking@1 close@1.1")
    assert take.bus_gain("room", 1.15) == pytest.approx(law(1, DOWN, 0.75))
    assert take.bus_gain("room", 3) == pytest.approx(DOWN)
    take = Take(DUCKS, "listening@0 user=speaking@1 user=listening@2 close@2.3")
    assert take.bus_gain("room", 5) == pytest.approx(DOWN)


def test_ducks_are_heard_as_they_are_told() -> None:
    """Two ducks on the move at once, over a fade of the layer: each frame is the product of what is told."""
    scene = DUCKS + TWO + '[states.thinking]\nsource = "a"\nbus = "room"\nvolume = 0.5'
    take = Take(scene, "listening@0 user=speaking@1 thinking@1.05 speaking@1.1")
    sound = take.sound(400, first=950)
    told = [take.gain("a @room", 0.95 + n / 1_000) * take.bus_gain("room", 0.95 + n / 1_000) for n in range(0, 400, 13)]
    assert sound[::13] == pytest.approx(told, rel=1e-6)


# --- clips ------------------------------------------------------------------------------------------------------

LOOPED = """
    [states.thinking]
    source = "a"
    start = "{start}"
    fade_in = 0
    fade_out = 0.002
"""


def looped(start: int, end: int) -> Clip:
    """Twenty frames, each of which says where it stands, that go round from one to another."""
    return Clip.from_samples(np.arange(1.0, 21.0), 1_000).with_loop(Loop(start, end, 0))


def test_a_clip_with_loop_points_leads_in_once_and_goes_round() -> None:
    take = Take(LOOPED.format(start="beginning"), "thinking@0", clips={"a": looped(2, 6)})
    assert take.sound(12) == [1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 3, 4]


def test_t5_elapsed_counts_the_lead_in_as_well() -> None:
    scene = "[states.listening]\n" + LOOPED.format(start="elapsed")
    take = Take(scene, "listening@0 thinking@0.009", clips={"a": looped(2, 6)})
    assert take.sound(8, first=9)[6:] == [4, 5]  # 9 is a 6; six more are 3 4 5 6 3, and this


def test_t5_random_begins_somewhere_in_the_loop() -> None:
    begins = set()
    for seed in range(60):
        take = Take(LOOPED.format(start="random"), "thinking@0", clips={"a": looped(2, 6)}, seed=seed)
        begins.add(take.sound(6)[5] - 5 % 4)
    assert len(begins) == 4


def test_t5_resume_goes_on_in_the_loop() -> None:
    """Left at 9, silent at 14 by the declick: there a 3 would have sounded, which is what it goes on with."""
    take = Take(LOOPED.format(start="resume"), "thinking@0 idle@0.009 thinking@0.02", clips={"a": looped(2, 6)})
    assert take.sound(8, first=20)[5:] == [4, 5, 6]


def test_t10_what_follows_a_loop_in_its_file_is_not_heard() -> None:
    """The author's loop ends at 12 of 20 frames: its pass plays out, the last 5 ms of it as a declick."""
    scene = LOOPED.format(start="beginning") + 'on_exit = "finish"'
    take = Take(scene, "thinking@0 idle@0.015", clips={"a": looped(2, 12)})
    assert take.of("a") == ["0 start 0->1 in 0", "0.015 hold 0.007 more", "0.017 release 1->0 in 0.005"]
    fade = [law(1, 0, n / 5) * (8 + n) for n in range(5)]
    assert take.sound(9, first=15) == pytest.approx([6, 7, *fade, 0, 0])
