"""What may be asked for in mid-call, beside a state."""

from __future__ import annotations

import os
import threading

from soundscape.engine import Fact, Scenery, Switch
from soundscape.exceptions import UsageError
from soundscape.library import SceneClips
from soundscape.loader import Scene, find_scene
from soundscape.plugin.checks import seconds, set_gain_of
from soundscape.plugin.configs import Audio
from soundscape.plugin.handles import PlayHandle
from soundscape.plugin.run import Run

__all__ = ["Live"]


class Live:
    """The calls of a `Soundscape` by which its sound is changed while it plays."""

    scene: Scene
    seed: int
    clips: SceneClips
    _sample_rate: int
    _run: Run
    _closed: bool
    _posting: threading.RLock
    _asked = 0  # so many switches
    _switched = 0  # the present one's number among them

    def _post(self, fact: Fact) -> None:
        raise NotImplementedError

    def _load(self, scene: Scene) -> SceneClips:
        raise NotImplementedError

    def set_gain(self, bus_or_key: str, gain_db: float, *, fade: float = 0.3) -> None:
        """Sets a level in mid-call, on top of all that the scene says: of a bus, or of the layers of a key. It stays
        until it is set again, for sounds that begin later too, and in a session that is started again.

        Args:
            bus_or_key: `main` or another bus of the scene; else a layer's key.
            gain_db: dB, 40 at most; 0 is as the scene has it, -120 is silence.
            fade: seconds in which it gets there from where it is.

        Raises:
            UsageError: the scene has no such bus or key, or a number is none.
        """
        self._post(Fact("gain", set_gain_of(self.scene, bus_or_key, gain_db, fade)))

    def switch(self, scene: str | os.PathLike[str] | Scene, *, crossfade: float | None = None) -> None:
        """Plays another scene from now on, in the same state. Sounds of equal keys go on where they are, if they are
        the same in both scenes: kind, bus and pool; all others leave and come. What was set by `set_gain` stays.

        It is checked and loaded first, as by the class, with the same options, which takes the time of decoding its
        sounds: `await asyncio.to_thread(background.switch, "cafe")` keeps that from the session's loop. Of several that
        are loaded at once, the one that was asked for last stays.

        Args:
            scene: a file, the name of a scene that ships, or a `Scene`.
            crossfade: seconds, in place of the scene's `[defaults]`.

        Raises:
            SceneError: with all that is wrong in the scene and its sounds. The present one goes on.
            UsageError: this Soundscape was closed, or a value is none.
        """
        if self._closed:
            raise UsageError("this Soundscape was closed; make another one")
        if crossfade is not None:
            crossfade = seconds("a crossfade", crossfade)
        if isinstance(scene, Scene):
            reference = scene.name
        elif isinstance(scene, str | os.PathLike):
            reference = os.fspath(scene)
            scene = Scene.from_file(find_scene(scene))
        else:
            raise UsageError(f"{scene!r} is no scene: give a path, the name of a scene that ships, or a Scene")
        with self._posting:
            self._asked += 1
            asked = self._asked
        clips = self._load(scene)
        with self._posting:
            if asked < self._switched:  # a later one was sooner ready
                return
            self._switched = asked
            self.scene, self.clips = scene, clips
            self._post(Fact("scene", Switch(reference, Scenery(scene, clips), crossfade)))

    def play(self, audio: Audio, *, loop: bool = False) -> PlayHandle:
        """Plays a sound of the moment, on the session's loop. The scene's states do not touch it; it is on the bus
        `main`, ducked as everything, and faded by the close.

        A file is decoded in a thread first. A name from the scene's `[clips]` was decoded before the call.

        Args:
            audio: `soundscape:NAME`, `livekit:NAME`, a name from the scene's `[clips]`, or a file, relative to the
                working directory; a `BuiltinAudioClip`; an `AsyncIterator` of `rtc.AudioFrame`, which is asked on the
                session's loop, some 0.7 s ahead of what is heard; an `AudioConfig` of one of these; or a list of
                `AudioConfig`, of which one is drawn by their probabilities, or none.
            loop: whether it goes round until it is stopped.

        Returns:
            By which it is stopped, or waited for until its last frame was heard. A `DecodeError` is raised there if
            what was found is no sound.

        Raises:
            UsageError: no background plays in the session yet, or any more; or this cannot be played.
            DecodeError: there is no such sound.
        """
        run = self._run
        if run.moments is None or run.closing is not None:
            raise UsageError("nothing can be played before the session's background has started, or after its end")
        return run.moments.play(audio, self.clips, loop=bool(loop))
