"""Gains: the envelope law in numbers, moves that begin in the middle of others, and independence of the blocks."""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise

import numpy as np
import pytest

from soundscape.gain import Envelope, db_to_linear, draw, linear_to_db

ULP = 1e-12
"""Closed forms are compared to this: several roundings of double precision, and nothing else."""


def law(g0: float, g1: float, u: float) -> float:
    """The format's formula, written down a second time."""
    return math.sqrt(g0 * g0 + (g1 * g1 - g0 * g0) * math.sin(math.pi * u / 2) ** 2)


def test_decibels_are_twenty_times_the_logarithm() -> None:
    assert db_to_linear(0) == 1.0
    assert db_to_linear(-20) == pytest.approx(0.1, abs=ULP)
    assert db_to_linear(40) == pytest.approx(100.0, abs=ULP)
    assert linear_to_db(0.1) == pytest.approx(-20.0, abs=ULP)
    assert linear_to_db(db_to_linear(-6)) == pytest.approx(-6.0, abs=ULP)
    assert linear_to_db(0) == -math.inf


def test_a_fade_in_of_four_frames_follows_the_sine() -> None:
    """From 0 to 1 the law is sin(pi u / 2)."""
    fade = Envelope(start=0, duration=4, g0=0.0, g1=1.0)
    expected = [0.0, 0.38268343236508984, 0.7071067811865476, 0.9238795325112867, 1.0, 1.0]
    assert [fade.at(frame) for frame in range(6)] == pytest.approx(expected, abs=ULP)


def test_a_fade_out_of_four_frames_follows_the_cosine() -> None:
    """From 1 to 0 the law is cos(pi u / 2)."""
    fade = Envelope(start=0, duration=4, g0=1.0, g1=0.0)
    expected = [1.0, 0.9238795325112867, 0.7071067811865476, 0.38268343236508984, 0.0, 0.0]
    assert [fade.at(frame) for frame in range(6)] == pytest.approx(expected, abs=ULP)


def test_a_level_move_interpolates_power_not_gain() -> None:
    """Half way from 1 to -6 dB the power is the mean of the two powers."""
    low = db_to_linear(-6)
    half = Envelope(0, 2, 1.0, low).at(1)
    assert half == pytest.approx(math.sqrt((1 + low**2) / 2), abs=ULP)
    assert half == pytest.approx(0.791, abs=5e-4)


def test_the_literal_gains_of_the_formats_table() -> None:
    """0.877: three eighths of the way from 1.000 to 0.501; 0.383: a quarter of the way from 0 to 1."""
    assert Envelope(0, 800, 1.0, db_to_linear(-6)).at(300) == pytest.approx(0.877, abs=5e-4)
    assert Envelope(0, 800, 0.0, 1.0).at(200) == pytest.approx(0.383, abs=5e-4)


def test_before_its_start_an_envelope_is_at_g0_and_after_its_end_at_g1() -> None:
    fade = Envelope(start=10, duration=5, g0=0.25, g1=0.75)
    assert fade.at(3) == fade.at(10) == 0.25
    assert fade.at(15) == fade.at(1000) == 0.75
    assert (fade.end, fade.moving(14), fade.moving(15)) == (15, True, False)


def test_a_fade_of_no_frames_is_at_its_target_at_once() -> None:
    step = Envelope(start=7, duration=0, g0=0.0, g1=1.0)
    assert step.at(7) == 1.0
    assert not step.moving(7)


def test_at_rest_means_one_gain_for_ever() -> None:
    rest = Envelope.at_rest(0.3, frame=5)
    assert [rest.at(frame) for frame in (0, 5, 6, 10**9)] == [0.3] * 4
    assert not rest.moving(5)


def test_towards_begins_at_the_gain_the_fade_has_reached() -> None:
    """A fade-in turned at its middle leads down from 0.707, over the full new time."""
    turned = Envelope(0, 4, 0.0, 1.0).towards(0.0, frame=2, duration=4)
    assert (turned.start, turned.duration, turned.g1) == (2, 4, 0.0)
    expected = [math.sqrt(0.5) * math.cos(math.pi * u / 8) for u in range(5)]
    assert [turned.at(2 + u) for u in range(5)] == pytest.approx(expected, abs=ULP)


def test_towards_chained_in_mid_fade_never_jumps() -> None:
    """At the frame of every turn the old envelope and the new one have exactly one value."""
    envelope = Envelope(0, 100, 0.0, 1.0)
    for frame, target in ((37, 0.2), (41, 1.5), (90, 0.0), (91, 1.0)):
        turned = envelope.towards(target, frame, 50)
        assert turned.at(frame) == envelope.at(frame)
        envelope = turned


def test_two_fades_on_one_clock_keep_their_power_wherever_they_were_turned() -> None:
    going, coming = Envelope(0, 50, 1.0, 0.0), Envelope(0, 50, 0.0, 1.0)
    going, coming = going.towards(1.0, 20, 80), coming.towards(0.0, 20, 80)
    powers = [going.at(frame) ** 2 + coming.at(frame) ** 2 for frame in range(20, 101)]
    assert powers == pytest.approx([1.0] * 81, abs=ULP)


@pytest.mark.parametrize("duration", [1, 2, 4095, 4096, 4097, 8192, 10_000])
def test_a_fade_rendered_at_once_follows_the_law_on_every_frame(duration: int) -> None:
    """Also across the borders of the chunks of 4,096 in which its shape is kept."""
    start, g0, g1 = 100, 0.9, 0.2
    gains = Envelope(start, duration, g0, g1).between(start, start + duration)
    assert gains.shape == (duration,)
    assert gains.tolist() == pytest.approx([law(g0, g1, n / duration) for n in range(duration)], abs=ULP)


@pytest.mark.parametrize("size", [1, 7, 480, 4095, 4096, 4097])
def test_slices_of_a_fade_are_bit_identical_to_the_whole(size: int) -> None:
    envelope = Envelope(start=33, duration=9_000, g0=0.0, g1=0.7)
    whole = envelope.between(33, 9_033)
    cuts = [*range(33, 9_033, size), 9_033]
    sliced = np.concatenate([envelope.between(first, last) for first, last in pairwise(cuts)])
    np.testing.assert_array_equal(sliced, whole)


def test_slices_that_straddle_a_chunk_border_are_bit_identical_to_the_whole() -> None:
    envelope = Envelope(start=0, duration=20_000, g0=1.0, g1=0.0)
    whole = envelope.between(0, 20_000)
    for first, last in ((4090, 4100), (4095, 4097), (4096, 8192), (4000, 13_000), (0, 4097), (12_287, 12_289)):
        np.testing.assert_array_equal(envelope.between(first, last), whole[first:last])


def test_one_frame_asked_for_alone_is_the_same_number_as_in_a_block() -> None:
    """The driver asks for single frames, the mixer for blocks; a turn joins the two."""
    for g0, g1 in ((0.0, 1.0), (1.0, 0.0), (0.3, 0.7), (0.9, 0.1), (0.123456789, 1.987654321)):
        envelope = Envelope(start=5, duration=5_000, g0=g0, g1=g1)
        singles = [envelope.at(frame) for frame in range(5, 5_005)]
        assert singles == envelope.between(5, 5_005).tolist()


def test_the_draw_is_the_hash_of_seed_key_purpose_and_n() -> None:
    """Scene format T15, computed a second time by hand from the hash's own bytes."""
    digest = hashlib.blake2b(b'[7, "typing", "pick", 0]', digest_size=8).hexdigest()
    assert digest == "a2ff441f77b587f6"
    assert draw(7, "typing", "pick", 0) == int(digest, 16) / 2**64
    assert 0 <= draw(7, "typing", "pick", 0) < 1
