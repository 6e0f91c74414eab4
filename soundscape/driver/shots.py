"""Shots: sounds that are played once, on entry or now and then."""

from __future__ import annotations

from soundscape.driver.chance import Chance
from soundscape.driver.notes import Notes
from soundscape.driver.playbacks import Playbacks
from soundscape.scene.tables import Layer

__all__ = ["Shots"]

LEAST_GAP_SECONDS = 0.02
"""How far apart the shots of a scatter are due at least: however short its sounds and gaps are, each costs something
(*measured*, a hundred layers of the shortest: a fifth of a core)."""


class Shots:
    """The shots of one run.

    Args:
        playbacks: where they sound.
        chance: draws.
        notes: where log entries and timers go.
    """

    def __init__(self, playbacks: Playbacks, chance: Chance, notes: Notes) -> None:
        self._playbacks = playbacks
        self._chance = chance
        self._notes = notes
        self.last: dict[str, int] = {}
        """By key, the frame at which a `once` last sounded."""

    def once(self, key: str, layer: Layer) -> None:
        """One shot. What is blocked is dropped, not queued (T13)."""
        pick = self._chance.pick(key, self._playbacks.scenery.scene.pool(layer), silence=True)
        if pick is None:
            return
        frame = self._notes.frame
        last = self.last.get(key)
        cooling = last is not None and frame < last + self._notes.frames(layer.cooldown or 0.0)
        if cooling or self._sounding(key):
            self._notes.log("skip", key, clip=pick.entry.source)
            return
        self.last[key] = frame
        self._playbacks.shoot(key, layer, pick)

    def wait(self, key: str, layer: Layer) -> None:
        """Draws when a scatter's first shot is due."""
        span = layer.interval if layer.first is None else layer.first
        assert span is not None
        wait = self._notes.frames(self._chance.between(key, "first", span))
        self._notes.set_timer(key, "gap", self._notes.frame + wait)

    def scatter(self, key: str, layer: Layer) -> None:
        """A scatter's shot is due, and the gap to the next one is drawn (T12)."""
        assert layer.interval is not None
        frame, lasts = self._notes.frame, 0
        pick = self._chance.pick(key, self._playbacks.scenery.scene.pool(layer), silence=True)
        if pick is not None and self._sounding(key) >= (layer.max_playbacks or 1):
            self._notes.log("skip", key, clip=pick.entry.source)
        elif pick is not None:
            lasts = self._playbacks.shoot(key, layer, pick)
        gap = self._notes.frames(self._chance.between(key, "interval", layer.interval))
        least = max(1, self._notes.frames(LEAST_GAP_SECONDS))
        self._notes.set_timer(key, "gap", frame + max(least, lasts + gap))

    def _sounding(self, key: str) -> int:
        return sum(playback.key == key and not playback.lost for playback in self._playbacks.playing.values())
