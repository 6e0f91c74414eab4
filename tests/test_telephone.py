"""What a telephone line leaves of a sound: its band, its steps, its length; and when."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from soundscape.exceptions import UsageError
from soundscape.library.telephone import telephone


def power(sound: npt.NDArray[np.float32], rate: int, low: float, high: float) -> float:
    """Mean power between two frequencies in Hz."""
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    at = np.fft.rfftfreq(len(sound), 1 / rate)
    return float(spectrum[(at >= low) & (at < high)].sum() * 2 / len(sound) ** 2)


def db(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def noise(seconds: float, rate: int = 48_000) -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, 0.05, (int(seconds * rate), 1)).astype(np.float32)


def test_a_telephone_leaves_its_band_as_loud_as_it_was() -> None:
    """300 to 3400 Hz within 0.1 dB; outside, 3.6 kHz and 230 Hz, only the line's own noise, 8 bits' worth."""
    sound = noise(5)
    heard = np.concatenate(list(telephone([sound[:70_001], sound[70_001:]], 48_000)))
    assert heard.dtype == np.float32
    assert heard.shape == (5 * 8_000, 1)
    line, whole = heard[:, 0], sound[:, 0]
    band = power(whole, 48_000, 330, 3_380)
    assert db(power(line, 8_000, 330, 3_380) / band) == pytest.approx(0, abs=0.1)
    for low, high in ((0, 230), (3_600, 4_000)):
        assert db(power(line, 8_000, low, high) / power(whole, 48_000, low, high)) < -30


def test_a_telephone_hears_in_256_steps() -> None:
    levels = np.unique(np.concatenate(list(telephone([noise(5) * 6], 48_000))))
    assert 128 < len(levels) <= 256


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("frames", [0, 1, 7, 1_000, 100_001])
def test_a_telephone_gives_what_it_was_given(rate: int, frames: int) -> None:
    """To the frame, also of less than its filters are long."""
    sound = noise(3, 48_000)[:frames]
    blocks = [sound[i : i + 4_801] for i in range(0, frames, 4_801)]
    assert sum(map(len, telephone(blocks, rate))) == -(-frames * 8_000 // rate)


def test_a_telephone_does_not_delay() -> None:
    sound = np.zeros((48_000, 1), np.float32)
    sound[24_000] = 0.9
    heard = np.concatenate(list(telephone([sound], 48_000)))[:, 0]
    assert int(np.abs(heard).argmax()) == 4_000


def test_a_telephone_has_one_channel() -> None:
    with pytest.raises(UsageError, match=r"one channel; a block is \(frames, 1\), not \(10, 2\)"):
        list(telephone([np.zeros((10, 2), np.float32)], 48_000))
