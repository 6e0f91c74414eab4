"""Sounds of the moment: what an application may ask for by name while a scene plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from soundscape.clip import Clip
from soundscape.exceptions import DecodeError
from soundscape.library import SceneClips, load, resolve

__all__ = ["find_moment"]


def find_moment(
    source: str, clips: SceneClips | None, sample_rate: int, *, folder: Path | None = None
) -> Clip | Callable[[], Clip]:
    """Looks for a sound: a name from the scene's `[clips]`, `soundscape:NAME`, `livekit:NAME`, or a file, which may lie
    anywhere: it is the application that names it, not a scene.

    Args:
        source: the name or the path.
        clips: the scene's, where there is one.
        sample_rate: frames per second.
        folder: which paths are relative to; the working directory unless given.

    Returns:
        The clip, or what gives it: that may take the time of decoding a file, and raise a `DecodeError`.

    Raises:
        DecodeError: there is no such thing.
    """
    if clips is not None and source in clips.scene.clips:
        return clips[source]
    try:
        path = resolve(source, folder or Path(), allow_outside=True)
    except DecodeError as error:
        raise DecodeError(error.message, hint=error.hint.replace("scene's folder", "working directory")) from None
    return lambda: load(path, sample_rate, name=source)
