"""Scenes and sequences that nobody chose, for the guarantees of the format.

A scene is made up as TOML text, so that what is tested has come the whole way, and a failing example can be read and
kept. Hypothesis chooses the number that a case is made from, not each of its parts: its small examples, good for
finding what is wrong with one fact, hold nothing that is left and wanted again (*measured*: 3 sounds held in 500
examples; now every second example has one). For the same reason nothing is gained from shrinking it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise, product
from random import Random
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from soundscape.clip import Clip
from soundscape.engine import Engine, Fact
from soundscape.loader import Scene

FREE = int(os.environ.get("GUARANTEES", "0"))
"""`GUARANTEES=5000 pytest tests/test_guarantees.py` tries so many other examples of each, new ones every time."""


def examples(count: int = 100) -> settings:
    """How a guarantee is run: with so many examples, the same ones every time."""
    return settings(
        max_examples=FREE or count,
        derandomize=not FREE,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


NUMBERS = st.integers(0, 2**64 - 1)

REAL = (8_000, 11_025, 16_000, 48_000)
"""Sample rates at which there is a ceiling; the grids of its cells differ."""

T = TypeVar("T")
AGENT = ("initializing", "idle", "listening", "thinking", "speaking")
NAMES = ("listening", "thinking", "speaking", "tool", "away", "on_hold")
KNOWN = ("none", *dict.fromkeys((*AGENT, *NAMES)))
FADES = (0.0, 0.01, 0.05, 0.2, 0.6)
GAPS = ([0.0, 0.1], [0.05, 0.05], [0.1, 0.4], [0.0, 1.0])
FINISH = 5.0
"""Seconds that a sound may take to play out (T10)."""

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """What is to be known of a clip, apart from how it sounds; frames."""

    length: int
    start: int
    beyond: int
    seam: int
    gain: float
    lufs: float | None

    def clip(self, samples: npt.NDArray[np.float64], rate: int, *, beyond: bool = True) -> Clip:
        """A clip of these samples, by hand: `Clip.from_samples` finds loops and seams of its own."""
        period = self.length - self.start - (self.beyond if beyond else 0)
        frames = samples.astype(np.float32)
        seam = frames[self.length - self.seam :].copy()
        frames.setflags(write=False)
        seam.setflags(write=False)
        return Clip(frames, rate, period, seam, self.start, self.gain, self.lufs)


@dataclass(frozen=True)
class Case:
    """A scene and what happens to it; everything in frames."""

    text: str
    facts: tuple[tuple[int, Fact], ...]
    sounds: Mapping[str, Sound]
    rate: int
    seed: int

    @cached_property
    def scene(self) -> Scene:
        return Scene.from_toml(self.text)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """By key."""
        return {self.scene.key(layer): layer.kind for _, layer in self.scene.all_layers}

    @cached_property
    def factors(self) -> dict[str, tuple[float, float]]:
        """By source, the least and the greatest of what a playback is multiplied by besides its layer and ducks."""
        found = {}
        for _, layer in self.scene.all_layers:
            pool, level = self.scene.pool(layer), self.scene.level_lufs(layer)
            for entry in pool.entries:
                sound = self.sounds[entry.source]
                gain = entry.volume * sound.gain
                if level is not None and sound.lufs is not None:
                    gain *= 10 ** ((level - sound.lufs) / 20)
                low, high = pool.gain_jitter_db or (0.0, 0.0)
                found[entry.source] = gain * 10 ** (low / 20), gain * 10 ** (high / 20)
        return found

    @property
    def last(self) -> int:
        """The frame of the last fact."""
        return self.facts[-1][0]

    @property
    def frames(self) -> int:
        """Until a last change has settled (0.5 s), what it held has played as long as it must (0.6 s) and out (1 s,
        5 s if there is a long clip), and every fade (0.6 s) is over."""
        longest = max((sound.length for sound in self.sounds.values()), default=0)
        return self.last + 3 * self.rate + (5 * self.rate if longest > self.rate else 0)

    def at(self, seconds: float) -> int:
        """Seconds as a number of frames."""
        return math.floor(seconds * self.rate + 0.5)

    def engine(
        self,
        clips: Mapping[str, Clip],
        *,
        text: str | None = None,
        facts: Sequence[tuple[int, Fact]] | None = None,
        history: float = math.inf,
    ) -> Engine:
        """An engine that knows all the facts."""
        scene = self.scene if text is None else Scene.from_toml(text)
        engine = Engine(scene, clips, seed=self.seed, sample_rate=self.rate, history=history)
        for frame, fact in self.facts if facts is None else facts:
            engine.post(fact, frame)
        return engine


def steady(value: float, length: int, rate: int) -> Clip:
    """A clip of a constant."""
    return Sound(length, 0, 0, 0, 1.0, None).clip(np.full(length, value), rate)


def silent(clip: Clip) -> Clip:
    """As long as another one."""
    return replace(clip, samples=np.zeros_like(clip.samples), seam=np.zeros_like(clip.seam))


def ones(case: Case) -> dict[str, Clip]:
    """The constant 1, with nothing beyond the loop: what is rendered is the sum of the gains."""
    return {name: sound.clip(np.ones(sound.length), case.rate, beyond=False) for name, sound in case.sounds.items()}


def noise(case: Case, level: float = 0.1) -> dict[str, Clip]:
    """Strangers to each other."""
    clips = {}
    for number, (name, sound) in enumerate(case.sounds.items()):
        samples = np.random.default_rng(number).standard_normal(sound.length) * level
        clips[name] = sound.clip(samples, case.rate)
    return clips


def bursts(case: Case) -> dict[str, Clip]:
    """Noise far above full scale, all through or in single frames, between which a ceiling lets go."""
    clips = noise(case, 0.5)
    for number, (name, sound) in enumerate(case.sounds.items()):
        if number % 2 == case.seed % 2:
            samples = np.random.default_rng(number).standard_normal(sound.length) * 0.01
            samples[:: 1 + case.rate // 7] = 3.0
            clips[name] = sound.clip(samples, case.rate)
    return clips


def in_blocks(engine: Engine, sizes: Sequence[int], frames: int) -> Samples:
    """So many frames, in blocks of these sizes and then of the last one again and again."""
    blocks = [engine.render(0)]
    for size in sizes:
        blocks.append(engine.render(min(size, frames - engine.position)))
    while engine.position < frames:
        blocks.append(engine.render(min(sizes[-1], frames - engine.position)))
    return np.concatenate(blocks)


# --- scenes -----------------------------------------------------------------------------------------------------


def table(values: Mapping[str, object]) -> str:
    """An inline table of what is not None."""

    def spelt(value: object) -> str:
        if isinstance(value, dict):
            return table(value)
        if isinstance(value, list):
            return f"[{', '.join(map(spelt, value))}]"
        return str(value).lower() if isinstance(value, bool) else repr(value)

    return f"{{ {', '.join(f'{key} = {spelt(value)}' for key, value in values.items() if value is not None)} }}"


def choose(rng: Random, *values: T) -> T:
    return rng.choice(values)


def fade(rng: Random) -> float | None:
    return choose(rng, None, None, None, *FADES)


@dataclass(frozen=True)
class Key:
    """What every layer of a key has in common."""

    name: str
    kind: str
    bus: str | None
    named: bool
    pool: Mapping[str, object]

    @property
    def common(self) -> dict[str, object]:
        pool = f"pool {self.name}" if self.named else self.pool["entries"]
        return {"key": self.name, "kind": self.kind, "bus": self.bus, "pool": pool}


def made_key(rng: Random, name: str, buses: Sequence[str], *, pools: bool, silence: bool) -> Key:
    kind = choose(rng, "loop", "loop", "loop", "once", "scatter")
    count = choose(rng, 1, 2, 3) if pools or kind != "loop" else 1
    shares = [choose(rng, 0.0, 0.2, 0.5, 1.0) for _ in range(count)]
    shares[0] = choose(rng, 0.3, 0.9) if silence else 1.0
    entries = [
        {
            "source": f"{name}{n}",
            "probability": share,
            "volume": choose(rng, None, 0.5),
            "fade_in": fade(rng),
            "fade_out": fade(rng),
        }
        for n, share in enumerate(shares)
    ]
    pool = {
        "entries": entries,
        "mode": choose(rng, None, "random", "shuffle", "sequence"),
        "avoid_repeat": choose(rng, None, None, 1, 2),
        "gain_jitter_db": choose(rng, None, [-6.0, 2.0], [-3.0, -3.0]) if pools else choose(rng, None, [-3.0, -3.0]),
    }
    return Key(name, kind, choose(rng, None, None, "main", *buses), choose(rng, True, False), pool)


def made_layers(rng: Random, keys: Sequence[Key], most: int) -> list[dict[str, object]]:
    found = []
    for key in rng.sample(keys, min(choose(rng, 0, *range(1, most + 1)), len(keys))):
        layer = {
            **key.common,
            "volume": choose(rng, None, None, 0.25, 0.5, 1.5),
            "after": choose(rng, None, None, None, None, 0.0, 0.02, 0.1, 0.5),
            "on_exit": choose(rng, None, "fade", "finish", "finish"),
            "fade_in": fade(rng),
            "fade_out": fade(rng),
        }
        if key.kind == "loop":
            layer["start"] = choose(rng, None, "beginning", "random", "resume", "elapsed")
            layer["min_play"] = choose(rng, None, None, 0.0, 0.1, 0.6)
        elif key.kind == "scatter":
            layer["interval"] = choose(rng, *GAPS)
            layer["first"] = choose(rng, None, [0.0, 0.0], [0.0, 0.0], [0.0, 0.2])
            layer["max_playbacks"] = choose(rng, None, 1, 2, 3)
        else:
            layer["cooldown"] = choose(rng, None, 0.0, 0.3, 2.0)
        found.append(layer)
    return found


def made_rules(rng: Random) -> list[dict[str, object]]:
    """Transition rules of which no two collide."""
    found: list[dict[str, object]] = []
    for _ in range(rng.randint(0, 5)):
        sides = ("*", "*", "*", "*", "none", "thinking", "listening", *NAMES)
        source, target = (choose(rng, *sides, rng.sample(NAMES, 2), rng.sample(KNOWN, 3)) for _ in range(2))
        rule: dict[str, object] = {
            "from": source,
            "to": target,
            "crossfade": fade(rng),
            "fade_in": fade(rng),
            "fade_out": fade(rng),
            "settle": choose(rng, None, None, 0.0, 0.03, 0.2, 0.5),
            "urgent": choose(rng, None, True, False),
        }
        if not any(collide(rule, other) for other in found):
            found.append(rule)
    return found


def collide(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two rules of one rank set the same key for the same pair of different states."""

    def sets(rule: Mapping[str, object]) -> set[str]:
        keys = {key for key, value in rule.items() if value is not None} - {"from", "to"}
        return keys | ({"fade_in", "fade_out"} if "crossfade" in keys else set())

    def listed(side: object) -> Sequence[str]:
        return KNOWN[1:] if side == "*" else [side] if isinstance(side, str) else side  # type: ignore[return-value]

    def ways(rule: Mapping[str, object]) -> set[tuple[str, str]]:
        return {(a, b) for a, b in product(listed(rule["from"]), listed(rule["to"])) if a != b}

    if any((one[side] == "*") != (other[side] == "*") for side in ("from", "to")) or not sets(one) & sets(other):
        return False
    return bool(ways(one) & ways(other))


def made_ducks(rng: Random, buses: Sequence[str]) -> list[dict[str, object]]:
    return [
        {
            "while": choose(rng, "agent_speaking", "user_speaking"),
            "by_db": choose(rng, -3.0, -9.0, -20.0),
            "buses": choose(rng, None, ["*"], ["main"], [*buses, "main"], *([bus] for bus in buses)),
            "fade_out": choose(rng, None, *FADES),
            "recovery": choose(rng, None, 0.0, 0.03, 0.3),
            "fade_in": choose(rng, None, *FADES),
        }
        for _ in range(choose(rng, 0, 0, 1, 2, 3))
    ]


def made_scene(rng: Random, *, pools: bool, silence: bool) -> str:
    buses = rng.sample(("bed", "fx"), rng.randint(0, 2))
    keys = [made_key(rng, name, buses, pools=pools, silence=silence) for name in "abcd"[: rng.randint(1, 4)]]
    states = ["on_hold", "thinking", *rng.sample(("listening", "speaking", "tool", "away"), rng.randint(1, 4))]
    defaults = {
        "crossfade": choose(rng, *FADES, 0.6),
        "fade_in": fade(rng),
        "fade_out": fade(rng),
        "settle": choose(rng, None, None, None, 0.02, 0.2),
        "declick": choose(rng, 0.0, 0.005, 0.02),
    }
    text = f"speech_lufs = {choose(rng, -20.0, -16.0)}\n"
    text += f"defaults = {table(defaults)}\nbase = {table({'layers': made_layers(rng, keys, 1)})}\n"
    text += f"ducks = [{', '.join(map(table, made_ducks(rng, buses)))}]\n"
    text += f"transitions = [{', '.join(map(table, made_rules(rng)))}]\n"
    text += "".join(f'[pools."pool {key.name}"]\n{lines(key.pool)}' for key in keys if key.named)
    text += "[buses]\n" + lines({bus: {"level_lu": choose(rng, -18.0, -6.5)} for bus in buses})
    return text + "[states]\n" + lines({name: {"layers": made_layers(rng, keys, 3)} for name in states})


def lines(values: Mapping[str, object]) -> str:
    """Keys and values, each in a line."""
    return "".join(f"{table({key: value})[2:-2]}\n" for key, value in values.items() if value is not None)


def made_sounds(rng: Random, sources: Sequence[str], rate: int, *, loud: bool, long: bool) -> dict[str, Sound]:
    found = {}
    for source in sources:
        most = rate if rate <= 1_000 else rate // 8
        length = rng.randint(3, 7 * rate if long and rng.random() < 0.1 else most)
        start, beyond = choose(rng, 0, 0, length // 4), choose(rng, 0, length // 5)
        seam = choose(rng, 0, (length - start - beyond) // 4)
        gain = choose(rng, 1.0, 4.0, 20.0) if loud else choose(rng, 1.0, 1.0, 0.5, 1.4)
        found[source] = Sound(length, start, beyond, seam, gain, choose(rng, None, -30.0, -23.5, -14.0))
    return found


def made_facts(rng: Random, rate: int, *, close: bool) -> tuple[tuple[int, Fact], ...]:
    """Two to twenty-five facts, from none to a second apart, several in one frame among them; at the rates of real
    sound fewer, and closer together."""
    quick = rate > 1_000
    users = [Fact("user", choose(rng, "away", "speaking", "speaking", "listening")) for _ in range(8)]
    rest = [Fact("app", "on_hold"), Fact("app", "thinking"), Fact("app"), Fact("tool", "lookup"), Fact("tool"), *users]
    usual = rng.sample(("listening", "thinking", "speaking"), 2)
    found = [Fact("agent", choose(rng, *AGENT))]
    for _ in range(rng.randint(1, 9 if quick else 24)):
        state = Fact("agent", choose(rng, *usual, *usual, choose(rng, *AGENT, "dancing")))
        found.append(choose(rng, state, state, state, choose(rng, *rest)))
    gaps = [choose(rng, 0, 1, 3, 10, 20) if quick else choose(rng, 0, 1, 3, 10, 10, 30, 30, 100) for _ in found]
    if close:
        found.append(Fact("close"))
        gaps.append(choose(rng, 0, 1, 10, 100))
        if choose(rng, True, False, False):
            found.append(Fact("cut"))
            gaps.append(choose(rng, 0, 1, 10))
    frames = (gap * rate // 100 + (rng.randint(0, 9) if quick and gap else 0) for gap in gaps)
    return tuple(zip(accumulate(frames), found, strict=True))


def made(
    number: int,
    *,
    pools: bool = True,
    silence: bool = True,
    close: bool | None = None,
    rates: Sequence[int] = (100, 1_000),
    loud: bool = False,
    long: bool = False,
) -> Case:
    """A case of a number.

    Args:
        number: whatever is left open.
        pools: whether loops have pools, and gains are drawn.
        silence: whether probabilities sum to less than 1.
        close: whether the session ends; either unless said.
        rates: sample rates to choose from.
        loud: whether levels are far above full scale.
        long: whether some clips take longer than a second, and longer than anything may take to play out.
    """
    rng = Random(number)
    text = made_scene(rng, pools=pools, silence=silence)
    rate = choose(rng, *rates)
    sources = sorted({source for _, source in Scene.from_toml(text).all_sources})
    sounds = made_sounds(rng, sources, rate, loud=loud, long=long)
    happened = made_facts(rng, rate, close=choose(rng, True, False) if close is None else close)
    return Case(text, happened, sounds, rate, rng.randrange(2**40))


def cases(
    *,
    pools: bool = True,
    silence: bool = True,
    close: bool | None = None,
    rates: Sequence[int] = (100, 1_000),
    loud: bool = False,
    long: bool = False,
) -> st.SearchStrategy[Case]:
    return NUMBERS.map(
        lambda number: made(number, pools=pools, silence=silence, close=close, rates=rates, loud=loud, long=long)
    )


def crossing(number: int) -> Case:
    """States of one key each, at full level, some of them the same; every rule sets a crossfade, nothing is held.

    A key plays one sound, or two in turn, which cross.
    """
    rng = Random(number)
    keys = [choose(rng, *"abcd") for _ in AGENT]
    lengths = (0.0, 0.03, 0.1, 0.4, 1.3)
    turns = {key: choose(rng, True, False) for key in "abcd"}
    text = f"[defaults]\ndeclick = 0\ncrossfade = {choose(rng, *lengths)}\nsettle = {choose(rng, 0, 0, 0.07)}\n"
    for key, turn in turns.items():
        entries = [{"source": f"{key}{n}"} for n in range(2 if turn else 1)]
        text += f"[pools.{key}]\nmode = 'sequence'\n" + lines({"entries": entries})
    starts = {key: choose(rng, "beginning", "random", "resume", "elapsed") for key in "abcd"}
    text += "".join(
        f'[states.{name}]\npool = "{key}"\nstart = "{starts[key]}"\n' for name, key in zip(AGENT, keys, strict=True)
    )
    for target in ["speaking", *rng.sample(AGENT[:-1], rng.randint(0, 4))]:
        values = {"urgent": choose(rng, True, False), "settle": choose(rng, None, 0.0, 0.04, 0.5)}
        text += f'[[transitions]]\nto = "{target}"\ncrossfade = {choose(rng, *lengths)}\n{lines(values)}'
    states = [choose(rng, *AGENT) for _ in range(rng.randint(2, 25))]
    frames = [0, *accumulate([choose(rng, 0, 1, 2, 5, 17, 80) for _ in states[1:]], initial=250)][: len(states)]
    happened = tuple((frame, Fact("agent", state)) for frame, state in zip(frames, states, strict=True))
    length = rng.randint(20, 90)
    sounds = {f"{key}{n}": Sound(length, 0, 0, 0, 1.0, None) for key in "abcd" for n in range(2)}
    return Case(text, happened, sounds, 100, 0)


def spans(case: Case) -> list[tuple[int, int]]:
    """Between which frames nothing happens: after one fact, before the next."""
    return list(pairwise([*(frame for frame, _ in case.facts), case.frames]))
