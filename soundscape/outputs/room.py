"""The call: a published audio track, fed by a thread that a busy session cannot stop.

One thread per process, with an event loop of its own, pumps every room output (`soundscape.outputs.pump`). It starts
with the first and ends with the last; nothing exists at import, so a process may be forked before its first call. While
the session's loop is blocked, it goes on (it waits for the interpreter's lock only, 5 ms at most each time it is taken
from it).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading

import numpy as np
import numpy.typing as npt
from livekit import rtc

from soundscape.exceptions import OutputError, UsageError
from soundscape.outputs import SafeSource, Source, Stats
from soundscape.outputs.feed import DEEP_MS
from soundscape.outputs.pump import Pump

__all__ = ["NativeQueue", "RoomOutput"]

logger = logging.getLogger("soundscape")

_CONNECT_SECONDS = 5.0
_POLL_SECONDS = 0.02
_PUBLISH_SECONDS = 10.0
_UNPUBLISH_SECONDS = 1.0
_LET_GO_SECONDS = 1.0
_BITRATE = 48_000  # what LiveKit's clients call music; their default for speech is half of it


class NativeQueue:
    """A native source as the pump's queue."""

    def __init__(self, source: rtc.AudioSource) -> None:
        self.source = source

    async def capture(self, samples: npt.NDArray[np.int16]) -> None:
        frames, channels = samples.shape
        await self.source.capture_frame(rtc.AudioFrame(samples.tobytes(), self.source.sample_rate, channels, frames))

    def clear(self) -> None:
        self.source.clear_queue()


class RoomOutput:
    """Publishes the sound as a track of its own.

    Args:
        room: the room, connected or about to be; `None` publishes nothing and offers `track` alone, for tests.
        track_name: front ends look for this name; it is also how the publication is found again after a reconnect,
            which gives it another SID. Unique in the room, please.
        options: how the track is published. Unless given: no DTX, which chops a quiet bed into pieces, and a bit rate
            for music.

    Attributes:
        stats: what it has seen so far.

    Raises:
        UsageError: `options` call the track a microphone, which would make it the one that is transcribed as the
            agent's voice.
    """

    queue_type: type[NativeQueue] = NativeQueue

    def __init__(
        self,
        room: rtc.Room | None,
        *,
        track_name: str = "background_audio",
        options: rtc.TrackPublishOptions | None = None,
    ) -> None:
        if options is None:
            options = rtc.TrackPublishOptions(dtx=False)
            options.audio_encoding.max_bitrate = _BITRATE
        if options.source == rtc.TrackSource.SOURCE_MICROPHONE:
            raise UsageError(
                "a background cannot be published as SOURCE_MICROPHONE: it would pass for the agent's voice"
            )
        self.stats = Stats()
        self._room = room
        self._track_name = track_name
        self._options = options
        self._track: rtc.LocalAudioTrack | None = None
        self._publication: rtc.LocalTrackPublication | None = None  # as it was made; after a reconnect maybe another
        self._native: rtc.AudioSource | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the thread's, while this output uses it
        self._pumping: asyncio.Task[None] | None = None  # on that loop
        self._pump: Pump | None = None  # on that loop
        self._closed = False
        self._leaving: asyncio.Task[None] | None = None  # a cancelled aclose's: a task that nobody holds may vanish

    @property
    def room(self) -> rtc.Room | None:
        """Where it publishes."""
        return self._room

    @property
    def track(self) -> rtc.LocalAudioTrack | None:
        """The track, from `start` to the end."""
        return self._track

    @property
    def publication(self) -> rtc.LocalTrackPublication | None:
        """The track's publication as the room has it now; `None` while there is none."""
        return self._published(self._publication)

    @property
    def heard(self) -> int:
        """By the clock of the native queue."""
        pump = self._pump
        return 0 if pump is None else pump.heard

    async def start(self, source: Source) -> None:
        """Publishes the track and begins to pump. After a failure it may be called again.

        Raises:
            OutputError: the track cannot be published, or the room is not connected: one that never was is waited for,
                for 5 s.
            UsageError: it was started before, or the source's rate has no whole number of frames in 10 ms.
        """
        if source.sample_rate % 100:
            raise UsageError(f"a room takes 10 ms at a time: {source.sample_rate} frames a second cannot be divided so")
        if self._loop is not None or self._closed:
            raise UsageError("RoomOutput was started before; an output is started once")
        self._loop = loop = _thread.acquire()
        try:
            # Captures run on the thread's loop; on any other than the source's own they would hang.
            self._native = native = rtc.AudioSource(
                source.sample_rate, source.num_channels, queue_size_ms=DEEP_MS, loop=loop
            )
            self._track = track = rtc.LocalAudioTrack.create_audio_track(self._track_name, native)
            await self._publish(track)
        except BaseException:
            if not self._closed:
                self._let_go(loop)
            raise
        if self._closed:  # while it was being published
            await self._unpublish(self._publication)
            self._publication = None
        else:
            loop.call_soon_threadsafe(self._begin, SafeSource(source, self.stats), native)

    def changed(self) -> None:
        """Takes back what is not heard yet."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the thread may just have ended
                loop.call_soon_threadsafe(self._tell, loop.time())

    async def aclose(self, *, timeout: float = 0.0) -> None:
        """Plays on until the source has finished and is heard, `timeout` seconds at most, then takes the track back:
        another second in a room that does not answer. Cancelled, it takes it back in the background."""
        loop = self._loop
        if loop is None or self._closed:
            return
        self._closed = True
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._played_out(), loop))
            await self._unpublish(self._publication)
        except asyncio.CancelledError:
            leaving = self._unpublish(self._publication)
            self._leaving = asyncio.create_task(leaving, name="soundscape.RoomOutput.unpublish")
            raise
        finally:
            gone = self._let_go(loop)
        # A render that never returns keeps its thread; it does not keep the session.
        await asyncio.wait([asyncio.wrap_future(gone)], timeout=_LET_GO_SECONDS)
        _thread.join(_LET_GO_SECONDS)

    async def _publish(self, track: rtc.LocalAudioTrack) -> None:
        room = self._room
        if room is None:
            return
        await self._connected(room)
        if self._closed:
            return
        if not room.isconnected():  # LiveKit would wait for ever in a room that was left
            raise OutputError("the room does not take the background: it is not connected")
        publishing = asyncio.create_task(
            room.local_participant.publish_track(track, self._options), name="soundscape.RoomOutput.publish"
        )
        try:
            await self._settled(publishing, room)
            if not publishing.done() and room.isconnected():
                raise OutputError(f"the room did not take the background within {_PUBLISH_SECONDS:.0f} s")
        except (OutputError, asyncio.CancelledError):
            self._leaving = asyncio.create_task(self._withdraw(publishing, room))
            raise
        if not publishing.done():  # the room was left: nobody is there to hear it
            self._leaving = asyncio.create_task(self._withdraw(publishing, room))
            return
        try:
            self._publication = publishing.result()
        except Exception as error:  # LiveKit raises bare ones
            if not room.isconnected():
                return
            raise OutputError(f"the room does not take the background: {error}") from error

    async def _settled(self, publishing: asyncio.Task[rtc.LocalTrackPublication], room: rtc.Room) -> None:
        """Waits for a room's answer, which never comes from one that was left meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PUBLISH_SECONDS):
                while room.isconnected() and not publishing.done():
                    await asyncio.wait([publishing], timeout=_POLL_SECONDS)

    async def _connected(self, room: rtc.Room) -> None:
        """Waits for a room that is about to be connected: `session.start` connects a job's, and the session's first
        state may come before that (seen in a worker's first job)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_SECONDS):
                while not (room.isconnected() or self._closed or _was_connected(room)):
                    await asyncio.sleep(_POLL_SECONDS)

    async def _withdraw(self, publishing: asyncio.Task[rtc.LocalTrackPublication], room: rtc.Room) -> None:
        """Takes back what is still being published: cancelled, it would appear all the same, in nobody's books."""
        await self._settled(publishing, room)
        publishing.cancel()
        (made,) = await asyncio.gather(publishing, return_exceptions=True)
        if not isinstance(made, BaseException):
            await self._unpublish(made)

    async def _unpublish(self, made: rtc.LocalTrackPublication | None) -> None:
        """Bounded, and never raises: the room may go at any moment, and takes the track with it."""
        room, publication = self._room, self._published(made)
        if room is None or publication is None or not room.isconnected():
            return
        try:
            async with asyncio.timeout(_UNPUBLISH_SECONDS):
                await room.local_participant.unpublish_track(publication.sid)
        except Exception as error:
            logger.debug("the background's track was not taken back: %r", error)

    def _published(self, made: rtc.LocalTrackPublication | None) -> rtc.LocalTrackPublication | None:
        """A publication that was made, as the room has it now."""
        if self._room is not None and made is not None:
            # By name, never by SID: a full reconnect publishes the track again under another. Others may have the name.
            with contextlib.suppress(Exception):  # a room that was never connected has no participant
                publications = self._room.local_participant.track_publications.values()
                named = [publication for publication in publications if publication.name == self._track_name]
                return next((publication for publication in named if publication is made), named[0])
        return None

    # --- from here on the output thread's side -------------------------------------------------------------------

    def _let_go(self, loop: asyncio.AbstractEventLoop) -> concurrent.futures.Future[None]:
        # The native threads of a source live as long as its track does, so neither waits for the garbage collector.
        native, self._native, self._loop = self._native, None, None
        self._track = self._publication = None
        gone = asyncio.run_coroutine_threadsafe(self._finish(native), loop)
        gone.add_done_callback(lambda _: _thread.release())
        return gone

    def _begin(self, source: SafeSource, native: rtc.AudioSource) -> None:
        self._pump = Pump(source, self.queue_type(native), self.stats)
        self._pumping = asyncio.get_running_loop().create_task(self._pump.run(), name="soundscape.pump")

    def _tell(self, at: float) -> None:
        if self._pump is not None:
            self._pump.changed(at)

    async def _played_out(self) -> None:
        if self._pumping is not None:
            await asyncio.wait([self._pumping])

    async def _finish(self, native: rtc.AudioSource | None) -> None:
        pumping, self._pumping, self._pump = self._pumping, None, None
        if pumping is not None:
            pumping.cancel()
            await asyncio.wait([pumping])
        if native is not None:
            # A source whose last owner lets go of it while its clock takes frames out of the queue writes into memory
            # that is free already: a corrupted heap, or a process that hangs (*measured*, with the host alone: at the
            # very tick once in some hundred times, with an empty queue never in 38,000).
            with contextlib.suppress(Exception):  # closed underneath
                native.clear_queue()
                await native.aclose()


def _was_connected(room: rtc.Room) -> bool:
    try:
        return room.local_participant is not None
    except Exception:  # a bare one
        return False


class _OutputThread:
    """The one thread, counted by those who use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def acquire(self) -> asyncio.AbstractEventLoop:
        """The thread's loop, to be released once."""
        with self._lock:
            if self._loop is None or self._thread is None or not self._thread.is_alive():  # a fork leaves a dead one
                self._users, self._loop, self._stop = 0, asyncio.new_event_loop(), asyncio.Event()
                # A daemon: a process may end without closing its outputs.
                self._thread = threading.Thread(
                    target=_run, args=(self._loop, self._stop), name="soundscape-output", daemon=True
                )
                self._thread.start()
            self._users += 1
            return self._loop

    def release(self) -> None:
        """Gives the loop back. The last one ends the thread, without waiting for it. From any thread."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._loop is not None and self._stop is not None:
                self._loop.call_soon_threadsafe(self._stop.set)
                self._loop = None

    def join(self, timeout: float) -> None:
        """Waits for a thread that is ending, `timeout` seconds at most: well under a millisecond."""
        with self._lock:
            ending = self._thread if self._users == 0 else None
        if ending is not None:
            ending.join(timeout)


def _run(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(stop.wait())


_thread = _OutputThread()
