"""The scene format: shots now and then (scatter, T12), and what keeps a `once` from sounding (T13). How a test reads
stands in `rules`; the draws are those of T15."""

from __future__ import annotations

import pytest
from rules import Take, law, u

from soundscape.gain import draw

KEY = "scatter bird"

BIRDS = """
    [defaults]
    crossfade = 1
    [states.listening]
    kind = "scatter"
    source = "bird"
    interval = [2, 4]
    first = [1, 3]
"""
"""Every bird sings for half a second."""

BIRD = {"bird": 0.5}


def shots(take: Take, key: str = KEY) -> list[float]:
    return [entry.at for entry in take.entries if entry.key == key and entry.action == "shot"]


def gap(key: str, n: int, low: float, high: float) -> float:
    return low + (high - low) * u(0, key, "interval", n)


def first(key: str, n: int, low: float, high: float) -> float:
    return low + (high - low) * u(0, key, "first", n)


# --- T12: scatter -----------------------------------------------------------------------------------------------


def test_t12_the_first_shot_comes_after_first_and_the_gaps_run_from_one_end_to_the_next_start() -> None:
    take = Take(BIRDS, "listening@10", clips=BIRD)
    expected = [10 + first(KEY, 0, 1, 3)]
    for n in range(4):
        expected.append(expected[-1] + 0.5 + gap(KEY, n, 2, 4))
    assert shots(take)[:5] == pytest.approx(expected, abs=0.003)


def test_t12_first_is_the_interval_unless_said() -> None:
    take = Take(BIRDS.replace("first = [1, 3]", ""), "listening@0", clips=BIRD)
    assert shots(take)[0] == pytest.approx(first(KEY, 0, 2, 4), abs=0.001)


def test_t12_first_may_be_at_once() -> None:
    assert shots(Take(BIRDS.replace("first = [1, 3]", "first = [0, 0]"), "listening@2", clips=BIRD))[0] == 2


def test_t12_two_equal_numbers_are_a_fixed_gap() -> None:
    scene = BIRDS.replace("[2, 4]", "[2, 2]").replace("[1, 3]", "[1, 1]")
    assert shots(Take(scene, "listening@0", clips=BIRD))[:4] == [1, 3.5, 6, 8.5]


FIXED = BIRDS.replace("[2, 4]", "[2, 2]").replace("[1, 3]", "[1, 1]")
"""Due at 1, 3.5, 6, 8.5 after listening begins."""


def test_t12_on_exit_the_gap_is_dropped_and_on_re_entry_there_is_a_fresh_first() -> None:
    take = Take(FIXED, "listening@0 idle@3 listening@5", clips=BIRD)
    assert take.of(KEY)[:3] == ["1 shot 1->1 in 0", "3 cancel", "6 shot 1->1 in 0"]


def test_t12_a_shot_that_sounds_at_the_exit_plays_out() -> None:
    take = Take(FIXED, "listening@0 idle@1.25", clips=BIRD)
    assert take.of(KEY) == ["1 shot 1->1 in 0", "1.25 hold 0.25 more", "1.25 cancel"]


def test_t12_a_shot_that_fades_on_exit_is_released() -> None:
    scene = FIXED.replace('kind = "scatter"', 'kind = "scatter"\non_exit = "fade"')
    take = Take(scene, "listening@0 idle@1.25", clips=BIRD)
    assert take.of(KEY) == ["1 shot 1->1 in 0", "1.25 release 1->0 in 1"]


def test_t12_once_left_a_shot_stays_left() -> None:
    """Fading when its state returns, it is not revived: the next one comes after a fresh first."""
    scene = FIXED.replace('kind = "scatter"', 'kind = "scatter"\non_exit = "fade"')
    take = Take(scene, "listening@0 idle@2 listening@2.5", clips={"bird": 5.0})
    assert take.of(KEY)[:3] == ["1 shot 1->1 in 0", "2 release 1->0 in 1", "2.5 release 0.707->0 in 1"]
    assert shots(take)[1] == 3.5


def test_t12_a_due_shot_with_no_free_playback_is_skipped_and_the_gap_counts_from_its_due_time() -> None:
    """The first bird sings from 1 to 7 and plays out after its state is left at 2. Back at 3, the first is due at 4 and
    skipped, the second at 6 as well, the third is heard at 8."""
    take = Take(FIXED, "listening@0 idle@2 listening@3 close@12", clips={"bird": 6.0})
    assert take.of(KEY) == [
        "1 shot 1->1 in 0",
        "2 hold 5 more",
        "2 cancel",
        "4 skip",
        "6 skip",
        "8 shot 1->1 in 0",
        "12 release 1->0 in 1",
    ]


def test_t12_a_skipped_shot_consumes_its_draws() -> None:
    pool = '[{ source = "a", probability = 0.5 }, { source = "b", probability = 0.5 }]'
    scene = FIXED.replace('source = "bird"', f"pool = {pool}")
    key = "scatter a+b"
    take = Take(scene, "listening@0 idle@2 listening@3 close@12", clips={"a": 6.0, "b": 6.0})
    picks = ["a" if u(0, key, "pick", n) < 0.5 else "b" for n in range(4)]
    assert take.picks(key) == picks


def test_t12_max_playbacks_are_as_many_as_may_sound_at_once() -> None:
    scene = FIXED.replace('kind = "scatter"', 'kind = "scatter"\nmax_playbacks = 2')
    take = Take(scene, "listening@0 idle@2 listening@3 close@12", clips={"bird": 6.0})
    assert take.of(KEY)[3:5] == ["4 shot 1->1 in 0", "12 cancel"]
    assert shots(take) == [1, 4]
    assert take.sound(1, first=5_000) == [2.0]


def test_t12_a_due_shot_goes_off_also_while_a_change_is_pending() -> None:
    scene = FIXED + '[[transitions]]\nfrom = "listening"\nsettle = 2'
    take = Take(scene, "listening@0 idle@0.5", clips=BIRD)
    assert take.of(KEY) == ["1 shot 1->1 in 0", "2.5 cancel"]


def test_t12_a_shot_starts_at_full_level_and_only_own_fades_apply() -> None:
    scene = FIXED.replace('kind = "scatter"', 'kind = "scatter"\nvolume = 0.5')
    assert Take(scene, "listening@0", clips=BIRD).of(KEY)[0] == "1 shot 0.5->0.5 in 0"
    scene = scene.replace("volume = 0.5", "volume = 0.5\nfade_in = 0.2")
    assert Take(scene, "listening@0", clips=BIRD).of(KEY)[0] == "1 shot 0->0.5 in 0.2"


def test_t12_a_shots_level_moves_like_any_others() -> None:
    scene = (
        FIXED
        + """
        [states.thinking]
        kind = "scatter"
        source = "bird"
        interval = [2, 2]
        first = [1, 1]
        volume = 0.25
    """
    )
    take = Take(scene, "listening@0 thinking@2", clips={"bird": 4.0})
    assert take.of(KEY)[:2] == ["1 shot 1->1 in 0", "2 level 1->0.25 in 1"]
    assert take.gain(KEY, 2.5) == pytest.approx(law(1, 0.25, 0.5), abs=1e-12)


def test_t12_a_key_that_stays_wanted_keeps_its_gap_and_draws_the_next_from_the_present_layer() -> None:
    scene = (
        FIXED
        + """
        [states.thinking]
        kind = "scatter"
        source = "bird"
        interval = [5, 5]
    """
    )
    take = Take(scene, "listening@0 thinking@2", clips=BIRD)
    assert shots(take)[:3] == [1, 3.5, 9]


def test_t12_first_is_drawn_after_after() -> None:
    scene = FIXED.replace('kind = "scatter"', 'kind = "scatter"\nafter = 2')
    take = Take(scene, "listening@0", clips=BIRD)
    assert take.of(KEY)[:2] == ["0 arm 2 more", "3 shot 1->1 in 0"]


def test_t12_silence_takes_part_in_each_draw_and_has_no_length() -> None:
    """Half of the shots are silence, which leaves no entry; the next gap counts from its due time."""
    scene = FIXED.replace('source = "bird"', 'source = "bird"\nprobability = 0.5')
    take = Take(scene, "listening@0", clips=BIRD)
    expected, at = [], 1.0
    for n in range(6):
        heard = u(0, KEY, "pick", n) < 0.5
        expected += [at] if heard else []
        at += 2.5 if heard else 2
    assert shots(take)[: len(expected)] == pytest.approx(expected)
    assert {entry.action for entry in take.entries if entry.key == KEY} == {"shot"}


def test_t12_urgent_ends_a_shot_that_sounds() -> None:
    assert Take(FIXED, "listening@0 speaking@1.25", clips=BIRD).of(KEY)[1:] == ["1.25 release 1->0 in 0.25"]


def test_t19_no_shot_comes_after_the_close() -> None:
    assert Take(FIXED, "listening@0 close@0.5", clips=BIRD).of(KEY) == ["0.5 cancel"]


def test_shots_are_20_ms_apart_however_short_the_gaps() -> None:
    """A bound on what there is to do; not in the format."""
    scene = BIRDS.replace("[2, 4]", "[0, 1e-9]").replace("[1, 3]", "[0, 0]")
    take = Take(scene, "listening@0 close@0.1", clips={"bird": [1.0]})
    assert shots(take) == [0, 0.02, 0.04, 0.06, 0.08]


# --- T13: cooldown ----------------------------------------------------------------------------------------------

CHIME = """
    [states.thinking]
    kind = "once"
    source = "chime"
    cooldown = 5
"""


def test_t13_no_shot_starts_within_cooldown_of_the_last_ones_start() -> None:
    take = Take(CHIME, "thinking@0 idle@1 thinking@4.998 idle@4.999 thinking@5", clips={"chime": 0.5})
    assert take.of("once chime") == ["0 shot 1->1 in 0", "4.998 skip", "5 shot 1->1 in 0"]


def test_t13_cooldown_counts_from_the_last_start_not_from_a_shot_that_was_dropped() -> None:
    take = Take(CHIME, "thinking@0 idle@1 thinking@4 idle@4.5 thinking@6", clips={"chime": 0.5})
    assert take.of("once chime") == ["0 shot 1->1 in 0", "4 skip", "6 shot 1->1 in 0"]


def test_t13_the_pick_is_drawn_also_where_the_shot_is_blocked() -> None:
    pool = '[{ source = "a", probability = 0.5 }, { source = "b", probability = 0.5 }]'
    scene = CHIME.replace('source = "chime"', f"pool = {pool}")
    visits = " ".join(f"thinking@{2 * n} idle@{2 * n + 1}" for n in range(8))
    take = Take(scene, visits, clips={"a": 0.5, "b": 0.5})
    assert take.picks("once a+b") == ["a" if draw(0, "once a+b", "pick", n) < 0.5 else "b" for n in range(8)]


def test_t13_silence_starts_no_cooldown() -> None:
    """Seed 0: the first draw of this key is silence, the second is not."""
    scene = CHIME.replace('source = "chime"', 'source = "chime"\nprobability = 0.7')
    draws = [draw(0, "once chime", "pick", n) < 0.7 for n in range(6)]
    visits = " ".join(f"thinking@{n} idle@{n + 0.5}" for n in range(6))
    take = Take(scene, visits, clips={"chime": 0.1})
    expected, last = [], -5.0
    for n, heard in enumerate(draws):
        if heard:
            expected.append(f"{n} skip" if n < last + 5 else f"{n} shot 1->1 in 0")
            last = last if n < last + 5 else n
    assert False in draws
    assert take.of("once chime") == expected
