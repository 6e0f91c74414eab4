"""The picture of a take: states as bands, the gain of each layer, the sound itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from soundscape.exceptions import OutputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from soundscape.testing import Take

__all__ = ["plot_take"]

_STATE_COLOURS = {
    "none": "#ffffff",
    "initializing": "#eeeeee",
    "idle": "#eeeeee",
    "listening": "#d9ead3",
    "thinking": "#fff2cc",
    "speaking": "#cfe2f3",
    "tool": "#fce5cd",
    "away": "#d9d2e9",
}
_OTHER_STATE = "#ead1dc"
_LINES = ("#1f4e79", "#b45f06", "#38761d", "#85200c", "#674ea7", "#0b5394", "#7f6000", "#a64d79")
_COLUMNS = 2400


def plot_take(take: Take, path: Path, sounds: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Draws a take.

    Args:
        take: the take.
        path: where to; the suffix says the kind of picture.
        sounds: waveforms to draw below the gains: name to float32 `(frames, 1)` at the take's sample rate.

    Raises:
        OutputError: the picture cannot be written.
    """
    # Imported here: only those who want a picture pay for it. The figure is drawn without pyplot, which keeps a
    # global list of figures and may look for a screen.
    from matplotlib.figure import Figure

    seconds = take.frames / take.sample_rate
    rows = 1 + len(sounds)
    figure = Figure(figsize=(12, 2.6 + 1.5 * len(sounds)), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, height_ratios=[2.2, *[1.3] * len(sounds)], squeeze=False)[:, 0]
    for ax in axes:
        _bands(ax, take, named=ax is axes[0])
        ax.set_xlim(0, seconds)
        ax.grid(axis="x", color="white", linewidth=0.6)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    _gains(axes[0], take)
    for ax, (name, samples) in zip(axes[1:], sounds.items(), strict=True):
        _waveform(ax, samples, take.sample_rate, name)
    axes[0].set_title(f"{take.scene.name}, seed {take.seed}", loc="left", fontsize=11, pad=18)
    axes[-1].set_xlabel("seconds")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: the picture cannot be written: {error}") from None


def _bands(ax: Axes, take: Take, *, named: bool) -> None:
    for start, end, name in take.states():
        ax.axvspan(start, end, color=_STATE_COLOURS.get(name, _OTHER_STATE), linewidth=0, zorder=0)
        wide_enough = (end - start) * take.sample_rate > 0.007 * len(name) * take.frames
        if named and name != "none" and wide_enough:
            ax.text((start + end) / 2, 1.03, name, transform=ax.get_xaxis_transform(), ha="center", fontsize=8)


def _gains(ax: Axes, take: Take) -> None:
    step = max(0.01, take.frames / take.sample_rate / _COLUMNS)
    for i, key in enumerate(take.keys):
        gains = take.gains(key, step)
        if gains.any():
            gains[gains == 0] = np.nan  # silence is no line
            ax.plot(np.arange(len(gains)) * step, gains, label=key, color=_LINES[i % len(_LINES)], linewidth=1.6)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("gain of each layer")
    if ax.lines:
        ax.legend(loc="upper right", fontsize=8, framealpha=0.85)


def _waveform(ax: Axes, samples: npt.NDArray[np.float32], sample_rate: int, name: str) -> None:
    """The lowest and the highest sample of each column, so that no peak is lost."""
    flat = samples[:, 0]
    size = max(1, -(-len(flat) // _COLUMNS))
    padded = np.pad(flat, (0, -len(flat) % size))
    columns = padded.reshape(-1, size)
    times = np.arange(len(columns)) * size / sample_rate
    ax.fill_between(times, columns.min(axis=1), columns.max(axis=1), color="#444444", linewidth=0.2)
    peak = float(np.abs(flat).max(initial=0.0))
    ax.set_ylim(-1.1 * max(peak, 0.01), 1.1 * max(peak, 0.01))
    ax.set_ylabel(name)
