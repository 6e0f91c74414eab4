"""The scenes that ship: what each of them promises, through a conversation.

A gain is the layer's own, without its bus: 1 is the level that the bus asks for.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from soundscape.library import SceneClips, list_clips, load, resolve
from soundscape.library.loudness import integrated_loudness
from soundscape.loader import Scene, find_scene, shipped_scenes
from soundscape.scene.tables import Layer
from soundscape.testing import Take, replay

SCENES = ["cafe", "call-center", "forest", "livekit-example", "night", "office", "on-hold", "quiet-typing"]


def log(take: Take, key: str) -> list[tuple[str, float]]:
    """What was done about a layer, and when (s)."""
    return [(entry.action, round(entry.at, 3)) for entry in take.log if entry.key == key and entry.action != "commit"]


def db(gain: float) -> float:
    return float(20 * np.log10(gain))


# --- office ---------------------------------------------------------------------------------------------------------


def test_office_a_quick_answer_never_types() -> None:
    take = replay("office", "listening@0 thinking@3 speaking@3.3", until=6, seed=7)
    assert take.gain("typing", at=3.2) == 0
    assert log(take, "typing") == [("arm", 3.0), ("cancel", 3.3)]


def test_office_typing_goes_on_through_a_tool() -> None:
    """One keyboard from the first thought to the answer, 4 dB softer while the tool runs."""
    take = replay("office", "listening@0 thinking@3 tool=lookup@6 tool=-@9 speaking@12")
    assert log(take, "typing") == [("arm", 3.0), ("start", 3.7), ("level", 6.0), ("level", 9.0), ("release", 12.0)]
    assert take.gain("typing", at=3.85) == pytest.approx(1)
    assert db(take.gain("typing", at=8)) == pytest.approx(-4)
    assert take.gain("typing", at=12.2) == 0


def test_office_nobody_types_for_half_a_second() -> None:
    """The answer's two numbers: 0.25 s of settling, and a second of typing."""
    take = replay("office", "listening@0 thinking@3 listening@3.9")
    assert log(take, "typing") == [("arm", 3.0), ("start", 3.7), ("hold", 4.15), ("release", 4.7)]
    assert take.gain("typing", at=5.9) == 0


def test_office_passing_through_listening_is_not_heard() -> None:
    take = replay("office", "listening@0 thinking@3 listening@5 thinking@5.2 speaking@8")
    assert log(take, "typing") == [("arm", 3.0), ("start", 3.7), ("release", 8.0)]


def test_office_servers_are_for_slow_tools() -> None:
    take = replay("office", "thinking@0 tool=quick@2 tool=-@2.9 tool=slow@4 tool=-@8 speaking@9")
    assert log(take, "servers") == [("arm", 2.0), ("cancel", 2.9), ("arm", 4.0), ("start", 5.0), ("release", 8.0)]


def test_office_room_steps_back_for_both_speakers() -> None:
    """8 dB for the caller, 4 dB for the agent, both while both speak; and it stays back between two sentences."""
    sequence = "listening@0 user=speaking@2 speaking@4 user=listening@6 listening@8 speaking@8.5"
    take = replay("office", sequence, until=12)
    assert take.bus_gain("room", at=1.9) == 1
    assert db(take.bus_gain("room", at=3)) == pytest.approx(-8)
    assert db(take.bus_gain("room", at=5)) == pytest.approx(-12)
    assert db(take.bus_gain("room", at=7.5)) == pytest.approx(-4)
    assert db(take.bus_gain("room", at=8.4)) == pytest.approx(-4)
    assert db(take.bus_gain("room", at=11)) == pytest.approx(-4)


def test_office_no_two_calls_begin_alike_but_a_call_can_be_had_again() -> None:
    one, two, again = (replay("office", "listening@0", until=1, seed=seed).audio() for seed in (1, 2, 1))
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize(
    ("name", "key", "seconds"), [("office", "room", 1.5), ("cafe", "room", 2.5), ("forest", "wood", 4)]
)
def test_a_room_rises_slowly_although_a_session_passes_through_initializing(
    name: str, key: str, seconds: float
) -> None:
    """What is in mid-fade takes the new rule's time (T2): the rule has to name both states that a call begins with."""
    take = replay(name, "initializing@0 listening@0.02")
    assert [(entry.action, entry.duration) for entry in take.log if entry.key == key] == [
        ("start", seconds),
        ("level", seconds),
    ]


# --- quiet-typing ---------------------------------------------------------------------------------------------------

TYPING = "keys @desk"


def test_quiet_typing_is_silence_but_for_the_typing() -> None:
    take = replay("quiet-typing", "listening@0 thinking@2 tool=lookup@4 tool=-@5 speaking@6 listening@8 close@10")
    assert log(take, TYPING) == [("arm", 2.0), ("start", 2.5), ("release", 6.0)]
    sound = np.abs(take.audio()[:, 0])
    assert not sound[: round(2.5 * 48_000)].any()
    assert sound[3 * 48_000 : 6 * 48_000].max() > 0.01
    assert not sound[round(6.25 * 48_000) :].any()


def test_quiet_typing_leaves_quick_answers_alone() -> None:
    take = replay("quiet-typing", "listening@0 thinking@2 speaking@2.4")
    assert log(take, TYPING) == [("arm", 2.0), ("cancel", 2.4)]


# --- cafe -----------------------------------------------------------------------------------------------------------


def test_cafe_comes_forward_while_the_agent_thinks() -> None:
    take = replay("cafe", "listening@0 thinking@5 tool=lookup@8 tool=-@10 speaking@11 listening@14")
    assert take.gain("room", at=4) == pytest.approx(1)
    assert db(take.gain("room", at=7)) == pytest.approx(3)
    assert db(take.gain("room", at=10)) == pytest.approx(3)
    assert take.gain("room", at=11.3) == pytest.approx(1)
    assert [action for action, _ in log(take, "room")] == ["start", "level", "level"]


def test_cafe_steps_back_for_whoever_speaks() -> None:
    take = replay("cafe", "listening@0 user=speaking@5 user=listening@8 speaking@12 listening@15", until=20)
    for bus in ("room", "window", "door"):
        assert db(take.bus_gain(bus, at=7)) == pytest.approx(-8)
        assert take.bus_gain(bus, at=10) == pytest.approx(1)
        assert db(take.bus_gain(bus, at=14)) == pytest.approx(-5)


def test_cafe_rains_in_half_of_the_calls() -> None:
    """Drawn once: it rains from the beginning to the end, or not at all."""
    calls = [replay("cafe", "listening@0 thinking@5 speaking@9 close@12", seed=seed) for seed in range(100)]
    rainy = [call for call in calls if log(call, "rain")]
    assert 40 <= len(rainy) <= 60  # of fair draws 19 in 20 are
    assert all(log(call, "rain") == [("start", 0.0), ("release", 12.0)] for call in rainy)


def test_cafe_rings_the_bell_at_the_door_now_and_then() -> None:
    take = replay("cafe", "listening@0", until=600)
    rings = [at for _, at in log(take, "door")]
    assert 10 <= rings[0] <= 40
    gaps = np.diff(rings) - 1.9  # from the end of a chime
    assert len(gaps) > 5
    assert 25 <= gaps.min() <= gaps.max() <= 70
    assert np.ptp(gaps) > 10


# --- call-center ----------------------------------------------------------------------------------------------------


def test_call_center_is_answered_once() -> None:
    take = replay("call-center", "listening@0 thinking@5 speaking@8 listening@12")
    assert log(take, "answer") == [("shot", 0.0)]


def test_call_center_chimes_for_a_lookup_and_not_for_each_of_three() -> None:
    """The cooldown counts from the last chime, not from the last lookup."""
    sequence = "thinking@0 tool=a@2 tool=-@4 tool=b@6 tool=-@8 tool=c@16 tool=-@18 tool=d@19 tool=-@22"
    take = replay("call-center", sequence)
    assert log(take, "lookup") == [("shot", 2.0), ("skip", 6.0), ("skip", 16.0), ("shot", 19.0)]


def test_call_center_lays_down_what_was_lifted() -> None:
    """Neighbors' handsets in turn, not all equally near."""
    take = replay("call-center", "listening@0", until=300)
    handsets = [entry for entry in take.log if entry.key == "phones"]
    clips = [entry.clip.removeprefix("soundscape:") for entry in handsets]
    assert len(clips) > 10
    assert clips == (["pick-up", "hang-up"] * len(clips))[: len(clips)]


def test_call_center_one_colleague_types_at_a_time() -> None:
    """And both keyboards are heard before one comes again."""
    take = replay("call-center", "listening@0", until=600)
    shots = [entry for entry in take.log if entry.key == "colleagues"]
    lengths = {"soundscape:keyboard-typing": 22.5, "soundscape:keyboard-typing-2": 17.5}
    gaps = [then.at - now.at - lengths[now.clip] for now, then in pairwise(shots)]
    assert all(4 <= gap <= 15.001 for gap in gaps)
    pairs = [{shots[i].clip, shots[i + 1].clip} for i in range(0, len(shots) - 1, 2)]
    assert all(len(pair) == 2 for pair in pairs)


def test_call_center_keeps_the_crowd_out_of_the_microphone() -> None:
    """The floor and the neighbors go down under the caller; what belongs to the agent does not."""
    take = replay("call-center", "listening@0 user=speaking@2", until=6)
    assert db(take.bus_gain("floor", at=4)) == pytest.approx(-10)
    assert db(take.bus_gain("neighbors", at=4)) == pytest.approx(-10)
    assert take.bus_gain("desk", at=4) == take.bus_gain("signals", at=4) == 1


def test_call_center_types_as_the_office_does() -> None:
    take = replay("call-center", "listening@0 thinking@3 tool=lookup@5 tool=-@7 speaking@9 close@12")
    assert log(take, "typing") == [("arm", 3.0), ("start", 3.7), ("release", 9.0)]
    assert take.gain("floor", at=12.8) == 0


# --- forest ---------------------------------------------------------------------------------------------------------


def test_forest_pays_no_attention_to_thinking() -> None:
    take = replay("forest", "listening@0 thinking@5 tool=lookup@7 speaking@9 listening@12")
    assert log(take, "wood") == [("start", 0.0)]


def test_forest_steps_back_and_returns_slowly() -> None:
    take = replay("forest", "listening@0 speaking@5 listening@8", until=14)
    assert db(take.bus_gain("wood", at=5.4)) == pytest.approx(-6)
    assert db(take.bus_gain("wood", at=9)) == pytest.approx(-6)
    assert -6 < db(take.bus_gain("wood", at=10)) < 0
    assert take.bus_gain("wood", at=11) == pytest.approx(1)


def test_forest_asks_a_silent_caller_once() -> None:
    """The bell 2.5 s after LiveKit's `away`, and not again within 45 s."""
    take = replay("forest", "listening@0 user=away@10 user=listening@15 user=away@30 user=listening@35 user=away@70")
    assert log(take, "bell") == [
        *[("arm", 10.5), ("shot", 12.5)],
        *[("arm", 30.5), ("skip", 32.5)],
        *[("arm", 70.5), ("shot", 72.5)],
    ]
    assert db(take.gain("wood", at=14)) == pytest.approx(3)


def test_forest_a_caller_who_is_back_at_once_hears_no_bell() -> None:
    take = replay("forest", "listening@0 user=away@10 user=speaking@10.4 user=away@20 user=speaking@22")
    assert log(take, "bell") == [("arm", 20.5), ("cancel", 22.5)]


def test_forest_rains_in_three_calls_of_ten() -> None:
    rainy = [seed for seed in range(200) if log(replay("forest", "listening@0", until=1, seed=seed), "rain")]
    assert 47 <= len(rainy) <= 73  # 60, and two deviations of 6.5


# --- on-hold --------------------------------------------------------------------------------------------------------


def test_on_hold_music_plays_while_the_application_holds() -> None:
    take = replay("on-hold", "listening@0 app=on_hold@5 thinking@8 listening@10 app=-@20 close@25")
    assert log(take, "music") == [("start", 5.0), ("release", 20.0)]
    assert take.gain("music", at=6.5) == pytest.approx(1)
    assert take.gain("music", at=20.6) == 0
    assert [take.gain("room", at) for at in (4, 6)] == [pytest.approx(1), 0]
    assert take.gain("room", at=20.6) == pytest.approx(1)


def test_on_hold_music_goes_on_where_it_stopped() -> None:
    """It fell silent at 15.6, after 10.6 s: the second hold begins there, to the sample."""
    take = replay("on-hold", "listening@0 app=on_hold@5 app=-@15 app=on_hold@30")
    sound = take.audio(from_=32, to=34)[:, 0]
    music = load(resolve("soundscape:hold-music", Path())).samples
    first = round((10.6 + 2) * 48_000)
    expected = music[first : first + len(sound)]
    gain = float(sound @ expected / (expected @ expected))
    np.testing.assert_allclose(sound, gain * expected, atol=1e-6)
    assert db(gain) == pytest.approx(-28 - integrated_loudness(music, 48_000), abs=0.01)  # type: ignore[operator]


def test_on_hold_music_makes_way_for_an_announcement() -> None:
    """The agent speaks and the state stays: the duck goes by the fact."""
    take = replay("on-hold", "listening@0 app=on_hold@5 speaking@10 listening@13", until=20)
    assert take.state(at=12) == "on_hold"
    assert db(take.bus_gain("music", at=11)) == pytest.approx(-12)
    assert take.gain("music", at=11) == pytest.approx(1)
    assert take.bus_gain("music", at=15.5) == pytest.approx(1)


# --- night ----------------------------------------------------------------------------------------------------------


def test_night_is_silent_in_short_thoughts() -> None:
    take = replay("night", "listening@0 thinking@2 speaking@4.4 listening@7 thinking@9 listening@11 close@13")
    assert {entry.action for entry in take.log} == {"commit", "arm", "cancel", "settle"}
    assert not take.audio().any()


def test_night_the_longer_the_thought_the_more_there_is() -> None:
    """Counted through a tool; both are gone a quarter of a second after the agent begins to speak."""
    take = replay("night", "listening@0 thinking@2 tool=lookup@4 tool=-@7 speaking@12")
    assert log(take, "street") == [("arm", 2.0), ("start", 4.5), ("release", 12.0)]
    assert log(take, "typing") == [("arm", 2.0), ("start", 8.0), ("release", 12.0)]
    assert take.gain("street", at=7.5) == pytest.approx(1)
    assert take.gain("street", at=12.25) == take.gain("typing", at=12.25) == 0


def test_night_the_town_goes_on_while_nobody_hears_it() -> None:
    """What is heard at 7.6 s is what the street does 7.6 s after the call began."""
    take = replay("night", "listening@0 thinking@2", until=10)
    sound = take.audio(from_=7.6, to=7.9)[:, 0]
    street = load(resolve("soundscape:city-ambience", Path())).samples
    expected = street[round(7.6 * 48_000) : round(7.9 * 48_000)]
    gain = float(sound @ expected / (expected @ expected))
    np.testing.assert_allclose(sound, gain * expected, atol=1e-6)


# --- livekit-example ------------------------------------------------------------------------------------------------


def test_livekit_example_has_its_sounds_and_volumes() -> None:
    take = replay("livekit-example", "listening@0 thinking@3 listening@6 thinking@9 speaking@12")
    (typing,) = (key for key in take.keys if "keyboard" in key)
    assert take.gain("livekit:office-ambience", at=2) == pytest.approx(0.8)
    assert log(take, typing) == [("start", 3.0), ("release", 6.0), ("start", 9.0), ("release", 12.0)]
    scene = Scene.from_file(find_scene("livekit-example"))
    (layer,) = scene.states["thinking"].layers
    entries = {entry.source: (entry.volume, entry.probability) for entry in scene.pool(layer).entries}
    assert entries == {"livekit:keyboard-typing": (0.8, 1), "livekit:keyboard-typing2": (0.7, 1)}


def test_livekit_example_takes_five_lines() -> None:
    text = find_scene("livekit-example").read_text("utf-8")
    assert len([line for line in text.splitlines() if line and not line.startswith("#")]) == 5


# --- all of them ----------------------------------------------------------------------------------------------------


def test_these_are_the_scenes_that_ship() -> None:
    assert shipped_scenes() == SCENES


@pytest.mark.parametrize("name", SCENES)
def test_nothing_is_wrong_and_nothing_idle(name: str) -> None:
    """Every sound is there; every pool, clip and bus is used; every file says what it is."""
    scene = Scene.from_file(find_scene(name))
    assert SceneClips(scene).problems() == []
    layers = [layer for _, layer in scene.all_layers]
    assert {layer.pool for layer in layers if isinstance(layer.pool, str)} == set(scene.pools)
    assert {layer.bus for layer in layers if layer.bus} == set(scene.buses)
    assert set(scene.clips) <= {source for _, source in scene.all_sources}
    assert find_scene(name).read_text("utf-8").split("\n")[1].startswith("# ")
    assert scene.name == name


@pytest.mark.parametrize("name", SCENES)
def test_a_layer_of_two_states_differs_in_its_gain_at_most(name: str) -> None:
    """What a key says in one state it says in the others: otherwise the way there would decide what is heard."""
    scene = Scene.from_file(find_scene(name))
    seen: dict[str, Layer] = {}
    for _, layer in scene.all_layers:
        without = layer.model_copy(update={"gain_db": None, "volume": None})
        assert seen.setdefault(scene.key(layer), without) == without


def test_every_clip_that_ships_is_in_a_scene() -> None:
    used = {source for name in SCENES for _, source in Scene.from_file(find_scene(name)).all_sources}
    assert {f"soundscape:{clip}" for clip in list_clips()} - used == set()


BUSY = "listening@0 thinking@6 tool=lookup@14 tool=-@22 speaking@24 listening@30 app=on_hold@32 app=-@42 close@44"


@pytest.mark.parametrize(
    ("name", "start", "end", "lufs"),
    [
        ("office", 2, 6, -42),
        ("office", 7, 14, -37),
        ("office", 16, 22, -39),
        ("office", 25, 30, -46),
        ("cafe", 3, 6, -41),
        ("cafe", 8, 22, -38),
        ("cafe", 26, 30, -46),
        ("call-center", 1, 6, -42.5),
        ("call-center", 7, 14, -37),
        ("call-center", 25, 30, -47),
        ("forest", 4, 22, -40),
        ("forest", 25, 30, -46),
        ("night", 12, 24, -38.5),
        ("on-hold", 1, 6, -42),
        ("on-hold", 34, 42, -28),
        ("quiet-typing", 7, 24, -38),
    ],
)
def test_level(name: str, start: float, end: float, lufs: float) -> None:
    """Under a voice of -20 LUFS: a room 20 to 27 LU, work 17 to 20. Within 2 LU, for a few seconds of a clip are not
    the whole of it."""
    heard = integrated_loudness(take_of(name).audio(from_=start, to=end)[:, 0], 48_000)
    assert heard == pytest.approx(lufs, abs=2)


@pytest.mark.parametrize("name", [name for name in SCENES if name != "livekit-example"])
def test_nothing_stands_out(name: str) -> None:
    """No sample of a busy call reaches -10 dBFS: a voice has all the room it needs. The call ends in silence.

    LiveKit's keyboards, as loud as their files are, reach -8.6 dBFS.
    """
    sound = take_of(name).audio()[:, 0]
    assert 0.001 < float(np.abs(sound).max()) < 10 ** (-10 / 20)
    assert not sound[round(47.1 * 48_000) :].any()


def take_of(name: str) -> Take:
    return replay(name, BUSY, until=48, seed=1)
