"""The sound card, through PortAudio, which calls for every block itself.

A device that goes away ends PortAudio's stream for good (*measured*, on PulseAudio: the callback is called no more, the
stream is no longer active, closing it takes 1 ms; a new one opens as soon as the device is back). Until there is one
the source goes on by the clock, unheard: what waits for a sound, or for the end, waits no longer than it would.

`sounddevice` is imported when an output starts: importing it fails where PortAudio is missing, and takes the devices'
time where it is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from soundscape.exceptions import OutputError, UsageError
from soundscape.outputs import BLOCK_SECONDS, SafeSource, Source

__all__ = ["SpeakersOutput"]

logger = logging.getLogger("soundscape")

_BLOCK = 480  # frames, 10 ms at 48 kHz: what PortAudio's low latency asks for on common systems
_BEHIND_SECONDS = 0.1
"""What a sound server may hold beyond the latency PortAudio tells of; PulseAudio held 20 ms more."""
_LOOK_SECONDS = 0.1
"""How often it is asked whether the device still plays."""
_AGAIN_SECONDS = 1.0
"""How long after a device was lost, or could not be opened again, it is tried again."""


class SpeakersOutput:
    """Plays on a sound device. If that goes away, the log says so once, and it plays on when the device is back.

    Args:
        device: a device's name, a part of it, or its number, as `python -m sounddevice` lists them; `None`: the
            system's default.

    Attributes:
        underflows: blocks that came too late and were heard as a click.
    """

    def __init__(self, device: str | int | None = None) -> None:
        self.underflows = 0
        self._device = device
        self._finished = False  # as who rendered last saw it: a source belongs to the thread that renders
        self._stream: Any = None  # None as well while there is no device
        self._source: SafeSource | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._lost = False

    @property
    def heard(self) -> int:
        """What was rendered, less what PortAudio says that it holds."""
        stream, source = self._stream, self._source
        if source is None:
            return 0
        behind = 0 if stream is None else round(float(stream.latency) * source.sample_rate)
        return max(0, source.position - behind)

    async def start(self, source: Source) -> None:
        """Opens the device and begins to play.

        Raises:
            OutputError: PortAudio is missing, or no such device takes the sound.
            UsageError: it was started before.
        """
        if self._source is not None:
            raise UsageError("SpeakersOutput was started before; an output is started once")
        pulled = SafeSource(source)
        stream = self._open(pulled)
        self._begin(stream)
        self._stream, self._source = stream, pulled
        self._keeping = asyncio.create_task(self._keep(pulled), name="soundscape.SpeakersOutput")

    def changed(self) -> None:
        """Nothing has been rendered ahead, so there is nothing to take back."""

    async def aclose(self, *, timeout: float = 0.0) -> None:
        """Plays on until the source has finished and is heard, `timeout` seconds at most, then closes the device."""
        keeping, self._keeping = self._keeping, None
        if keeping is None:
            return
        try:
            async with asyncio.timeout(timeout):
                while not self._finished:
                    await asyncio.sleep(0.01)
                if self._stream is not None:
                    await asyncio.sleep(self._stream.latency + _BEHIND_SECONDS)
        except TimeoutError:
            pass
        finally:
            keeping.cancel()
            stream, self._stream = self._stream, None
            if stream is not None:
                stream.close(ignore_errors=True)
        await asyncio.gather(keeping, return_exceptions=True)

    def _open(self, pulled: SafeSource) -> Any:
        """A stream that does not play yet."""
        try:
            import sounddevice
        except OSError as error:
            raise OutputError(
                f"no speakers: {error}; install PortAudio (apt install libportaudio2) or choose another output"
            ) from error

        def callback(out: npt.NDArray[np.float32], frames: int, _time: Any, status: Any) -> None:
            # A callback that raises ends the stream; nothing here does.
            self.underflows += bool(status.output_underflow)
            out[:] = pulled.render(frames)  # mono to every channel the device was opened with
            self._finished = pulled.finished

        try:
            most = int(sounddevice.query_devices(self._device, "output")["max_output_channels"])
            return sounddevice.OutputStream(
                samplerate=pulled.sample_rate,
                blocksize=_BLOCK,
                device=self._device,
                channels=max(pulled.source.num_channels, min(2, most)),
                dtype="float32",
                latency="low",
                callback=callback,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise OutputError(
                f"no speakers: {error}; see `python -m sounddevice` for the devices there are, or choose another output"
            ) from error

    def _begin(self, stream: Any) -> None:
        import sounddevice

        try:
            stream.start()
        except sounddevice.PortAudioError as error:
            stream.close(ignore_errors=True)
            raise OutputError(f"the speakers do not start: {error}; choose another device or output") from error

    async def _keep(self, pulled: SafeSource) -> None:
        """Looks after the device as long as it plays."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if not _plays(self._stream):
                gone, self._stream = self._stream, None
                gone.close(ignore_errors=True)
                if not self._lost:
                    self._lost = True
                    logger.warning("the speakers are gone; the background plays on when they are back, said once")
                self._stream = await self._without(pulled)

    async def _without(self, pulled: SafeSource) -> Any:
        """Goes on by the clock until the device is back."""
        loop = asyncio.get_running_loop()
        block = round(pulled.sample_rate * BLOCK_SECONDS)
        done, began = 0, loop.time()
        again = began + _AGAIN_SECONDS
        opening: asyncio.Future[Any] | None = None
        try:
            while True:
                if opening is None and loop.time() >= again:
                    # In a thread: a sound server that does not answer would hold up the session.
                    opening = asyncio.ensure_future(asyncio.to_thread(self._open, pulled))
                elif opening is not None and opening.done():
                    opened, opening, again = opening, None, loop.time() + _AGAIN_SECONDS
                    if opened.exception() is None:
                        with contextlib.suppress(OutputError):
                            self._begin(opened.result())
                            return opened.result()
                pulled.render(block)
                self._finished = pulled.finished
                done += block
                await asyncio.sleep(max(0.0, began + done / pulled.sample_rate - loop.time()))
        finally:
            if opening is not None:
                opening.add_done_callback(_let_go)


def _plays(stream: Any) -> bool:
    import sounddevice

    try:
        return bool(stream.active)
    except sounddevice.PortAudioError:  # what cannot be asked is gone as well
        return False


def _let_go(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close(ignore_errors=True)
