"""The mixer alone, at one frame a second: cues made by hand, frames asserted one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from soundscape.clip import Clip
from soundscape.cues import Cue, Fade, Play, Stop
from soundscape.gain import Envelope
from soundscape.mixer import Mixer

FULL = Envelope.at_rest(1.0)
QUARTER, HALF, THREE_QUARTERS = 0.38268343236508984, 0.7071067811865476, 0.9238795325112867
"""sin(pi u / 2) at u = 1/4, 1/2 and 3/4: the gains of a fade-in of four frames."""


def clip(*frames: float, period: int | None = None, seam: Sequence[float] = ()) -> Clip:
    """A clip of exactly these frames, its loop given by hand."""
    samples, crossing = np.array(frames, np.float32), np.array(seam, np.float32)
    samples.setflags(write=False)
    crossing.setflags(write=False)
    return Clip(samples, 1, len(samples) if period is None else period, crossing)


class Player(Mixer):
    """A mixer whose cues all mean these clips."""

    def __init__(self, clips: Mapping[str, Clip]) -> None:
        super().__init__()
        self.clips = clips

    def apply(self, cues: Iterable[Cue]) -> None:
        super().apply(replace(cue, clips=self.clips) if isinstance(cue, Play) else cue for cue in cues)


def play(
    source: str,
    *,
    at: int = 0,
    playback: int = 1,
    key: str = "",
    offset: int = 0,
    loop: bool = True,
    gain: float = 1.0,
    bus: str = "main",
    lufs: float | None = None,
    envelope: Envelope = FULL,
    crossfade: int = 0,
) -> Play:
    return Play(at, playback, key, source, {}, offset, loop, gain, bus, lufs, envelope, crossfade)


def rendered(mixer: Mixer, first: int, last: int) -> npt.NDArray[np.float32]:
    out = np.zeros(last - first, np.float32)
    mixer.render(first, last, out)
    return out


def render(mixer: Mixer, given: Sequence[Cue], last: int, *, size: int | None = None) -> list[float]:
    """The frames 0 to last - 1; cut where a cue falls, as the engine does, and into blocks of a size besides."""
    cuts = {0, last, *(cue.at for cue in given if cue.at < last), *range(0, last, size or last)}
    frames: list[float] = []
    for first, end in pairwise(sorted(cuts)):
        mixer.apply(cue for cue in given if cue.at == first)
        frames.extend(rendered(mixer, first, end).tolist())
    return frames


def cues(*given: Cue) -> list[Cue]:
    return list(given)


def f32(*values: float) -> list[float]:
    """Numbers as single precision has them: the mixer rounds each product once."""
    return [float(np.float32(value)) for value in values]


def test_without_cues_there_are_exact_zeros() -> None:
    mixer = Player({})
    assert render(mixer, [], 3) == [0.0, 0.0, 0.0]
    assert mixer.silent


def test_a_loop_wraps_after_its_last_frame() -> None:
    mixer = Player({"a": clip(1, 2, 3)})
    assert render(mixer, [play("a")], 8) == [1, 2, 3, 1, 2, 3, 1, 2]
    assert not mixer.silent


def test_a_loop_of_one_frame_goes_round() -> None:
    assert render(Player({"a": clip(5)}), [play("a")], 4) == [5, 5, 5, 5]


def test_every_pass_but_the_first_begins_with_the_seam() -> None:
    mixer = Player({"a": clip(1, 2, 3, 4, 9, 9, period=4, seam=[10, 20])})
    assert render(mixer, [play("a")], 10) == [1, 2, 3, 4, 10, 20, 3, 4, 10, 20]


def test_an_offset_begins_inside_the_clip() -> None:
    assert render(Player({"a": clip(1, 2, 3, 4)}), [play("a", offset=2)], 5) == [3, 4, 1, 2, 3]


def test_an_offset_and_a_later_start_count_from_the_cues_frame() -> None:
    assert render(Player({"a": clip(1, 2, 3)}), [play("a", at=2, offset=1)], 6) == [0, 0, 2, 3, 1, 2]


def test_a_clip_that_does_not_loop_is_cut_at_its_end() -> None:
    """What the clip has beyond its loop sounds as well: a shot is played once, whole."""
    mixer = Player({"a": clip(1, 2, 3, 4, period=2, seam=[7])})
    assert render(mixer, [play("a", loop=False)], 6) == [1, 2, 3, 4, 0, 0]


def test_only_a_cue_ends_a_playback() -> None:
    """What is over is silent, and stays in its place: the order of the sums does not depend on what was rendered."""
    mixer = Player({"a": clip(1, 2)})
    assert render(mixer, [play("a", loop=False)], 3) == [1, 2, 0]
    assert not mixer.silent
    mixer.apply([Stop(3, 1)])
    assert mixer.silent


def test_a_fade_in_ends_inside_a_block() -> None:
    mixer = Player({"a": clip(1)})
    fade = Envelope(0, 4, 0.0, 1.0)
    assert render(mixer, [play("a", envelope=fade)], 6) == f32(0, QUARTER, HALF, THREE_QUARTERS, 1, 1)


def test_a_fade_out_ends_inside_a_block_in_exact_zeros() -> None:
    mixer = Player({"a": clip(1)})
    given = cues(play("a"), Fade(2, 1, 0.0, 4))
    assert render(mixer, given, 8) == f32(1, 1, 1, THREE_QUARTERS, HALF, QUARTER, 0, 0)


def test_a_fade_in_mid_fade_goes_on_from_the_present_gain() -> None:
    """Up for two of four frames, then down in four: 0.707 times the cosine."""
    given = cues(play("a", envelope=Envelope(0, 4, 0.0, 1.0)), Fade(2, 1, 0.0, 4))
    expected = f32(0, QUARTER, HALF, HALF * THREE_QUARTERS, HALF * HALF, HALF * QUARTER, 0)
    assert render(Player({"a": clip(1)}), given, 7) == pytest.approx(expected, abs=6e-8)  # one unit of single precision


def test_a_fade_moves_a_level_without_touching_the_position() -> None:
    given = cues(play("a"), Fade(1, 1, 0.5, 0))
    assert render(Player({"a": clip(8, 16, 32)}), given, 5) == [8, 8, 16, 4, 8]


def test_gains_multiply() -> None:
    """Clip x pick's gain x layer's envelope."""
    given = cues(play("a", gain=0.5, envelope=Envelope.at_rest(0.25)))
    assert render(Player({"a": clip(8, 16)}), given, 3) == [1, 2, 1]


def test_a_gain_of_nothing_is_exactly_zero() -> None:
    assert render(Player({"a": clip(3, -3)}), [play("a", gain=0.0)], 3) == [0.0, 0.0, 0.0]


def test_playbacks_add_up() -> None:
    given = cues(play("a"), play("b", playback=2, at=1))
    assert render(Player({"a": clip(1, 2), "b": clip(10, 20, 30)}), given, 5) == [1, 12, 21, 32, 11]


def test_one_source_may_sound_in_two_playbacks_at_two_places() -> None:
    given = cues(play("a"), play("a", playback=2, at=1))
    assert render(Player({"a": clip(1, 10, 100)}), given, 4) == [1, 11, 110, 101]


def test_stop_is_silence_from_its_frame_on() -> None:
    mixer = Player({"a": clip(1, 2, 3)})
    assert render(mixer, cues(play("a"), Stop(2, 1)), 5) == [1, 2, 0, 0, 0]
    assert mixer.silent


def test_stop_ends_one_playback_and_leaves_the_other() -> None:
    given = cues(play("a"), play("b", playback=2), Stop(1, 1))
    assert render(Player({"a": clip(1), "b": clip(10)}), given, 3) == [11, 10, 10]


def test_the_next_pick_crosses_in_while_the_last_one_goes() -> None:
    """Over four frames, by the law: what goes follows the cosine, what comes the sine."""
    clips = {"a": clip(*[1.0] * 8), "b": clip(*[10.0] * 20)}
    given = cues(play("a", loop=False), play("b", at=4, loop=False, crossfade=4))
    going, coming = (1, THREE_QUARTERS, HALF, QUARTER), (0, QUARTER, HALF, THREE_QUARTERS)
    crossing = [g + 10 * c for g, c in zip(going, coming, strict=True)]
    expected = [1, 1, 1, 1, *crossing, 10, 10]
    assert render(Player(clips), given, 10) == pytest.approx(expected, abs=2e-6)  # single precision at 10


def test_the_next_pick_without_a_crossfade_follows_at_once() -> None:
    clips = {"a": clip(1, 2), "b": clip(10, 20)}
    assert render(Player(clips), cues(play("a", loop=False), play("b", at=2, loop=False)), 5) == [1, 2, 10, 20, 0]


def test_each_pick_has_its_own_gain_and_the_envelope_is_of_both() -> None:
    clips = {"a": clip(4), "b": clip(4)}
    half = Envelope.at_rest(0.5)
    given = cues(
        play("a", loop=False, gain=0.5, envelope=half),
        play("b", at=1, loop=False, gain=2.0, envelope=half),
    )
    assert render(Player(clips), given, 3) == [1, 4, 0]


def test_a_fade_spans_the_picks_of_a_playback() -> None:
    """The envelope does not begin again with the next pick, whether or not the first one is over by then."""
    fade = Envelope(0, 4, 0.0, 1.0)
    for rest in ([], [9.0]):
        clips = {"a": clip(1, 1, *rest), "b": clip(1, 1)}
        given = cues(play("a", loop=False, envelope=fade), play("b", at=2, loop=False, envelope=fade))
        assert render(Player(clips), given, 4) == f32(0, QUARTER, HALF, THREE_QUARTERS)


def test_a_pick_that_comes_while_two_cross_takes_the_power_of_both() -> None:
    """Three picks: what still sounds of the first two goes from its present gain; strangers' powers add to one."""
    clips = {name: clip(*[1.0] * 40) for name in "abc"}
    b, c = (play(name, at=at, loop=False, crossfade=8) for name, at in (("b", 8), ("c", 12)))
    given = cues(play("a", loop=False), b, c)
    frames = {}
    for name in "abc":
        alone = {other: clip(*[float(other == name)] * 40) for other in clips}
        frames[name] = render(Player(alone), given, 24)
    powers = [sum(frames[name][n] ** 2 for name in "abc") for n in range(24)]
    assert powers == pytest.approx([1.0] * 24, abs=1e-6)  # squares of single precision
    assert [frames[name][20] for name in "abc"] == [0, 0, 1]


def test_cues_for_a_playback_that_is_over_do_nothing() -> None:
    mixer = Player({"a": clip(1)})
    given = cues(play("a", loop=False), Fade(2, 1, 1.0, 2), Stop(3, 1))
    assert render(mixer, given, 6) == [1, 0, 0, 0, 0, 0]
    assert mixer.silent


@pytest.mark.parametrize("size", [1, 2, 3, 7, 480])
def test_any_blocks_give_bit_identical_frames(size: int) -> None:
    """Loop wraps, seams, crossings, fades and tails, cut anywhere."""
    noise = np.random.default_rng(3).standard_normal(1_000)
    clips = {
        "a": clip(*noise[:90], period=80, seam=noise[500:510].tolist()),
        "b": clip(*noise[100:400]),
        "c": clip(*noise[400:470]),
    }
    given = cues(
        play("a", envelope=Envelope(0, 333, 0.0, 0.7), gain=0.9, offset=17),
        play("b", playback=2, at=50, loop=False, envelope=Envelope(50, 900, 1.2, 0.1)),
        Fade(200, 1, 0.2, 77),
        play("c", playback=2, at=300, loop=False, crossfade=50, gain=0.3),
        Fade(310, 2, 1.0, 35),
        Stop(703, 1),
    )
    whole: npt.NDArray[np.float64] = np.array(render(Player(clips), given, 800))
    sliced = np.array(render(Player(clips), given, 800, size=size))
    np.testing.assert_array_equal(sliced, whole)
    assert np.abs(whole).max() > 0.5


def test_what_was_rendered_is_not_written_to_again() -> None:
    """A block belongs to the caller: the next one leaves it alone."""
    mixer = Player({"a": clip(1, 2)})
    mixer.apply([play("a")])
    first = rendered(mixer, 0, 2)
    rendered(mixer, 2, 4)
    assert first.tolist() == [1, 2]
