"""The scene format, rule by rule; how a test reads stands in `rules`. Beside it: what waits (`test_waiting`), shots
(`test_shots`), pools (`test_pools`), levels and ducks (`test_levels`).
"""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from rules import Take, law, line, u

from soundscape.clip import Clip, Loop
from soundscape.engine import Engine, Fact
from soundscape.exceptions import UsageError
from soundscape.gain import draw
from soundscape.loader import Scene

RAMP = [float(n) for n in range(1, 11)]
"""Ten frames, each of which says where in the clip it stands."""

HUM_AND_TYPING = """
    [defaults]
    crossfade = 1
    [states.listening]
    source = "hum"
    [[states.thinking.layers]]
    source = "hum"
    volume = 0.5
    [[states.thinking.layers]]
    source = "typing"
    [[states.tool.layers]]
    source = "hum"
    volume = 0.5
    [[states.tool.layers]]
    source = "typing"
    [[transitions]]
    to = "tool"
    crossfade = 2
"""


# --- the envelope law, declick ----------------------------------------------------------------------------------


def test_law_a_fade_in_is_a_sine_and_a_fade_out_a_cosine() -> None:
    scene = """
        [defaults]
        crossfade = 4
        [states.thinking]
        source = "a"
    """
    take = Take(scene, "thinking@0 listening@10")
    rise = [take.gain("a", at) for at in (0, 1, 2, 3, 4)]
    fall = [take.gain("a", at) for at in (10, 11, 12, 13, 14)]
    quarters = [0, 0.38268343236508984, 0.7071067811865476, 0.9238795325112867, 1]
    assert rise == pytest.approx(quarters, abs=1e-12)
    assert fall == pytest.approx(quarters[::-1], abs=1e-12)


def test_law_a_level_move_goes_through_the_mean_power() -> None:
    take = Take(HUM_AND_TYPING, "listening@0 thinking@3")
    assert take.gain("hum", 3.5) == pytest.approx(math.sqrt((1 + 0.25) / 2), abs=1e-12)


def test_declick_a_fade_of_0_lasts_declick() -> None:
    """At the end of a sound, in the middle of a level, and where a clip begins elsewhere than at its beginning."""
    scene = """
        [defaults]
        crossfade = 0
        declick = 0.02
        [states.listening]
        source = "a"
        [states.thinking]
        source = "a"
        volume = 0.5
        [states.tool]
        source = "b"
        start = "random"
    """
    take = Take(scene, "listening@0 thinking@1 tool@2")
    assert take.of("a") == ["0 start 0->1 in 0", "1 level 1->0.5 in 0.02", "2 release 0.5->0 in 0.02"]
    assert take.of("b") == ["2 start 0->1 in 0.02"]


def test_declick_a_shorter_fade_lasts_declick() -> None:
    """Only 0 is full level at once: a thousandth is a fade, and becomes 5 ms."""
    scene = """
        [states.thinking]
        source = "a"
        fade_in = 0.001
        fade_out = 0.001
    """
    assert Take(scene, "thinking@0 idle@1").of("a") == ["0 start 0->1 in 0.005", "1 release 1->0 in 0.005"]


def test_declick_a_start_with_a_fade_in_of_0_is_full_from_its_first_frame() -> None:
    scene = """
        [states.thinking]
        source = "a"
        fade_in = 0
    """
    take = Take(scene, "thinking@1")
    assert take.sound(4, first=998) == [0, 0, 1, 1]


def test_declick_a_revival_with_a_fade_in_of_0_lasts_declick() -> None:
    scene = """
        [states.thinking]
        source = "a"
        fade_in = 0
        fade_out = 1
    """
    take = Take(scene, "thinking@0 idle@1 thinking@1.5")
    assert take.of("a")[-1] == "1.5 revive 0.707->1 in 0.005"


# --- T1 and T2: changes in mid-fade -----------------------------------------------------------------------------


def test_t1_a_level_in_mid_fade_is_retargeted_although_its_target_stays() -> None:
    take = Take(HUM_AND_TYPING, "listening@0 thinking@3 tool@3.5")
    assert take.of("hum")[1:] == ["3 level 1->0.5 in 1", "3.5 level 0.791->0.5 in 2"]


def test_t1_a_start_in_mid_fade_is_retargeted_although_its_target_stays() -> None:
    take = Take(HUM_AND_TYPING, "listening@0 thinking@3 tool@3.5")
    assert take.of("typing") == ["3 start 0->1 in 1", "3.5 level 0.707->1 in 2"]


def test_t1_a_sound_on_its_way_out_is_retargeted() -> None:
    take = Take(HUM_AND_TYPING, "listening@0 idle@3 initializing@3.5")
    assert take.of("hum")[1:] == ["3 release 1->0 in 1", "3.5 release 0.707->0 in 1"]


def test_t1_the_present_gain_is_kept_at_the_frame_of_a_retarget() -> None:
    """The envelope leads from where it is, and the gain at that frame is that of both fades."""
    take = Take(HUM_AND_TYPING, "listening@0 thinking@3 tool@3.5")
    assert take.gain("hum", 3.5) == pytest.approx(law(1, 0.5, 0.5), abs=1e-12)
    assert take.gain("hum", 4.5) == pytest.approx(law(law(1, 0.5, 0.5), 0.5, 0.5), abs=1e-12)


def test_t1_all_sounds_of_a_transition_move_on_one_clock() -> None:
    """Three sounds, two interruptions: the powers add up to one all the way."""
    scene = """
        [defaults]
        crossfade = 1
        [states.listening]
        source = "a"
        [states.thinking]
        source = "b"
        [states.idle]
        source = "c"
    """
    take = Take(scene, "listening@0 thinking@3 idle@3.3 listening@3.7")
    for at in (3, 3.1, 3.3, 3.45, 3.7, 4, 4.5, 4.7):
        assert sum(take.gain(key, at) ** 2 for key in "abc") == pytest.approx(1, abs=1e-9)


def test_t1_what_is_at_rest_at_its_level_is_left_alone() -> None:
    take = Take(HUM_AND_TYPING, "listening@0 thinking@3 tool@5")
    assert not [line for line in take.log if line.startswith("5 ") and "commit" not in line]


def test_t1_a_fade_of_own_length_whose_target_stays_is_left_alone() -> None:
    scene = """
        [states.thinking]
        source = "typing"
        fade_in = 4
        [states.tool]
        source = "typing"
        fade_in = 3
    """
    take = Take(scene, "thinking@0 tool@1 thinking@2")
    assert take.of("typing") == ["0 start 0->1 in 4"]
    assert take.gain("typing", 2) == pytest.approx(math.sqrt(0.5), abs=1e-12)


def test_t1_a_fade_out_of_own_length_is_left_alone() -> None:
    scene = """
        [states.thinking]
        source = "typing"
        fade_out = 4
    """
    assert Take(scene, "thinking@0 idle@5 listening@6").of("typing")[1:] == ["5 release 1->0 in 4"]


def test_t1_own_fades_have_no_say_where_the_target_changes() -> None:
    """In mid-fade of its own 4 s the level is another: the transition's fade takes it there."""
    scene = """
        [defaults]
        crossfade = 1
        [states.thinking]
        source = "typing"
        fade_in = 4
        [states.tool]
        source = "typing"
        fade_in = 4
        volume = 2
    """
    assert Take(scene, "thinking@0 tool@2").of("typing") == ["0 start 0->1 in 4", "2 level 0.707->2 in 1"]


def test_t1_an_urgent_transition_takes_a_fade_of_own_length_that_would_outlast_it() -> None:
    """Rising or falling: what is left of the own 4 s becomes the resolved fade_out."""
    scene = """
        [states.thinking]
        source = "typing"
        fade_in = 4
        fade_out = 4
        [states.speaking]
        source = "typing"
    """
    assert Take(scene, "thinking@0 speaking@2").of("typing")[1:] == ["2 level 0.707->1 in 0.25"]
    scene = """
        [states.thinking]
        source = "typing"
        fade_out = 4
    """
    taken = Take(scene, "thinking@0 idle@5 speaking@7").of("typing")
    assert taken[1:] == ["5 release 1->0 in 4", "7 release 0.707->0 in 0.25"]


def test_t1_an_urgent_transition_leaves_a_fade_of_own_length_that_is_over_sooner() -> None:
    scene = """
        [states.thinking]
        source = "typing"
        fade_out = 4
    """
    for last in (8.75, 8.9):  # exactly as long as the fade_out of 0.25 s is no longer than it
        assert Take(scene, f"thinking@0 idle@5 speaking@{last}").of("typing")[1:] == ["5 release 1->0 in 4"]


def test_t1_a_fade_that_urgent_has_taken_is_the_transitions_from_then_on() -> None:
    """Its length is no longer its own: the next change finds it in mid-fade like any other."""
    scene = """
        [defaults]
        crossfade = 1
        [states.thinking]
        source = "typing"
        fade_out = 4
    """
    taken = Take(scene, "thinking@0 idle@5 speaking@7 idle@7.125").of("typing")
    assert taken[1:] == ["5 release 1->0 in 4", "7 release 0.707->0 in 0.25", "7.125 release 0.5->0 in 1"]


def test_t1_an_own_fade_out_that_urgent_capped_is_the_transitions() -> None:
    """The same where it was capped from its first frame (rule 6)."""
    scene = """
        [defaults]
        crossfade = 1
        [states.thinking]
        source = "typing"
        fade_out = 4
    """
    capped = Take(scene, "thinking@0 speaking@5 idle@5.125").of("typing")
    assert capped[1:] == ["5 release 1->0 in 0.25", "5.125 release 0.707->0 in 1"]


def test_t1_nothing_queues() -> None:
    """Five changes in half a second: after the last one only the last one's fades run."""
    take = Take(HUM_AND_TYPING, "listening@0 thinking@3 tool@3.1 idle@3.2 listening@3.3 thinking@3.4")
    assert all(float(line.split()[0]) <= 3.4 for line in take.log)
    assert (take.gain("hum", 4.4), take.gain("typing", 4.4)) == (0.5, 1.0)


def test_t2_an_interrupted_fade_takes_the_new_rules_full_duration() -> None:
    """Also straight back to where it came from, a moment after it left."""
    take = Take(HUM_AND_TYPING, "listening@0 thinking@3 listening@3.1")
    assert take.of("hum")[1:] == ["3 level 1->0.5 in 1", "3.1 level 0.991->1 in 1"]
    assert take.of("typing") == ["3 start 0->1 in 1", "3.1 release 0.156->0 in 1"]


# --- T3 and T4: the same sound in two states, and its return ----------------------------------------------------


def test_t3_one_key_in_two_states_is_one_playback_and_only_its_level_moves() -> None:
    scene = """
        [defaults]
        crossfade = 0
        [states.listening]
        source = "ramp"
        [states.thinking]
        source = "ramp"
        volume = 2
    """
    take = Take(scene, "listening@0 thinking@3", clips={"ramp": RAMP}, rate=1)
    assert take.sound(6) == [1, 2, 3, 8, 10, 12]
    assert take.of("ramp") == ["0 start 0->1 in 0", "3 level 1->2 in 0"]


def test_t3_random_draws_are_no_part_of_the_key() -> None:
    """A pool that goes on in the next state goes on with the pick that sounds."""
    scene = """
        [states.listening]
        key = "bed"
        pool = [{ source = "a", probability = 0.5 }, { source = "b", probability = 0.5 }]
        [states.thinking]
        key = "bed"
        pool = [{ source = "a", probability = 0.5 }, { source = "b", probability = 0.5 }]
    """
    for seed in range(6):
        take = Take(scene, "listening@0 thinking@3 listening@5", seed=seed)
        assert len(take.of("bed")) == 1


def test_t4_a_key_that_returns_while_it_fades_out_is_revived_from_its_present_gain() -> None:
    take = Take(HUM_AND_TYPING, "listening@0 idle@3 listening@3.5")
    assert take.of("hum")[1:] == ["3 release 1->0 in 1", "3.5 revive 0.707->1 in 1"]
    assert take.gain("hum", 3.5) == pytest.approx(math.sqrt(0.5), abs=1e-12)


def test_t4_a_revived_sound_goes_on_where_it_was_and_does_not_begin_again() -> None:
    scene = """
        [defaults]
        crossfade = 4
        [states.listening]
        source = "ramp"
        fade_in = 0
    """
    take = Take(scene, "listening@0 idle@4 listening@6", clips={"ramp": RAMP}, rate=1)
    # Its own fade_in of 0 lasts declick, which is no frame at one frame a second.
    going = float(np.float32(law(1, 0, 0.25)) * np.float32(6))
    assert take.sound(12) == [1, 2, 3, 4, 5, going, 7, 8, 9, 10, 1, 2]


def test_t4_a_revived_sound_takes_the_level_and_the_own_fade_of_the_state_it_returns_in() -> None:
    scene = """
        [defaults]
        crossfade = 1
        [states.listening]
        source = "a"
        [states.thinking]
        source = "a"
        volume = 0.5
        fade_in = 3
    """
    assert Take(scene, "listening@0 idle@3 thinking@3.5").of("a")[-1] == "3.5 revive 0.707->0.5 in 3"


def test_t4_once_silent_it_is_gone_and_starts_anew() -> None:
    take = Take(HUM_AND_TYPING, "listening@0 idle@3 listening@4")
    assert take.of("hum")[1:] == ["3 release 1->0 in 1", "4 start 0->1 in 1"]


FINISHES = """
    [defaults]
    crossfade = 1
    [states.listening]
    source = "bell"
    on_exit = "finish"
    [states.thinking]
    source = "bell"
    volume = 0.5
    on_exit = "finish"
    [[transitions]]
    to = "speaking"
    fade_out = 0.5
"""


def test_t4_a_held_sound_that_is_wanted_again_simply_goes_on() -> None:
    """Its envelope too: there is nothing to revive."""
    take = Take(FINISHES, "listening@0 idle@5 listening@6", clips={"bell": 8})
    assert take.of("bell") == ["0 start 0->1 in 1", "5 hold 3 more", "6 cancel"]
    assert (take.gain("bell", 7.9), take.gain("bell", 8), take.gain("bell", 20)) == (1, 1, 1)
    assert take.sound(3, first=7_999) == [1, 1, 1]


def test_t4_a_held_sound_in_mid_fade_goes_on_with_that_fade() -> None:
    """Held after 0.5 s of a fade-in of 1 s, wanted again at 0.75: the fade ends at 1 as if nothing had been."""
    take = Take(FINISHES, "listening@0 idle@0.5 listening@0.75", clips={"bell": 4})
    assert take.of("bell") == ["0 start 0->1 in 1", "0.5 hold 3.5 more", "0.75 cancel"]
    assert take.gain("bell", 0.75) == pytest.approx(law(0, 1, 0.75), abs=1e-12)
    assert take.gain("bell", 1) == 1


def test_t4_a_held_sound_wanted_again_at_another_level_moves_there() -> None:
    take = Take(FINISHES, "listening@0 idle@5 thinking@6", clips={"bell": 8})
    assert take.of("bell")[1:] == ["5 hold 3 more", "6 cancel", "6 level 1->0.5 in 1"]


# --- T5: where a loop begins ------------------------------------------------------------------------------------


def visits(start: str, sequence: str, *, seed: int = 0, frames: int = 20) -> list[float]:
    """What sounds of a ramp of ten frames wanted in thinking, without fades."""
    scene = f"""
        [defaults]
        crossfade = 0
        [states.thinking]
        source = "ramp"
        start = "{start}"
    """
    return Take(scene, sequence, clips={"ramp": RAMP}, rate=1, seed=seed).sound(frames)


def test_t5_beginning_is_the_clips_first_frame_each_time() -> None:
    assert visits("beginning", "thinking@0 idle@3 thinking@5", frames=8) == [1, 2, 3, 0, 0, 1, 2, 3]


def test_t5_beginning_is_what_it_is_unless_said() -> None:
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        source = "ramp"
    """
    take = Take(scene, "thinking@0 idle@3 thinking@5", clips={"ramp": RAMP}, rate=1)
    assert take.sound(8) == [1, 2, 3, 0, 0, 1, 2, 3]


def test_t5_random_begins_at_the_drawn_share_of_the_clip() -> None:
    """Each start draws anew: the n-th begins at the frame floor(10 u(n))."""
    heard = visits("random", "thinking@0 idle@1 thinking@2 idle@3 thinking@4", seed=11)
    assert heard[0] == 1 + math.floor(10 * u(11, "ramp", "start", 0))
    assert heard[2] == 1 + math.floor(10 * u(11, "ramp", "start", 1))
    assert heard[4] == 1 + math.floor(10 * u(11, "ramp", "start", 2))
    assert len({heard[0], heard[2], heard[4]}) > 1


def test_t5_resume_goes_on_where_the_key_fell_silent() -> None:
    """Three visits, the second over the clip's end."""
    heard = visits("resume", "thinking@0 idle@4 thinking@6 idle@14 thinking@15 idle@17", frames=18)
    assert heard == [1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 9, 10, 1, 2, 0, 3, 4, 0]


def test_t5_resume_counts_to_where_it_fell_silent_not_to_where_it_was_left() -> None:
    """Left at 4, silent after the fade of 2: it resumes at the seventh frame."""
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        source = "ramp"
        start = "resume"
        fade_out = 2
    """
    take = Take(scene, "thinking@0 idle@4 thinking@10", clips={"ramp": RAMP}, rate=1)
    assert take.sound(12)[10:] == [7, 8]


def test_t5_resume_of_a_pool_goes_on_in_the_pick_that_sounded() -> None:
    """The next pick had begun when it was left; it resumes in that one."""
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        pool = [{ source = "a", probability = 0.5 }, { source = "b", probability = 0.5 }]
        start = "resume"
    """
    clips = {"a": [100.0 + n for n in range(10)], "b": [200.0 + n for n in range(10)]}
    second = []
    for seed in range(8):
        take = Take(scene, "thinking@0 idle@13 thinking@16", clips=clips, rate=1, seed=seed)
        heard = take.sound(24)
        pick = heard[12] - 2
        second.append(pick)
        assert heard[16:23] == [pick + n for n in range(3, 10)]
        assert heard[23] in (100, 200)  # and the pool plays on
    assert set(second) == {100, 200}


def test_t5_elapsed_is_where_it_would_be_had_it_played_since_the_first_event() -> None:
    """The first event is at 2, whatever it is: at 5 the clip would stand at its fourth frame, at 25 too."""
    heard = visits("elapsed", "user=listening@2 idle@3 thinking@5 idle@7 thinking@25", frames=28)
    assert heard[5:8] == [4, 5, 0]
    assert heard[25:28] == [4, 5, 6]


# --- T10: leaving -----------------------------------------------------------------------------------------------


def test_t10_a_loop_fades_and_a_shot_finishes_unless_said() -> None:
    scene = """
        [defaults]
        crossfade = 1
        [[states.thinking.layers]]
        source = "loop"
        [[states.thinking.layers]]
        key = "shot"
        kind = "once"
        source = "chime"
    """
    take = Take(scene, "thinking@0 idle@2", clips={"chime": 4})
    assert take.of("loop") == ["0 start 0->1 in 1", "2 release 1->0 in 1"]
    assert take.of("shot") == ["0 shot 1->1 in 0", "2 hold 2 more"]
    assert (take.gain("shot", 3.999), take.gain("shot", 4)) == (1, 0)


def test_t10_a_shot_that_fades_is_released_at_once() -> None:
    scene = """
        [defaults]
        crossfade = 1
        [states.thinking]
        key = "shot"
        kind = "once"
        source = "chime"
        on_exit = "fade"
    """
    take = Take(scene, "thinking@0 idle@2", clips={"chime": 4})
    assert take.of("shot") == ["0 shot 1->1 in 0", "2 release 1->0 in 1"]


def test_t10_a_loop_that_finishes_plays_the_present_pass_to_its_end() -> None:
    """A pass of 8 s entered at 0, left at 13 in the second one: 3 s more, then nothing. A loop does not die away where
    it meets its beginning, so the last 5 ms are a declick."""
    take = Take(FINISHES, "listening@0 idle@13", clips={"bell": 8})
    assert take.of("bell")[1:] == ["13 hold 3 more", "15.995 release 1->0 in 0.005"]
    assert take.sound(2, first=15_994) == [1, 1]
    assert take.sound(2, first=15_999) == [pytest.approx(law(1, 0, 0.8)), 0]
    assert take.gain("bell", 16) == 0


def test_t10_nothing_of_the_next_pass_is_heard() -> None:
    ramp = Clip.from_samples([1.0] * 40 + [2.0] * 40, 1_000, loop=Loop(0, 80, 0))
    take = Take(FINISHES, "listening@0 idle@2.03", clips={"bell": ramp})
    assert take.of("bell")[1:] == ["2.03 hold 0.05 more", "2.075 release 1->0 in 0.005"]
    assert take.sound(8, first=2_074) == pytest.approx([2, *(2 * law(1, 0, n / 5) for n in range(5)), 0, 0])


def test_t10_wanted_again_before_its_pass_is_over_a_held_loop_simply_goes_on() -> None:
    """Also in the very frame in which it would end: a fact comes first (T18)."""
    take = Take(FINISHES, "listening@0 idle@13 listening@15.995", clips={"bell": 8})
    assert take.of("bell")[1:] == ["13 hold 3 more", "15.995 cancel"]


def test_t10_a_pool_that_finishes_plays_the_present_pick_to_its_end() -> None:
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        key = "bed"
        pool = [{ source = "a" }, { source = "b" }]
        on_exit = "finish"
    """
    take = Take(scene, "thinking@0 idle@5", clips={"a": [1.0] * 4, "b": [1.0] * 4}, rate=1)
    assert take.of("bed") == ["0 start 0->1 in 0", "5 hold 3 more"]
    assert take.sound(10) == [1, 1, 1, 1, 1, 1, 1, 1, 0, 0]


def test_t10_playing_out_takes_5_s_at_most_and_then_fades() -> None:
    """A loop and a shot of 20 s, left at 2: held until 7, then faded by the last committed transition."""
    scene = """
        [defaults]
        crossfade = 1
        [[states.thinking.layers]]
        source = "loop"
        on_exit = "finish"
        [[states.thinking.layers]]
        key = "shot"
        kind = "once"
        source = "chime"
        [[transitions]]
        to = "idle"
        fade_out = 3
    """
    take = Take(scene, "thinking@0 listening@2 idle@4", clips={"loop": 20, "chime": 20})
    assert take.of("loop")[1:] == ["2 hold 5 more", "7 release 1->0 in 3"]
    assert take.of("shot")[1:] == ["2 hold 5 more", "7 release 1->0 in 3"]


def test_t10_a_shot_that_ends_after_exactly_5_s_is_not_faded() -> None:
    scene = """
        [states.thinking]
        key = "shot"
        kind = "once"
        source = "chime"
    """
    take = Take(scene, "thinking@0 idle@3", clips={"chime": 8})
    assert take.of("shot")[1:] == ["3 hold 5 more"]
    assert take.sound(2, first=7_999) == [1, 0]


def test_t10_a_second_way_out_has_5_s_of_its_own() -> None:
    take = Take(FINISHES, "listening@0 idle@2 listening@6 idle@7", clips={"bell": 30})
    assert take.of("bell")[1:] == ["2 hold 5 more", "6 cancel", "7 hold 5 more", "12 release 1->0 in 1"]


def test_t10_a_shot_held_for_5_s_ends_with_its_clip_although_its_fade_is_longer() -> None:
    scene = """
        [states.thinking]
        key = "shot"
        kind = "once"
        source = "chime"
        fade_out = 10
    """
    take = Take(scene, "thinking@0 idle@1", clips={"chime": 8})
    assert take.of("shot")[1:] == ["1 hold 5 more", "6 release 1->0 in 10"]
    assert take.gain("shot", 7.999) == pytest.approx(law(1, 0, 0.1999), abs=1e-12)
    assert take.gain("shot", 8) == 0


def test_t10_a_held_sound_is_left_alone_by_further_changes() -> None:
    take = Take(FINISHES, "listening@0 idle@5 initializing@6", clips={"bell": 8})
    assert take.of("bell")[1:] == ["5 hold 3 more", "7.995 release 1->0 in 0.005"]


def test_t10_a_held_sound_s_envelope_goes_on_as_it_was() -> None:
    """Left in the middle of its fade-in, it goes on rising while it plays out."""
    take = Take(FINISHES, "listening@0 idle@0.5", clips={"bell": 4})
    assert take.gain("bell", 0.75) == pytest.approx(law(0, 1, 0.75), abs=1e-12)
    assert (take.gain("bell", 3), take.gain("bell", 4)) == (1, 0)


def test_t10_urgent_turns_finish_into_a_fade() -> None:
    take = Take(FINISHES, "listening@0 speaking@13", clips={"bell": 8})
    assert take.of("bell")[1:] == ["13 release 1->0 in 0.5"]


def test_t10_urgent_ends_what_is_held_already() -> None:
    """The shot and the loop alike; there is no `cancel` where a release follows at once."""
    scene = """
        [[states.thinking.layers]]
        source = "loop"
        on_exit = "finish"
        [[states.thinking.layers]]
        key = "shot"
        kind = "once"
        source = "chime"
    """
    take = Take(scene, "thinking@0 idle@1 speaking@2", clips={"loop": 10, "chime": 10})
    assert take.of("loop")[1:] == ["1 hold 5 more", "2 release 1->0 in 0.25"]
    assert take.of("shot")[1:] == ["1 hold 5 more", "2 release 1->0 in 0.25"]


def test_t10_a_fade_that_took_the_place_of_a_finish_spans_the_end_of_the_pass() -> None:
    """Held until 8, taken by `urgent` at 7.75 for 0.5 s: the fade goes on past the wrap at 8 (T11)."""
    take = Take(FINISHES, "listening@0 idle@5 speaking@7.75", clips={"bell": 8})
    assert take.of("bell")[1:] == ["5 hold 3 more", "7.75 release 1->0 in 0.5"]
    assert take.gain("bell", 8.125) == pytest.approx(law(1, 0, 0.75), abs=1e-12)
    assert take.sound(1, first=8_125) == [float(np.float32(law(1, 0, 0.75)))]


def test_t10_a_sound_revived_after_an_ended_finish_outlives_the_pass() -> None:
    """Any release ends the hold: what is wanted again at 7.9 is not cut off at 8, when it would have finished."""
    take = Take(FINISHES, "listening@0 idle@5 speaking@7.75 listening@7.9", clips={"bell": 8})
    assert take.of("bell")[-1].startswith("7.9 revive")
    assert (take.gain("bell", 9), take.gain("bell", 17)) == (1, 1)
    assert take.sound(1, first=17_000) == [1]


def test_t10_a_pool_revived_after_an_ended_finish_plays_on() -> None:
    """Its next pick comes although it was told to be the last."""
    scene = """
        [defaults]
        crossfade = 1
        [states.listening]
        key = "bed"
        pool = [{ source = "a" }, { source = "b" }]
        on_exit = "finish"
    """
    take = Take(scene, "listening@0 idle@2 speaking@3 listening@3.1", clips={"a": 4, "b": 4})
    assert take.of("bed")[-1].startswith("3.1 revive")
    assert min(take.sound(10_000, first=5_000)) >= 1 - 1e-6  # crossing picks of ones never sum to less than one


def test_t10_a_fade_that_took_the_place_of_a_pools_finish_spans_its_picks() -> None:
    """The pick ends at 4, the fade at 5: the pool plays on under it (T11)."""
    scene = """
        [defaults]
        crossfade = 0
        [states.listening]
        key = "bed"
        pool = [{ source = "a" }, { source = "b" }]
        on_exit = "finish"
        [[transitions]]
        to = "speaking"
        fade_out = 2
    """
    take = Take(scene, "listening@0 idle@2 speaking@3", clips={"a": 4, "b": 4})
    assert take.of("bed")[-1] == "3 release 1->0 in 2"
    assert take.sound(1, first=4_500) == [float(np.float32(law(1, 0, 0.75)))]


# --- T11: loop boundaries ---------------------------------------------------------------------------------------


def test_t11_a_fade_spans_the_wraps_of_its_loop() -> None:
    scene = """
        [defaults]
        crossfade = 4
        [states.thinking]
        source = "two"
    """
    take = Take(scene, "thinking@0 idle@5", clips={"two": [1.0, 2.0]}, rate=1)
    rise, fall = [law(0, 1, n / 4) for n in range(4)], [law(1, 0, n / 4) for n in range(4)]
    gains = [*rise, 1, *fall, 0]
    expected = [float(np.float32(gain * (1 + n % 2))) for n, gain in enumerate(gains)]
    assert take.sound(10) == expected


def test_t11_a_fade_spans_the_picks_of_its_pool() -> None:
    """Eight seconds of fade over picks of two: one envelope, and no pick begins it again."""
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        key = "bed"
        pool = [{ source = "a" }, { source = "b" }]
        fade_in = 8
    """
    take = Take(scene, "thinking@0", clips={"a": [1.0, 1.0], "b": [1.0, 1.0]}, rate=1)
    assert take.sound(10) == [float(np.float32(law(0, 1, n / 8))) for n in range(8)] + [1, 1]


def test_t11_a_pool_that_is_left_plays_on_under_its_fade() -> None:
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        key = "bed"
        pool = [{ source = "a" }, { source = "b" }]
        fade_in = 0
        fade_out = 8
    """
    take = Take(scene, "thinking@0 idle@3", clips={"a": [1.0, 1.0], "b": [1.0, 1.0]}, rate=1)
    assert take.sound(12) == [1, 1, 1, *[float(np.float32(law(1, 0, n / 8))) for n in range(8)], 0]


CROSSING = """
    [defaults]
    crossfade = {crossfade}
    [states.thinking]
    pool = [{{ source = "a" }}, {{ source = "b" }}]
    fade_in = 0
"""


def test_t11_the_next_pick_crosses_over_the_default_crossfade() -> None:
    """Clips of 16 frames of ones: the last two of each cross with the first two of the next; half way cos + sin."""
    clips = {"a": [1.0] * 16, "b": [1.0] * 16}
    heard = Take(CROSSING.format(crossfade=2), "thinking@0", clips=clips, rate=1).sound(32)
    assert [n for n, value in enumerate(heard) if value != 1] == [15, 29]
    assert heard[15] == pytest.approx(math.sqrt(2), abs=2e-7)  # a sum of two single-precision numbers


def test_t11_the_next_pick_crosses_over_a_quarter_of_the_clip_at_most() -> None:
    """Of 8 frames the quarter is 2, though the default crossfade is 100."""
    clips = {"a": [1.0] * 8, "b": [1.0] * 8}
    heard = Take(CROSSING.format(crossfade=100), "thinking@0", clips=clips, rate=1).sound(20)
    assert [n for n, value in enumerate(heard) if value != 1] == [7, 13, 19]


def test_t11_picks_of_unequal_length_cross_over_a_quarter_of_the_shorter_one() -> None:
    """4 s and 0.4 s in turns: each crossing takes 0.1 s, so that the short one is heard at full level."""
    scene = """
        [defaults]
        crossfade = 1
        [pools.p]
        mode = "sequence"
        entries = [{ source = "a" }, { source = "b" }]
        [states.thinking]
        pool = "p"
        fade_in = 0
    """
    take = Take(scene, "thinking@0", clips={"a": [1.0] * 4_000, "b": [3.0] * 400})
    assert take.sound(3, first=3_899) == pytest.approx([1, 1, 1 * law(1, 0, 0.01) + 3 * law(0, 1, 0.01)])
    assert take.sound(200, first=4_000) == [3.0] * 200
    assert take.sound(1, first=4_300) == [1.0]


# --- T13: once --------------------------------------------------------------------------------------------------

CHIME = """
    [states.thinking]
    key = "chime"
    kind = "once"
    source = "chime"
    [states.tool]
    key = "chime"
    kind = "once"
    source = "chime"
"""


def test_t13_once_is_one_shot_each_time_the_layer_becomes_wanted() -> None:
    """From thinking to tool it was wanted already; it begins at full level and ends with its clip."""
    take = Take(CHIME, "listening@0 thinking@1 tool@3 idle@5 tool@6", clips={"chime": 1})
    assert take.of("chime") == ["1 shot 1->1 in 0", "6 shot 1->1 in 0"]
    assert take.sound(3, first=999) == [0, 1, 1]
    assert take.sound(2, first=1_999) == [1, 0]


def test_t13_once_in_base_is_once_per_session() -> None:
    scene = """
        [base]
        key = "welcome"
        kind = "once"
        source = "chime"
    """
    take = Take(scene, "listening@1 thinking@3 speaking@5 listening@6", clips={"chime": 1})
    assert take.of("welcome") == ["1 shot 1->1 in 0"]


def test_t13_a_shot_whose_predecessor_still_sounds_is_dropped_not_queued() -> None:
    """Its pick is drawn all the same: the third shot takes the third draw."""
    scene = """
        [states.thinking]
        key = "chime"
        kind = "once"
        pool = [{ source = "a", probability = 0.5 }, { source = "b", probability = 0.5 }]
    """
    for seed in range(4):
        take = Take(scene, "thinking@0 idle@1 thinking@2 idle@3 thinking@9", clips={"a": 4, "b": 4}, seed=seed)
        assert take.of("chime") == ["0 shot 1->1 in 0", "1 hold 3 more", "2 skip", "9 shot 1->1 in 0"]
        assert take.picks("chime") == ["ab"[u(seed, "chime", "pick", n) >= 0.5] for n in range(3)]


def test_t13_a_shot_that_was_left_stays_left() -> None:
    """Released by `urgent`, its key returns: it is not revived, and no second one begins beside it (T12)."""
    take = Take(CHIME, "thinking@0 speaking@1 thinking@1.1", clips={"chime": 10})
    assert take.of("chime")[1:] == ["1 release 1->0 in 0.25", "1.1 release 0.809->0 in 0.8", "1.1 skip"]


def test_t13_only_own_fades_apply_at_the_start_of_a_shot() -> None:
    scene = """
        [states.thinking]
        key = "chime"
        kind = "once"
        source = "chime"
        fade_in = 0.5
        [[transitions]]
        to = "thinking"
        fade_in = 3
    """
    assert Take(scene, "thinking@0", clips={"chime": 4}).of("chime") == ["0 shot 0->1 in 0.5"]
    assert Take(scene.replace("fade_in = 0.5", ""), "thinking@0").of("chime") == ["0 shot 1->1 in 0"]


def test_t13_a_shots_level_moves_like_any_others() -> None:
    scene = """
        [defaults]
        crossfade = 1
        [states.thinking]
        key = "chime"
        kind = "once"
        source = "chime"
        [states.tool]
        key = "chime"
        kind = "once"
        source = "chime"
        volume = 0.5
    """
    assert Take(scene, "thinking@0 tool@1", clips={"chime": 9}).of("chime")[1:] == ["1 level 1->0.5 in 1"]


# --- T14: weights and silence -----------------------------------------------------------------------------------


def shots(pool: str, visits: int, seed: int) -> list[str]:
    """What `once` has drawn, visit by visit; silence leaves no entry."""
    scene = f"""
        [states.thinking]
        key = "shot"
        kind = "once"
        pool = [{pool}]
    """
    sequence = " ".join(f"thinking@{2 * n} idle@{2 * n + 1}" for n in range(visits))
    sources = {"a": 0.1, "b": 0.1, "c": 0.1}
    return Take(scene, sequence, clips=sources, seed=seed).picks("shot")


def test_t14_a_pick_is_the_first_entry_whose_summed_share_exceeds_u() -> None:
    pool = """
        { source = "a", probability = 0.5 }, { source = "b", probability = 0.3 }, { source = "c", probability = 0.2 }
    """
    drawn = shots(pool, 30, 5)
    numbers = [u(5, "shot", "pick", n) for n in range(30)]
    assert drawn == ["a" if x < 0.5 else "b" if x < 0.8 else "c" for x in numbers]
    assert set(drawn) == {"a", "b", "c"}


def test_t14_a_probability_of_0_is_never() -> None:
    pool = '{ source = "a", probability = 0 }, { source = "b" }, { source = "c", probability = 0 }'
    assert shots(pool, 20, 1) == ["b"] * 20


def test_t14_sums_over_1_are_normalised() -> None:
    """Thrice 1 is a third each, and there is no silence."""
    drawn = shots('{ source = "a" }, { source = "b" }, { source = "c" }', 30, 2)
    assert drawn == ["abc"[math.floor(3 * u(2, "shot", "pick", n))] for n in range(30)]


def test_t14_sums_under_1_leave_the_rest_to_silence() -> None:
    """Which takes part in each draw of a shot, uses the draw up, and leaves no entry."""
    drawn = shots('{ source = "a", probability = 0.25 }, { source = "b", probability = 0.25 }', 40, 3)
    numbers = [u(3, "shot", "pick", n) for n in range(40)]
    assert drawn == ["a" if x < 0.25 else "b" for x in numbers if x < 0.5]
    assert 0 < len(drawn) < 40


def test_t14_silence_at_a_loops_start_lasts_until_the_key_is_released() -> None:
    """A seed whose first draw is above 0.5, the second and the third below: one visit is silent, and all of it."""
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        source = "typing"
        probability = 0.5
        [states.tool]
        source = "typing"
        probability = 0.5
        volume = 0.5
    """
    seed = next(s for s in range(99) if [u(s, "typing", "pick", n) < 0.5 for n in range(3)] == [False, True, True])
    take = Take(scene, "thinking@0 tool@30 thinking@60 idle@90 thinking@100 idle@110 tool@120", seed=seed, rate=1)
    assert take.of("typing") == ["100 start 0->1 in 0", "110 release 1->0 in 0", "120 start 0->0.5 in 0"]
    assert take.sound(100) == [0.0] * 100
    assert take.gain("typing", 45) == 0


def test_t14_the_later_picks_of_a_loop_are_among_the_entries() -> None:
    """Silence has six tenths, but is drawn at the start or not at all: forty picks later it still sounds."""
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        key = "bed"
        pool = [{ source = "a", probability = 0.2 }, { source = "b", probability = 0.2 }]
    """
    seed = next(s for s in range(99) if u(s, "bed", "pick", 0) < 0.4)
    take = Take(scene, "thinking@0", clips={"a": [1.0], "b": [2.0]}, rate=1, seed=seed)
    heard = take.sound(40)
    first = u(seed, "bed", "pick", 0)
    later = [u(seed, "bed", "pick", n) for n in range(1, 40)]
    assert heard == [1.0 if first < 0.2 else 2.0, *[1.0 if x < 0.5 else 2.0 for x in later]]


def test_t14_a_pool_of_one_loops_and_draws_only_at_its_start() -> None:
    """An entry that is never drawn does not make it a pool of two: each of 20 visits of four passes takes one draw."""
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        key = "bed"
        pool = [{ source = "a", probability = 0.5 }, { source = "b", probability = 0 }]
    """
    sequence = " ".join(f"thinking@{10 * n} idle@{10 * n + 8}" for n in range(20))
    take = Take(scene, sequence, clips={"a": [1.0, 2.0]}, rate=1, seed=6)
    sounded = [n for n in range(20) if u(6, "bed", "pick", n) < 0.5]
    assert [line for line in take.of("bed") if "start" in line] == [f"{10 * n} start 0->1 in 0" for n in sounded]
    assert take.sound(8, first=10 * sounded[0]) == [1, 2, 1, 2, 1, 2, 1, 2]


# --- T15: chance ------------------------------------------------------------------------------------------------

PICKS = [0.9252754839997662, 0.872194341499725, 0.23017154323398772]
STARTS = [0.01527439143029815, 0.7300695483575648, 0.9238866631292267]
"""u of seed 0, key `typing`, n = 0 to 2, worked out once: no machine and no version may give others."""


def test_t15_the_numbers_are_these() -> None:
    assert [draw(0, "typing", "pick", n) for n in range(3)] == PICKS == [u(0, "typing", "pick", n) for n in range(3)]
    assert [draw(0, "typing", "start", n) for n in range(3)] == STARTS == [u(0, "typing", "start", n) for n in range(3)]


def test_t15_the_sounds_follow_these_numbers() -> None:
    """Three visits: the picks are b, b, a and the places 0.015, 0.730, 0.924 of the clip, from the literals."""
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        key = "typing"
        start = "random"
        pool = [{ source = "a", probability = 0.5 }, { source = "b", probability = 0.5 }]
    """
    clips = {"a": RAMP, "b": [10 * value for value in RAMP]}
    take = Take(scene, "thinking@0 idle@1 thinking@2 idle@3 thinking@4", clips=clips, rate=1, seed=0)
    assert take.picks("typing") == ["b", "b", "a"]
    assert take.sound(5) == [10, 0, 80, 0, 10]


def test_t15_a_key_is_written_as_json_writes_it() -> None:
    """Other letters are escaped, in one and the same way everywhere."""
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        key = "café"
        start = "random"
        source = "ramp"
    """
    heard = Take(scene, "thinking@0", clips={"ramp": RAMP}, rate=1, seed=3).sound(1)
    assert heard == [1 + math.floor(10 * u(3, "caf\\u00e9", "start", 0))]


def test_t15_each_keys_draws_are_its_own() -> None:
    """A second layer that draws as well changes nothing of the first one's."""
    alone = """
        [states.thinking]
        key = "one"
        kind = "once"
        pool = [{ source = "a", probability = 0.5 }, { source = "b", probability = 0.5 }]
    """
    together = f"""
        [base]
        key = "other"
        start = "random"
        pool = [{{ source = "c", probability = 0.5 }}, {{ source = "d", probability = 0.5 }}]
        {alone}
    """
    sequence = " ".join(f"thinking@{2 * n} idle@{2 * n + 1}" for n in range(12))
    clips = {"a": 0.1, "b": 0.1, "c": 0.3, "d": 0.3}
    expected = Take(alone, sequence, clips={"a": 0.1, "b": 0.1}, seed=4)
    assert Take(together, sequence, clips=clips, seed=4).picks("one") == expected.picks("one")
    assert set(expected.picks("one")) == {"a", "b"}


def test_t15_no_seed_is_seed_0_in_a_replay_and_the_scenes_own_comes_before() -> None:
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        key = "typing"
        start = "random"
        source = "ramp"
    """
    unsaid = Take(scene, "thinking@0", clips={"ramp": RAMP}, rate=1).sound(1)
    assert unsaid == [1 + math.floor(10 * u(0, "typing", "start", 0))]
    own = Take(f"seed = 12\n{scene}", "thinking@0", clips={"ramp": RAMP}, rate=1).sound(1)
    assert own == [1 + math.floor(10 * u(12, "typing", "start", 0))]


# --- T16: unknown states ----------------------------------------------------------------------------------------


def test_t16_an_unknown_state_is_base_only_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    scene = """
        [base]
        source = "room"
        [states.thinking]
        source = "typing"
    """
    with caplog.at_level(logging.WARNING, logger="soundscape"):
        take = Take(scene, "thinking@0 dancing@2 thinking@4 dancing@6")
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 1
    assert "'dancing'" in warned[0]
    assert take.commits == ["thinking@0", "dancing@2", "thinking@4", "dancing@6"]
    assert (take.gain("room", 5.9), take.gain("typing", 3.5)) == (1, 0)


def test_t16_the_warning_names_the_nearest_state_and_comes_once_for_all_runs_of_a_scene(
    caplog: pytest.LogCaptureFixture,
) -> None:
    take = Take("[states.thinking]\nsource = 'typing'", "thinkin@0")
    take.engine().skip(1_000)
    (warned,) = caplog.records
    assert warned.getMessage().endswith("only the base layers sound; did you mean 'thinking'?")


def test_t16_livekits_own_states_need_no_definition_and_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The format's first example defines one state alone."""
    take = Take("[states.thinking]", "initializing@0 idle@1 listening@2 thinking@3 speaking@4 close@5")
    assert len(take.commits) == 6
    assert not caplog.records


# --- T18: one frame ---------------------------------------------------------------------------------------------


def test_t18_the_state_changes_of_one_frame_collapse_to_the_last() -> None:
    take = Take(HUM_AND_TYPING, "listening@0 thinking@3 idle@3 tool@3")
    assert take.commits == ["listening@0", "tool@3"]
    assert take.of("hum")[1:] == ["3 level 1->0.5 in 2"]


def test_t18_away_and_back_in_one_frame_is_nothing() -> None:
    assert Take(HUM_AND_TYPING, "listening@0 thinking@3 listening@3").commits == ["listening@0"]


def test_t18_facts_come_before_timers() -> None:
    """The 5 s of playing out are over at 7; at 7 it is wanted again: it is not faded first."""
    take = Take(FINISHES, "listening@0 idle@2 listening@7", clips={"bell": 30})
    assert take.of("bell") == ["0 start 0->1 in 1", "2 hold 5 more", "7 cancel"]


def test_t18_in_one_frame_the_log_has_the_commit_first_and_then_the_keys_in_order() -> None:
    scene = """
        [states.thinking]
        layers = [{ source = "c" }, { source = "a" }, { source = "b" }]
    """
    assert [(e.action, e.key) for e in Take(scene, "thinking@0").entries] == [
        ("commit", "thinking"),
        ("start", "a"),
        ("start", "b"),
        ("start", "c"),
    ]


def test_t18_what_a_timer_does_takes_its_place_by_key_in_the_frame_of_a_commit() -> None:
    """The bell's 5 s are over in the frame in which another sound begins: commit, bell, typing."""
    scene = f"""
        {FINISHES}
        [states.tool]
        source = "typing"
    """
    take = Take(scene, "listening@0 thinking@1 initializing@2 tool@7", clips={"bell": 30})
    assert [line for line in take.log if line.startswith("7 ")] == [
        "7 commit tool",
        "7 release bell 0.5->0 in 1",
        "7 start typing 0->1 in 1",
    ]


# --- T19: the end -----------------------------------------------------------------------------------------------

EVERYTHING = """
    [defaults]
    crossfade = 1
    [base]
    source = "room"
    [[states.thinking.layers]]
    source = "bell"
    on_exit = "finish"
    [[states.thinking.layers]]
    key = "shot"
    kind = "once"
    source = "chime"
    [[states.thinking.layers]]
    key = "bed"
    pool = [{ source = "a" }, { source = "b" }]
"""


def test_t19_the_close_commits_none_at_once_and_nothing_finishes() -> None:
    take = Take(EVERYTHING, "thinking@0 close@3", clips={"a": 1, "b": 1})
    assert take.commits == ["thinking@0", "none@3"]
    assert [line for line in take.log if line.startswith("3 ")] == [
        "3 commit none",
        "3 release bed 1->0 in 1",
        "3 release bell 1->0 in 1",
        "3 release room 1->0 in 1",
        "3 release shot 1->0 in 1",
    ]


def test_t19_the_close_takes_what_is_held() -> None:
    take = Take(EVERYTHING, "thinking@0 idle@2 close@3")
    assert take.of("bell")[1:] == ["2 hold 5 more", "3 release 1->0 in 1"]


def test_t19_after_the_fade_there_are_exact_zeros_and_the_engine_is_finished() -> None:
    engine = Take(EVERYTHING, "thinking@0 close@3", clips={"a": 1, "b": 1}).engine()
    assert engine.render(3_999)[-1, 0] > 0
    assert not engine.finished
    assert not engine.render(30_000)[1:].any()
    assert engine.finished


def test_t19_nothing_counts_after_the_close() -> None:
    take = Take(EVERYTHING, "thinking@0 close@3 thinking@3.5 app=thinking@4 close@5")
    assert take.commits == ["thinking@0", "none@3"]


def test_t19_a_fact_of_the_same_frame_does_not_undo_the_close() -> None:
    """A session says its last state in the same moment: before the close or after it, the close holds."""
    for last in ("listening@3 close@3", "close@3 listening@3", "close@3 user=away@3 tool=-@3"):
        take = Take(EVERYTHING, f"thinking@0 {last}")
        assert take.commits == ["thinking@0", "none@3"]
        engine = take.engine()
        engine.skip(10_000)
        assert engine.finished


def test_what_is_no_fact_is_refused_before_it_does_anything() -> None:
    engine = Engine(Scene.from_toml("[states.thinking]"), {}, sample_rate=1_000)
    for fact in (Fact("agnt", "thinking"), Fact("agent"), Fact("agent", "")):  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="no fact"):
            engine.post(fact)
    assert not engine.render(10).any()
    assert engine.facts == []


def test_t19_a_second_cut_does_not_begin_the_declick_again() -> None:
    engine = Take(EVERYTHING, "thinking@0").engine()
    for frame in (1_000, 1_003):
        engine.post(Fact("cut"), frame)
    engine.skip(1_010)
    assert [line(entry) for entry in engine.log if entry.key == "room"][2:] == ["1 release room 1->0 in 0.005"]


def test_t19_a_close_before_anything_sounds_is_the_end_as_well() -> None:
    engine = Take(EVERYTHING, "close@1").engine()
    assert not engine.render(2_000).any()
    assert engine.finished
    assert engine.log == []


# --- which state ------------------------------------------------------------------------------------------------

STATES = """
    [states.on_hold]
    [states.tool]
    [states.away]
"""


def test_state_before_the_agents_first_state_it_is_none() -> None:
    """Whatever else is known of the session."""
    take = Take(STATES, "user=away@0 tool=lookup@1 app=on_hold@2 app=-@3 tool=-@3 user=listening@3 listening@4")
    assert take.commits == ["listening@4"]


def test_state_the_applications_own_comes_first_until_it_is_cleared() -> None:
    """Before a tool, before speech, before away."""
    take = Take(STATES, "listening@0 app=on_hold@1 tool=x@2 speaking@3 user=away@4 tool=-@5 app=-@6")
    assert take.commits == ["listening@0", "on_hold@1", "speaking@6"]


def test_state_tool_comes_while_a_tool_is_executing() -> None:
    take = Take(STATES, "thinking@0 tool=lookup@1 tool=-@2")
    assert take.commits == ["thinking@0", "tool@1", "thinking@2"]


def test_state_tool_gives_way_while_the_agent_speaks() -> None:
    take = Take(STATES, "thinking@0 tool=lookup@1 speaking@2 listening@3 tool=-@4")
    assert take.commits == ["thinking@0", "tool@1", "speaking@2", "tool@3", "listening@4"]


def test_state_tool_is_not_entered_in_a_scene_without_it() -> None:
    assert Take("[states.away]", "thinking@0 tool=lookup@1").commits == ["thinking@0"]


def test_state_tool_comes_before_away() -> None:
    take = Take(STATES, "listening@0 user=away@1 tool=lookup@2 tool=-@3")
    assert take.commits == ["listening@0", "away@1", "tool@2", "away@3"]


def test_state_away_gives_way_while_the_agent_thinks_or_speaks() -> None:
    take = Take(STATES, "listening@0 user=away@1 thinking@2 speaking@3 idle@4 user=listening@5")
    assert take.commits == ["listening@0", "away@1", "thinking@2", "speaking@3", "away@4", "idle@5"]


def test_state_away_is_not_entered_in_a_scene_without_it() -> None:
    assert Take("[states.tool]", "listening@0 user=away@1").commits == ["listening@0"]


def test_state_otherwise_it_is_the_agents() -> None:
    take = Take("", "initializing@0 idle@1 listening@2 thinking@3 speaking@4")
    assert take.commits == ["initializing@0", "idle@1", "listening@2", "thinking@3", "speaking@4"]


def test_state_the_users_speaking_changes_nothing() -> None:
    assert Take(STATES, "listening@0 user=speaking@1 user=listening@2").commits == ["listening@0"]


def test_state_after_the_close_it_is_none() -> None:
    assert Take(STATES, "listening@0 app=on_hold@1 close@2").commits == ["listening@0", "on_hold@1", "none@2"]


# --- keys and merging -------------------------------------------------------------------------------------------


def test_keys_by_default_are_the_source_the_pools_name_or_the_sources_joined() -> None:
    """Before them the kind and a space, unless it is a loop."""
    scene = Scene.from_toml("""
        [pools.bed]
        entries = [{ source = "a" }, { source = "b" }]
        [states.thinking]
        layers = [
          { source = "room.wav" },
          { pool = "bed" },
          { pool = [{ source = "a" }, { source = "c" }] },
          { kind = "once", source = "room.wav" },
          { kind = "once", pool = "bed" },
          { kind = "once", pool = [{ source = "a" }, { source = "c" }] },
          { key = "mine", source = "room.wav" },
        ]
    """)
    keys = [scene.key(layer) for _, layer in scene.all_layers]
    assert keys == ["room.wav", "bed", "a+c", "once room.wav", "once bed", "once a+c", "mine"]


def test_keys_equal_layers_of_two_states_merge_unasked() -> None:
    scene = """
        [states.listening]
        source = "room"
        [states.thinking]
        source = "room"
    """
    assert Take(scene, "listening@0 thinking@3").of("room") == ["0 start 0->1 in 0.8"]


def test_base_layers_are_wanted_in_every_state_but_none() -> None:
    scene = """
        [defaults]
        crossfade = 1
        [base]
        source = "room"
        [states.thinking]
        source = "typing"
        [states.on_hold]
    """
    take = Take(scene, "listening@1 thinking@2 app=on_hold@4 app=-@6 speaking@8 close@10")
    assert take.of("room") == ["1 start 0->1 in 1", "10 release 1->0 in 1"]
    assert take.gain("room", 0.5) == 0


def test_a_states_layer_takes_the_place_of_the_base_layer_of_the_same_key() -> None:
    scene = """
        [defaults]
        crossfade = 1
        [base]
        source = "room"
        volume = 0.5
        [states.speaking]
        source = "room"
        volume = 0.25
    """
    take = Take(scene, "listening@0 speaking@2 listening@4")
    assert take.of("room") == ["0 start 0->0.5 in 1", "2 level 0.5->0.25 in 0.25", "4 level 0.25->0.5 in 1"]


def test_on_leaving_a_key_is_held_by_the_layer_of_the_state_left() -> None:
    """The own fade_out that counts is that of the state left, not that of the state in which it began."""
    scene = """
        [states.thinking]
        source = "typing"
        fade_out = 3
        [states.tool]
        source = "typing"
        fade_out = 2
        on_exit = "fade"
    """
    assert Take(scene, "thinking@0 tool@3 idle@5").of("typing")[-1] == "5 release 1->0 in 2"


# --- layer, pick and their fades --------------------------------------------------------------------------------


def test_a_written_fade_wins_over_the_transitions() -> None:
    scene = """
        [states.thinking]
        source = "a"
        fade_in = 2
        fade_out = 3
        [[transitions]]
        from = "idle"
        to = "thinking"
        crossfade = 9
        [[transitions]]
        from = "thinking"
        to = "idle"
        crossfade = 9
    """
    take = Take(scene, "idle@0 thinking@1 idle@5")
    assert take.of("a") == ["1 start 0->1 in 2", "5 release 1->0 in 3"]


def test_a_written_fade_of_0_wins_too() -> None:
    scene = """
        [states.thinking]
        pool = [{ source = "a", fade_in = 2, fade_out = 3 }]
        fade_in = 0
        fade_out = 0
    """
    assert Take(scene, "thinking@1 idle@5").of("a") == ["1 start 0->1 in 0", "5 release 1->0 in 0.005"]


def test_the_layers_fade_comes_before_the_picks() -> None:
    """Each for itself: the layer's fade_in, but the pick's fade_out, where the layer has none."""
    scene = """
        [states.thinking]
        pool = [{ source = "a", fade_in = 2, fade_out = 3 }]
        fade_in = 1
    """
    assert Take(scene, "thinking@0 idle@5").of("a") == ["0 start 0->1 in 1", "5 release 1->0 in 3"]


def test_of_a_pool_that_plays_it_is_the_fade_of_the_pick_that_sounds() -> None:
    """Picks of 4 s crossing over 1: at 5 the second one sounds, at 8 the third."""
    scene = """
        [defaults]
        crossfade = 1
        [states.thinking]
        key = "bed"
        pool = [
          { source = "a", probability = 0.5, fade_out = 2 },
          { source = "b", probability = 0.5, fade_out = 3 },
        ]
    """
    found = set()
    for seed in range(8):
        for at, n in ((5, 1), (8, 2)):
            take = Take(scene, f"thinking@0 idle@{at}", clips={"a": 4, "b": 4}, seed=seed)
            length = 2 if u(seed, "bed", "pick", n) < 0.5 else 3
            assert take.of("bed")[-1] == f"{at} release 1->0 in {length}"
            found.add((take.picks("bed")[0], length))
    assert found == {("a", 2), ("a", 3), ("b", 2), ("b", 3)}


def test_own_fades_never_win_for_a_level_move() -> None:
    scene = """
        [defaults]
        fade_in = 1
        fade_out = 2
        [states.thinking]
        source = "a"
        fade_in = 5
        fade_out = 6
        [states.idle]
        source = "a"
        volume = 0.5
        fade_in = 7
        fade_out = 8
    """
    assert Take(scene, "thinking@0 idle@9 thinking@15").of("a")[1:] == ["9 level 1->0.5 in 2", "15 level 0.5->1 in 1"]


def test_urgent_caps_an_own_fade_out_at_the_resolved_one() -> None:
    """A longer one is capped, a shorter one stays."""
    scene = """
        [[states.thinking.layers]]
        source = "long"
        fade_out = 5
        [[states.thinking.layers]]
        source = "short"
        fade_out = 0.1
    """
    take = Take(scene, "thinking@0 speaking@5")
    assert take.of("long")[-1] == "5 release 1->0 in 0.25"
    assert take.of("short")[-1] == "5 release 1->0 in 0.1"


def test_gain_is_the_picks_times_the_layers() -> None:
    """The layer's is what the log and the envelope speak of; the pick's is a factor beside it."""
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        pool = [{ source = "a", volume = 0.5 }]
        volume = 0.25
    """
    take = Take(scene, "thinking@0", rate=1)
    assert take.of("a") == ["0 start 0->0.25 in 0"]
    assert take.sound(2) == [0.125, 0.125]


def test_in_place_the_volume_is_the_layers() -> None:
    """Written without a pool it moves with the state, as the layer's does."""
    scene = """
        [defaults]
        crossfade = 0
        [states.thinking]
        source = "a"
        volume = 0.5
    """
    assert Take(scene, "thinking@0", rate=1).of("a") == ["0 start 0->0.5 in 0"]


def test_gain_db_is_the_layers_gain_in_decibels() -> None:
    scene = """
        [states.thinking]
        source = "a"
        gain_db = -20
        fade_in = 0
    """
    assert Take(scene, "thinking@0").gain("a", 1) == pytest.approx(0.1, abs=1e-12)


def test_seconds_become_the_nearest_frame() -> None:
    """At 10 frames a second 0.26 s are 3 frames, 0.24 s are 2."""
    scene = """
        [states.thinking]
        layers = [{ source = "a", fade_in = 0.26 }, { source = "b", fade_in = 0.24 }]
    """
    take = Take(scene, "thinking@0", rate=10)
    assert [entry.duration for entry in take.entries if entry.action == "start"] == [0.3, 0.2]
