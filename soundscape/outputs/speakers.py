"""The sound card, through PortAudio, which calls for every block itself.

`sounddevice` is imported when an output starts: importing it fails where PortAudio is missing, and takes the devices'
time where it is not.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import numpy.typing as npt

from soundscape.exceptions import OutputError, UsageError
from soundscape.outputs import SafeSource, Source

__all__ = ["SpeakersOutput"]

_BLOCK = 480  # frames, 10 ms at 48 kHz: what PortAudio's low latency asks for on common systems
_BEHIND_SECONDS = 0.1
"""What a sound server may hold beyond the latency PortAudio tells of; PulseAudio held 20 ms more."""


class SpeakersOutput:
    """Plays on a sound device.

    Args:
        device: a device's name, a part of it, or its number, as `python -m sounddevice` lists them; `None`: the
            system's default.

    Attributes:
        underflows: blocks that came too late and were heard as a click.
    """

    def __init__(self, device: str | int | None = None) -> None:
        self.underflows = 0
        self._device = device
        self._finished = False  # as the callback's thread last saw it: a source belongs to the thread that renders
        self._stream: Any = None
        self._source: SafeSource | None = None
        self._started = False

    @property
    def heard(self) -> int:
        """What was rendered, less what PortAudio says that it holds."""
        stream, source = self._stream, self._source
        if stream is None or source is None:
            return 0
        behind = round(float(stream.latency) * source.sample_rate)
        return max(0, source.position - behind)

    async def start(self, source: Source) -> None:
        """Opens the device and begins to play.

        Raises:
            OutputError: PortAudio is missing, or no such device takes the sound.
            UsageError: it was started before.
        """
        if self._started:
            raise UsageError("SpeakersOutput was started before; an output is started once")
        try:
            import sounddevice
        except OSError as error:
            raise OutputError(
                f"no speakers: {error}; install PortAudio (apt install libportaudio2) or choose another output"
            ) from error
        pulled = SafeSource(source)

        def callback(out: npt.NDArray[np.float32], frames: int, _time: Any, status: Any) -> None:
            # A callback that raises ends the stream; nothing here does.
            self.underflows += bool(status.output_underflow)
            out[:] = pulled.render(frames)  # mono to every channel the device was opened with
            self._finished = pulled.finished

        try:
            most = int(sounddevice.query_devices(self._device, "output")["max_output_channels"])
            stream = sounddevice.OutputStream(
                samplerate=source.sample_rate,
                blocksize=_BLOCK,
                device=self._device,
                channels=max(source.num_channels, min(2, most)),
                dtype="float32",
                latency="low",
                callback=callback,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise OutputError(
                f"no speakers: {error}; see `python -m sounddevice` for the devices there are, or choose another output"
            ) from error
        try:
            stream.start()
        except sounddevice.PortAudioError as error:
            stream.close(ignore_errors=True)
            raise OutputError(f"the speakers do not start: {error}; choose another device or output") from error
        self._started, self._stream, self._source = True, stream, pulled

    def changed(self) -> None:
        """Nothing has been rendered ahead, so there is nothing to take back."""

    async def aclose(self, *, timeout: float = 0.0) -> None:
        """Plays on until the source has finished and is heard, `timeout` seconds at most, then closes the device."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            async with asyncio.timeout(timeout):
                while not self._finished:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(stream.latency + _BEHIND_SECONDS)
        except TimeoutError:
            pass
        finally:
            stream.close(ignore_errors=True)
