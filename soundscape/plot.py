"""The picture of a take: states as bands, the gain of each layer, the sound itself."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from soundscape.exceptions import OutputError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_target", "plot"]

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
_LINES = ("#1f4e79", "#b45f06", "#38761d", "#85200c", "#674ea7", "#00838f", "#7f6000", "#a64d79")
_COLUMNS = 2400


def check_target(path: Path) -> None:
    """Whether a picture can be written there, for a look before anything is rendered.

    Raises:
        UsageError: another suffix than .png, .svg or .pdf.
        OutputError: there is a folder or a device of that name, or no folder for it.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"{path}: a picture is a .png, .svg or .pdf")
    reason = ""
    if os.path.exists(path) and not os.path.isfile(path):
        reason = "it is a folder" if os.path.isdir(path) else "it is a device or a pipe"
    elif not os.path.isdir(path.parent):
        reason = f"there is no folder {str(path.parent)!r}"
    if reason:
        raise OutputError(f"{path}: the picture cannot be written: {reason}")


def plot(
    path: Path,
    *,
    title: str,
    seconds: float,
    states: Sequence[tuple[float, float, str]],
    gains: Mapping[str, npt.NDArray[np.float64]],
    ducks: Mapping[str, npt.NDArray[np.float64]],
    sounds: Mapping[str, npt.NDArray[np.float32]],
) -> None:
    """Draws a run of a scene.

    Args:
        path: where to; the suffix says the kind of picture.
        title: above it.
        seconds: its length.
        states: from when to when (s) which state was committed.
        gains: linear gain of each layer, `(points,)`, spread evenly over the length.
        ducks: linear gain of each bus under its ducks, likewise.
        sounds: waveforms to draw below: name to float32 `(frames, 1)`, each spread over the length.

    Raises:
        UsageError: another suffix than .png, .svg or .pdf.
        OutputError: the picture cannot be written.
    """
    check_target(path)
    # Imported here: only those who want a picture pay for it. The figure is drawn without pyplot, which keeps a
    # global list of figures and may look for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.6 + 1.5 * len(sounds)), layout="constrained")
    heights = [2.2, *[1.3] * len(sounds)]
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for ax in axes:
        for start, end, name in states:
            ax.axvspan(start, end, color=_STATE_COLOURS.get(name, _OTHER_STATE), linewidth=0, zorder=0)
        ax.set_xlim(0, seconds or 1)
        ax.grid(axis="x", color="white", linewidth=0.6)
        ax.set_axisbelow(True)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    _name_states(axes[0], states, seconds)
    _draw_gains(axes[0], gains, ducks, seconds)
    for ax, (name, samples) in zip(axes[1:], sounds.items(), strict=True):
        _draw_waveform(ax, samples[:, 0], seconds, name)
    axes[0].set_title(_plain(title), loc="left", fontsize=11, pad=18)
    axes[-1].set_xlabel("seconds")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names in scripts that the font has no letters for
            figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: the picture cannot be written: {error}") from None


def _plain(name: str) -> str:
    """A name of the scene's author, of which no part is a formula."""
    return name.replace("$", r"\$")


def _name_states(ax: Axes, states: Sequence[tuple[float, float, str]], seconds: float) -> None:
    for start, end, name in states:
        if name != "none" and end - start > 0.007 * len(name) * seconds:
            ax.text((start + end) / 2, 1.03, name, transform=ax.get_xaxis_transform(), ha="center", fontsize=8)


def _draw_gains(
    ax: Axes,
    gains: Mapping[str, npt.NDArray[np.float64]],
    ducks: Mapping[str, npt.NDArray[np.float64]],
    seconds: float,
) -> None:
    for i, (key, values) in enumerate(gains.items()):
        if values.any():
            # Silence is no line, but for where a gain leaves it and comes to it.
            beside = np.pad(values, 1)
            heard = np.where((values > 0) | (beside[:-2] > 0) | (beside[2:] > 0), values, np.nan)
            times = np.arange(len(values)) * (seconds / len(values))
            ax.plot(times, heard, label=_plain(key), color=_LINES[i % len(_LINES)], linewidth=1.6)
    alike: dict[bytes, list[str]] = {}
    for bus, values in ducks.items():
        if (values != 1).any():
            alike.setdefault(values.tobytes(), []).append(bus)
    for dashes, (line, buses) in enumerate(alike.items()):
        values, name = np.frombuffer(line), _plain(f"ducks of {', '.join(buses)}")
        times = np.arange(len(values)) * (seconds / len(values))
        ax.plot(times, values, label=name, color="#777777", linewidth=1, linestyle=("--", ":", "-.")[dashes % 3])
    ax.set_ylim(bottom=0)
    ax.set_ylabel("gain of each layer")
    if ax.lines:
        lines = ax.get_lines()
        names = [str(line.get_label()) for line in lines]
        ax.legend(lines, names, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)


def _draw_waveform(ax: Axes, samples: npt.NDArray[np.float32], seconds: float, name: str) -> None:
    """The lowest and the highest sample of each column, so that no peak is lost."""
    size = max(1, -(-len(samples) // _COLUMNS))
    columns = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size)
    times = np.arange(len(columns)) * (size * seconds / max(1, len(samples)))
    ax.fill_between(times, columns.min(axis=1), columns.max(axis=1), color="#444444", linewidth=0.2)
    peak = float(np.abs(samples).max(initial=0.01))
    ax.set_ylim(-1.1 * peak, 1.1 * peak)
    ax.set_ylabel(name)
