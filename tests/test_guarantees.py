"""The format's guarantees, on scenes and sequences that nobody chose (`made_up`). Numbers as in the format; 10 and 11
are `test_clip`'s and `test_loudness`'s.

`GUARANTEES=5000 pytest tests/test_guarantees.py` tries other examples than the usual ones, so many of each.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from random import Random

import numpy as np
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st
from made_up import (
    AGENT,
    NUMBERS,
    REAL,
    Case,
    Samples,
    bursts,
    cases,
    choose,
    crossing,
    examples,
    in_blocks,
    lines,
    made,
    noise,
    ones,
    silent,
    spans,
    steady,
)
from told import Dips, Reading, changes, near

from soundscape.ceiling import Ceiling
from soundscape.clip import Clip
from soundscape.cues import Cue, Fade, Play, Stop
from soundscape.driver.chance import Chance
from soundscape.engine import Engine, Entry, Fact
from soundscape.exceptions import UsageError
from soundscape.loader import Scene
from soundscape.scene.tables import Pool

pytestmark = pytest.mark.long

STATES = (*AGENT, "tool", "away", "on_hold", "dancing", "none")


@pytest.fixture(autouse=True, scope="module")
def _without_warnings() -> Iterator[None]:
    """The sequences name states that the scenes do not, on purpose and thousands of times."""
    logger = logging.getLogger("soundscape")
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(logging.NOTSET)


# --- 1: blocks --------------------------------------------------------------------------------------------------


@examples()
@given(case=cases(), sizes=st.lists(st.integers(1, 400), min_size=1, max_size=12))
def test_1_any_split_into_blocks_gives_bit_identical_frames_and_one_log(case: Case, sizes: list[int]) -> None:
    """Also a run without sound decides the same."""
    clips = noise(case)
    whole, split, mute = case.engine(clips), case.engine(clips), case.engine(clips)
    expected = whole.render(case.frames)
    assert in_blocks(split, sizes, case.frames).tobytes() == expected.tobytes()
    mute.skip(case.frames)
    assert whole.log == split.log == mute.log
    event(f"{len(whole.log) // 5 * 5} entries or more")


@examples()
@given(
    case=cases(rates=REAL, loud=True),
    sizes=st.sampled_from(([480], [1, 4095, 4096], [4097], [48_000], [441, 960, 7, 1, 0, 700])),
)
def test_1_under_the_ceiling_too(case: Case, sizes: list[int]) -> None:
    """At the rates of real sound, at levels that are brought down: fades of many chunks, blocks as outputs ask for."""
    clips, frames = bursts(case), case.last + case.rate // 2
    whole, split = case.engine(clips), case.engine(clips)
    expected = whole.render(frames)
    assert in_blocks(split, sizes, frames).tobytes() == expected.tobytes()
    assert whole.log == split.log
    event(f"under the ceiling: {np.abs(expected).max(initial=0) > 0.6}")


def test_1_the_ceiling_forgets_one_loud_frame_alike_in_any_blocks() -> None:
    """Frame by frame, until long after it: what it still knows shows in the last bits."""
    samples = np.full(8_000, 0.5)
    samples[100] = 1e5
    scene, clips = Scene.from_toml('[states.idle]\nsource = "a"\n'), {"a": Clip.from_samples(samples, 48_000)}
    whole, split = Engine(scene, clips), Engine(scene, clips)
    for engine in (whole, split):
        engine.post(Fact("agent", "idle"))
    expected = whole.render(6_000)
    assert len({*expected[3_000:, 0]}) > 100
    assert in_blocks(split, [1], 6_000).tobytes() == expected.tobytes()


# --- 2: envelopes -----------------------------------------------------------------------------------------------


def frame_by_frame(case: Case, engine: Engine) -> Iterator[tuple[int, Reading, Dips]]:
    """Each frame, what the log has led to there, and the ducks."""
    reading, dips, taken = Reading(case), Dips(case), 0
    while engine.position < case.frames:
        frame = engine.position
        engine.skip(1)
        assert all(entry.frame == frame for entry in engine.log[taken:])
        reading.take(engine.log[taken:])
        taken = len(engine.log)
        dips.take(frame)
        yield frame, reading, dips


@examples(150)
@given(case=cases(rates=[100], long=True))
def test_2_every_gain_follows_the_law_from_one_entry_of_the_log_to_the_next(case: Case) -> None:
    """The gain an entry starts from is the one that was reached: nothing steps but at a clip's own ends."""
    engine = case.engine(ones(case))
    for frame, reading, dips in frame_by_frame(case, engine):
        for key in case.kinds:
            assert near(engine.gain(key), reading.gain(key, frame))
        for bus in ("main", *case.scene.buses):
            assert near(engine.bus_gain(bus), dips.gain(bus, frame))


@examples()
@given(case=cases(pools=False, rates=[100]))
def test_2_what_is_rendered_has_the_gains_that_are_told(case: Case) -> None:
    """Constant-1 clips: each frame is the sum of layer gain x envelope x pick x clip x loudness x ducks."""
    clips = ones(case)
    sound = case.engine(clips).render(case.frames)[:, 0]
    told = np.empty(case.frames)
    buses = {case.scene.key(layer): layer.bus or "main" for _, layer in case.scene.all_layers}
    for frame, reading, dips in frame_by_frame(case, case.engine(clips)):
        told[frame] = sum(
            shape.move.at(frame) * case.factors[shape.clip][0] * dips.gain(buses[key], frame)
            for key in case.kinds
            for shape in reading.sounding(key, frame)
        )
    np.testing.assert_allclose(sound, told, rtol=2e-6, atol=2e-6)  # single precision


@examples(150)
@given(case=cases(long=True))
def test_2_nothing_steps_or_is_cut_off_while_it_is_heard(case: Case) -> None:
    """What the mixer is told changes no gain there and then, that of a pick which goes included; what it is told to
    stop has faded out, or its clip is over. With a declick of 0 a fade of 0
    does step."""
    engine = case.engine(noise(case))
    mixer = engine._mixer
    apply = mixer.apply

    def gains(frame: int) -> dict[tuple[int, str, int], float]:
        return {
            (number, pick.source, pick.began): playback.envelope.at(frame) * pick.envelope.at(frame)
            for number, playback in mixer._playbacks.items()
            for pick in playback.picks
        }

    def watched(cues: Iterable[Cue]) -> None:
        for cue in list(cues):
            assert cue.at == engine._mixed
            before = gains(cue.at)
            if isinstance(cue, Stop) and cue.playback in mixer._playbacks:
                for pick in mixer._playbacks[cue.playback].picks:
                    clip, position = pick.clips[pick.source], cue.at - pick.began
                    over = not pick.loop and position >= clip.length
                    assert over or before[cue.playback, pick.source, pick.began] == 0
            apply([cue])
            at_once = (isinstance(cue, Fade) and not cue.duration) or (isinstance(cue, Play) and not cue.crossfade)
            for pick_of, gain in gains(cue.at).items():
                assert at_once or near(gain, before.get(pick_of, gain))

    mixer.apply = watched  # type: ignore[method-assign]
    engine.render(case.frames)


# --- 3: power ---------------------------------------------------------------------------------------------------


@examples()
@given(number=NUMBERS)
def test_3_equal_fades_keep_the_power_through_any_interruption(number: int) -> None:
    case = crossing(number)
    engine = case.engine(ones(case))
    engine.skip(249)  # the first sound has risen
    while engine.position < case.frames:
        engine.skip(1)
        assert near(sum(engine.gain(key) ** 2 for key in "abcd"), 1, by=1e-9)


@examples()
@given(number=NUMBERS)
def test_3_what_is_rendered_keeps_it_too_where_picks_cross(number: int) -> None:
    """Each sound in a run of its own, with the others silent."""
    case = crossing(number)
    clips = ones(case)
    power = np.zeros(case.frames)
    for source in sorted({source for _, source in case.scene.all_sources}):
        alone = {name: clip if name == source else silent(clip) for name, clip in clips.items()}
        power += case.engine(alone).render(case.frames)[:, 0].astype(np.float64) ** 2
    np.testing.assert_allclose(power[249:], 1, rtol=0, atol=2e-6)  # single precision


# --- 4: the same again ------------------------------------------------------------------------------------------


@examples()
@given(case=cases(), at=st.lists(st.floats(0, 1), max_size=20))
def test_4_a_fact_that_is_said_again_changes_nothing(case: Case, at: list[float]) -> None:
    """In the same frame, in the next one, and all that is true at any frame."""
    clips = noise(case)
    once, again = case.engine(clips), case.engine(clips, facts=[])
    for (frame, fact), (later, _) in pairwise([*case.facts, (case.frames, Fact("close"))]):
        again.post(fact, frame)
        if fact.kind != "cut":
            again.post(fact, frame)
            again.post(fact, frame + (1 if later > frame + 1 else 0))
    for frame in {round(share * case.frames) for share in at} - {frame for frame, _ in case.facts}:
        for fact in {fact.kind: fact for at, fact in case.facts if at < frame and fact.kind != "cut"}.values():
            again.post(fact, frame)
    assert again.render(case.frames).tobytes() == once.render(case.frames).tobytes()
    assert again.log == once.log


@examples(200)
@given(number=NUMBERS)
def test_4_a_flap_that_settles_away_leaves_nothing_but_settle_and_cancel(number: int) -> None:
    """However many states it leads through. What was to start meanwhile starts when the state returns."""
    rng, case = Random(number), made(number)
    clips = noise(case)
    quiet = case.engine(clips)
    sound = quiet.render(case.frames)
    found = flaps(case, quiet.log, rng)
    assume(found)
    while_armed = [facts for facts in found if due_meanwhile(quiet.log, case, facts[0][0], facts[-1][0])]
    flapping = rng.choice(while_armed if while_armed and rng.random() < 0.5 else found)
    first, last = flapping[0][0], flapping[-1][0]
    facts = sorted([*case.facts, *flapping], key=lambda fact: fact[0])
    engine = case.engine(clips, facts=facts)
    flapped = engine.render(case.frames)
    meanwhile = [entry for entry in engine.log if first <= entry.frame <= last]
    expected = {(at, "settle", fact.value) for at, fact in flapping[:-1]}
    expected |= {(later, "cancel", fact.value) for (_, fact), (later, _) in pairwise(flapping)}
    about_states = [entry for entry in meanwhile if entry.key not in case.kinds]
    assert {(entry.frame, entry.action, entry.key) for entry in about_states} == expected
    assert len(about_states) == len(expected)
    others = [entry for entry in meanwhile if entry.key in case.kinds]
    late = due_meanwhile(quiet.log, case, first, last)
    event(f"armed timers that were due: {len(late) > 0}")
    if late:
        assert [entry for entry in others if entry.key not in late] == [
            entry for entry in quiet.log if first <= entry.frame <= last and entry.key not in late
        ]
        begun = {entry.key for entry in quiet.log if first <= entry.frame < last and entry.action == "start"}
        assert {(e.key, e.frame) for e in others if e.action == "start"} == {(key, last) for key in begun}
    else:
        assert [entry for entry in engine.log if not first <= entry.frame <= last or entry in others] == quiet.log
        assert flapped.tobytes() == sound.tobytes()


@examples(200)
@given(case=cases())
def test_4_every_change_settles_as_long_as_its_rule_says_or_is_cancelled(case: Case) -> None:
    """By a second reading of which state the facts come to and which rule applies."""
    engine = case.engine(noise(case))
    engine.skip(case.frames)
    about_states = [entry for entry in engine.log if entry.action in ("commit", "settle") or entry.key in STATES]
    found = sorted((e.frame, e.action, e.key, case.at(e.duration)) for e in about_states)
    assert found == sorted(changes(case))
    event(f"cancelled: {any(action == 'cancel' for _, action, *_ in found)}")


def flaps(case: Case, log: Sequence[Entry], rng: Random) -> list[tuple[tuple[int, Fact], ...]]:
    """Flaps by the application's state, which no duck hears, where nothing is pending and nothing else happens."""
    found = [flap(case, log, rng, begin, end) for begin, end in spans(case) for _ in range(5) if end - begin > 3]
    return [facts for facts in found if facts]


def flap(case: Case, log: Sequence[Entry], rng: Random, begin: int, end: int) -> tuple[tuple[int, Fact], ...]:
    first = rng.randint(begin + 1, end - 2)
    before = [entry for entry in log if entry.frame < first and entry.key not in case.kinds]
    true = {fact.kind: fact.value for at, fact in case.facts if at < first}
    pending = any(entry.action == "settle" and entry.frame == before[-1].frame for entry in before)
    if "close" in true or pending:
        return ()
    state = next((entry.key for entry in reversed(before) if entry.action == "commit"), "none")
    settles = {other: case.at(case.scene.rule(state, other).settle) for other in STATES[:-2]}
    ways = [other for other, settle in settles.items() if other != state and settle > 1]
    through = [rng.choice(ways) for _ in range(rng.randint(1, 3))] if ways else []
    through = [other for i, other in enumerate(through) if i == 0 or other != through[i - 1]]
    longest = min([end - 1 - first, *(settles[other] - 1 for other in through)])
    if state == "dancing" or not through or longest < len(through):
        return ()
    frames = [first, *(first + at for at in sorted(rng.sample(range(1, longest + 1), len(through))))]
    return tuple((at, Fact("app", value)) for at, value in zip(frames, [*through, true.get("app")], strict=True))


def due_meanwhile(log: Sequence[Entry], case: Case, first: int, last: int) -> set[str]:
    """The keys whose `after` is over in these frames."""
    return {
        entry.key
        for entry in log
        if entry.action == "arm" and entry.frame <= last and first <= entry.frame + case.at(entry.duration) < last
    }


# --- 5: chance --------------------------------------------------------------------------------------------------

UNRELATED = (
    "{ key = 'more 1', start = 'random', pool = [{ source = 'x', probability = 0.5 }, { source = 'y' }] }",
    "{ key = 'more 2', kind = 'scatter', interval = [0, 0.1], first = [0, 0.2], after = 0.1, source = 'x' }",
    "{ key = 'more 3', kind = 'once', cooldown = 0.2, probability = 0.7, source = 'y', on_exit = 'fade' }",
    "{ key = 'a more', after = 0.05, min_play = 0.3, on_exit = 'finish', bus = 'main', source = 'x' }",
)


@examples()
@given(case=cases(), beside=st.lists(st.sampled_from(UNRELATED), min_size=1, unique=True), seed=NUMBERS)
def test_5_an_unrelated_layer_changes_neither_the_log_nor_the_sound_of_the_others(
    case: Case, beside: list[str], seed: int
) -> None:
    """It draws its picks and its start, comes and goes; and is silent itself, to be told apart."""
    clips = noise(case)
    zeros = {name: steady(0, n, case.rate) for name, n in (("x", 37), ("y", 11))}
    rng = Random(seed)
    first, *rest = case.text.split("layers = [")
    text = first
    for part in rest:
        more = [layer for layer in beside if rng.random() < 0.6]
        text += f"layers = [{', '.join(more)}{'' if part.startswith(']') or not more else ', '}{part}"
    alone, joined = case.engine(clips), case.engine({**clips, **zeros}, text=text)
    assert joined.render(case.frames).tobytes() == alone.render(case.frames).tobytes()
    assert [entry for entry in joined.log if "more" not in entry.key] == alone.log


@examples()
@given(case=cases())
def test_5_the_same_seed_and_sequence_give_the_same_log_and_frames(case: Case) -> None:
    """Whether the facts are known beforehand or said when they come true."""
    clips = noise(case)
    before, live = case.engine(clips), case.engine(clips, facts=[])
    blocks = []
    for frame, fact in case.facts:
        blocks.append(live.render(frame - live.position))
        live.post(fact)
    blocks.append(live.render(case.frames - live.position))
    assert np.concatenate(blocks).tobytes() == before.render(case.frames).tobytes()
    assert live.log == before.log
    assert live.facts == before.facts == list(case.facts)


# --- 6: nothing in limbo ----------------------------------------------------------------------------------------


def at_rest(case: Case) -> dict[str, float]:
    """The gain of each bus in the end."""
    said: dict[str, str | None] = {fact.kind: fact.value for _, fact in case.facts}
    found = dict.fromkeys(("main", *case.scene.buses), 1.0)
    for duck in case.scene.ducks:
        for bus in found:
            if said.get(duck.while_.removesuffix("_speaking")) == "speaking" and {"*", bus} & {*duck.buses}:
                found[bus] *= 10 ** (duck.by_db / 20)
    return {bus: max(gain, 10 ** (-24 / 20)) for bus, gain in found.items()}


@examples(250)
@given(case=cases(silence=False, close=False, long=True))
def test_6_in_the_end_what_is_wanted_sounds_at_its_level_and_nothing_else_does(case: Case) -> None:
    """Whatever went before. Ones again: two picks that cross are never less than one of them alone."""
    clips, scene = ones(case), case.scene
    for _, layer in scene.all_layers:
        if layer.kind != "loop":
            clips |= {entry.source: silent(clips[entry.source]) for entry in scene.pool(layer).entries}
    engine = case.engine(clips)
    engine.skip(case.frames)
    layers = scene.wanted(engine.state)
    wanted = {key: layer for key, layer in layers.items() if layer.kind == "loop"}
    for key, kind in case.kinds.items():
        if kind != "scatter":
            assert engine.gain(key) == (wanted[key].gain if key in wanted else 0.0)
        elif key not in layers:
            assert engine.gain(key) == 0
    taken = len(engine.log)
    sound, buses, least = engine.render(10 * case.rate)[:, 0], at_rest(case), 0.0
    for layer in wanted.values():
        factors = [case.factors[entry.source][0] for entry in scene.pool(layer).entries if entry.probability > 0]
        least += layer.gain * min(factors) * buses[layer.bus or "main"]
    if least:
        assert sound.min() >= least * (1 - 2e-6)  # single precision
    else:
        assert not sound.any()
    assert {entry.key for entry in engine.log[taken:]} == {
        key for key, layer in layers.items() if layer.kind == "scatter"
    }


EVERYTHING = """
defaults = { crossfade = 0.6, settle = 0.004 }
ducks = [{ while = "agent_speaking", by_db = -9, recovery = 0.03 }, { while = "user_speaking", by_db = -20 }]
base = { layers = [{ key = "air", source = "l0", min_play = 0.5 }] }
[states.thinking]
layers = [
    { key = "air", source = "l0", volume = 0.5, on_exit = "finish", start = "resume" },
    { key = "two", pool = [{ source = "l1" }, { source = "l2" }], after = 0.03, on_exit = "finish", min_play = 0.02 },
    { key = "now", kind = "once", source = "s1", cooldown = 0.05, on_exit = "fade" },
    { key = "wind", kind = "scatter", source = "s0", interval = [0, 0.2], first = [0, 0], max_playbacks = 3 },
]
[states.tool]
layers = [
    { key = "two", pool = [{ source = "l1" }, { source = "l2" }], after = 0.06, start = "random", fade_out = 2 },
    { key = "wind", kind = "scatter", source = "s0", interval = [0.05, 0.05], on_exit = "fade", fade_out = 0.3 },
]
[states.on_hold]
layers = [
    { key = "now", kind = "once", source = "s1", after = 0.02 },
    { key = "long", kind = "once", source = "s2", fade_in = 0.5 },
]
[[transitions]]
to = "thinking"
settle = 0.02
[[transitions]]
to = "listening"
crossfade = 0.05
"""


def test_6_a_hundred_thousand_changes_leave_neither_playbacks_nor_timers_nor_copies_behind() -> None:
    """1 to 100 ms apart; clips of 1 to 8 s, so that what is not dropped would be seen soon."""
    rng, rate = Random(0), 1_000
    lengths = {"l0": 1_000, "l1": 700, "l2": 40, "s0": 600, "s1": 300, "s2": 8_000}
    engine = Engine(
        Scene.from_toml(EVERYTHING), {name: steady(1, n, rate) for name, n in lengths.items()}, seed=1, sample_rate=rate
    )
    states = [Fact("agent", state) for state in ("listening", "thinking", "speaking")]
    rest = [Fact("tool", "lookup"), Fact("tool"), Fact("app", "on_hold"), Fact("app"), Fact("user", "speaking")]
    most: Counter[str] = Counter()
    for n in range(100_000):
        engine.post(rng.choice(states if rng.random() < 0.6 else [*rest, Fact("user", "listening")]))
        if n % 50:
            engine.skip(rng.randint(1, 100))
        else:
            engine.render(rng.randint(1, 100))
            most |= Counter(held(engine))
    assert most["playbacks"] <= 2 + 3 + 1 + 1  # the loops, the scatter's at once, one of each once
    assert most["timers"] <= 2 * most["playbacks"] + 8
    assert most["mixed"] <= most["playbacks"]
    assert most["copies"] <= 22
    engine.post(Fact("close"))
    engine.skip(10 * rate)
    assert held(engine)["playbacks"] == held(engine)["timers"] == 0
    assert not engine.render(rate).any()
    assert engine.finished


def held(engine: Engine) -> dict[str, int]:
    """How much an engine holds of what must not grow."""
    driver = engine._driver
    return {
        "playbacks": len(driver._playbacks.playing),
        "timers": len(driver._notes.timers),
        "mixed": len(engine._mixer._playbacks),
        "copies": len(engine._copies),
    }


@pytest.mark.parametrize("layer", ['pool = [{ source = "a" }, { source = "b" }]', 'kind = "scatter"\nsource = "a"\n'])
def test_6_clips_of_one_frame_and_gaps_of_none_bound_what_there_is_to_do(layer: str) -> None:
    """One pick in 2 ms, one shot in 20, however little of it there is."""
    interval = "interval = [0, 1e-9]\n" if "scatter" in layer else ""
    scene = Scene.from_toml(f"defaults = {{ crossfade = 0 }}\n[states.idle]\n{layer}\n{interval}")
    engine = Engine(scene, {name: steady(1, 1, 48_000) for name in "ab"}, sample_rate=48_000)
    engine.post(Fact("agent", "idle"))
    engine.skip(48_000)
    assert sum(n for (_, purpose), n in engine._driver._chance.draws.items() if purpose == "pick") <= (
        51 if interval else 501
    )


# --- 7: the end -------------------------------------------------------------------------------------------------


@examples()
@given(case=cases(close=True, long=True), late=st.integers(0, 2**20))
def test_7_after_the_close_and_its_fade_there_are_exact_zeros_and_nothing_is_pending(case: Case, late: int) -> None:
    """0.6 s is the longest fade. Whatever is said later changes nothing."""
    end = case.last + case.at(0.6) + 1
    said = [(case.last + 1 + late % (n * case.rate), Fact("agent", AGENT[n])) for n in (1, 2, 3, 4)]
    facts = [*case.facts, *said, (end, Fact("app", "on_hold")), (end, Fact("user", "speaking"))]
    engine, quiet = case.engine(noise(case), facts=facts), case.engine(noise(case))
    assert engine.render(end).tobytes() == quiet.render(end).tobytes()
    assert engine.state == "none"
    assert engine.render(2 * case.rate).tobytes() == bytes(4 * 2 * case.rate)
    engine.render(3 * case.rate)
    assert engine.finished
    assert quiet.finished
    assert engine.log == quiet.log
    assert held(engine) == {**held(engine), "playbacks": 0, "timers": 0, "mixed": 0}


@examples()
@given(case=cases(close=True, long=True), later=st.integers(0, 30))
def test_7_a_cut_leaves_nothing_but_a_declick(case: Case, later: int) -> None:
    cut = case.last + later
    engine = case.engine(noise(case), facts=[*case.facts, (cut, Fact("cut"))])
    engine.render(cut + case.at(case.scene.defaults.declick) + 1)
    assert engine.finished
    assert not engine.render(case.rate).any()


@examples()
@given(case=cases(close=True, rates=(100, *REAL), loud=True), size=st.integers(1, 50))
def test_7_once_it_is_finished_it_is_so_for_good_and_all_that_follows_is_silence(case: Case, size: int) -> None:
    engine = case.engine(noise(case))
    last = case.last + case.rate
    blocks, finished = [], []
    while engine.position < last:
        blocks.append(engine.render(size * case.rate // 100))
        finished.append(engine.finished)
    heard = [n for n, block in enumerate(blocks) if block.any()]
    first = finished.index(True)
    assert all(finished[first:])
    assert not heard or heard[-1] <= first


# --- 8: rewinding -----------------------------------------------------------------------------------------------


class Reference:
    """What an engine gives that knows all the facts beforehand and never goes back."""

    def __init__(self, case: Case, clips: Mapping[str, Clip], frames: int) -> None:
        self.facts = list(case.facts)
        self.case, self.clips, self.frames = case, clips, frames
        self.engine, self.sound = self.run()

    def run(self) -> tuple[Engine, Samples]:
        engine = self.case.engine(self.clips, facts=self.facts)
        return engine, engine.render(self.frames)

    def add(self, frame: int, fact: Fact) -> None:
        self.facts.append((frame, fact))
        self.engine, self.sound = self.run()

    def at(self, frame: int) -> Engine:
        engine = self.case.engine(self.clips, facts=self.facts)
        engine.skip(frame)
        return engine

    def before(self, frame: int) -> tuple[list[Entry], list[tuple[int, Fact]]]:
        log, facts = self.engine.log, self.engine.facts
        return [entry for entry in log if entry.frame < frame], [fact for fact in facts if fact[0] < frame]


def present(engine: Engine, case: Case) -> tuple[str, list[float], list[float]]:
    """What an engine says of the present."""
    buses = ("main", *case.scene.buses)
    return engine.state, [engine.gain(key) for key in case.kinds], [engine.bus_gain(bus) for bus in buses]


def goes_back(case: Case, clips: Mapping[str, Clip], rng: Random, frames: int) -> None:
    """Renders, skips and goes back at will, and compares what is rendered with what it always was."""
    reference = Reference(case, clips, frames)
    engine = case.engine(clips)
    events = sorted({entry.frame for entry in reference.engine.log})
    for step in range(rng.randint(3, 12)):
        if step and rng.random() < 0.5 and engine.position:
            nearby = [frame + rng.randint(-2, 2) for frame in events]
            nearby = [frame for frame in (*nearby, engine.position - 1, 0) if 0 <= frame <= engine.position]
            engine.rewind(choose(rng, rng.randint(0, engine.position), rng.choice(nearby)))
            log, facts = reference.before(engine.position)
            assert engine.log == log
            assert engine.facts == facts
            assert present(engine, case) == present(reference.at(engine.position), case)
            if rng.random() < 0.3:
                later = rng.choice((0, 0, 1, case.rate // 10))
                other = Fact("user", "speaking")
                fact = choose(rng, Fact("agent", "thinking"), Fact("agent", "speaking"), other, Fact("close"))
                now = not later and choose(rng, True, False)
                earliest = engine.position + Ceiling(case.rate).ahead if engine.position else 0
                reference.add(earliest if now else engine.position + later, fact)
                engine.post(fact, None if now else engine.position + later)
        size = min(frames - engine.position, choose(rng, 1, 7, rng.randint(0, frames), rng.randint(0, frames // 8)))
        if rng.random() < 0.3:
            engine.skip(size)
        else:
            first = engine.position
            assert engine.render(size).tobytes() == reference.sound[first : first + size].tobytes()
    first = engine.position
    assert engine.render(frames - first).tobytes() == reference.sound[first:].tobytes()
    assert engine.log == reference.engine.log
    assert engine.facts == reference.engine.facts
    assert engine.finished == reference.engine.finished


@examples(150)
@given(number=NUMBERS)
def test_8_going_back_and_rendering_again_gives_the_same_frames_log_and_facts(number: int) -> None:
    """To any frame, as often as you like; with other facts from there on, what they had led to from the beginning."""
    case = made(number)
    goes_back(case, noise(case), Random(number), case.frames)


@examples()
@given(number=NUMBERS)
def test_8_under_the_ceiling_too(number: int) -> None:
    """It looks ahead, and back for 100 ms."""
    case = made(number, rates=REAL, loud=True)
    goes_back(case, bursts(case), Random(number), case.last + case.rate // 4)


def test_8_what_was_held_is_released_by_the_transition_that_was_the_last_one_then() -> None:
    """Also from a copy that is younger than that, after another one has come."""
    text = """
    transitions = [{ to = "listening", crossfade = 0.1 }, { to = "idle", crossfade = 0.5 }]
    [states.thinking]
    source = "a"
    min_play = 1.0
    """
    engine = Engine(Scene.from_toml(text), {"a": steady(1, 5_000, 1_000)}, sample_rate=1_000)
    for frame, state in ((0, "thinking"), (500, "listening"), (1_300, "idle")):
        engine.post(Fact("agent", state), frame)
    engine.post(Fact("user", "listening"), 700)  # a copy is kept where something happens
    sound, log = engine.render(1_500), [*engine.log]
    engine.rewind(800)
    assert engine.render(700).tobytes() == sound[800:].tobytes()
    assert engine.log == log


def test_8_there_is_no_going_back_to_what_was_not_yet() -> None:
    engine = Engine(Scene.from_toml(""), {}, sample_rate=100)
    engine.render(10)
    engine.rewind(10)
    for frame in (-1, 11):
        with pytest.raises(UsageError):
            engine.rewind(frame)


# --- 9: picks ---------------------------------------------------------------------------------------------------


def unlikely(cells: int) -> float:
    """The chi-squared that so many degrees of freedom exceed once in a million times: Wilson and Hilferty, "The
    Distribution of Chi-Square", PNAS 17 (1931), 684, with the normal distribution's 4.753."""
    return cells * (1 - 2 / (9 * cells) + 4.753 * math.sqrt(2 / (9 * cells))) ** 3


def chi_squared(counts: Mapping[int | None, int], shares: Mapping[int | None, float]) -> tuple[float, int]:
    """Of what was drawn against what should have been, and its degrees of freedom. What was to be expected under five
    times is taken together, with the next rarest if need be."""
    total = sum(counts.values())
    cells: list[tuple[float, float]] = [(counts.get(pick, 0), total * share) for pick, share in shares.items()]
    cells.sort(key=lambda cell: -cell[1])
    while len(cells) > 1 and cells[-1][1] < 5:
        (count, expected), (more, more_expected) = cells.pop(), cells.pop()
        cells.append((count + more, expected + more_expected))
    return sum((count - expected) ** 2 / expected for count, expected in cells), max(0, len(cells) - 1)


def made_pool(rng: Random) -> Pool:
    entries = [
        {"source": str(n), "probability": choose(rng, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, rng.random())}
        for n in range(rng.randint(1, 6))
    ]
    entries[0]["probability"] = choose(rng, 0.1, 1.0)
    mode = choose(rng, "random", "random", "shuffle", "shuffle", "sequence")
    return Pool.model_validate({"entries": entries, "mode": mode, "avoid_repeat": choose(rng, 0, 0, 1, 2, 3, 9)})


@dataclass(frozen=True)
class Drawing:
    """How the format says that a pool is drawn from."""

    pool: Pool

    @property
    def weights(self) -> dict[int, float]:
        return {n: entry.probability for n, entry in enumerate(self.pool.entries) if entry.probability > 0}

    @property
    def silence(self) -> float:
        return 0.0 if self.pool.mode == "sequence" else max(0.0, 1 - sum(self.weights.values()))

    @property
    def avoided(self) -> int:
        """How many of the last picks are not drawn: a shuffled bag's seam avoids one at least."""
        least = 1 if self.pool.mode == "shuffle" else 0
        return min(max(least, self.pool.avoid_repeat), len(self.weights) - 1)

    def shares(self, last: tuple[int, ...], bag: frozenset[int]) -> dict[int | None, float]:
        """Of each pick and of silence (None), after these last picks, with this left in the bag."""
        allowed = {n: weight for n, weight in self.weights.items() if n not in last}
        if self.pool.mode == "sequence":
            following = [n for n in self.weights if last and n > last[-1]]
            return {following[0] if following else min(self.weights): 1.0}
        if self.pool.mode == "shuffle":
            allowed = {n: weight for n, weight in allowed.items() if n in bag}
        whole = (1 - self.silence) / sum(allowed.values())
        shares: dict[int | None, float] = {n: weight * whole for n, weight in allowed.items()}
        return {**shares, None: self.silence} if self.silence else shares

    def after(self, last: tuple[int, ...], bag: frozenset[int], pick: int) -> tuple[tuple[int, ...], frozenset[int]]:
        """The last picks and the bag after one more pick."""
        kept = 1 if self.pool.mode == "sequence" else self.avoided
        left = bag - {pick}
        return (*last, pick)[-kept:] if kept else (), left or frozenset(self.weights)


def drawn(pool: Pool, seed: int, count: int, key: str = "k", *, then: int = 0) -> list[int | None]:
    """So many picks, None for silence; then so many in which silence takes no part."""
    chance = Chance(seed)
    picks = [chance.pick(key, pool, silence=n < count) for n in range(count + then)]
    return [None if pick is None else int(pick.entry.source) for pick in picks]


@examples(150)
@given(number=NUMBERS)
def test_9_picks_fit_their_probabilities_after_whatever_was_picked_before(number: int) -> None:
    """Any pool in any mode: what is next is compared apart for each that is avoided and each that is in the bag."""
    pool = made_pool(Random(number))
    drawing = Drawing(pool)
    last: tuple[int, ...] = ()
    bag = frozenset(drawing.weights)
    counts: dict[tuple[tuple[int, ...], frozenset[int]], Counter[int | None]] = defaultdict(Counter)
    for pick in drawn(pool, number, 1_000):
        counts[last, bag if pool.mode == "shuffle" else frozenset()][pick] += 1
        if pick is not None:
            last, bag = drawing.after(last, bag, pick)
    shares = {place: drawing.shares(*place) for place in counts}
    assert all({*count} <= {*shares[place]} for place, count in counts.items())
    found = [chi_squared(count, shares[place]) for place, count in counts.items()]
    freedom = sum(cells for _, cells in found)
    if freedom:
        assert sum(value for value, _ in found) <= unlikely(freedom)


@examples(150)
@given(number=NUMBERS)
def test_9_no_pick_comes_again_inside_avoid_repeat_and_each_bag_holds_all(number: int) -> None:
    """Silence is no pick, the seam of two bags no exception."""
    pool = made_pool(Random(number))
    picks = [pick for pick in drawn(pool, number, 400) if pick is not None]
    playable, avoided = set(Drawing(pool).weights), Drawing(pool).avoided
    if pool.mode != "sequence":
        assert all(len({*picks[n : n + avoided + 1]}) == avoided + 1 for n in range(len(picks) - avoided))
    if pool.mode != "random":
        size = len(playable)
        assert all({*picks[n : n + size]} == playable for n in range(0, len(picks) - size, size))


def stationary(drawing: Drawing) -> tuple[list[int | None], np.ndarray, np.ndarray]:
    """The long-run share of each pick and of silence, and the variance of its count per draw: of the Markov chain
    whose places are the last picks and what was just drawn (Kemeny and Snell, "Finite Markov Chains", 4.6)."""
    places: list[tuple[tuple[int, ...], int | None]] = [
        (last, pick)
        for last in permutations(drawing.weights, drawing.avoided)
        for pick in (None, *drawing.weights)
        if pick is None or not last or last[-1] == pick
    ]
    number = {place: n for n, place in enumerate(places)}
    steps = np.zeros((len(places), len(places)))
    for (last, _), n in number.items():
        for pick, share in drawing.shares(last, frozenset()).items():
            after = last if pick is None else drawing.after(last, frozenset(), pick)[0]
            steps[n, number[after, pick]] += share
    one = np.ones(len(places))
    size = len(places)
    shares = np.linalg.solve(np.eye(size) - steps.T + np.outer(one, one), one)
    fundamental = np.linalg.inv(np.eye(size) - steps + np.outer(one, shares))
    picks: list[int | None] = [*drawing.weights, None]
    totals, variances = [], []
    for pick in picks:
        is_pick = np.array([found == pick for _, found in places], float)
        total = shares @ is_pick
        centred = is_pick - total
        totals.append(total)
        variances.append(2 * (shares * centred) @ fundamental @ centred - (shares * centred) @ centred)
    return picks, np.array(totals), np.array(variances)


@examples()
@given(number=NUMBERS)
def test_9_under_avoid_repeat_the_shares_are_those_of_the_markov_chain(number: int) -> None:
    """With every place it has been in left out of account: what the author hears in the long run."""
    rng = Random(number)
    pool = made_pool(rng).model_copy(update={"mode": "random"})
    drawing = Drawing(pool)
    assume(len(drawing.weights) - drawing.avoided > 1 or len(drawing.weights) <= 2)  # else a round, by its first picks
    assume(len(drawing.weights) <= 4)
    picks, shares, variances = stationary(drawing)
    counts, count = Counter(drawn(pool, number, 1_500)), 1_500
    assert set(counts) <= set(picks)
    for pick, share, variance in zip(picks, shares, variances, strict=True):
        # Once in a million times, and the ten draws or so that the beginning may have its own way.
        assert abs(counts[pick] - count * share) <= 4.9 * math.sqrt(count * max(variance, 0)) + 10


@examples()
@given(number=NUMBERS)
def test_9_layers_of_every_kind_play_what_their_pool_gives(number: int) -> None:
    """Through the engine: shots by the log, the picks of a loop by their sound. Clips of 5 frames, gaps of 20."""
    pool = made_pool(Random(number))
    entries = [{"source": entry.source, "probability": entry.probability} for entry in pool.entries]
    text = f"defaults = {{ crossfade = 0, declick = 0 }}\n[pools.p]\nmode = '{pool.mode}'\n"
    text += lines({"avoid_repeat": pool.avoid_repeat, "entries": entries})
    text += """[states]
    idle = { key = "s", kind = "scatter", pool = "p", interval = [0.02, 0.02], first = [0, 0] }
    thinking = { key = "o", kind = "once", pool = "p" }
    speaking = { key = "l", pool = "p" }
    """
    clips = {str(n): steady(n + 1, 5, 1_000) for n in range(len(entries))}
    engine = Engine(Scene.from_toml(text), clips, seed=number, sample_rate=1_000)
    engine.post(Fact("agent", "idle"))
    engine.skip(500)
    for n in range(30):
        engine.post(Fact("agent", "thinking"), 500 + 10 * n)
        engine.post(Fact("agent", "listening"), 508 + 10 * n)
    engine.post(Fact("agent", "speaking"), 800)
    engine.skip(300)
    assert shots(engine, "s") == [pick for pick in scattered(drawn(pool, number, 50, "s")) if pick[0] < 500]
    once = drawn(pool, number, 30, "o")
    assert shots(engine, "o") == [(500 + 10 * n, pick) for n, pick in enumerate(once) if pick is not None]
    looped = drawn(pool, number, 1, "l", then=19)
    heard = [int(value) for value in engine.render(100)[::5, 0]]
    assert heard == [0 if looped[0] is None else 1 + (pick or 0) for pick in looped]


def shots(engine: Engine, key: str) -> list[tuple[int, int]]:
    return [(entry.frame, int(entry.clip)) for entry in engine.log if entry.action == "shot" and entry.key == key]


def scattered(picks: Sequence[int | None]) -> Iterator[tuple[int, int]]:
    """When picks of 5 frames with gaps of 20 begin: silence has no length."""
    frame = 0
    for pick in picks:
        if pick is not None:
            yield frame, pick
        frame += 20 if pick is None else 25


# --- a fault ----------------------------------------------------------------------------------------------------


class FailingOnce(dict[str, Clip]):
    """Clips, one of which cannot be had when it is first asked for."""

    failed = False

    def __getitem__(self, source: str) -> Clip:
        if source == "b" and not self.failed:
            self.failed = True
            raise MemoryError
        return super().__getitem__(source)


def test_a_block_that_fails_halfway_is_the_only_one() -> None:
    """What comes after it is as long, and the same, as if nothing had happened."""
    text = '[base]\nsource = "a"\n[states.thinking]\nsource = "b"'
    clips = {name: Clip.from_samples(np.full(96_000, 0.1, np.float32), 48_000) for name in "ab"}
    sound, failing = Engine(Scene.from_toml(text), clips), Engine(Scene.from_toml(text), FailingOnce(clips))
    for engine in (sound, failing):
        engine.post(Fact("agent", "listening"), 0)
        engine.post(Fact("agent", "thinking"), 1_500)
    expected = sound.render(9_600)
    assert failing.render(960).tobytes() == expected[:960].tobytes()
    with pytest.raises(MemoryError):
        failing.render(960)
    assert failing.render(960).tobytes() == expected[1_920:2_880].tobytes()
    assert failing.render(960).tobytes() == expected[2_880:3_840].tobytes()
