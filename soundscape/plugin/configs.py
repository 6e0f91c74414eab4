"""What may be asked to be played: LiveKit's `AudioConfig` and `BuiltinAudioClip`, and one of a list by its share."""

from __future__ import annotations

import enum
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, NamedTuple

from livekit import rtc
from livekit.agents.voice import background_audio as host

from soundscape.exceptions import UsageError
from soundscape.library.sources import resolve_shipped
from soundscape.plugin.checks import seconds, within

__all__ = ["Audio", "AudioConfig", "AudioSource", "BuiltinAudioClip", "configs_of", "drawn"]


class BuiltinAudioClip(enum.Enum):
    """LiveKit's names, with this project's own clips; LiveKit's own enum gives LiveKit's files."""

    CITY_AMBIENCE = "city-ambience.opus"
    FOREST_AMBIENCE = "forest-ambience.opus"
    OFFICE_AMBIENCE = "office-ambience.opus"
    CROWDED_ROOM = "crowded-room.opus"
    KEYBOARD_TYPING = "keyboard-typing.opus"
    KEYBOARD_TYPING2 = "keyboard-typing-2.opus"
    HOLD_MUSIC = "hold-music.opus"

    def path(self) -> str:
        """The file."""
        return str(resolve_shipped(self.value.removesuffix(".opus")))


AudioSource = AsyncIterator[rtc.AudioFrame] | str | os.PathLike[str] | BuiltinAudioClip | host.BuiltinAudioClip
"""A path, or as in a scene `soundscape:NAME` or `livekit:NAME`; a clip that comes along; or blocks as they are made, of
any rate, length and number of channels."""


class AudioConfig(NamedTuple):
    """A sound and how it is played; LiveKit's own is taken everywhere this one is.

    Attributes:
        source: what.
        volume: linear factor, 0 to 100: 2 doubles.
        probability: its share where one of a list is drawn, 0 to 1; what is left of 1 is silence.
        fade_in: seconds to rise to `volume`; 0 begins there.
        fade_out: seconds to fall when it is stopped; 0 ends at once, by a declick.
    """

    source: AudioSource
    volume: float = 1.0
    probability: float = 1.0
    fade_in: float = 0.0
    fade_out: float = 0.0


Audio = AudioSource | AudioConfig | host.AudioConfig | list[AudioConfig] | list[host.AudioConfig]
"""What can be played: of a list one is drawn."""


def configs_of(audio: Any) -> list[AudioConfig]:
    """What is asked for, checked: a list of one unless a list is given. A source is a name, a path, or iterable.

    Raises:
        UsageError: it is nothing that can be played.
    """
    if isinstance(audio, list):
        for config in audio:
            if not isinstance(config, AudioConfig | host.AudioConfig):
                raise UsageError(f"a list to draw from has AudioConfigs in it, not {config!r}")
        if not audio:
            raise UsageError("a list to draw from is empty")
        found = [_checked(config) for config in audio]
        if not any(config.probability for config in found):
            raise UsageError("all probabilities are 0: nothing would ever be drawn")
        return found
    if isinstance(audio, AudioConfig | host.AudioConfig):
        return [_checked(audio)._replace(probability=1.0)]
    return [AudioConfig(_source(audio))]


def _checked(config: AudioConfig | host.AudioConfig) -> AudioConfig:
    return AudioConfig(
        _source(config.source),
        within("a volume", config.volume, 0.0, 100.0),
        within("a probability", config.probability, 0.0, 1.0),
        seconds("a fade_in", config.fade_in),
        seconds("a fade_out", config.fade_out),
    )


def _source(source: Any) -> Any:
    if isinstance(source, BuiltinAudioClip):
        return f"soundscape:{source.value.removesuffix('.opus')}"
    if isinstance(source, host.BuiltinAudioClip):
        return f"livekit:{os.path.splitext(source.value)[0]}"
    if isinstance(source, AsyncIterable):
        return source
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if not isinstance(source, str) or not source:
        raise UsageError(
            f"{source!r} cannot be played: give a name, a path, an AsyncIterator of rtc.AudioFrame, an AudioConfig or "
            "a list of AudioConfigs"
        )
    return source


def drawn(configs: list[AudioConfig], number: Callable[[], float]) -> AudioConfig | None:
    """One of a list by its share: a sum below 1 leaves the rest to silence (None), above 1 they are shares of the sum.

    Args:
        configs: as `configs_of` gives them; of one that always plays no number is drawn.
        number: draws one in [0, 1).
    """
    if len(configs) == 1 and configs[0].probability == 1.0:
        return configs[0]
    total = sum(config.probability for config in configs)
    u, summed = number() * max(total, 1.0), 0.0
    for config in configs:
        summed += config.probability
        if u < summed:
            return config
    # A sum of 1 may have been rounded below it.
    return [config for config in configs if config.probability > 0][-1] if total >= 1 else None
