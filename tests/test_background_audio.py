"""LiveKit's player on this engine: what is heard, to the frame, and what the states make of it.

Read back from real tracks; the room is a stand-in that takes them. Faults are in `test_background_faults.py`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from livekit.agents.voice import background_audio as livekit
from made_up import steady
from players import soon
from rooms import RATE, Session, constant, exact, folder, reaches, started, tapped
from test_streams import Made, blocks, ramp

from soundscape.background_audio import AudioConfig, BackgroundAudioPlayer, BuiltinAudioClip, PlayHandle
from soundscape.engine import Engine, Fact, Moment
from soundscape.loader import Scene
from soundscape.outputs.file import write_audio

pytestmark = pytest.mark.long

__all__ = ["folder"]  # the fixture


# --- to the frame -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 4_096, 100_003])
async def test_a_file_arrives_at_the_track_whole_and_to_the_bit(frames: int, folder: Path) -> None:
    """LiveKit's player loses the first 4,096 frames. The handle is done when the last one was heard."""
    written = ramp(frames)
    write_audio(Path("ramp.wav"), [(written / 32768).astype(np.float32)[:, np.newaxis]], RATE)
    player = BackgroundAudioPlayer()
    output = await started(player)
    async with tapped(output) as tap:
        handle = player.play("ramp.wav")
        async with asyncio.timeout(10):
            assert await handle is handle
        done = len(np.concatenate(tap.blocks))
    if exact(output):
        assert np.array_equal(tap.heard, written)
        first = int(np.flatnonzero(np.concatenate(tap.blocks))[0])
        # The track is read back some 10 ms after the queue has let go of a frame; nobody is told before it has.
        assert done >= first + frames - 2_400
    await player.aclose()


def test_a_thousand_passes_drift_by_no_frame() -> None:
    frames = 997
    clip = steady(0.0, frames, RATE)
    samples = clip.samples.copy()
    samples[0] = 0.5
    engine = Engine(Scene.from_toml(""), {}, sample_rate=RATE)
    engine.post(Fact("play", Moment(1, "click", type(clip).from_samples(samples, RATE), loop=True)))
    heard = np.flatnonzero(np.abs(engine.render(1_000 * frames)[:, 0]) > 0.4)
    assert np.array_equal(heard, np.arange(1_000) * frames)


async def test_fades_take_the_frames_that_were_asked_for(folder: Path) -> None:
    """At the track, a fade-in of 0.1 s reaches the level at its frame 4,800 and not before; so does the fade-out."""
    player = BackgroundAudioPlayer()
    output = await started(player)
    async with tapped(output) as tap:
        handle = player.play(AudioConfig("quarter.wav", volume=0.5, fade_in=0.1, fade_out=0.1))
        await asyncio.sleep(0.4)
        handle.stop()
        assert not handle.done()
        async with asyncio.timeout(5):
            await handle
    heard = tap.heard.astype(int)  # a fade begins at 0, and is silent for so many of its first frames
    assert not exact(output) or abs(int(np.argmax(heard == 4_096)) - 4_800) < 60
    falling = len(heard) - int(np.flatnonzero(heard == 4_096)[-1])
    assert not exact(output) or abs(falling - 4_800) < 120
    assert heard.max() == 4_096
    await player.aclose()


async def test_a_stop_in_a_fade_in_only_gets_quieter(folder: Path) -> None:
    player = BackgroundAudioPlayer()
    output = await started(player)
    async with tapped(output) as tap:
        handle = player.play(AudioConfig("quarter.wav", fade_in=2.0, fade_out=0.3))
        await asyncio.sleep(0.2)
        handle.stop()
        handle.stop()
        async with asyncio.timeout(5):
            await handle
    heard = tap.heard.astype(int)
    top = int(np.argmax(heard))
    assert 0 < heard[top] < 8_192
    assert not exact(output) or np.diff(heard[top:]).max() <= 1
    await player.aclose()


async def test_the_bed_goes_round_without_a_seam_and_begins_with_its_fade(folder: Path) -> None:
    constant("bed", 0.25, 0.2)
    player = BackgroundAudioPlayer(ambient_sound=AudioConfig("bed.wav", volume=0.5, fade_in=0.3))
    output = await started(player)
    async with tapped(output) as tap:
        await asyncio.sleep(0.8)
    heard = np.concatenate(tap.blocks)[-12_000:]
    assert not exact(output) or (heard == 4_096).all()
    assert player.publication is not None
    assert player.publication.name == "background_audio"
    await player.aclose()
    assert player.publication is None


# --- what is drawn ----------------------------------------------------------------------------------------------------


async def test_a_bed_that_is_drawn_from_a_list_is_heard(folder: Path) -> None:
    """Shares that sum to 1 leave no silence: one of the two is heard, each time."""
    for _ in range(5):
        beds = [AudioConfig("eighth.wav", probability=0.5), AudioConfig("quarter.wav", probability=0.5)]
        player = BackgroundAudioPlayer(ambient_sound=beds)
        output = await started(player)
        async with tapped(output) as tap:
            async with asyncio.timeout(5):
                while not (tap.blocks and tap.blocks[-1].all()):
                    await asyncio.sleep(0.01)
        assert set(tap.blocks[-1]) < {4_096, 8_192}
        await player.aclose()


def thoughts(player: BackgroundAudioPlayer, times: int) -> list[float]:
    """What is heard each time that the agent thinks, by the engine alone."""
    assert player._run is not None
    engine, heard = player._run.engine, []
    for _ in range(times):
        for state in ("thinking", "listening"):
            player._changed(SimpleNamespace(new_state=state))
            heard.append(round(float(engine.render(RATE // 4)[-1, 0]), 3))
    assert not any(heard[1::2])
    return heard[::2]


async def pulled(player: BackgroundAudioPlayer) -> None:
    """Starts a player whose engine nobody else pulls from: its room was closed underneath."""
    output = await started(player, Session())
    await output.aclose()


async def test_a_thinking_sound_is_drawn_each_time_and_what_is_left_of_1_is_silence(folder: Path) -> None:
    sounds = [AudioConfig("eighth.wav", probability=0.5), AudioConfig("quarter.wav", probability=0.25)]
    player = BackgroundAudioPlayer(thinking_sound=sounds)
    await pulled(player)
    heard = thoughts(player, 400)
    # Four standard deviations of 400 draws are 40, 35 and 35: once in 10,000 runs.
    assert heard.count(0.125) == pytest.approx(200, abs=40)
    assert heard.count(0.25) == pytest.approx(100, abs=35)
    assert heard.count(0.0) == pytest.approx(100, abs=35)
    await player.aclose()


async def test_only_in_a_list_is_a_probability_drawn(folder: Path) -> None:
    """A config alone plays, whatever it says."""
    player = BackgroundAudioPlayer(
        ambient_sound=livekit.AudioConfig("eighth.wav", probability=0.0),
        thinking_sound=AudioConfig("quarter.wav", probability=0.0),
    )
    await pulled(player)
    assert player._run is not None
    player._run.engine.render(RATE)
    player._changed(SimpleNamespace(new_state="thinking"))
    assert player._run.engine.render(RATE // 2)[-1, 0] == pytest.approx(0.375)
    await player.aclose()


# --- the thinking sound -----------------------------------------------------------------------------------------------


async def test_a_thinking_sound_is_heard_while_the_agent_thinks_and_from_the_next_state_on(folder: Path) -> None:
    player, session = BackgroundAudioPlayer(thinking_sound="quarter.wav"), Session()
    output = await started(player, session)
    async with tapped(output) as tap:
        session.becomes("thinking", "thinking")
        await reaches(tap, 0.25)
        first = len(tap.blocks)
        await asyncio.sleep(1.3)  # longer than the file
        thinking = np.concatenate(tap.blocks[first:])
        session.becomes("speaking")
        await reaches(tap, 0)
    assert not exact(output) or (thinking == 8_192).all()
    await player.aclose()


async def test_one_that_comes_again_in_its_fade_out_is_heard_again(folder: Path) -> None:
    """LiveKit's player leaves the second one silent."""
    sound = AudioConfig("quarter.wav", fade_out=0.4)
    player, session = BackgroundAudioPlayer(thinking_sound=sound), Session()
    output = await started(player, session)
    async with tapped(output) as tap:
        for state in ("thinking", "speaking", "thinking"):
            session.becomes(state)
            await asyncio.sleep(0.15)
        await asyncio.sleep(0.8)
        await reaches(tap, 0.25)
    assert not exact(output) or tap.heard.all()
    await player.aclose()


@pytest.mark.parametrize("state", ["speaking", "listening"])
async def test_a_long_fade_out_is_not_cut_short(state: str, folder: Path) -> None:
    player = BackgroundAudioPlayer(thinking_sound=AudioConfig("quarter.wav", fade_out=1.5))
    await pulled(player)
    assert player._run is not None
    engine = player._run.engine
    player._changed(SimpleNamespace(new_state="thinking"))
    engine.render(RATE)
    player._changed(SimpleNamespace(new_state=state))
    faded = engine.render(2 * RATE)[:, 0]
    assert (faded[:71_900] > 0).all()
    assert not faded[72_100:].any()
    await player.aclose()


async def test_a_thinking_iterator_goes_on_at_the_next_thought_where_it_was(folder: Path) -> None:
    """As in LiveKit's player, whether it waits for its blocks or has them; it is closed by the end alone."""
    for pause in (0.0, 0.01):
        made = Made(blocks(np.repeat(np.arange(1, 501), 480), 480), pause=pause)  # each 10 ms are their own number
        player, session = BackgroundAudioPlayer(thinking_sound=made.frames(), stream_timeout_ms=50), Session()
        output = await started(player, session)
        async with tapped(output) as tap:
            for _ in range(2):
                session.becomes("thinking")
                assert await soon(lambda: bool(tap.blocks[-1].any()), 5)
                await asyncio.sleep(0.2)
                session.becomes("listening")
                assert await soon(lambda: not np.any(tap.blocks[-20:]), 5)
        heard = np.concatenate(tap.blocks)
        sounding = np.flatnonzero(heard)
        pause_at = int(np.argmax(np.diff(sounding)))
        last, again = heard[sounding[pause_at] - 480], heard[sounding[pause_at + 1] :][:4_800]
        assert heard[sounding[0]] == 1
        assert again.max() > last  # what was asked for ahead, and not heard, is gone
        assert not made.closed
        await player.aclose()
        assert made.closed


async def test_one_that_comes_again_in_the_fade_out_of_an_iterator_is_heard() -> None:
    made = Made(blocks(np.full(20 * RATE, 8_192, np.int16), 480))
    sound = AudioConfig(made.frames(), fade_out=0.5)
    player, session = BackgroundAudioPlayer(thinking_sound=sound), Session()
    output = await started(player, session)
    async with tapped(output) as tap:
        for state in ("thinking", "speaking", "thinking"):
            session.becomes(state)
            await asyncio.sleep(0.2)
        await asyncio.sleep(1)
        await reaches(tap, 0.25)
    await player.aclose()


async def test_an_iterator_is_no_bed_that_goes_round_and_ends_where_it_ends() -> None:
    player = BackgroundAudioPlayer(ambient_sound=Made(blocks(ramp(24_000), 480)).frames())
    output = await started(player)
    async with tapped(output) as tap:
        await asyncio.sleep(0.9)
    assert not np.concatenate(tap.blocks)[-4_800:].any()
    await player.aclose()


# --- what is taken ----------------------------------------------------------------------------------------------------


async def test_a_file_is_heard_as_it_is_at_each_play(folder: Path) -> None:
    player = BackgroundAudioPlayer()
    await pulled(player)
    assert player._run is not None
    engine, heard = player._run.engine, []
    for value in (0.125, 0.25, 0.5):
        constant("same", value)
        player.play("same.wav")
        async with asyncio.timeout(5):
            while not (block := engine.render(480)).any():
                await asyncio.sleep(0.001)
        heard.append(float(engine.render(480)[-1, 0]))
        del block
        engine.render(RATE)
    assert heard == [0.125, 0.25, 0.5]
    await player.aclose()


async def test_livekits_own_names_are_taken(folder: Path) -> None:
    player, session = (
        BackgroundAudioPlayer(
            ambient_sound=livekit.AudioConfig(livekit.BuiltinAudioClip.OFFICE_AMBIENCE, volume=0.8),
            thinking_sound=[
                livekit.AudioConfig(livekit.BuiltinAudioClip.KEYBOARD_TYPING, probability=0.7),
                livekit.AudioConfig(livekit.BuiltinAudioClip.KEYBOARD_TYPING2, probability=0.3),
            ],
        ),
        Session(),
    )
    output = await started(player, session)
    async with tapped(output) as tap:
        session.becomes("thinking")
        handles = [player.play(clip) for clip in (*livekit.BuiltinAudioClip, *BuiltinAudioClip)]
        await asyncio.sleep(0.5)
        for handle in handles:
            assert isinstance(handle, PlayHandle)
            handle.stop()
    assert tap.heard.any()
    await player.aclose()


@pytest.mark.parametrize("clip", BuiltinAudioClip)
def test_a_clip_has_a_file(clip: BuiltinAudioClip) -> None:
    assert Path(clip.path()).read_bytes()[:4] == b"OggS"


async def test_nothing_that_is_drawn_is_a_handle_that_is_done(folder: Path) -> None:
    player = BackgroundAudioPlayer()
    await started(player)
    handles = [player.play([AudioConfig("quarter.wav", probability=1e-9)]) for _ in range(20)]
    assert all(handle.done() for handle in handles)
    await player.aclose()


async def test_sounds_add_up(folder: Path) -> None:
    player = BackgroundAudioPlayer(ambient_sound="eighth.wav")
    output = await started(player)
    async with tapped(output) as tap:
        handle = player.play(AudioConfig("quarter.wav", volume=2), loop=True)
        await reaches(tap, 0.625)
        handle.stop()
        await reaches(tap, 0.125)
    await player.aclose()
