"""Playbacks: the single steps from start to end, without a word on when they are taken.

Each playback stands at one of three places:

    wanted ---- left, and fades ----> leaving ---- its fade ends ----> gone
       ^  \\                            |
       |   '--- left, and held ------> held ----- its time is up ---> leaving, or gone at its end
       '------- wanted again: go on <---+---- (revive, when leaving)

Gains are closed forms of the frame (`soundscape.gain.Envelope`), so they are known here without the mixer, and both
know the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from soundscape.clip import Clip
from soundscape.cues import Fade, Play, Stop
from soundscape.driver.chance import Chance, Pick
from soundscape.driver.notes import Action, Notes
from soundscape.driver.playback import Playback
from soundscape.driver.scenery import Scenery
from soundscape.gain import Envelope, db_to_linear
from soundscape.scene import MAIN, Rule
from soundscape.scene.tables import Layer

__all__ = ["Playbacks"]

FINISH_SECONDS = 5.0
"""How long a sound that plays out may take before it is faded (T10)."""

SHORTEST_PICK_SECONDS = 0.002
"""How long a pick of a pool that plays on lasts at least: however short the clips are, each costs something."""

HOLDS = ("min_play", "release", "pass_ends", "pick_ends")
"""Timers of a held playback: it has played as long as it must; its time to play out is up; its loop's last pass, or its
pool's last pick, is over."""


class Playbacks:
    """The playbacks of one run.

    Args:
        scenery: the scene, whose clips are asked for lengths only, and only where a decision needs one.
        chance: draws.
        notes: where cues, log entries and timers go.
    """

    def __init__(self, scenery: Scenery, chance: Chance, notes: Notes) -> None:
        self.scenery = scenery
        self._chance = chance
        self._notes = notes
        self.playing: dict[int, Playback] = {}
        self.fell_silent: dict[str, tuple[Pick, int, Mapping[str, Clip]]] = {}
        """By key, the pick of a loop that was the last to sound, the position in its clip that it had come to, and the
        clips of its scene."""

    # --- what sets in ---------------------------------------------------------------------------------------------

    def start(self, key: str, layer: Layer, fade_in: float, elapsed: int) -> None:
        """Starts a loop.

        Args:
            key: the layer's.
            layer: what is wanted.
            fade_in: seconds, where the sound has none of its own.
            elapsed: frames since the first event.
        """
        pool, clips = self.scenery.scene.pool(layer), self.scenery.clips
        chained = len(pool.playable) > 1
        resumed = self._resumed(key, chained=chained) if layer.start == "resume" else None
        offset = 0
        pick: Pick | None
        if resumed is not None:
            # What goes on began earlier: nothing is taken from the pool for it.
            pick, offset, clips = resumed
            if self._chance.silence(key, pool):
                pick = None
        else:
            pick = self._chance.pick(key, pool, silence=True)
            if pick is not None and layer.start in ("random", "elapsed"):
                offset = self._offset(key, layer, clips[pick.entry.source], elapsed, chained=chained)
        frame = self._notes.frame
        own = self._own_fade(layer, pick, "fade_in")
        seconds = fade_in if own is None else own
        # Only a clip's own beginning may set in at full level; anything else would click.
        duration = 0 if seconds == 0 and offset == 0 else self.fade_frames(seconds)
        envelope = Envelope(frame, duration, 0.0, layer.gain)
        number, owned = self._notes.number(), own is not None
        lufs = self.scenery.scene.level_lufs(layer)
        playback = self._put(
            Playback(
                *(number, key, layer, "wanted", envelope, owned, frame, pick, frame - offset, chained),
                *(pool, clips, lufs),
            )
        )
        if pick is None:
            return
        self._play(playback, offset=offset)
        self._notes.log("start", key, 0.0, layer.gain, duration, playback.source)

    def _resumed(self, key: str, *, chained: bool) -> tuple[Pick, int, Mapping[str, Clip]] | None:
        """What a key sounded last, and the clip's frame with which it goes on; None where nothing would follow."""
        if key not in self.fell_silent:
            return None
        pick, position, clips = self.fell_silent[key]
        clip = clips[pick.entry.source]
        if not chained:
            return pick, clip.wrapped(position), clips
        return (pick, position, clips) if position < clip.length else None

    def _offset(self, key: str, layer: Layer, clip: Clip, elapsed: int, *, chained: bool) -> int:
        """The clip's frame that a loop begins with (T5). What leads in to a loop is heard where it begins there."""
        if layer.start == "elapsed":
            return elapsed % clip.length if chained else clip.wrapped(elapsed)
        u = self._chance.number(key, "start")
        return int(u * clip.length) if chained else clip.wrapped(clip.end + int(u * clip.period))

    def shoot(self, key: str, layer: Layer, pick: Pick) -> int:
        """Plays a shot: at full level, but for a fade-in of its own.

        Returns:
            The frames it lasts.
        """
        frame = self._notes.frame
        own = self._own_fade(layer, pick, "fade_in")
        envelope = Envelope(frame, self.fade_frames(own) if own else 0, 0.0 if own else layer.gain, layer.gain)
        number = self._notes.number()
        scene, clips = self.scenery.scene, self.scenery.clips
        playback = self._put(
            Playback(
                *(number, key, layer, "wanted", envelope, bool(own), frame, pick, frame, False),
                *(scene.pool(layer), clips, scene.level_lufs(layer)),
            )
        )
        self._play(playback, offset=0)
        end = playback.natural_end
        self._notes.set_timer(number, "gone", end)
        self._notes.log("shot", key, envelope.at(frame), layer.gain, envelope.duration, playback.source)
        return end - frame

    # --- what goes on ---------------------------------------------------------------------------------------------

    def go_on(self, playback: Playback, layer: Layer, rule: Rule) -> None:
        """A playback that is wanted, and was, or is again."""
        if playback.layer is layer and playback.place == "wanted":
            self._turn(playback, rule)
            return
        old = playback
        pool = self.scenery.scene.pool(layer)
        playback = self._put(playback._replace(layer=layer, place="wanted", pool=pool))
        if playback.pick is None:
            return
        target, envelope = self._level(playback), playback.envelope
        if old.place == "leaving":
            own = self._own_fade(layer, playback.pick, "fade_in")
            self._fade(playback, target, rule.fade_in if own is None else own, "revive", own=own is not None)
            return
        if old.place == "held":
            self._unhold(playback)
        if envelope.g1 != target:
            rises = target > envelope.at(self._notes.frame)
            self._fade(playback, target, rule.fade_in if rises else rule.fade_out, "level")
        elif old.place == "wanted":
            self._turn(playback, rule)

    def _level(self, playback: Playback) -> float:
        """The gain that a playback's layer asks for. Where another scene has another loudness for its bus, the level
        makes up for it: what the clip was brought to stays as it began."""
        lufs, layer = self.scenery.scene.level_lufs(playback.layer), playback.layer
        if lufs == playback.lufs or lufs is None or playback.lufs is None or playback.clip.lufs is None:
            return layer.gain
        return layer.gain * db_to_linear(lufs - playback.lufs)

    def lose(self, key: str) -> None:
        """A key is another sound from now on: what sounds of it can only go."""
        self.fell_silent.pop(key, None)
        for playback in list(self.playing.values()):
            if playback.key == key:
                self._put(playback._replace(lost=True))

    def _turn(self, playback: Playback, rule: Rule) -> None:
        """A playback in mid-fade whose target stays goes on by the new transition's clock (T1)."""
        envelope, frame = playback.envelope, self._notes.frame
        if not envelope.moving(frame) or playback.pick is None:
            return
        rises = envelope.g1 > envelope.at(frame)
        seconds = rule.fade_in if rises else rule.fade_out
        if playback.own_fade:
            if not rule.urgent or envelope.end - frame <= self.fade_frames(rule.fade_out):
                return
            seconds = rule.fade_out
        self._fade(playback, envelope.g1, seconds, "release" if playback.place == "leaving" else "level")

    # --- what goes ------------------------------------------------------------------------------------------------

    def leave(self, playback: Playback, rule: Rule, *, at_once: bool) -> None:
        """A playback that is not wanted. At once: nothing holds it."""
        if playback.pick is None:
            self.drop(playback)
        elif playback.place == "leaving":
            self._turn(playback, rule)
        elif at_once:
            self.release(playback, rule)
        elif playback.place == "wanted":
            owed = self._notes.frames(playback.layer.min_play or 0.0) - (self._notes.frame - playback.began)
            if owed > 0:
                self._hold(playback, "min_play", owed)
            else:
                self.go_out(playback, rule)

    def go_out(self, playback: Playback, rule: Rule) -> None:
        """A playback that has played as long as it must goes: it plays out, for a bounded time, and fades (T10)."""
        if not playback.layer.finishes:
            self.release(playback, rule)
            return
        position = self._notes.frame - playback.pick_at
        clip, bound = playback.clip, self._notes.frames(FINISH_SECONDS)
        self._notes.drop_timer(playback.number, "next_pick")
        if playback.loops and not playback.chained:
            # Where one pass meets the next a loop does not die away: the end of it would be a click.
            what, left, declick = "pass_ends", clip.pass_end(position) - position, self.fade_frames(0.0)
        else:
            what, left, declick = "pick_ends" if playback.loops else "", clip.length - position, 0
        if left > bound:
            what, left, declick = "release", bound, 0
        self._hold(playback, what, left, declick)

    def _hold(self, playback: Playback, what: str, frames: int, declick: int = 0) -> None:
        if what:
            self._notes.set_timer(playback.number, what, self._notes.frame + max(0, frames - declick))
        playback = self._put(playback._replace(place="held"))
        gain = playback.envelope.at(self._notes.frame)
        self._notes.log("hold", playback.key, gain, gain, frames, playback.source)

    def _unhold(self, playback: Playback) -> None:
        self._notes.drop_timer(playback.number, *HOLDS)
        if playback.chained and (playback.number, "next_pick") not in self._notes.timers:
            self._time_next_pick(playback)
        gain = playback.envelope.at(self._notes.frame)
        self._notes.log("cancel", playback.key, gain, gain, clip=playback.source)

    def release(self, playback: Playback, rule: Rule) -> None:
        """A playback fades out and is over."""
        own = self._own_fade(playback.layer, playback.pick, "fade_out")
        if own is not None and rule.urgent and own > rule.fade_out:
            own = None  # capped, it is the transition's from the first frame on
        seconds = rule.fade_out if own is None else own
        self._fade(playback._replace(place="leaving"), 0.0, seconds, "release", own=own is not None)

    def cut(self) -> None:
        """Everything fades out as quickly as it can without a click."""
        soon = self._notes.frame + self.fade_frames(0.0)
        for playback in list(self.playing.values()):
            if playback.pick is None:
                self.drop(playback)
            elif playback.place != "leaving" or playback.envelope.end > soon:
                self._fade(playback._replace(place="leaving"), 0.0, 0.0, "release")

    def drop(self, playback: Playback) -> None:
        """A playback is over."""
        del self.playing[playback.number]
        self._notes.drop_timer(playback.number, "gone", "next_pick", *HOLDS)
        if playback.pick is None:
            return
        if playback.loops and not playback.lost:
            self.fell_silent[playback.key] = playback.pick, self._notes.frame - playback.pick_at, playback.clips
        self._notes.cues.append(Stop(self._notes.frame, playback.number))

    def due(self, number: int, what: str, rule: Rule) -> None:
        """Does what a playback's timer was set for.

        Args:
            number: the playback's.
            what: `gone`, `next_pick`, or one of `HOLDS`.
            rule: of the last committed transition.
        """
        playback = self.playing[number]
        if what == "next_pick":
            self._next_pick(playback)
        elif what == "min_play":
            self.go_out(playback, rule)
        elif what == "release":
            self.release(playback, rule)
        elif what == "pass_ends":
            self._fade(playback._replace(place="leaving"), 0.0, 0.0, "release")
        else:
            self.drop(playback)

    # --- parts of steps -------------------------------------------------------------------------------------------

    def _fade(self, playback: Playback, target: float, seconds: float, action: Action, *, own: bool = False) -> None:
        frame, duration = self._notes.frame, self.fade_frames(seconds)
        before = playback.envelope.at(frame)
        envelope = playback.envelope.towards(target, frame, duration)
        playback = self._put(playback._replace(envelope=envelope, own_fade=own))
        self._notes.cues.append(Fade(frame, playback.number, target, duration))
        self._notes.log(action, playback.key, before, target, duration, playback.source)
        if playback.chained and (playback.number, "next_pick") not in self._notes.timers:
            self._time_next_pick(playback)  # it was playing out; a fade spans the picks
        if playback.place == "leaving":
            end = envelope.end if playback.loops else min(envelope.end, playback.natural_end)
            self._notes.set_timer(playback.number, "gone", end)
            self._notes.drop_timer(playback.number, *HOLDS)
        elif playback.loops:
            self._notes.drop_timer(playback.number, "gone")

    def _next_pick(self, playback: Playback) -> None:
        """The next pick of a loop that is a pool crosses in over the end of the last one (T11)."""
        left = max(0, playback.natural_end - self._notes.frame)
        pick = self._chance.pick(playback.stream, playback.pool, silence=False)
        clips = self._next_clips(playback)
        playback = self._put(playback._replace(pick=pick, pick_at=self._notes.frame, clips=clips))
        self._play(playback, offset=0, crossfade=left)

    def _play(self, playback: Playback, *, offset: int, crossfade: int = 0) -> None:
        pick, layer = playback.pick, playback.layer
        assert pick is not None
        self._notes.cues.append(
            Play(
                at=self._notes.frame,
                playback=playback.number,
                key=playback.key,
                source=pick.entry.source,
                clips=playback.clips,
                offset=offset,
                loop=playback.loops and not playback.chained,
                gain=pick.gain,
                bus=layer.bus or MAIN,
                lufs=playback.lufs,
                envelope=playback.envelope,
                crossfade=crossfade,
            )
        )
        if playback.chained:
            self._time_next_pick(playback)

    def _time_next_pick(self, playback: Playback) -> None:
        """The picks cross over a quarter of the shorter of the two at most: it is to be heard as well."""
        following = self._chance.foreseen(playback.stream, playback.pool)
        length = min(playback.clip.length, self._next_clips(playback)[following.entry.source].length)
        crossfade = min(self.fade_frames(self.scenery.scene.defaults.crossfade), length // 4)
        earliest = playback.pick_at + self._notes.frames(SHORTEST_PICK_SECONDS)
        due = max(earliest, playback.natural_end - crossfade, self._notes.frame)
        self._notes.set_timer(playback.number, "next_pick", due)

    def _next_clips(self, playback: Playback) -> Mapping[str, Clip]:
        return playback.clips if playback.lost else self.scenery.clips

    def _put(self, playback: Playback) -> Playback:
        self.playing[playback.number] = playback
        return playback

    @staticmethod
    def _own_fade(layer: Layer, pick: Pick | None, which: Literal["fade_in", "fade_out"]) -> float | None:
        """The layer's own fade, else the pick's, else none."""
        own: float | None = getattr(layer, which)
        return own if own is not None or pick is None else getattr(pick.entry, which)

    def fade_frames(self, seconds: float) -> int:
        """Frames of a fade: no shorter than the declick."""
        return self._notes.frames(max(seconds, self.scenery.scene.defaults.declick))
