"""A playback as the driver knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from soundscape.clip import Clip
from soundscape.driver.chance import Pick
from soundscape.gain import Envelope
from soundscape.scene.tables import Layer, Pool

__all__ = ["Playback"]


class Playback(NamedTuple):
    """A playback as the driver knows it."""

    number: int
    key: str
    layer: Layer  # of the committed state; once left, of the state left
    place: Literal["wanted", "held", "leaving"]
    envelope: Envelope
    own_fade: bool  # the envelope's duration is the sound's own, not a transition's
    began: int  # the playback's first frame
    pick: Pick | None  # None: silence was drawn
    pick_at: int  # the frame at which the pick's first frame sounded, or would have
    chained: bool  # pick follows pick
    pool: Pool  # what is drawn from
    clips: Mapping[str, Clip]  # of the scene that the pick is from
    lufs: float | None  # the loudness that the bus brought it to when it began
    lost: bool = False  # its key is another sound by now

    @property
    def loops(self) -> bool:
        """Whether it goes round."""
        return self.layer.kind == "loop"

    @property
    def source(self) -> str:
        """What its pick is of, as the scene writes it."""
        assert self.pick is not None, "silence has no source"
        return self.pick.entry.source

    @property
    def clip(self) -> Clip:
        """What its pick is of."""
        return self.clips[self.source]

    @property
    def stream(self) -> str:
        """The key that is drawn for."""
        return f"{self.key}\0{self.number}" if self.lost else self.key

    @property
    def natural_end(self) -> int:
        """The frame at which the pick's clip is over."""
        return self.pick_at + self.clip.length
