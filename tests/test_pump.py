"""The room's pump against a simulated native queue, on a clock that only they move: what is sent is what a fresh engine
renders of the same facts, with silence where silence was counted.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given
from made_up import NUMBERS, examples
from simulated import TICK, SimulatedQueue, SlowSource, VirtualLoop

from soundscape.clip import Clip
from soundscape.engine import Engine, Fact
from soundscape.loader import Scene
from soundscape.outputs import SafeSource, Stats, to_int16
from soundscape.outputs.pump import Pump

pytestmark = pytest.mark.long

RATE = 8_000
FRAMES = RATE // 100
BED = "[base]\nsource = 'bed'\n[states.thinking]\nsource = 'typing'\n[defaults]\ncrossfade = 0.1\n"
SILENCE = "[states.thinking]\nsource = 'typing'\n"
SCATTER = "[states.idle]\nkind = 'scatter'\nsource = 'bed'\ninterval = [3, 3]\n"


def clips() -> dict[str, Clip]:
    noises = (np.random.default_rng(seed).normal(0, 0.05, RATE) for seed in range(2))
    return {name: Clip.from_samples(noise, RATE) for name, noise in zip(("bed", "typing"), noises, strict=True)}


class Call:
    """A pump at work, and what is done to it."""

    def __init__(self, loop: VirtualLoop, scene: str, phase: float = 0.0) -> None:
        self.loop = loop
        self.scene = scene
        self.engine = Engine(Scene.from_toml(scene), clips(), sample_rate=RATE)
        self.source = SlowSource(self.engine, loop.clock)
        self.queue = SimulatedQueue(loop.clock, FRAMES, phase)
        self.stats = Stats()
        self.pump = Pump(SafeSource(self.source), self.queue, self.stats, pause=loop.clock.pause)
        self.say(Fact("agent", "listening"))
        self.running = loop.create_task(self.pump.run())

    def say(self, fact: Fact) -> None:
        self.engine.post(fact)
        self.pump.changed(self.loop.time())

    async def close(self) -> None:
        self.say(Fact("close"))
        async with asyncio.timeout(5):
            await self.running

    @property
    def silent(self) -> list[int]:
        """The ticks, since the first that sent something, that had nothing to send."""
        sounding = [n for n, sent in enumerate(self.queue.sent) if sent.samples is not None]
        return [n for n in range(sounding[0], sounding[-1]) if self.queue.sent[n].samples is None]

    def heard(self) -> tuple[bytes, bytes]:
        """What was sent, silent ticks aside, and what a fresh engine makes of the same facts."""
        again = Engine(Scene.from_toml(self.scene), clips(), sample_rate=RATE)
        for frame, fact in self.engine.facts:
            again.post(fact, frame)
        sent = np.concatenate([sent.samples for sent in self.queue.sent if sent.samples is not None])
        return sent.tobytes(), to_int16(again.render(len(sent))).tobytes()


def play(test: Callable[[Call], Awaitable[None]], scene: str = BED, phase: float = 0.0) -> Call:
    """Runs a call on a clock of its own; in the end nothing is left of it."""
    loop = VirtualLoop()

    async def run() -> Call:
        call = Call(loop, scene, phase)
        await test(call)
        assert asyncio.all_tasks() - {asyncio.current_task()} <= {call.running}
        return call

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(run())


async def changes(call: Call, rng: Random, count: int) -> None:
    for n in range(count):
        await asyncio.sleep(rng.choice((0.0, 0.001, 0.05, 0.3, 0.7)) + TICK * rng.random())
        call.say(Fact("agent", rng.choice(("thinking", "listening", "speaking")) if n % 3 else "thinking"))


@examples()
@given(number=NUMBERS)
def test_undisturbed_every_change_is_heard_within_four_ticks_and_to_the_bit(number: int) -> None:
    """Most within two; the others are for one that comes just after another, while a look at the clock is due."""
    rng = Random(number)

    async def test(call: Call) -> None:
        await asyncio.sleep(0.2)
        await changes(call, rng, 12)
        await call.close()

    call = play(test, phase=TICK * rng.random())
    sent, rendered = call.heard()
    assert sent == rendered
    assert not call.silent
    assert (call.stats.gaps, call.stats.disagreements, call.stats.fallbacks) == (0, 0, 0)
    assert max(list(call.stats.latencies)[1:]) <= 4 * TICK + 1e-9


@examples()
@given(number=NUMBERS)
def test_whatever_keeps_it_from_its_work_for_moments_leaves_no_gap_and_costs_no_frame(number: int) -> None:
    """Wake-ups up to 100 ms late, each of them or some; renders of up to 50 ms; the interpreter's lock in other hands
    for up to 5 ms; a capture that takes 2 ms, and is complete 1 ms after its tick."""
    rng = Random(number)
    often, late = rng.choice((0.05, 0.3, 1.0)), rng.choice((0.001, 0.004, 0.01, 0.03, 0.1))
    slow, held, cost = rng.choice((0.0, 0.002, 0.05)), rng.choice((0.0, 0.005)), rng.choice((0.0, 0.002))

    async def test(call: Call) -> None:
        call.loop.clock.late = lambda: late * rng.random() if rng.random() < often else 0.0003
        call.loop.clock.held = lambda: held * rng.random() if rng.random() < often else 0.0
        call.source.takes = lambda: slow * rng.random()
        call.queue.cost = lambda: cost * rng.random()
        call.queue.jitter = lambda: 0.001 * rng.random()
        await asyncio.sleep(0.5 * rng.random())
        await changes(call, rng, 12)
        call.loop.clock.late = call.loop.clock.held = call.source.takes = lambda: 0.0
        await asyncio.sleep(2)
        await call.close()

    call = play(test, phase=TICK * rng.random())
    sent, rendered = call.heard()
    assert not call.silent
    assert sent == rendered


@examples(30)
@given(number=NUMBERS)
def test_stalls_and_refusals_leave_silence_only_where_it_is_counted_and_lose_nothing(number: int) -> None:
    """The thread stands still, captures and clears fail, the source does not go back, a capture blocks."""
    rng = Random(number)

    async def test(call: Call) -> None:
        await asyncio.sleep(0.5)
        for _ in range(6):
            match rng.choice(("stall", "failing", "unclear", "take_back", "blocked")):
                case "stall":
                    call.loop.clock.go(rng.choice((0.02, 0.3, 0.7)))
                case "take_back":
                    call.source.failing["take_back"] = 1
                case "blocked":
                    call.queue.blocked = rng.choice((0.05, 0.3, 0.8))
                case what:
                    setattr(call.queue, what, rng.choice((1, 2, 9)))
            await changes(call, rng, 3)
        call.queue.failing = call.queue.unclear = 0
        call.source.failing.clear()
        await asyncio.sleep(30)  # fallen back, it counts what it could not see once it returns
        await call.close()

    call = play(test, phase=TICK * rng.random())
    sent, rendered = call.heard()
    assert sent == rendered
    assert call.stats.gap_seconds == pytest.approx(TICK * len(call.silent))


@pytest.mark.parametrize("late", [0.02, 0.1, 0.3])
def test_wake_ups_that_are_late_by_many_ticks_leave_no_gap_where_nothing_changes(late: float) -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(1)
        call.loop.clock.late = lambda: late
        await asyncio.sleep(10)
        call.loop.clock.late = lambda: 0.0
        await asyncio.sleep(2)
        await call.close()

    call = play(test)
    sent, rendered = call.heard()
    assert not call.silent
    assert sent == rendered


def test_a_pump_that_sleeps_too_long_leaves_a_gap_that_is_counted_and_loses_nothing() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(1)
        call.loop.clock.go(1.5)
        await asyncio.sleep(3)
        await call.close()

    call = play(test)
    sent, rendered = call.heard()
    assert sent == rendered
    assert len(call.silent) >= 80
    assert call.stats.gap_seconds == pytest.approx(TICK * len(call.silent))


def test_ticks_that_take_nothing_although_something_is_there_are_found_and_counted() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(1)
        call.queue.holds = 3
        await asyncio.sleep(5)
        call.say(Fact("agent", "thinking"))
        await asyncio.sleep(1)
        await call.close()

    call = play(test)
    sent, rendered = call.heard()
    assert sent == rendered
    assert len(call.silent) == 3
    assert call.stats.gap_seconds == pytest.approx(3 * TICK)


def test_where_no_answer_comes_in_time_it_falls_back_and_returns() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(0.5)
        call.source.takes = lambda: 0.5  # longer than the queue could wait for
        call.say(Fact("agent", "thinking"))
        await asyncio.sleep(0.1)
        call.source.takes = lambda: 0.0
        await asyncio.sleep(20)
        call.say(Fact("agent", "listening"))
        await asyncio.sleep(1)
        await call.close()

    call = play(test)
    sent, rendered = call.heard()
    assert sent == rendered
    assert call.stats.fallbacks >= 1
    assert call.stats.latencies[-2] <= 4 * TICK  # the last but the close


def test_a_silent_scene_captures_nothing_and_its_shots_come_at_their_frames() -> None:
    async def test(call: Call) -> None:
        call.say(Fact("agent", "idle"))
        await asyncio.sleep(2)
        assert len(call.queue.captures) < 5
        await asyncio.sleep(10)
        await call.close()

    call = play(test, SCATTER)
    shots = [entry.at for entry in call.engine.log if entry.action == "shot"]
    first = next(n for n, sent in enumerate(call.queue.sent) if sent.samples is not None)
    loud = [n - first for n, sent in enumerate(call.queue.sent) if sent.samples is not None and sent.samples.any()]
    begins = [n for n, before in zip(loud, [-9, *loud], strict=False) if n > before + 1]
    assert len(shots) == 3
    assert [n * TICK for n in begins] == pytest.approx(shots, abs=TICK)
    assert call.stats.gaps == 0


def test_captures_that_fail_are_tried_again_and_nothing_is_lost() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(1)
        call.queue.failing = 2
        await asyncio.sleep(2)
        call.say(Fact("agent", "thinking"))
        await asyncio.sleep(1)
        await call.close()

    call = play(test)
    sent, rendered = call.heard()
    assert sent == rendered
    assert not call.silent
    assert call.stats.failures == 2


@pytest.mark.parametrize("trouble", ["failing", "blocked", "closed"])
def test_a_pump_that_can_do_nothing_can_be_cancelled(trouble: str) -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(0.5)
        setattr(call.queue, trouble, {"failing": 10**9, "blocked": 1e6, "closed": True}[trouble])
        call.say(Fact("agent", "thinking"))
        await asyncio.sleep(3)
        call.running.cancel()
        await asyncio.gather(call.running, return_exceptions=True)
        assert call.running.cancelled()

    play(test)


def test_a_source_that_cannot_be_taken_back_goes_on_as_it_was() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(0.5)
        call.source.failing["take_back"] = 2
        call.say(Fact("agent", "thinking"))
        await asyncio.sleep(3)
        await call.close()

    call = play(test)
    assert not call.silent
    assert call.stats.fallbacks == 1


def test_nothing_is_cleared_while_others_have_the_interpreters_lock() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(1)
        before = len(call.queue.clears)
        call.loop.clock.held = lambda: 0.004
        call.say(Fact("agent", "thinking"))
        await asyncio.sleep(1)
        assert len(call.queue.clears) == before
        call.loop.clock.held = lambda: 0.0
        await asyncio.sleep(20)
        call.say(Fact("agent", "listening"))
        await asyncio.sleep(1)
        assert len(call.queue.clears) == before + 1
        await call.close()

    call = play(test)
    sent, rendered = call.heard()
    assert sent == rendered
    assert not call.silent
    assert call.stats.fallbacks == 1


def sounds(call: Call) -> bool:
    sent = call.queue.sent[-1].samples
    return sent is not None and bool(sent.any())


@pytest.mark.parametrize("apart", [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0])
def test_while_it_answers_late_a_sound_in_silence_is_heard_all_the_same(apart: float) -> None:
    """Whenever it comes: what the queue holds is the silence before it, and what is known of that is over."""

    async def test(call: Call) -> None:
        await asyncio.sleep(1)
        call.loop.clock.held = lambda: 0.004
        for _ in range(3):
            call.say(Fact("agent", "thinking"))
            await asyncio.sleep(1)
            assert sounds(call)
            call.say(Fact("agent", "listening"))
            await asyncio.sleep(apart)
        call.loop.clock.held = lambda: 0.0
        await call.close()

    assert play(test, SILENCE).stats.fallbacks >= 1


def test_what_was_held_up_once_is_tried_again_a_tick_further_on() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(1)
        held = [0.007]  # to the end of what a tick leaves
        call.loop.clock.held = lambda: held.pop() if held else 0.0
        call.say(Fact("agent", "thinking"))
        await asyncio.sleep(1)
        assert not held
        await call.close()

    call = play(test)
    sent, rendered = call.heard()
    assert sent == rendered
    assert call.stats.fallbacks == 0
    assert 2 * TICK < call.stats.latencies[-2] <= 4 * TICK  # the last but the close


def test_who_wakes_up_late_again_and_again_clears_nothing() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(1)
        before = len(call.queue.clears)
        call.loop.clock.late = lambda: 0.003
        await asyncio.sleep(1)
        call.say(Fact("agent", "thinking"))
        await asyncio.sleep(1)
        assert len(call.queue.clears) == before
        assert call.stats.fallbacks == 1
        await call.close()

    play(test)


def test_a_clock_that_was_found_late_is_not_believed_because_all_is_late_alike() -> None:
    async def test(call: Call) -> None:
        clock = call.loop.clock
        clock.late = lambda: 0.007 if clock.now < 100.045 else 0.004 if clock.now < 100.06 else 0.0
        await asyncio.sleep(1)
        call.say(Fact("agent", "thinking"))
        await asyncio.sleep(1)
        await call.close()

    call = play(test)
    sent, rendered = call.heard()
    assert sent == rendered
    assert not call.silent


def test_a_clock_is_looked_for_without_running_dry_where_renders_are_slow() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(0.5)
        call.source.takes = lambda: 0.17
        call.say(Fact("agent", "thinking"))
        await asyncio.sleep(20)
        call.source.takes = lambda: 0.0
        await call.close()

    call = play(test)
    sent, rendered = call.heard()
    assert sent == rendered
    assert not call.silent
    assert call.stats.fallbacks >= 1


def test_silence_is_counted_before_the_clock_is_known_to_be_right_too() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(0.03)
        call.loop.clock.go(0.695)
        await asyncio.sleep(1)
        await call.close()

    call = play(test)
    assert call.silent
    assert call.stats.gap_seconds == pytest.approx(TICK * len(call.silent))


@pytest.mark.parametrize("trouble", ["rest", "unclear", "late", "slow"])
def test_a_change_in_silence_is_heard_whatever_keeps_it_from_being_answered_at_once(trouble: str) -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(2)
        match trouble:
            case "rest":
                call.source.failing["rest"] = 1
            case "unclear":
                call.queue.unclear = 100
            case "late":
                call.loop.clock.late = lambda: 0.02 if call.loop.clock.now < 103 else 0.0
            case _:
                call.source.takes = lambda: 0.15
        call.say(Fact("agent", "thinking"))
        await asyncio.sleep(2)
        call.queue.unclear = 0
        call.source.takes = lambda: 0.0
        await call.close()

    call = play(test, SILENCE)
    loud = np.concatenate([sent.samples for sent in call.queue.sent if sent.samples is not None and sent.samples.any()])
    frames = {fact.value: frame for frame, fact in call.engine.facts}
    again = Engine(Scene.from_toml(SILENCE), clips(), sample_rate=RATE)
    for frame, fact in call.engine.facts:
        again.post(fact, frame)
    rendered = to_int16(again.render(call.engine.position))
    sounding = np.flatnonzero(rendered)
    assert np.trim_zeros(loud[:, 0]).tobytes() == rendered[sounding[0] : sounding[-1] + 1].tobytes()
    assert len(sounding) > RATE
    assert frames["thinking"] <= 4 * RATE


def test_a_silence_that_is_slept_through_is_longer_by_as_much_and_counted() -> None:
    async def test(call: Call) -> None:
        call.say(Fact("agent", "idle"))
        await asyncio.sleep(2)
        call.loop.clock.go(2)  # the first shot was to come after 3 s
        await asyncio.sleep(6)
        await call.close()

    call = play(test, SCATTER)
    sound = np.concatenate([sent.samples for sent in call.queue.sent if sent.samples is not None])
    begins = np.flatnonzero(np.diff(np.append(np.zeros(RATE // 10, bool), sound.any(axis=1)).astype(int)) == 1)
    assert len(begins) >= 1
    assert call.stats.gaps == 1
    assert 0.9 < call.stats.gap_seconds < 1.1
    assert np.count_nonzero(sound) > 1.99 * RATE  # two shots of a second, whole


def test_changes_of_one_moment_are_answered_at_once_and_count_from_the_first() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(1)
        call.say(Fact("agent", "thinking"))
        call.loop.clock.go(0.05)
        call.say(Fact("agent", "listening"))
        await asyncio.sleep(1)
        assert call.stats.changes == 2
        assert call.stats.latencies[-1] > 0.05
        await call.close()

    play(test)


def test_what_was_heard_is_what_was_sent_and_never_more_than_there_was() -> None:
    async def test(call: Call) -> None:
        for _ in range(20):
            await asyncio.sleep(0.0737)
            sent = sum(len(sent.samples) for sent in call.queue.sent if sent.samples is not None)
            assert call.pump.heard == sent
        call.loop.clock.go(1.5)
        assert call.pump.heard == sum(len(sent.samples) for sent in call.queue.sent if sent.samples is not None)
        await asyncio.sleep(1)
        await call.close()

    play(test, phase=0.003)


def test_a_closed_queue_is_fed_no_faster_than_time_however_long_it_lasts() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(1)
        call.queue.closed = True
        await asyncio.sleep(200)
        assert call.engine.position < 220 * RATE
        call.running.cancel()
        await asyncio.gather(call.running, return_exceptions=True)

    play(test)


def test_while_wake_ups_are_late_now_and_then_it_does_not_try_to_return() -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(1)
        wakings = itertools.count()
        call.loop.clock.late = lambda: 0.004 * (next(wakings) % 4 == 0)
        for n in range(60):
            call.say(Fact("agent", ("thinking", "listening")[n % 2]))
            await asyncio.sleep(1)
        assert call.stats.fallbacks == 1
        await call.close()

    call = play(test)
    sent, rendered = call.heard()
    assert sent == rendered
    assert not call.silent


@pytest.mark.parametrize(("apart", "fallbacks"), [(10, 1), (100, 0)])
def test_gaps_that_come_often_are_a_reason_to_fall_back_and_single_ones_are_not(apart: float, fallbacks: int) -> None:
    async def test(call: Call) -> None:
        await asyncio.sleep(1)
        for _ in range(2):
            call.queue.holds = 1
            await asyncio.sleep(apart)
        assert call.stats.gaps == 2
        assert call.stats.fallbacks == fallbacks
        await call.close()

    play(test)
