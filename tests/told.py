"""What is to be heard, read off an engine's log and the session's facts: no part of the engine is asked.

A log tells of each change of a playback's gain, by the envelope law; ducks are told by the facts.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from made_up import FINISH, Case

from soundscape.engine import Entry
from soundscape.scene.tables import Duck, Layer

__all__ = ["Dips", "Reading", "changes", "law", "near"]


def law(g0: float, g1: float, u: float) -> float:
    """The envelope law, as the format writes it."""
    return g1 if u >= 1 else math.sqrt(g0**2 + (g1**2 - g0**2) * math.sin(math.pi * u / 2) ** 2)


def near(one: float, other: float, by: float = 1e-12) -> bool:
    """Whether two gains are the same; `pytest.approx` would take longer than all else."""
    return abs(one - other) <= by


@dataclass(frozen=True)
class Move:
    """A gain that moves once, or rests; frames."""

    start: int
    duration: int
    g0: float
    g1: float

    def at(self, frame: int) -> float:
        return law(self.g0, self.g1, 1 if self.duration == 0 else (frame - self.start) / self.duration)

    @property
    def end(self) -> int:
        return self.start + self.duration


@dataclass
class Shape:
    """One playback, as the log tells of it."""

    clip: str
    layer: Layer
    began: int
    move: Move
    own: bool
    """The move takes a time of its own, not a transition's."""
    place: str = "wanted"
    ends: float = math.inf
    """It is silent from here on, whatever the envelope says."""
    until: int = -1
    """So long it was to be held."""
    declicks: int = -1
    """Where its last pass is about to be over."""
    natural: float = math.inf
    """A shot's clip is over."""
    touched: tuple[int, int] = (-1, 0)
    """The frame of its last entry, and how many it has there."""

    def touches(self, frame: int) -> int:
        return self.touched[1] if self.touched[0] == frame else 0


class Reading:
    """Follows a log, entry by entry, and refuses what does not go on from where it was, or not in its time."""

    PLACES: Mapping[str, tuple[str, ...]] = {
        "level": ("wanted",),
        "revive": ("leaving",),
        "release": ("wanted", "held", "leaving"),
        "hold": ("wanted", "held"),
        "cancel": ("held",),
    }
    """Where a playback stands that an entry can be about."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.shapes: dict[str, list[Shape]] = {key: [] for key in case.kinds}
        self.state = "none"
        self.committed = -1
        self.rule = case.scene.rule("none", "none")
        self.armed: set[str] = set()
        self.since: dict[str, int] = {}
        """By key, since when it is wanted without a break, where it is to wait."""
        self.due: dict[str, int] = {}
        self.cuts = {frame for frame, fact in case.facts if fact.kind == "cut"}

    def take(self, entries: Sequence[Entry]) -> None:
        """The entries of a frame."""
        for entry in entries:
            if entry.action == "commit":
                self.commit(entry)
            elif entry.action == "arm":
                self.arm(entry)
            elif entry.action in ("start", "shot"):
                self.begin(entry)
            elif entry.clip and entry.action != "skip":
                self.go_on(entry)
        if entries and entries[0].action == "commit":
            self.none_left_behind(entries[0].frame)

    def commit(self, entry: Entry) -> None:
        self.rule, self.state = self.case.scene.rule(self.state, entry.key), entry.key
        self.committed = entry.frame
        wanted = self.case.scene.wanted(self.state)
        self.armed &= wanted.keys()
        self.since = {key: frame for key, frame in self.since.items() if key in wanted}
        self.due = {key: frame for key, frame in self.due.items() if key in wanted}
        for key, layer in wanted.items():
            for shape in self.shapes[key]:
                if layer.kind == "loop" or shape.place == "wanted":
                    shape.layer = layer

    def arm(self, entry: Entry) -> None:
        """The present layer's `after`, counted from when the key became wanted (T7)."""
        self.armed.add(entry.key)
        since = self.since.setdefault(entry.key, entry.frame)
        after = self.case.scene.wanted(self.state)[entry.key].after
        due = since + self.case.at(after)
        assert self.case.at(entry.duration) == due - entry.frame
        assert self.due.get(entry.key) != due, "nothing new is said"
        self.due[entry.key] = due

    def none_left_behind(self, frame: int) -> None:
        """What is in mid-fade at a commit is retargeted, unless it is held or takes its own time (T1). Where that
        is urgent, or the end, nothing that is left holds on (T9, T19)."""
        wanted = self.case.scene.wanted(self.state)
        for key in self.shapes:
            for shape in self.sounding(key, frame):
                if self.rule.urgent or self.state == "none":
                    assert shape.place == "leaving" or (shape.place == "wanted" and key in wanted)
                if shape.place != "held" and frame not in (shape.began, shape.touched[0]):
                    assert frame >= shape.move.end or (shape.own and not self.too_long(shape, frame))

    def too_long(self, shape: Shape, frame: int) -> bool:
        """Whether a move that takes its own time would outlast an urgent transition."""
        return self.rule.urgent and shape.move.end - frame > self.frames(self.rule.fade_out)

    def begin(self, entry: Entry) -> None:
        sounding, frame = self.sounding(entry.key, entry.frame), entry.frame
        layer = self.case.scene.wanted(self.state)[entry.key]
        move = Move(frame, self.case.at(entry.duration), entry.gain_from, entry.gain_to)
        own = self.own_fade(layer, entry.clip, "fade_in")
        shape = Shape(entry.clip, layer, frame, move, own is not None)
        if entry.action == "shot":
            assert len(sounding) < (layer.max_playbacks or 1)
            assert move.duration == (self.frames(own) if own else 0)
            shape.ends = shape.natural = frame + self.case.sounds[entry.clip].length
        else:
            assert not sounding
            assert entry.gain_from == 0
            lowest = self.case.scene.defaults
            late = lowest.crossfade if lowest.fade_in is None else lowest.fade_in
            seconds = own if own is not None else late if entry.key in self.armed else self.rule.fade_in
            at_once = {0} if seconds == 0 and layer.start != "random" else {0, self.frames(0)}
            at_once |= {self.frames(0)} if layer.start in ("resume", "elapsed") else set()
            assert move.duration in (at_once if seconds == 0 else {self.frames(seconds)})
        self.armed -= {entry.key}
        self.shapes[entry.key] = [*sounding, shape]

    def go_on(self, entry: Entry) -> None:
        """Of several playbacks of a key, an entry is about the one, or the first one, whose gain it starts from."""
        frame, loops = entry.frame, self.case.kinds[entry.key] == "loop"
        fitting = [
            shape
            for shape in self.shapes[entry.key]
            if (loops or shape.clip == entry.clip)
            and shape.place in self.PLACES[entry.action]
            and frame <= shape.ends
            and near(shape.move.at(frame), entry.gain_from)
        ]
        assert fitting, f"nothing that sounds has reached what it is said to have: {entry}"
        shape = min(fitting, key=lambda shape: shape.touches(frame))
        shape.touched, shape.clip = (frame, shape.touches(frame) + 1), entry.clip
        if entry.action == "hold":
            self.hold(entry, shape)
        elif entry.action == "cancel":
            shape.place, shape.ends = "wanted", math.inf
        else:
            self.fade(entry, shape)

    def hold(self, entry: Entry, shape: Shape) -> None:
        duration, loop = self.case.at(entry.duration), shape.layer.kind == "loop"
        owed = shape.began + self.case.at(shape.layer.min_play or 0.0) - entry.frame if loop else 0
        owed = max(0, owed) if shape.place == "wanted" else 0
        assert duration == owed if owed else entry.duration <= FINISH
        shape.place, shape.until, shape.declicks = "held", entry.frame + duration, -1
        if loop:
            pool = self.case.scene.pool(shape.layer)
            passes = not owed and sum(pick.probability > 0 for pick in pool.entries) == 1
            shape.declicks = max(entry.frame, shape.until - self.frames(0)) if passes else -1
            shape.ends = math.inf if owed or passes else shape.until

    def fade(self, entry: Entry, shape: Shape) -> None:
        frame, duration = entry.frame, self.case.at(entry.duration)
        at_once = frame in self.cuts or (shape.place == "held" and frame == shape.declicks)
        if entry.action == "release" and at_once and duration == self.frames(0):
            seconds, own = 0.0, False
        else:
            seconds, own = self.time(entry, shape)
            late = (entry.action, shape.place, shape.until) == ("release", "held", frame)
            assert late or frame == self.committed
        assert duration == self.frames(seconds)
        shape.move, shape.own = Move(frame, duration, shape.move.at(frame), entry.gain_to), own
        shape.place = "leaving" if entry.action == "release" else "wanted"
        if entry.action == "release":
            shape.ends = frame + duration if shape.layer.kind == "loop" else min(shape.natural, frame + duration)
        elif shape.layer.kind == "loop":
            shape.ends = math.inf

    def time(self, entry: Entry, shape: Shape) -> tuple[float, bool]:
        """The seconds that a move takes (rule 6, T1, T9), and whether they are its own."""
        rule, rises = self.rule, entry.gain_to > entry.gain_from
        resolved = rule.fade_in if rises else rule.fade_out
        retargeted = shape.move.g1 == entry.gain_to and entry.action in ("level", "release") and shape.place != "held"
        if retargeted and entry.frame < shape.move.end:
            assert not shape.own or self.too_long(shape, entry.frame)
            return (rule.fade_out if shape.own else resolved), False
        own = None if entry.action == "level" else self.own_fade(shape.layer, entry.clip, FADES[entry.action])
        if own is None or (entry.action == "release" and rule.urgent and own > rule.fade_out):
            return resolved, False
        return own, True

    def own_fade(self, layer: Layer, clip: str, which: str) -> float | None:
        """The layer's, else the pick's."""
        pick = next(entry for entry in self.case.scene.pool(layer).entries if entry.source == clip)
        found: float | None = getattr(layer, which)
        return getattr(pick, which) if found is None else found

    def frames(self, seconds: float) -> int:
        return self.case.at(max(seconds, self.case.scene.defaults.declick))

    def sounding(self, key: str, frame: int) -> list[Shape]:
        return [shape for shape in self.shapes[key] if frame < shape.ends]

    def gain(self, key: str, frame: int) -> float:
        return max((shape.move.at(frame) for shape in self.sounding(key, frame)), default=0.0)


FADES = {"revive": "fade_in", "release": "fade_out"}


class Dips:
    """What ducks do to a bus, by the format's words and from the facts alone."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.facts = {"agent": "", "user": ""}
        self.closed = False
        self.moves = {i: Move(0, 0, 1.0, 1.0) for i in range(len(self.tables))}
        self.active = dict.fromkeys(self.moves, False)
        self.recovers: dict[int, float] = dict.fromkeys(self.moves, math.inf)

    @property
    def tables(self) -> Sequence[Duck]:
        return self.case.scene.ducks

    def take(self, frame: int) -> None:
        for at, (kind, value) in self.case.facts:
            if at == frame and not self.closed:
                self.closed = kind == "close"
                self.facts |= {kind: value or ""}
        for i, duck in enumerate(self.tables):
            if self.closed:
                continue
            active = self.facts[duck.while_.removesuffix("_speaking")] == "speaking"
            if active and not self.active[i]:
                if self.recovers[i] == math.inf:
                    self.move(i, frame, 10 ** (duck.by_db / 20), duck.fade_out)
                self.recovers[i] = math.inf
            elif self.active[i] and not active:
                self.recovers[i] = frame + self.case.at(duck.recovery)
            self.active[i] = active
            if frame == self.recovers[i]:
                self.move(i, frame, 1.0, duck.fade_in)
                self.recovers[i] = math.inf

    def move(self, i: int, frame: int, gain: float, seconds: float) -> None:
        duration = self.case.at(max(seconds, self.case.scene.defaults.declick))
        self.moves[i] = Move(frame, duration, self.moves[i].at(frame), gain)

    def gain(self, bus: str, frame: int) -> float:
        acting = [self.moves[i].at(frame) for i, duck in enumerate(self.tables) if {"*", bus} & {*duck.buses}]
        return max(math.prod(acting), 10 ** (-24 / 20))


Change = tuple[int, str, str, int]
"""Frame, action, state and frames that are left: what a log says of the state."""


def changes(case: Case) -> list[Change]:
    """What becomes of the state, from the facts and the rules alone: settling, cancelled, committed (T8, T18, T19)."""
    found: list[Change] = []
    facts: dict[str, str | None] = {}
    committed, heading, left_at, due = "none", "", 0, math.inf
    frames = sorted({frame for frame, _ in case.facts})
    while frames or due < math.inf:
        frame = int(min([due, *frames[:1]]))
        frames = [at for at in frames if at > frame]
        for fact in (fact for at, fact in case.facts if at == frame and "close" not in facts):
            facts[fact.kind] = fact.value
        state = named(facts, case.scene.states)
        if state != (heading or committed):
            if heading:
                found.append((frame, "cancel", heading, 0))
            left_at = left_at if heading else frame
            heading, due = "" if state == committed else state, math.inf
            if heading:
                settle = 0 if "close" in facts else case.at(case.scene.rule(committed, heading).settle)
                due = max(frame, left_at + settle)
                found += [(frame, "settle", heading, due - frame)] if due > frame else []
        if due == frame:
            found.append((frame, "commit", heading, 0))
            committed, heading, due = heading, "", math.inf
    return found


def named(facts: Mapping[str, str | None], defined: Collection[str]) -> str:
    """The first of the facts that applies."""
    agent = facts.get("agent")
    if "close" in facts or agent is None:
        return "none"
    if facts.get("app"):
        return str(facts["app"])
    if facts.get("tool") and agent != "speaking" and "tool" in defined:
        return "tool"
    if facts.get("user") == "away" and agent not in ("thinking", "speaking") and "away" in defined:
        return "away"
    return agent
