"""A scene with its clips, and what it has in common with another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache

from soundscape.clip import Clip
from soundscape.scene import MAIN, Rule, SceneModel
from soundscape.scene.tables import Layer

__all__ = ["Scenery"]


class Scenery:
    """A scene with its clips, and what is often asked of it.

    Args:
        scene: a scene without flaws.
        clips: clips by source.
    """

    def __init__(self, scene: SceneModel, clips: Mapping[str, Clip]) -> None:
        self.scene = scene
        self.clips = clips
        self.wanted: Callable[[str], dict[str, Layer]] = lru_cache(maxsize=None)(scene.wanted)
        self.rule: Callable[[str, str], Rule] = lru_cache(maxsize=None)(scene.rule)

    @cached_property
    def known_states(self) -> frozenset[str]:
        """Every state that the scene knows."""
        return frozenset(self.scene.known_states)

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """By key, one of its layers: what makes a key one sound is the same in all of them."""
        return {self.scene.key(layer): layer for _, layer in self.scene.all_layers}

    def shares(self, key: str, other: Scenery) -> bool:
        """Whether a key is one sound in both scenes: of one kind and bus, from the same pool, as in one scene it must
        be."""
        mine, theirs = self.layers.get(key), other.layers.get(key)
        if mine is None or theirs is None or mine.kind != theirs.kind:
            return False
        same_bus = (mine.bus or MAIN) == (theirs.bus or MAIN)
        return same_bus and self.scene.pool(mine) == other.scene.pool(theirs)

    @cached_property
    def switched(self) -> Rule:
        """How its sounds take the place of another scene's."""
        lowest = self.scene.defaults
        fade_in = lowest.crossfade if lowest.fade_in is None else lowest.fade_in
        fade_out = lowest.crossfade if lowest.fade_out is None else lowest.fade_out
        return Rule(fade_in, fade_out, 0.0, False, {})
