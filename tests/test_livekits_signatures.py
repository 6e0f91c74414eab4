"""Every public name, parameter, default and annotation of the installed LiveKit's BackgroundAudioPlayer, and ours.

Nothing of it is written down here: what another version of the host adds or changes fails.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import livekit.agents
import pytest
from livekit.agents.voice import background_audio as host

CLASSES = {name for name, value in vars(host).items() if getattr(value, "__module__", "") == host.__name__} & {
    name for name in vars(host) if not name.startswith("_")
}

WIDER = {"PathLike[str]", "PathLike"}
"""What ours also takes, wherever LiveKit's takes a `str` that is a path. LiveKit's own `AudioConfig` and
`BuiltinAudioClip`, which ours takes beside its own, go by the same names here: modules are left off."""


def members(annotation: Any) -> set[str]:
    """The members of a union, without the modules they come from and a parameter that is not given;
    a list of a union is a union of lists."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return set().union(*(members(each) for each in typing.get_args(annotation)))
    if typing.get_origin(annotation) is list:
        return {f"list[{each}]" for each in members(typing.get_args(annotation)[0])}
    text = annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else str(annotation)
    return {re.sub(r"[\w.]+\.(?=\w)", "", text).removesuffix("[Any]")}


def hints(module: ModuleType, of: Any) -> dict[str, set[str]]:
    """Annotations by name. A name that a module has for its type checker only is looked up in the host's."""
    found = typing.get_type_hints(of, vars(host) | vars(module))
    return {name: members(each) for name, each in found.items()}


def public(of: type) -> Iterator[tuple[str, Any]]:
    """What a class of its own has to be called, by name."""
    for name, value in vars(of).items():
        if (not name.startswith("_") or name in ("__init__", "__await__")) and inspect.isroutine(value):
            yield name, value


CALLS = [
    f"{name}.{call}"
    for name in sorted(CLASSES)
    for call, _ in public(getattr(host, name))
    # A handle comes from `play`: how it is made is nobody's business.
    if (name, call) != ("PlayHandle", "__init__")
]


def get(module: ModuleType, path: str) -> Any:
    name, call = path.split(".")
    return getattr(getattr(module, name), call)


def test_ours_has_the_names_that_livekits_has(api: ModuleType) -> None:
    """`AudioSource` is a name for annotations, which LiveKit does not hand on either."""
    handed_on = {name for name in CLASSES if getattr(livekit.agents, name, None) is getattr(host, name)}
    assert handed_on == CLASSES
    assert {"AudioConfig", "BackgroundAudioPlayer", "BuiltinAudioClip", "PlayHandle"} <= CLASSES
    assert set(getattr(api, "__all__", CLASSES)) >= CLASSES
    assert all(inspect.isclass(getattr(api, name)) for name in CLASSES)


@pytest.mark.parametrize("path", CALLS)
def test_every_call_takes_and_gives_what_livekits_does(api: ModuleType, path: str) -> None:
    ours, theirs = get(api, path), get(host, path)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)
    takes, takes_there = (
        [(one.name, one.kind, one.default) for one in inspect.signature(each).parameters.values()]
        for each in (ours, theirs)
    )
    assert takes == takes_there
    means, means_there = hints(api, ours), hints(host, theirs)
    assert means.keys() == means_there.keys()
    for name, each in means_there.items():
        wider = WIDER if "str" in each and name != "return" else set()
        assert each <= means[name] <= each | wider, name


def test_nothing_else_of_livekits_is_public(api: ModuleType) -> None:
    """No property, no class attribute, and of a player no attribute but `publication`, which ours has too."""
    for name in CLASSES - {"AudioConfig", "BuiltinAudioClip"}:
        theirs = {each for each in vars(getattr(host, name)) if not each.startswith("_")}
        assert theirs == {call for call, _ in public(getattr(host, name)) if not call.startswith("_")}


async def test_a_player_has_the_attributes_that_livekits_has(api: ModuleType) -> None:
    def attributes(player: object) -> set[str]:
        return {name for name in dir(player) if not name.startswith("_")}

    theirs, ours = host.BackgroundAudioPlayer(), api.BackgroundAudioPlayer()
    assert attributes(theirs) <= attributes(ours)
    assert ours.publication is None
    await theirs._audio_mixer.aclose()  # it has a task though it was never started


def test_a_config_has_the_fields_and_defaults_of_livekits(api: ModuleType) -> None:
    assert api.AudioConfig._fields == host.AudioConfig._fields
    assert api.AudioConfig._field_defaults == host.AudioConfig._field_defaults
    ours, theirs = (hints(module, module.AudioConfig) for module in (api, host))
    assert ours.keys() == theirs.keys()
    for name, each in theirs.items():
        assert each <= ours[name] <= each | (WIDER if "str" in each else set()), name


def test_a_clip_of_each_of_livekits_names_is_a_file(api: ModuleType) -> None:
    assert [clip.name for clip in api.BuiltinAudioClip] == [clip.name for clip in host.BuiltinAudioClip]
    for clip in api.BuiltinAudioClip:
        assert isinstance(clip.path(), str)
        assert Path(clip.path()).is_file()
