"""An engine under an output that renders ahead and takes back what is not heard yet: what is heard is, frame for frame,
what the facts make of the scene, as a fresh engine renders them where they were taken.
"""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from made_up import NUMBERS, REAL, Case, Samples, bursts, choose, examples, made, noise, steady

from soundscape.ceiling import Ceiling
from soundscape.engine import Engine, Fact, Moment
from soundscape.exceptions import UsageError
from soundscape.loader import Scene

pytestmark = pytest.mark.long


class Listener:
    """Hears an engine through a queue that is filled ahead."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.heard: list[Samples] = []
        self.queue: Samples = np.zeros((0, 1), np.float32)
        self.frame = 0

    def fill(self, frames: int) -> None:
        self.queue = np.concatenate([self.queue, self.engine.render(frames)])
        self.engine.keep()

    def hear(self, frames: int) -> None:
        """What is in the queue, or less; where nothing is known to sound, nothing needs to be in it."""
        self.heard.append(self.queue[:frames])
        self.frame += len(self.heard[-1])
        self.queue = self.queue[frames:]

    def rest(self, frames: int) -> None:
        """Silence that nobody renders."""
        if not len(self.queue) and self.engine.silent_until >= self.frame + frames:
            self.frame += frames
            self.heard.append(np.zeros((frames, 1), np.float32))
            self.engine.rest(self.frame)

    def answer(self, rng: Random, most: int) -> None:
        """Goes back to what is not heard yet. It may take several times until what is rendered comes in time."""
        while True:
            self.engine.take_back(self.frame)
            block = self.engine.render(len(self.queue) + rng.randint(0, most))
            if rng.random() < 0.6 or not len(self.queue):
                self.queue = block
                self.engine.keep()
                return
            if rng.random() < 0.2:  # it is given up: the queue stays, and goes on with what was to follow it
                self.engine.take_back(self.frame + len(self.queue))
                return
            self.hear(rng.randint(1, most))


def listens(case: Case, engine: Engine, fresh: Engine, rng: Random) -> None:
    listener, facts = Listener(engine), [fact for _, fact in case.facts]
    most = max(2, case.rate // 20)
    while facts or rng.random() < 0.8:
        action = rng.randint(0, 9)
        if action < 3:
            listener.fill(rng.randint(1, 4 * most))
        elif action < 5:
            listener.hear(rng.randint(1, 4 * most))
        elif action < 6:
            listener.rest(rng.randint(1, most))
        elif facts:
            for _ in range(choose(rng, 1, 1, 2)):
                if facts:
                    engine.post(facts.pop(0))
            if rng.random() < 0.3:
                listener.fill(rng.randint(1, most))  # it is taken far ahead before anybody looks
            if rng.random() < 0.9:
                listener.answer(rng, most)
    listener.fill(case.rate)
    listener.hear(10**9)
    for frame, fact in engine.facts:
        fresh.post(fact, frame)
    heard = np.concatenate(listener.heard)
    assert heard.tobytes() == fresh.render(listener.frame).tobytes()
    assert engine.log == fresh.log
    assert engine.facts == fresh.facts


@examples(150)
@given(number=NUMBERS)
def test_what_is_heard_is_what_the_facts_make_of_the_scene(number: int) -> None:
    case = made(number)
    clips = noise(case)
    listens(case, case.engine(clips, facts=[]), case.engine(clips, facts=[]), Random(number))


@examples()
@given(number=NUMBERS)
def test_under_the_ceiling_too(number: int) -> None:
    """Which has looked ahead at what will not be."""
    case = made(number, rates=REAL, loud=True)
    clips = bursts(case)
    listens(case, case.engine(clips, facts=[]), case.engine(clips, facts=[]), Random(number))


@examples()
@given(number=NUMBERS)
def test_an_engine_that_forgets_sounds_the_same_and_keeps_the_last_of_its_log(number: int) -> None:
    case = made(number)
    clips = noise(case)
    keeps, forgets = case.engine(clips), case.engine(clips, history=1.0)
    rng, position = Random(number), 0
    while position < 4 * case.frames:
        blocks = [engine.render(frames) for frames in [rng.randint(1, case.rate)] for engine in (keeps, forgets)]
        assert blocks[0].tobytes() == blocks[1].tobytes()
        position = keeps.position - rng.randint(0, min(case.rate // 2, len(blocks[0])))
        for engine in (keeps, forgets):
            engine.rewind(position)
    assert forgets.log == keeps.log[len(keeps.log) - len(forgets.log) :]
    assert forgets.facts == keeps.facts[len(keeps.facts) - len(forgets.facts) :]


def test_of_a_long_call_the_last_of_its_history_is_kept() -> None:
    scene = Scene.from_toml("[states.idle]\nkind = 'scatter'\nsource = 'a'\ninterval = [1, 1]\n")
    engine = Engine(scene, {"a": steady(0.5, 10, 100)}, sample_rate=100, history=10)
    engine.post(Fact("agent", "idle"))
    for _ in range(100):
        engine.render(100)
        engine.post(Fact("user", "listening"))
        first = max(0, engine.position - 1_000)
        for kept in ([frame for frame, _ in engine.facts], [entry.frame for entry in engine.log]):
            assert not kept or kept[0] >= first - 1_200
            assert sum(frame >= first for frame in kept) >= min(10, engine.position // 100) - 1
    with pytest.raises(UsageError, match="is forgotten"):
        engine.rewind(1_000)


def test_of_sounds_of_the_moment_that_are_long_over_the_last_thousand_ends_are_known() -> None:
    engine = Engine(Scene.from_toml("[states.idle]\n"), {}, sample_rate=100, history=1)
    for number in range(1_200):
        engine.post(Fact("play", Moment(number, "a", steady(0.5, 10, 100))), number)
    engine.render(10_000)
    engine.post(Fact("play", Moment(1_200, "a", steady(0.5, 10, 100))))
    engine.render(100)
    known = [number for number in range(1_201) if engine.moment_ends(number) is not None]
    assert known == [*range(known[0], 1_201)]
    assert 100 < known[0] <= 200


def plain(text: str = "[states.idle]\nsource = 'a'\nfade_in = 0\n", rate: int = 1_000) -> Engine:
    return Engine(Scene.from_toml(text), {"a": steady(0.5, 5_000, rate)}, sample_rate=rate)


def test_a_fact_that_was_taken_ahead_is_taken_as_soon_as_it_can_be_heard() -> None:
    engine = plain(rate=48_000)
    engine.render(20_000)
    engine.post(Fact("agent", "idle"))
    engine.render(4_800)  # rendered before the output was told
    engine.take_back(9_600)
    sound = engine.render(9_600)
    ahead = Ceiling(48_000).ahead
    assert engine.facts == [(9_600 + ahead, Fact("agent", "idle"))]
    assert not sound[:ahead].any()
    assert sound[ahead:].all()


def test_a_fact_that_was_posted_for_a_frame_keeps_it() -> None:
    engine = plain()
    engine.post(Fact("agent", "idle"), 150)
    engine.render(300)
    engine.take_back(100)
    assert not engine.render(50).any()
    assert engine.render(50).all()


def test_what_is_heard_already_stays() -> None:
    engine = plain()
    engine.post(Fact("agent", "idle"))
    engine.render(300)
    engine.keep()
    engine.post(Fact("agent", "listening"))
    engine.take_back(100)
    engine.render(100)
    assert [frame for frame, _ in engine.facts] == [0, 100]


def test_silence_is_known_of_up_to_the_next_thing_that_happens_by_itself() -> None:
    engine = plain("[states.idle]\nkind = 'scatter'\nsource = 'a'\ninterval = [2, 2]\n")
    assert engine.silent_until == math.inf
    engine.post(Fact("agent", "idle"))
    engine.render(100)
    assert engine.silent_until == 2_000
    engine.rest(1_990)
    assert not engine.render(10).any()
    assert engine.render(10).all()
    assert engine.silent_until == engine.position


def test_nobody_rests_where_there_is_sound() -> None:
    engine = plain("[states.idle]\nkind = 'scatter'\nsource = 'a'\ninterval = [2, 2]\n")
    engine.post(Fact("agent", "idle"))
    engine.render(100)
    for frame in (99, 2_001):
        with pytest.raises(UsageError, match="no silence is known"):
            engine.rest(frame)
    assert engine.position == 100


def test_what_was_posted_meanwhile_counts_from_the_end_of_the_rest() -> None:
    engine = plain()
    engine.render(100)
    engine.post(Fact("agent", "idle"))
    engine.rest(700)
    assert engine.render(10).all()
    assert engine.facts == [(700, Fact("agent", "idle"))]
