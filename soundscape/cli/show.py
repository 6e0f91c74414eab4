"""What a scene is: what plays in which state, and how loud."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from rich.cells import cell_len
from rich.text import Text

from soundscape.cli.layout import Row, columns, listed, plain
from soundscape.clip import Clip
from soundscape.driver.diagram import alike
from soundscape.exceptions import Problem, SceneError
from soundscape.gain import linear_to_db
from soundscape.library.loudness import integrated_loudness
from soundscape.loader import Scene
from soundscape.scene import HOST_STATES, MAIN
from soundscape.scene.tables import ALL, AudioConfig, Layer, Pool

__all__ = ["Levels", "shown"]

LONG_KEY = 24
"""Characters of a key that has a line to itself beyond that."""


class Levels:
    """How loud the sounds of a scene are.

    Args:
        scene: the scene.
        clips: its clips by source.
    """

    def __init__(self, scene: Scene, clips: Mapping[str, Clip]) -> None:
        self._scene = scene
        self._clips = clips
        self._files: dict[str, float | None] = {}
        self.problems: list[Problem] = []
        """What is wrong with those that could not be loaded, so far."""

    def of(self, layer: Layer) -> list[float | None]:
        """LUFS of each sound of a layer that may play, as it plays there, ducks apart; None for one that cannot be
        measured.

        Raises:
            SceneError: one cannot be loaded.
        """
        return [self._of(layer, entry) for entry in self._scene.pool(layer).entries if entry.probability > 0]

    def _of(self, layer: Layer, entry: AudioConfig) -> float | None:
        lufs = self._file(entry.source)
        if lufs is None:
            return None
        named = self._scene.clips.get(entry.source)
        target = self._scene.level_lufs(layer) if named is None or named.normalize else None
        level = lufs if target is None else target
        return level + (named.gain_db if named else 0.0) + linear_to_db(entry.volume) + linear_to_db(layer.gain)

    def _file(self, source: str) -> float | None:
        if source not in self._files:
            try:
                clip = self._clips[source]
            except SceneError as error:
                self.problems += [problem for problem in error.problems if problem not in self.problems]
                raise
            known = clip.lufs  # a clip that plays on a bus was measured already
            self._files[source] = integrated_loudness(clip.samples, clip.sample_rate) if known is None else known
        return self._files[source]


def shown(scene: Scene, levels: Levels, *, path: str, width: int) -> Iterator[Text]:
    """What a scene is, in lines.

    Args:
        scene: a scene without flaws.
        levels: its levels.
        path: its file, as it is to be named.
        width: characters of a line.
    """
    title = f"{plain(scene.name)}: {plain(scene.description)}" if scene.description else plain(scene.name)
    yield Text(title, "bold")
    seed = "" if scene.seed is None else f", seed {scene.seed}"
    yield Text(f"{path}; the agent speaks at {scene.speech_lufs:g} LUFS{seed}", "dim")
    yield Text()
    yield from columns(list(_states(scene, levels)), width=width, right=(3, 4))
    if scene.buses or scene.ducks:
        yield Text()
        yield from columns(list(_buses(scene)), width=width)


def _states(scene: Scene, levels: Levels) -> Iterator[Row]:
    yield Row(("sound", "kind", "bus" if scene.buses else "", "LUFS", "vs speech", "what"), "dim")
    pools: set[str] = set()
    if scene.base.layers:
        yield Row(("every state",), "bold")
        for layer in scene.base.layers:
            yield from _layer(scene, layer, levels, pools)
    base = {scene.key(layer) for layer in scene.base.layers}
    bare: list[str] = []
    for names in _groups(scene):
        state = scene.states.get(names[0])
        if state is None or not state.layers:
            bare += names
            continue
        yield Row((", ".join(names),), "bold")
        for layer in state.layers:
            yield from _layer(scene, layer, levels, pools, instead=scene.key(layer) in base)
    never = [name for name in bare if name in ("tool", "away") and name not in scene.states]
    if rest := [name for name in bare if name not in never]:
        yield Row((", ".join(rest),), "bold")
        yield Row(("  nothing but what sounds in every state" if base else "  silence",))
    if never:
        yield Row((", ".join(never),), "bold")
        yield Row(("  a rule names it, but a session is never in it without a table [states.NAME]",))


def _groups(scene: Scene) -> list[list[str]]:
    """The states, those with the same sounds together, in the order in which a conversation goes through them."""
    order = {name: i for i, name in enumerate((*HOST_STATES, *scene.states))}
    groups: dict[object, list[str]] = {}
    for name in sorted((name for group in alike(scene) for name in group), key=order.__getitem__):
        groups.setdefault(scene.states[name].layers if name in scene.states else (), []).append(name)
    return list(groups.values())


def _layer(scene: Scene, layer: Layer, levels: Levels, pools: set[str], *, instead: bool = False) -> Iterator[Row]:
    key = plain(scene.key(layer))
    if cell_len(key) > LONG_KEY:
        yield Row((f"  {key}",))
        key = ""
    bus = plain(layer.bus or MAIN) if scene.buses else ""
    says = [*_sources(scene, layer, pools), *_options(layer)]
    if instead:
        says.append("in place of every state's")
    try:
        found = levels.of(layer)
    except SceneError as error:
        problem = error.problems[0]
        yield Row((key, layer.kind, bus, "?", "?", listed([*says, plain(problem.message)])), "red")
        return
    jitter = scene.pool(layer).gain_jitter_db or (0.0,)
    known = [level + change for level in found if level is not None for change in jitter]
    if None in found:
        says.append("too short or too soft to be measured, so as loud as the file is")
    yield Row((key, layer.kind, bus, _range(known), _range([x - scene.speech_lufs for x in known]), listed(says)))


def _range(values: list[float]) -> str:
    """One number, or the least and the largest."""
    if not values:
        return "-"
    low, high = (f"{value:.1f}" if math.isfinite(value) else "silent" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _sources(scene: Scene, layer: Layer, pools: set[str]) -> Iterator[str]:
    """What a layer draws from; a pool with a name is told once."""
    pool = scene.pool(layer)
    if layer.source is not None:
        share = pool.entries[0].probability
        yield plain(layer.source) + (f" {share:.0%} of the time" if share < 1 else "")
    elif layer.pool in pools:
        yield f"pool {plain(str(layer.pool))}"
    else:
        if isinstance(layer.pool, str):
            pools.add(layer.pool)
        name = f"pool {plain(layer.pool)}" if isinstance(layer.pool, str) else "pool"
        first, *rest = _entries(pool)
        yield f"{name}{_mode(pool)}:\n{first}"
        yield from rest


def _mode(pool: Pool) -> str:
    says = {"random": "", "shuffle": " in shuffled rounds", "sequence": " in sequence"}[pool.mode]
    if pool.avoid_repeat:
        says += f",\nnot the last {pool.avoid_repeat} again" if pool.avoid_repeat > 1 else ",\nnot the last one again"
    if pool.gain_jitter_db is not None:
        says += ",\neach {:g} to {:g} dB".format(*pool.gain_jitter_db)
    return says


def _entries(pool: Pool) -> Iterator[str]:
    """The entries with their shares of the draws; what they leave is silence, what they exceed is shared out."""
    total = max(1.0, sum(entry.probability for entry in pool.entries))
    for entry in pool.entries:
        volume = "" if entry.volume == 1 else f" at {linear_to_db(entry.volume):.1f} dB"
        fades = "".join(
            f" {key} {value:g}"
            for key, value in (("fade_in", entry.fade_in), ("fade_out", entry.fade_out))
            if value is not None
        )
        share = (
            ""
            if pool.mode == "sequence" or len(pool.entries) == entry.probability == 1
            else f"{entry.probability / total:.0%} "
        )
        yield f"{share}{plain(entry.source)}{volume}{fades}"
    silence = 1 - sum(entry.probability for entry in pool.entries) / total
    if silence > 1e-9 and pool.mode != "sequence":
        yield f"{silence:.0%} silence"


def _options(layer: Layer) -> Iterator[str]:
    """What a layer says of itself, in the file's words."""
    if layer.after:
        yield f"after {layer.after:g}"
    for key in (
        "start",
        "fade_in",
        "fade_out",
        "min_play",
        "on_exit",
        "interval",
        "first",
        "max_playbacks",
        "cooldown",
    ):
        value = getattr(layer, key)
        if isinstance(value, tuple):
            yield f"{key} {value[0]:g} to {value[1]:g}"
        elif value is not None:
            yield f"{key} {value}" if isinstance(value, str) else f"{key} {value:g}"


def _buses(scene: Scene) -> Iterator[Row]:
    if scene.buses:
        levels = listed(f"{plain(name)} {bus.level_lu:g} LU" for name, bus in scene.buses.items())
        yield Row(("buses", f"{levels} against speech; what plays on one is brought to that loudness"))
    for duck in scene.ducks:
        buses = "everything" if duck.buses == (ALL,) else ", ".join(map(plain, duck.buses))
        who = "agent" if duck.while_ == "agent_speaking" else "user"
        goes = f"{duck.by_db:g} dB in {duck.fade_out:g} s"
        comes = f"up again in {duck.fade_in:g} s, {duck.recovery:g} s after the end of it"
        yield Row((f"while the {who} speaks", f"{buses} {listed((goes, comes), '; ')}"))
