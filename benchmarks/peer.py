"""What LiveKit's player needs of a room: somebody who takes its track. No server is asked."""

from __future__ import annotations

from typing import Any, cast

from livekit import rtc


class TrackRoom:
    """Keeps the track that is published, so that it can be listened to."""

    def __init__(self) -> None:
        self.track: rtc.LocalAudioTrack | None = None
        self.track_publications: dict[str, Any] = {}

    @property
    def local_participant(self) -> TrackRoom:
        return self

    async def publish_track(self, track: rtc.LocalAudioTrack, options: Any = None) -> None:
        self.track = track

    async def unpublish_track(self, sid: str) -> None:
        self.track = None

    def as_room(self) -> rtc.Room:
        return cast(rtc.Room, self)
