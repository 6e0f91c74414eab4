"""What a picture shows, read back from its pixels: nothing is assumed of where fonts put the axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from soundscape.exceptions import OutputError, UsageError
from soundscape.plot import check_target
from soundscape.testing import replay

SCENE = """
[[base.layers]]
key = "rain"
source = "soundscape:rain"

[[states.thinking.layers]]
key = "typing"
source = "soundscape:keyboard-typing"
volume = 0.5

[[transitions]]
from = "none"
crossfade = 0.5
"""

SEQUENCE = "listening@1 thinking@3 speaking@6 close@8"
BANDS = {"#d9ead3": (1, 3), "#fff2cc": (3, 6), "#cfe2f3": (6, 8)}
"""The states of that sequence by their colours: from when to when, seconds."""

FIRST, SECOND, SOUND, AXIS = "#1f4e79", "#b45f06", "#444444", "#000000"

Mask = npt.NDArray[np.bool_]


class Picture:
    """The pixels of a picture of `SEQUENCE`.

    Attributes:
        zero: the column of second 0.
        scale: columns of a second.
    """

    def __init__(self, path: Path) -> None:
        self._pixels = imread(path)[:, :, :3]
        self.zero = int(self.of(AXIS).sum(axis=0).argmax())  # the axis of gains is the longest upright line
        ends = np.flatnonzero(np.any([self.of(colour).any(axis=0) for colour in BANDS], axis=0))
        self.scale = (ends[-1] + 1 - ends[0]) / 7

    def of(self, colour: str) -> Mask:
        """Which pixels are of a colour, `(rows, columns)`."""
        return np.asarray((np.abs(self._pixels - to_rgb(colour)) < 0.5 / 255).all(axis=2))

    def seconds(self, colour: str) -> tuple[float, float]:
        """From when to when there is something of a colour."""
        columns = np.flatnonzero(self.of(colour).any(axis=0))
        return (columns[0] - self.zero) / self.scale, (columns[-1] + 1 - self.zero) / self.scale

    def column(self, colour: str, at: float) -> Mask:
        """The pixels of a colour at a time, from the top to the bottom."""
        return self.of(colour)[:, self.zero + round(at * self.scale)]


def test_a_band_lies_where_its_state_was(tmp_path: Path) -> None:
    """Within two pixels of a hundred to the second, in the gains' part and in the sound's."""
    take = replay("", SEQUENCE, until=10)
    take.plot(tmp_path / "take.png")
    picture = Picture(tmp_path / "take.png")
    assert picture.scale > 100
    for colour, (start, end) in BANDS.items():
        assert picture.seconds(colour) == pytest.approx((start, end), abs=2 / picture.scale)
        rows = picture.column(colour, (start + end) / 2 + 0.1)  # not on a line of the grid
        assert len(np.flatnonzero(np.diff(rows.astype(int)) == 1)) == 3  # two parts, one of them cut by its silent line


def test_a_curve_is_as_high_as_the_gain(tmp_path: Path) -> None:
    """In mid-state 1 and 0.5, in mid-fade what the take says, and nothing where nothing sounds."""
    take = replay(SCENE, SEQUENCE, until=10)
    take.plot(tmp_path / "take.png", sounds={})
    picture = Picture(tmp_path / "take.png")
    top = np.flatnonzero(picture.of(AXIS)[:, picture.zero - 3])[0]  # the highest tick, of 1.0
    floor = np.flatnonzero(picture.column(AXIS, 0.5))[-1]  # the axis of time, away from its numbers
    assert floor - top > 100
    for colour, key, times in ((FIRST, "rain", (1.2, 2, 7, 8.3)), (SECOND, "typing", (3.2, 4.5, 5.5, 6.1))):
        for at in times:
            drawn = np.flatnonzero(picture.column(colour, at)).mean()
            assert (floor - drawn) / (floor - top) == pytest.approx(take.gain(key, at), abs=0.03), (key, at)
    for colour, before, after in ((FIRST, 0.5, 9.5), (SECOND, 2.5, 7.5)):
        assert not picture.column(colour, before).any()
        assert not picture.column(colour, after).any()


def test_a_shot_is_seen_to_begin_and_to_end(tmp_path: Path) -> None:
    """It starts at full level: an upright line, as at its end."""
    scene = '[states.thinking]\nkind = "once"\nsource = "soundscape:chime"\n'
    take = replay(scene, SEQUENCE, until=10)
    take.plot(tmp_path / "take.png", sounds={})
    picture = Picture(tmp_path / "take.png")
    end = 3 + 1.9  # a chime's length
    for at in (3, end):
        near = [picture.column(FIRST, at + k / picture.scale).sum() for k in range(-3, 4)]
        assert max(near) > 100, at
    assert picture.column(FIRST, 4).sum() <= 3


def test_what_is_silent_is_a_line_and_what_is_loud_is_not(tmp_path: Path) -> None:
    """Where the rain falls, the waveform is high; before it and after it, and in a take without sounds, it is flat."""
    highest = {}
    for name, scene in (("loud", SCENE), ("silent", "")):
        replay(scene, SEQUENCE, until=10).plot(tmp_path / f"{name}.png")
        picture = Picture(tmp_path / f"{name}.png")
        highest[name] = [
            max(int(picture.column(SOUND, at + k / 100).sum()) for k in range(20)) for at in (0.4, 2.2, 4.2, 7.2, 9.4)
        ]
    before, *during, after = highest["loud"]
    assert max(before, after) <= 2
    assert min(during) > 20
    assert max(highest["silent"]) <= 2


def test_where_no_picture_can_be_is_said_before_it_is_drawn(tmp_path: Path) -> None:
    """A kind that there is not is the caller's mistake; a folder, or none, is the world's."""
    (tmp_path / "folder.png").mkdir()
    for name in ("take.xyz", "take", ".png", "folder"):
        with pytest.raises(UsageError, match=r"a picture is a \.png, \.svg or \.pdf$"):
            check_target(tmp_path / name)
    for name, reason in (("folder.png", "it is a folder"), ("gone/take.png", "there is no folder '.*gone'")):
        with pytest.raises(OutputError, match=f"{name}: the picture cannot be written: {reason}$"):
            check_target(tmp_path / name)
        with pytest.raises(OutputError, match=reason):
            replay("", SEQUENCE).plot(tmp_path / name)
