"""The scene format: how a pool is drawn from (T14, T15). How a test reads stands in `rules`."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from rules import Take, u

from soundscape.driver.chance import Chance
from soundscape.scene.tables import Pool


def pool(probabilities: list[float], **options: object) -> Pool:
    entries = [{"source": "abcdefgh"[i], "probability": p} for i, p in enumerate(probabilities)]
    return Pool.model_validate({"entries": entries, **options})


def picks(of: Pool, count: int, *, silence: bool = False, seed: int = 0) -> str:
    """What a key draws, one letter each, `-` for silence."""
    chance = Chance(seed)
    found = [chance.pick("k", of, silence=silence) for _ in range(count)]
    return "".join("-" if pick is None else pick.entry.source for pick in found)


def numbers(count: int, purpose: str = "pick") -> list[float]:
    return [u(0, "k", purpose, n) for n in range(count)]


# --- random -----------------------------------------------------------------------------------------------------


def test_t14_a_pick_is_the_first_entry_whose_summed_share_exceeds_u() -> None:
    expected = "".join("a" if x < 0.2 else "b" if x < 0.7 else "c" for x in numbers(50))
    assert picks(pool([0.2, 0.5, 0.3]), 50) == expected


def test_t14_avoid_repeat_leaves_out_the_last_picks_and_divides_the_rest_by_weight() -> None:
    expected = ""
    weights = {"a": 1.0, "b": 0.5, "c": 0.5}
    for x in numbers(50):
        allowed = {name: weight for name, weight in weights.items() if name != expected[-1:]}
        summed = 0.0
        for name, weight in allowed.items():
            summed += weight
            if summed > x * sum(allowed.values()):
                expected += name
                break
    assert picks(pool([1, 0.5, 0.5], avoid_repeat=1), 50) == expected


def test_t14_avoid_repeat_avoids_as_many_as_it_says() -> None:
    drawn = picks(pool([1, 1, 1, 1], avoid_repeat=2), 200)
    assert all(len({*drawn[i : i + 3]}) == 3 for i in range(198))


def test_t14_avoid_repeat_is_capped_at_all_but_one_of_what_can_be_played() -> None:
    """Of three playable ones two are avoided, however many are asked for: they come round in one order."""
    drawn = picks(pool([1, 1, 0, 1], avoid_repeat=100), 30)
    assert set(drawn) == {"a", "b", "d"}
    assert drawn == drawn[:3] * 10


def test_t14_avoid_repeat_in_a_pool_of_one_avoids_nothing() -> None:
    assert picks(pool([1], avoid_repeat=3), 3) == "aaa"


def test_t14_under_avoid_repeat_silence_keeps_its_share() -> None:
    """a 0.4, b 0.2, silence 0.4: after an a, b alone has the 0.6 that is no silence."""
    expected, last = "", ""
    for x in numbers(60):
        name = "-" if x >= 0.6 else "ab".replace(last, "") if last else "a" if x < 0.4 else "b"
        expected += name
        last = last if name == "-" else name
    assert picks(pool([0.4, 0.2], avoid_repeat=1), 60, silence=True) == expected


def test_t14_silence_is_no_pick_that_could_be_repeated() -> None:
    drawn = picks(pool([0.3, 0.3], avoid_repeat=1), 100, silence=True).replace("-", "")
    assert all(one != two for one, two in pairwise(drawn))


# --- shuffle ----------------------------------------------------------------------------------------------------


def test_t14_shuffle_plays_all_of_them_before_any_of_them_again() -> None:
    drawn = picks(pool([1, 0.2, 0.2, 0, 1], mode="shuffle"), 400)
    bags = [drawn[i : i + 4] for i in range(0, 400, 4)]
    assert all(sorted(bag) == ["a", "b", "c", "e"] for bag in bags)
    assert len({*bags}) > 10


def test_t14_shuffle_does_not_begin_a_bag_with_the_last_pick() -> None:
    drawn = picks(pool([1, 1, 1], mode="shuffle"), 300)
    assert all(one != two for one, two in pairwise(drawn))


def test_t14_shuffle_keeps_avoid_repeat_over_the_seam_of_two_bags() -> None:
    drawn = picks(pool([1, 1, 1, 1, 1], mode="shuffle", avoid_repeat=3), 300)
    assert all(len({*drawn[i : i + 4]}) == 4 for i in range(297))
    assert all(len({*drawn[i : i + 5]}) == 5 for i in range(0, 300, 5))


def test_t14_shuffle_draws_by_weight() -> None:
    """An entry of ten times the weight begins ten of twelve bags, within what chance allows (4 sigma: 0.83 +- 0.05)."""
    firsts = Counter(picks(pool([1, 0.1, 0.1], mode="shuffle"), 1, seed=seed) for seed in range(1_000))
    assert firsts["a"] / 1_000 == pytest.approx(10 / 12, abs=0.05)


def test_t14_shuffle_of_two_alternates() -> None:
    assert picks(pool([1, 1], mode="shuffle"), 8) in ("abababab", "babababa")


def test_t14_in_a_shuffle_silence_takes_nothing_out_of_the_bag() -> None:
    drawn = picks(pool([0.25, 0.25], mode="shuffle"), 100, silence=True)
    assert "-" in drawn
    heard = drawn.replace("-", "")
    assert all(one != two for one, two in pairwise(heard))


# --- sequence ---------------------------------------------------------------------------------------------------


def test_t14_sequence_plays_them_in_the_files_order_and_again() -> None:
    assert picks(pool([1, 0.1, 0, 1], mode="sequence"), 7) == "abdabda"


def test_t14_sequence_draws_nothing() -> None:
    chance = Chance(0)
    chance.pick("k", pool([0.1, 0.1], mode="sequence"), silence=True)
    assert chance.draws == {}


def test_t14_sequence_goes_on_where_it_was_when_the_key_is_wanted_again() -> None:
    scene = """
        [pools.p]
        mode = "sequence"
        entries = [{ source = "a" }, { source = "b" }, { source = "c" }]
        [states.thinking]
        kind = "once"
        pool = "p"
    """
    visits = " ".join(f"thinking@{2 * n} idle@{2 * n + 1}" for n in range(4))
    assert Take(scene, visits, clips=dict.fromkeys("abc", 0.1)).picks("once p") == ["a", "b", "c", "a"]


# --- gain_jitter_db ---------------------------------------------------------------------------------------------


def test_gain_jitter_is_drawn_with_each_pick_and_multiplies_its_gain() -> None:
    entries = [{"source": "a", "volume": 0.5}]
    jittery = Pool.model_validate({"entries": entries, "gain_jitter_db": [-6.0, 2.0]})
    chance = Chance(0)
    gains = [found.gain for found in (chance.pick("k", jittery, silence=False) for _ in range(5)) if found]
    assert gains == pytest.approx([0.5 * 10 ** ((-6 + 8 * x) / 20) for x in numbers(5, "gain")])


def test_gain_jitter_is_heard_and_is_no_part_of_the_layers_gain() -> None:
    scene = """
        [pools.p]
        gain_jitter_db = [-6, -6]
        entries = [{ source = "a" }]
        [states.thinking]
        pool = "p"
        fade_in = 0
    """
    take = Take(scene, "thinking@0")
    assert take.sound(1) == pytest.approx([10 ** (-6 / 20)])
    assert take.gain("p", 0) == 1


def test_gain_jitter_draws_nothing_for_silence() -> None:
    chance = Chance(0)
    quiet = pool([0.0001], gain_jitter_db=[0, 1])
    assert chance.pick("k", quiet, silence=True) is None
    assert ("k", "gain") not in chance.draws


# --- resume and pools -------------------------------------------------------------------------------------------


def test_t5_what_resumes_takes_nothing_from_the_pool() -> None:
    """A sequence that is left and wanted again goes on in the pick that sounded, and then with the one after it."""
    scene = """
        [defaults]
        crossfade = 0
        [pools.p]
        mode = "sequence"
        entries = [{ source = "a" }, { source = "b" }, { source = "c" }]
        [states.thinking]
        pool = "p"
        start = "resume"
    """
    take = Take(
        scene, "thinking@0 idle@1.5 thinking@5", clips={"a": [1.0] * 1_000, "b": [2.0] * 1_000, "c": [3.0] * 1_000}
    )
    assert take.picks("p") == ["a", "b"]
    assert take.sound(1, first=5_100) == [2.0]
    assert take.sound(1, first=6_000) == [3.0]
