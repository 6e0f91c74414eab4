"""The scene format: what waits. `after` (T7), `settle` (T8), `min_play` (T9). How a test reads stands in `rules`."""

from __future__ import annotations

import pytest
from rules import Take, law

AFTER = """
    [defaults]
    crossfade = 0.4
    [states.thinking]
    source = "typing"
    after = 2
    [states.tool]
    source = "typing"
    after = 3
    [[transitions]]
    from = "listening"
    fade_in = 1.5
"""

# --- T7: after --------------------------------------------------------------------------------------------------


def test_t7_a_layer_starts_once_it_was_wanted_that_long() -> None:
    assert Take(AFTER, "thinking@1").of("typing") == ["1 arm 2 more", "3 start 0->1 in 0.4"]


def test_t7_a_layer_that_is_not_wanted_so_long_is_never_heard() -> None:
    take = Take(AFTER, "thinking@1 idle@2.9")
    assert take.of("typing") == ["1 arm 2 more", "2.9 cancel"]


def test_t7_the_timer_runs_across_changes_as_long_as_the_key_is_wanted() -> None:
    """Armed at 1 for 2 s; the tool's layer says 3 s, counted from 1 as well."""
    take = Take(AFTER, "thinking@1 tool@2")
    assert take.of("typing") == ["1 arm 2 more", "2 arm 2 more", "4 start 0->1 in 0.4"]


def test_t7_the_present_layers_after_counts_and_starts_it_at_once_where_it_is_past() -> None:
    take = Take(AFTER, "tool@1 thinking@3.5")
    assert take.of("typing") == ["1 arm 3 more", "3.5 start 0->1 in 0.4"]


def test_t7_a_break_begins_the_count_anew() -> None:
    take = Take(AFTER, "thinking@1 idle@2 thinking@2.5")
    assert take.of("typing") == ["1 arm 2 more", "2 cancel", "2.5 arm 2 more", "4.5 start 0->1 in 0.4"]


def test_t7_the_entry_transition_is_history_when_it_fires() -> None:
    """The way in from listening has a fade-in of 1.5 s; the defaults' 0.4 s are taken."""
    assert Take(AFTER, "listening@0 thinking@1").of("typing")[-1] == "3 start 0->1 in 0.4"


def test_t7_the_fade_in_is_the_own_one_or_that_of_defaults() -> None:
    own = AFTER.replace("after = 2", "after = 2\nfade_in = 0.25").replace("crossfade = 0.4", "fade_in = 0.6")
    assert Take(own, "thinking@1").of("typing")[-1] == "3 start 0->1 in 0.25"
    default = AFTER.replace("crossfade = 0.4", "fade_in = 0.6")
    assert Take(default, "thinking@1").of("typing")[-1] == "3 start 0->1 in 0.6"


SETTLING = """
    [defaults]
    crossfade = 0.4
    [states.thinking]
    source = "typing"
    after = 2
    [states.tool]
    source = "typing"
    [[transitions]]
    from = "thinking"
    settle = 1
    fade_in = 0.7
"""


def test_t7_it_does_not_fire_while_a_change_is_pending_and_starts_when_the_old_state_returns() -> None:
    take = Take(SETTLING, "thinking@1 listening@2.5 thinking@3.25")
    assert take.of("typing") == ["1 arm 2 more", "3.25 start 0->1 in 0.4"]


def test_t7_it_does_not_fire_while_a_change_is_pending_and_starts_at_a_commit_that_wants_it_too() -> None:
    """Due at 3, in the middle of the change to the tool; that is committed at 3.5. The default fade-in, not 0.7."""
    take = Take(SETTLING, "thinking@1 tool@2.5")
    assert take.of("typing") == ["1 arm 2 more", "3.5 start 0->1 in 0.4"]


def test_t7_a_pending_change_that_does_not_want_it_ends_it_at_its_commit() -> None:
    take = Take(SETTLING, "thinking@1 listening@2.5")
    assert take.of("typing") == ["1 arm 2 more", "3.5 cancel"]


def test_t7_a_pending_change_that_comes_to_nothing_before_it_is_due_changes_nothing() -> None:
    take = Take(SETTLING, "thinking@1 listening@2 thinking@2.5")
    assert take.of("typing") == ["1 arm 2 more", "3 start 0->1 in 0.4"]


def test_t7_at_its_very_frame_a_fact_comes_first() -> None:
    assert Take(AFTER, "thinking@1 idle@3").of("typing") == ["1 arm 2 more", "3 cancel"]


def test_t4_a_key_that_returns_in_its_fade_is_revived_whatever_its_after() -> None:
    scene = AFTER.replace("[states.tool]", "[states.away]").replace("crossfade = 0.4", "crossfade = 1")
    taken = Take(scene, "thinking@1 idle@5 thinking@5.5").of("typing")
    assert taken == ["1 arm 2 more", "3 start 0->1 in 1", "5 release 1->0 in 1", "5.5 revive 0.707->1 in 1"]


def test_t4_once_silent_a_key_waits_for_its_after_again() -> None:
    taken = Take(AFTER, "thinking@1 idle@5 thinking@6").of("typing")
    assert taken[2:] == ["5 release 1->0 in 0.4", "6 arm 2 more", "8 start 0->1 in 0.4"]


def test_t7_a_shot_waits_as_well() -> None:
    scene = """
        [states.thinking]
        kind = "once"
        source = "chime"
        after = 2
    """
    assert Take(scene, "thinking@1").of("once chime") == ["1 arm 2 more", "3 shot 1->1 in 0"]
    assert Take(scene, "thinking@1 idle@2").of("once chime") == ["1 arm 2 more", "2 cancel"]


# --- T8: settle -------------------------------------------------------------------------------------------------

FLAPPING = """
    [defaults]
    crossfade = 1
    [states.listening]
    source = "hum"
    [[transitions]]
    from = "listening"
    to = "thinking"
    settle = 0.5
    [[transitions]]
    from = "listening"
    to = "idle"
    settle = 2
    [[transitions]]
    from = "thinking"
    to = "idle"
    settle = 0
"""


def test_t8_a_change_is_committed_when_it_has_lasted() -> None:
    take = Take(FLAPPING, "listening@0 thinking@3")
    assert take.commits == ["listening@0", "thinking@3.5"]
    assert take.of("thinking") == ["3 settle 0.5 more"]
    assert take.of("hum")[-1] == "3.5 release 1->0 in 1"


def test_t8_the_old_state_returns_and_nothing_happened() -> None:
    take = Take(FLAPPING, "listening@0 thinking@3 listening@3.4")
    assert take.log[2:] == ["3 settle thinking 0.5 more", "3.4 cancel thinking"]


def test_t8_a_third_state_takes_the_rule_from_the_committed_one_and_its_own_settle_counts_from_the_leaving() -> None:
    """Left at 3 for thinking; idle comes at 3.25 and needs 2 s, counted from 3. That thinking -> idle needs none is
    of no account: thinking was never committed."""
    take = Take(FLAPPING, "listening@0 thinking@3 idle@3.25")
    assert take.log[2:5] == ["3 settle thinking 0.5 more", "3.25 settle idle 1.75 more", "3.25 cancel thinking"]
    assert take.commits == ["listening@0", "idle@5"]


def test_t8_a_third_state_whose_settle_is_past_is_committed_at_once() -> None:
    take = Take(FLAPPING, "listening@0 idle@3 thinking@4")
    assert take.commits == ["listening@0", "thinking@4"]


def test_t8_a_third_state_without_settle_is_committed_at_once() -> None:
    take = Take(FLAPPING, "listening@0 idle@3 speaking@3.1")
    assert take.commits == ["listening@0", "speaking@3.1"]
    assert take.of("idle") == ["3 settle 2 more", "3.1 cancel"]


def test_t8_at_the_very_frame_the_fact_comes_first() -> None:
    take = Take(FLAPPING, "listening@0 thinking@3 listening@3.5")
    assert take.commits == ["listening@0"]


def test_t8_a_state_said_again_does_not_begin_the_count_anew() -> None:
    assert Take(FLAPPING, "listening@0 thinking@3 thinking@3.25").commits == ["listening@0", "thinking@3.5"]


def test_t8_the_state_stays_the_committed_one_meanwhile() -> None:
    take = Take(FLAPPING, "listening@0 thinking@3")
    engine = take.engine()
    engine.skip(3_499)
    assert engine.state == "listening"


def test_t8_the_close_does_not_settle() -> None:
    take = Take(FLAPPING + '[[transitions]]\nto = "none"\nsettle = 3', "listening@0 thinking@3 close@3.2")
    assert take.commits == ["listening@0", "none@3.2"]
    assert take.of("thinking") == ["3 settle 0.5 more", "3.2 cancel"]


def test_t8_the_first_state_may_have_to_settle_too() -> None:
    scene = """
        [states.listening]
        source = "hum"
        [[transitions]]
        from = "none"
        settle = 1
    """
    assert Take(scene, "listening@2").commits == ["listening@3"]


def test_t8_settle_comes_from_defaults_where_no_rule_says() -> None:
    assert Take("[defaults]\nsettle = 0.5", "idle@1 thinking@2").commits == ["idle@1.5", "thinking@2.5"]


def test_rule_7_speech_never_settles_unless_a_rule_of_its_rank_says_so() -> None:
    """The built-in rule for speaking stands over defaults and over what only names where one comes from."""
    scene = '[defaults]\nsettle = 0.5\n[[transitions]]\nfrom = "thinking"\nsettle = 1'
    assert Take(scene, "idle@1 speaking@2").commits == ["idle@1.5", "speaking@2"]
    assert Take(scene, "thinking@1 speaking@2").commits == ["thinking@1.5", "speaking@2"]
    scene += '\n[[transitions]]\nto = "speaking"\nsettle = 0.25'
    assert Take(scene, "thinking@1 speaking@2").commits == ["thinking@1.5", "speaking@2.25"]


# --- T9: min_play -----------------------------------------------------------------------------------------------

MIN_PLAY = """
    [defaults]
    crossfade = 1
    [states.thinking]
    source = "typing"
    min_play = 3
    [[transitions]]
    to = "idle"
    fade_out = 0.6
    [[transitions]]
    to = "tool"
    fade_out = 0.3
    [[transitions]]
    to = "away"
    urgent = true
    fade_out = 0.2
    [states.away]
"""


def test_t9_a_release_is_postponed_until_it_has_played_so_long() -> None:
    take = Take(MIN_PLAY, "thinking@1 idle@2.5")
    assert take.of("typing") == ["1 start 0->1 in 1", "2.5 hold 1.5 more", "4 release 1->0 in 0.6"]


def test_t9_one_that_has_played_so_long_is_released_at_once() -> None:
    assert Take(MIN_PLAY, "thinking@1 idle@4").of("typing")[1:] == ["4 release 1->0 in 0.6"]


def test_t9_its_envelope_goes_on_as_it_was() -> None:
    """Left in the middle of its fade-in, it comes up all the same."""
    take = Take(MIN_PLAY, "thinking@1 idle@1.5")
    assert take.gain("typing", 1.75) == pytest.approx(law(0, 1, 0.75), abs=1e-12)
    assert take.gain("typing", 3) == 1


def test_t9_it_counts_from_the_playbacks_first_frame_not_from_when_it_was_wanted() -> None:
    scene = MIN_PLAY.replace("min_play = 3", "min_play = 3\nafter = 1")
    assert Take(scene, "thinking@1 idle@2.5").of("typing")[2:] == ["2.5 hold 2.5 more", "5 release 1->0 in 0.6"]


def test_t9_it_counts_from_the_playbacks_first_frame_also_after_a_revival() -> None:
    taken = Take(MIN_PLAY, "thinking@1 idle@4 thinking@4.25 idle@4.5").of("typing")
    assert [line.split()[1] for line in taken] == ["start", "release", "revive", "release"]


def test_t9_wanted_again_the_hold_is_cancelled_and_it_simply_goes_on() -> None:
    taken = Take(MIN_PLAY, "thinking@1 idle@2.5 thinking@3 idle@3.5").of("typing")
    assert taken[1:] == ["2.5 hold 1.5 more", "3 cancel", "3.5 hold 0.5 more", "4 release 1->0 in 0.6"]


def test_t9_the_release_takes_the_fade_out_of_the_last_committed_transition() -> None:
    assert Take(MIN_PLAY, "thinking@1 idle@2 tool@3").of("typing")[-1] == "4 release 1->0 in 0.3"


def test_t9_an_own_fade_out_wins_at_that_release() -> None:
    scene = MIN_PLAY.replace("min_play = 3", "min_play = 3\nfade_out = 2")
    assert Take(scene, "thinking@1 idle@2").of("typing")[-1] == "4 release 1->0 in 2"


def test_t9_a_held_sound_is_left_alone_by_further_changes() -> None:
    assert [line for line in Take(MIN_PLAY, "thinking@1 idle@2 tool@3").of("typing") if line.startswith("3")] == []


def test_t9_urgent_overrides_it() -> None:
    assert Take(MIN_PLAY, "thinking@1 away@2.5").of("typing")[1:] == ["2.5 release 1->0 in 0.2"]


def test_t9_urgent_ends_what_is_held_already() -> None:
    taken = Take(MIN_PLAY, "thinking@1 idle@2 away@2.5").of("typing")
    assert taken[1:] == ["2 hold 2 more", "2.5 release 1->0 in 0.2"]


def test_t9_a_sound_that_finishes_first_plays_as_long_as_it_must_and_then_its_pass() -> None:
    """Passes of 1.25 s; 3 s after the start is in the third, which ends at 1 + 3.75."""
    scene = MIN_PLAY.replace("min_play = 3", 'min_play = 3\non_exit = "finish"')
    take = Take(scene, "thinking@1 idle@2", clips={"typing": [1.0] * 1_250})
    assert take.of("typing")[1:] == ["2 hold 2 more", "4 hold 0.75 more", "4.745 release 1->0 in 0.005"]


def test_t9_a_pool_plays_pick_after_pick_while_it_is_held() -> None:
    scene = """
        [defaults]
        crossfade = 0.1
        [states.thinking]
        pool = [{ source = "a" }, { source = "b" }]
        min_play = 5
    """
    take = Take(scene, "thinking@0 idle@1", clips={"a": 1.0, "b": 1.0})
    assert take.of("a+b")[1:] == ["1 hold 4 more", "5 release 1->0 in 0.1"]
    assert min(take.sound(900, first=4_000)) > 0.99


def test_t19_the_close_takes_what_is_held_by_min_play() -> None:
    assert Take(MIN_PLAY, "thinking@1 idle@2 close@3").of("typing")[-1] == "3 release 1->0 in 1"
    assert Take(MIN_PLAY, "thinking@1 close@2").of("typing")[-1] == "2 release 1->0 in 1"


def test_t19_at_the_close_timers_die() -> None:
    take = Take(AFTER, "thinking@1 close@2")
    assert take.of("typing") == ["1 arm 2 more", "2 cancel"]


# --- T18: one frame ---------------------------------------------------------------------------------------------


def test_t18_settle_comes_before_other_timers() -> None:
    """The typing is due at 3, and so is the change that does not want it."""
    scene = AFTER + '[[transitions]]\nfrom = "thinking"\nto = "idle"\nsettle = 0.5'
    take = Take(scene, "thinking@1 idle@2.5")
    assert take.commits == ["thinking@1", "idle@3"]
    assert take.of("typing") == ["1 arm 2 more", "3 cancel"]
