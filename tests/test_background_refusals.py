"""What is no sound, or is asked for at the wrong time, is said to the player's caller: what, and why."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rooms import Room, constant, folder, warnings
from test_streams import Made

from soundscape import DecodeError, UsageError
from soundscape.background_audio import AudioConfig, BackgroundAudioPlayer

__all__ = ["folder"]  # the fixture

NUMBER = "is a number from"


@pytest.mark.parametrize(
    ("audio", "said"),
    [
        (AudioConfig("quarter.wav", volume=-0.1), f"a volume {NUMBER} 0 to 100, not -0.1"),
        (AudioConfig("quarter.wav", volume=math.nan), f"a volume {NUMBER} 0 to 100, not nan"),
        (AudioConfig("quarter.wav", volume=math.inf), f"a volume {NUMBER} 0 to 100, not inf"),
        (AudioConfig("quarter.wav", probability=-0.1), f"a probability {NUMBER} 0 to 1, not -0.1"),
        (AudioConfig("quarter.wav", probability=1.1), f"a probability {NUMBER} 0 to 1, not 1.1"),
        (AudioConfig("quarter.wav", fade_in=-1), f"a fade_in {NUMBER} 0 to 86,400, not -1"),
        (AudioConfig("quarter.wav", fade_out=math.nan), f"a fade_out {NUMBER} 0 to 86,400, not nan"),
        (AudioConfig(3), "3 cannot be played"),  # type: ignore[arg-type]
        ([], "a list to draw from is empty"),
        ([AudioConfig("quarter.wav", probability=0.0)], "all probabilities are 0"),
        (["quarter.wav"], "has AudioConfigs in it, not 'quarter.wav'"),
        ([AudioConfig("quarter.wav"), None], "has AudioConfigs in it, not None"),
        ("", "'' cannot be played"),
        (b"quarter.wav", "cannot be played: give a name, a path"),
        (3.5, r"3\.5 cannot be played"),
    ],
)
async def test_what_cannot_be_played_is_refused_at_the_call(audio: Any, said: str, folder: Path) -> None:
    """With what and why; as a bed and as a thinking sound before there is a player."""
    for made in ({"ambient_sound": audio}, {"thinking_sound": audio}):
        with pytest.raises(UsageError, match=said):
            BackgroundAudioPlayer(**made)
    player = BackgroundAudioPlayer()
    await player.start(room=Room().room)
    with pytest.raises(ValueError, match=said):
        player.play(audio)
    await player.aclose()


@pytest.mark.parametrize("timeout", [-1, math.nan, math.inf, None, "200", True])
def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(UsageError, match="stream_timeout_ms is a number from 0 to 60,000"):
        BackgroundAudioPlayer(stream_timeout_ms=timeout)


async def test_none_is_no_sound_to_play_but_may_be_no_bed() -> None:
    player = BackgroundAudioPlayer(ambient_sound=None, thinking_sound=None)
    await player.start(room=Room().room)
    with pytest.raises(UsageError, match="None cannot be played"):
        player.play(None)  # type: ignore[arg-type]
    await player.aclose()


async def test_an_iterator_is_not_looped() -> None:
    player, frames = BackgroundAudioPlayer(), Made([]).frames()
    await player.start(room=Room().room)
    with pytest.raises(ValueError, match="cannot be looped"):
        player.play(frames, loop=True)
    await frames.aclose()
    await player.aclose()


async def test_to_play_before_the_start_and_after_the_end_is_an_error_of_both_kinds(folder: Path) -> None:
    player = BackgroundAudioPlayer()
    for _ in range(2):
        for kind in (UsageError, RuntimeError):
            with pytest.raises(kind, match=r"await its start\(room=...\) first"):
                player.play("quarter.wav")
        await player.start(room=Room().room)
        await player.aclose()


async def test_to_play_from_another_thread_is_refused(folder: Path) -> None:
    player = BackgroundAudioPlayer()
    await player.start(room=Room().room)
    with pytest.raises(UsageError, match="event loop"):
        await asyncio.to_thread(player.play, "quarter.wav")
    await player.aclose()


@pytest.mark.parametrize("name", ["missing.wav", "corrupt.wav"])
@pytest.mark.parametrize(
    "sounds",
    [
        lambda name: {"ambient_sound": name},
        lambda name: {"thinking_sound": name},
        lambda name: {"ambient_sound": [AudioConfig("quarter.wav"), AudioConfig(name, probability=1e-9)]},
        lambda name: {"thinking_sound": [AudioConfig(Made([]).frames()), AudioConfig(name)]},
    ],
    ids=["bed", "thinking", "hardly ever drawn", "beside an iterator"],
)
async def test_a_bed_or_thinking_sound_that_is_none_is_said_at_the_start(
    sounds: Callable[[str], dict[str, Any]], name: str, folder: Path
) -> None:
    (folder / "corrupt.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVEno sound")
    player, room = BackgroundAudioPlayer(**sounds(name)), Room()
    for _ in range(2):
        with pytest.raises(DecodeError, match=name):
            await player.start(room=room.room)
    assert room.track_publications == {}
    constant(Path(name).stem, 0.25)
    await player.start(room=room.room)
    await player.aclose()


async def test_a_sound_that_is_none_is_said_where_it_is_played_or_waited_for(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "corrupt.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVEno sound")
    player = BackgroundAudioPlayer()
    await player.start(room=Room().room)
    with pytest.raises(DecodeError, match=r"missing\.wav"):
        player.play("missing.wav")
    handle = player.play("corrupt.wav")
    for _ in range(2):
        with pytest.raises(DecodeError, match=r"corrupt\.wav"):
            async with asyncio.timeout(10):
                await handle
    assert handle.done()
    assert len(warnings(caplog)) == 1
    await player.aclose()
