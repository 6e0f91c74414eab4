"""What an operator sees of many calls: OpenTelemetry's metrics, of the meter `soundscape`.

They go to whatever meter provider the application sets, in the process of the call; without one they go nowhere, and
cost next to nothing. The thread that keeps the sound going is never asked: a call's counts are looked at now and then,
on the session's loop, and once more at its end.
"""

from __future__ import annotations

import asyncio
import logging
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from soundscape.engine import Engine
from soundscape.library import count_loads
from soundscape.outputs import Output, Stats
from soundscape.plugin.host import VERSION

__all__ = ["Report", "start_failed"]

logger = logging.getLogger("soundscape")

REPORT_SECONDS = 5.0
"""How often a call's counts are looked at: metrics are exported every minute unless said otherwise."""

_meter = get_meter("soundscape", VERSION)

_calls = _meter.create_up_down_counter("soundscape.calls", "{call}", "Backgrounds that play at present")
_changes = _meter.create_counter("soundscape.state.changes", "{change}", "States that were committed, by state")
_start_failures = _meter.create_counter(
    "soundscape.start.failures", "{failure}", "Backgrounds that could not start; each is tried again"
)
_playbacks = _meter.create_counter("soundscape.playbacks", "{playback}", "Sounds that began, by key")
_latency = _meter.create_histogram(
    "soundscape.change.duration",
    "s",
    "From a fact to the first sound that tells of it",
    # The defaults begin at 5 s. What is prompt takes up to 25 ms, what was put off half a second and more.
    explicit_bucket_boundaries_advisory=[0.005, 0.01, 0.015, 0.02, 0.025, 0.035, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5],
)
_COUNTERS = {
    name: _meter.create_counter(f"soundscape.{metric}", unit, description)
    for name, metric, unit, description in (
        ("gaps", "gaps", "{gap}", "How often there was silence in the sound's stead"),
        ("gap_seconds", "gap.time", "s", "How much silence there was in the sound's stead"),
        ("fallbacks", "fallbacks", "{fallback}", "How often answers at once were given up for a while"),
        ("failures", "capture.failures", "{failure}", "Tries to hand a block to the room that failed"),
        ("render_failures", "render.failures", "{failure}", "How often the engine failed"),
        ("render_seconds", "render.time", "s", "Time that rendering took"),
        ("seconds", "output.time", "s", "Time for which backgrounds played"),
    )
}
"""By the name of what `Stats` calls it."""


def _observe_loads(_: CallbackOptions) -> Iterable[Observation]:
    return [Observation(number, {"soundscape.clip.origin": origin}) for origin, number in count_loads().items()]


_meter.create_observable_counter(
    "soundscape.clip.loads", [_observe_loads], "{load}", "Sounds that were asked for, by where they were found"
)


class _Safe:
    """A meter provider may raise, and an output: the call, its recording and its close go on."""

    def __init__(self) -> None:
        self._failed = False

    def __call__(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:
            if not self._failed:
                self._failed = True
                logger.exception("the background's metrics could not be told, said once")


def start_failed(scene: str) -> None:
    """Tells of a background that could not start."""
    _Safe()(partial(_start_failures.add, 1, {"soundscape.scene": scene}))


class Report:
    """Tells of one run of a session what happened since it was last told. On the session's loop.

    Args:
        scene: the scene's name.
        engine: what plays it.
        output: where it goes; only a room's counts more than what is in the log.
    """

    def __init__(self, scene: str, engine: Engine, output: Output) -> None:
        self._scene = scene
        self._attributes = {"soundscape.scene": scene}
        self._engine = engine
        self._output = output
        stats = getattr(output, "stats", None)
        self._stats = stats if isinstance(stats, Stats) else None  # an output of one's own may have others
        self._frame, self._of_frame = 0, 0  # of the last entry that was told, and how many of that frame were
        self._changes = 0  # that were told
        self._told: Counter[str] = Counter()
        self._safe = _Safe()
        self._safe(partial(_calls.add, 1, self._attributes))
        self._timer: asyncio.TimerHandle | None = None
        self._again()

    def close(self) -> None:
        """Tells of all that is left. Twice, nothing more happens."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._safe(partial(self._tell, math.inf))
            self._safe(partial(_calls.add, -1, self._attributes))
            logger.info("the background ended", extra=self._summary())

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(REPORT_SECONDS, self._again)
        self._safe(self.look)

    def look(self) -> None:
        """Tells of all that was heard since the last look: what is rendered beyond may still be taken back."""
        self._tell(self._output.heard)

    def _tell(self, until: float) -> None:
        # Another thread writes it, and while the engine goes back some of what was heard may be missing: that is told
        # the next time.
        log = self._engine.log.copy()
        first, last = (bisect_left(log, frame, key=attrgetter("frame")) for frame in (self._frame, until))
        entries = log[first + self._of_frame : last]
        for entry in entries:
            self._of_frame = self._of_frame + 1 if entry.frame == self._frame else 1
            self._frame = entry.frame
        begun = Counter((entry.action, entry.key) for entry in entries)
        for (action, key), number in begun.items():
            if action == "commit":
                _changes.add(number, self._attributes | {"soundscape.state": key})
            elif action in ("start", "shot"):
                # Of a sound of the moment the key names its file, of which there may be any number.
                key = "play" if key.startswith("play ") else key
                _playbacks.add(number, self._attributes | {"soundscape.key": key})
        if self._stats is not None:
            self._tell_stats(self._stats)

    def _tell_stats(self, stats: Stats) -> None:
        changes = stats.changes
        latencies = list(stats.latencies)
        for seconds in latencies[max(0, len(latencies) - (changes - self._changes)) :]:
            _latency.record(seconds, self._attributes)
        self._changes = changes
        if stats.gaps and not self._told["gaps"]:
            extra = {"gaps": stats.gaps, "gap_seconds": stats.gap_seconds}
            logger.warning("there was silence in the background's stead, said once", extra=extra)
        for name, counter in _COUNTERS.items():
            if more := getattr(stats, name) - self._told[name]:
                counter.add(more, self._attributes)
                self._told[name] += more

    def _summary(self) -> dict[str, object]:
        stats, names = (
            self._stats,
            ("seconds", "changes", "gaps", "gap_seconds", "fallbacks", "failures", "render_failures"),
        )
        if stats is None:
            return {"scene": self._scene}
        counts = {name: getattr(stats, name) for name in names}
        return {"scene": self._scene, **counts, "latency": stats.latency(), "latency_p99": stats.latency(0.99)}
