"""LiveKit's player on this engine where something goes wrong: every handle is done, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from livekit import rtc
from rooms import (
    Room,
    Session,
    constant,
    exact,
    folder,
    output_threads,
    reaches,
    started,
    tapped,
    until_no_thread_is_left,
    until_nothing_goes_on,
    warnings,
)
from test_streams import Made, blocks, ramp

from soundscape import OutputError, RoomOutput, UsageError
from soundscape.background_audio import AudioConfig, BackgroundAudioPlayer, PlayHandle
from soundscape.outputs.room import NativeQueue

pytestmark = pytest.mark.long

__all__ = ["folder"]  # the fixture


def descriptors() -> int:
    """How many files are open, where that can be told."""
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def over(*handles: PlayHandle) -> None:
    async with asyncio.timeout(10):
        for handle in handles:
            await handle


# --- the end ----------------------------------------------------------------------------------------------------------


async def one_race(chance: random.Random) -> list[PlayHandle]:
    """A player that is closed at any time from its start to the end of its sounds."""
    player, session, room, handles = BackgroundAudioPlayer(thinking_sound="quarter.wav"), Session(), Room(), []

    async def play() -> None:
        for _ in range(chance.randrange(4)):
            await (turns(chance.randrange(8)) if chance.random() < 0.8 else asyncio.sleep(0.05 * chance.random()))
            made = Made(blocks(ramp(4_800), 480)).frames()
            sound: Any = chance.choice(["eighth.wav", AudioConfig("quarter.wav", fade_out=0.2), made])
            with contextlib.suppress(RuntimeError):  # not started yet, or any more
                handles.append(player.play(sound, loop=isinstance(sound, str) and chance.random() < 0.5))
            if sound is not made:
                await made.aclose()
            if handles and chance.random() < 0.3:
                chance.choice(handles).stop()
            session.becomes(chance.choice(["thinking", "speaking"]))

    async def close() -> None:
        await (turns(chance.randrange(20)) if chance.random() < 0.8 else asyncio.sleep(0.1 * chance.random()))
        await player.aclose()

    starting = asyncio.create_task(player.start(room=room.room, agent_session=session.session))
    if chance.random() < 0.8:
        await starting
    await asyncio.gather(starting, play(), close())
    await player.aclose()  # the close may have come before the start
    assert room.track_publications == {}
    return handles


async def test_playing_may_race_the_close_and_the_close_the_start(folder: Path) -> None:
    """Five hundred times, at random; LiveKit's player leaves a task behind and a handle that is never done."""
    await one_race(random.Random(1))
    await until_no_thread_is_left()
    tasks, opened, count = asyncio.all_tasks(), descriptors(), 0
    for batch in range(20):
        for handles in await asyncio.gather(*(one_race(random.Random(f"{batch} {n}")) for n in range(25))):
            assert all(handle.done() for handle in handles)
            count += len(handles)
    assert count > 250
    assert asyncio.all_tasks() == tasks
    await until_no_thread_is_left()
    assert descriptors() <= opened


async def test_a_close_twice_and_before_the_start_and_a_start_afterwards(folder: Path) -> None:
    player, room = BackgroundAudioPlayer(ambient_sound="eighth.wav"), Room()
    await player.aclose()
    for _ in range(2):
        await player.start(room=room.room)
        await player.start(room=room.room)
        assert [player.publication] == list(room.track_publications.values())
        await asyncio.gather(player.aclose(), player.aclose())
        await player.aclose()
        assert room.track_publications == {}
        assert player.publication is None
    assert not output_threads()


async def test_a_second_start_elsewhere_is_refused_and_changes_nothing(folder: Path) -> None:
    player, room, session = BackgroundAudioPlayer(), Room(), Session()
    await player.start(room=room.room)
    with pytest.raises(UsageError, match="another room or session"):
        await player.start(room=Room().room)
    with pytest.raises(UsageError, match="another room or session"):
        await player.start(room=room.room, agent_session=session.session)
    await over(player.play("quarter.wav"))
    await player.aclose()


async def test_a_cancelled_close_goes_on_by_itself(folder: Path) -> None:
    tasks = asyncio.all_tasks()
    player, room = BackgroundAudioPlayer(ambient_sound="eighth.wav"), Room()
    await player.start(room=room.room)
    handle = player.play("quarter.wav", loop=True)
    closing = asyncio.create_task(player.aclose())
    await turns(3)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await over(handle)
    await until_nothing_goes_on()
    assert room.track_publications == {}
    assert asyncio.all_tasks() == tasks


async def test_the_rooms_end_is_the_players(folder: Path) -> None:
    tasks = asyncio.all_tasks()
    player, room, session = BackgroundAudioPlayer(ambient_sound="eighth.wav"), Room(), Session()
    await player.start(room=room.room, agent_session=session.session)
    handles = [player.play("quarter.wav", loop=True), player.play(Made(blocks(ramp(480_000), 480)).frames())]
    await asyncio.sleep(0.2)
    room.disconnect()
    room.disconnect()
    await over(*handles)
    await until_no_thread_is_left()
    with pytest.raises(RuntimeError, match="not started"):
        player.play("quarter.wav")
    await player.aclose()
    room.connected = True
    await player.start(room=room.room)
    await over(player.play("quarter.wav"))
    await player.aclose()
    assert asyncio.all_tasks() == tasks


async def test_nothing_is_heard_of_the_session_after_the_end(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    player, session, room = BackgroundAudioPlayer(thinking_sound="quarter.wav"), Session(), Room()
    await player.start(room=room.room, agent_session=session.session)
    session.becomes("thinking")
    await player.aclose()
    tasks = asyncio.all_tasks()
    session.becomes("listening", "thinking", None)
    room.disconnect()
    await turns(3)
    assert asyncio.all_tasks() == tasks
    assert warnings(caplog) == []


async def test_several_players_of_a_room_take_back_their_own_track(folder: Path) -> None:
    room, players = Room(), [BackgroundAudioPlayer(ambient_sound="eighth.wav") for _ in range(4)]
    for player in players:
        await player.start(room=room.room)
    published = [player.publication for player in players]
    assert len({id(publication) for publication in published}) == 4
    for player in (players[2], players[0]):
        await player.aclose()
    assert list(room.track_publications.values()) == [published[1], published[3]]
    for player in players:
        await player.aclose()
    assert room.track_publications == {}
    assert not output_threads()


# --- the beginning ----------------------------------------------------------------------------------------------------


async def test_a_cancelled_start_leaves_no_track_and_takes_no_other_back(folder: Path) -> None:
    room, first, second = Room(), BackgroundAudioPlayer(), BackgroundAudioPlayer(ambient_sound="eighth.wav")
    await first.start(room=room.room)
    room.delay = 0.1
    starting = asyncio.create_task(second.start(room=room.room))
    await asyncio.sleep(0.05)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    with pytest.raises(RuntimeError):
        second.play("quarter.wav")
    await asyncio.sleep(0.2)
    assert list(room.track_publications.values()) == [first.publication]
    await second.start(room=room.room)
    assert len(room.track_publications) == 2
    await second.aclose()
    await first.aclose()
    assert room.track_publications == {}
    assert not output_threads()


async def test_a_failed_publish_is_an_error_and_the_next_start_works(folder: Path) -> None:
    player, room, session = BackgroundAudioPlayer(ambient_sound="eighth.wav"), Room(), Session()
    room.error = RuntimeError("insufficient permissions")
    for _ in range(2):
        with pytest.raises(OutputError, match="insufficient permissions"):
            await player.start(room=room.room, agent_session=session.session)
        assert player.publication is None
        await player.aclose()
    await until_no_thread_is_left()
    room.error = None
    await player.start(room=room.room, agent_session=session.session)
    await over(player.play("quarter.wav"))
    await player.aclose()


# --- the sounds -------------------------------------------------------------------------------------------------------


async def test_two_hundred_sounds_at_once(folder: Path) -> None:
    constant("small", 32 / 32_768, 0.5)
    player = BackgroundAudioPlayer()
    output = await started(player)
    async with tapped(output) as tap:
        await over(*[player.play("small.wav") for _ in range(200)])
    if exact(output):
        assert tap.heard.astype(int).sum() == 200 * 32 * 24_000
    await player.aclose()


async def test_stops_at_any_time_are_done_and_quiet(folder: Path) -> None:
    """Before the first frame, in the fade-in, in the fade-out, twice, after the end."""
    player = BackgroundAudioPlayer()
    output = await started(player)
    async with tapped(output) as tap:
        for fade in (0.0, 0.3):
            for wait in (None, 0.0, 0.02, 0.15, 0.5, 1.3):
                handle = player.play(AudioConfig("quarter.wav", fade_in=fade, fade_out=fade))
                if wait is not None:
                    await asyncio.sleep(wait)
                handle.stop()
                if not fade or wait is None:
                    assert handle.done()
                await asyncio.sleep(0.05)
                handle.stop()
                await over(handle)
                assert handle.done()
                handle.stop()
        await asyncio.sleep(0.1)
        quiet = len(tap.blocks)
    assert not np.concatenate(tap.blocks[quiet:]).any()
    await player.aclose()


async def test_one_that_is_stopped_at_once_is_not_heard(folder: Path) -> None:
    player = BackgroundAudioPlayer()
    output = await started(player)
    async with tapped(output) as tap:
        for sound in ("quarter.wav", AudioConfig("quarter.wav", fade_out=0.5), Made(blocks(ramp(4_800), 480)).frames()):
            player.play(sound).stop()
        await asyncio.sleep(0.3)
    assert not np.concatenate(tap.blocks).any()
    await player.aclose()


async def test_who_gives_up_waiting_stops_nothing_and_disturbs_no_one(folder: Path) -> None:
    player = BackgroundAudioPlayer()
    output = await started(player)
    async with tapped(output) as tap:
        handle = player.play("quarter.wav")
        waiting = [asyncio.create_task(handle.wait_for_playout()) for _ in range(3)]
        await asyncio.sleep(0.2)
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert [task.cancelled() for task in waiting] == [False, True, False]
        assert handle.done()
    assert not exact(output) or (tap.heard == 8_192).sum() == 48_000
    await player.aclose()


async def test_a_source_that_raises_or_does_not_close_ends_alone(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def stubborn() -> AsyncGenerator[rtc.AudioFrame, None]:
        try:
            while True:
                yield blocks(ramp(480), 480)[0]
        finally:
            raise ValueError("will not close")

    tasks = asyncio.all_tasks()
    player = BackgroundAudioPlayer()
    output = await started(player)
    async with tapped(output) as tap:
        bed = player.play("eighth.wav", loop=True)
        await over(player.play(Made(blocks(ramp(9_600), 480), fails=True).frames()))
        handle = player.play(stubborn())
        await asyncio.sleep(0.2)
        handle.stop()
        await reaches(tap, 0.125)
        assert not bed.done()
    await player.aclose()
    assert warnings(caplog) == [
        "a sound that was made as it went ends here",
        "a sound that was made as it went did not close in order",
    ]
    assert asyncio.all_tasks() == tasks


async def test_a_generator_that_was_made_of_an_iterable_is_closed() -> None:
    class Many:
        made = Made(blocks(ramp(480_000), 480))

        def __aiter__(self) -> AsyncIterator[rtc.AudioFrame]:
            return self.made.frames()

    player, many = BackgroundAudioPlayer(), Many()
    await started(player)
    handle = player.play(many)  # type: ignore[arg-type] # more than its signature asks for
    await asyncio.sleep(0.1)
    handle.stop()
    await player.aclose()
    assert many.made.closed


class Failing(NativeQueue):
    """A queue whose captures fail so often."""

    to_fail = 0.0

    async def capture(self, samples: npt.NDArray[np.int16]) -> None:
        if Failing.to_fail:
            Failing.to_fail -= 1
            raise RuntimeError("InvalidState - failed to capture frame")
        await super().capture(samples)


@pytest.mark.parametrize("times", [1, math.inf])
async def test_a_capture_that_fails_once_or_always(
    times: float, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """LiveKit's player falls silent for the rest of the call, and what is played then is never done."""
    monkeypatch.setattr(RoomOutput, "queue_type", Failing)
    Failing.to_fail = 0
    player = BackgroundAudioPlayer()
    output = await started(player)
    async with tapped(output) as tap:
        Failing.to_fail = times
        handle = player.play("quarter.wav")
        await asyncio.sleep(0.8)
        if times == 1:
            await over(handle)
            assert (tap.heard == 8_192).sum() == 48_000
        await player.aclose()
    await over(handle)
    assert warnings(caplog)[0] == "the room does not take the background; trying again, said once"
    assert len(warnings(caplog)) == (2 if times == 1 else 1)
    assert not output_threads()


async def test_odd_events_are_logged_and_the_next_one_counts(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    player, session = BackgroundAudioPlayer(ambient_sound="eighth.wav", thinking_sound="quarter.wav"), Session()
    output = await started(player, session)
    async with tapped(output) as tap:
        session.emit("agent_state_changed", None)
        session.emit("agent_state_changed", SimpleNamespace())
        for state in (None, 5, ["thinking"], "none", "close", "No State!"):
            session.becomes(state)
            await asyncio.sleep(0.05)
        await reaches(tap, 0.125)
        session.becomes("thinking")
        await reaches(tap, 0.375)
    assert set(warnings(caplog)) == {"the background could not take a change of state"}
    await player.aclose()
