"""Make the background clips anew.

    python resources/make_clips.py [NAME ...] [--out DIR]

Every clip is synthesised from fixed seeds: on one machine the same samples come out each time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clip_synth import birds, keyboards, machines, music, outdoors, rooms, signals
from clip_synth.dsp import RATE, Array, calm_start
from clip_synth.loudness import level, loudness, sounding, true_peak
from clip_synth.oggopus import encode


@dataclass(frozen=True)
class Clip:
    """How one clip is made and stored."""

    make: Callable[[], Array]
    title: str
    kbps: int
    loop: bool = True
    ambience: bool = False
    """Whether the loop may begin anywhere."""


CLIPS: dict[str, Clip] = {
    "city-ambience": Clip(outdoors.city_ambience, "City ambience", 64, ambience=True),
    "forest-ambience": Clip(birds.forest_ambience, "Forest ambience", 80, ambience=True),
    "office-ambience": Clip(rooms.office_ambience, "Office ambience", 64, ambience=True),
    "crowded-room": Clip(rooms.crowded_room, "Crowded room", 80, ambience=True),
    "keyboard-typing": Clip(keyboards.keyboard_typing, "Keyboard typing", 96),
    "keyboard-typing-2": Clip(keyboards.keyboard_typing_2, "Keyboard typing 2", 96),
    "hold-music": Clip(music.hold_music, "Hold music", 96),
    "server-hum": Clip(machines.server_hum, "Server hum", 80, ambience=True),
    "cafe": Clip(rooms.cafe, "Café", 80, ambience=True),
    "rain": Clip(outdoors.rain, "Rain", 96, ambience=True),
    "chime": Clip(signals.chime, "Chime", 96, loop=False),
    "pick-up": Clip(signals.pick_up, "Pick up", 96, loop=False),
    "hang-up": Clip(signals.hang_up, "Hang up", 96, loop=False),
}


def build(name: str, out: Path) -> str:
    """Make one clip, write it to `out`, and say what came of it."""
    clip = CLIPS[name]
    x = clip.make()
    x = level(calm_start(x) if clip.ambience else x, loop=clip.loop)
    tags = {"TITLE": clip.title, "LICENSE": "CC0-1.0"}
    data = encode(x, clip.kbps * 1000, loop=clip.loop, tags=tags)
    (out / f"{name}.opus").write_bytes(data)
    loud = loudness(x if clip.loop else sounding(x), loop=clip.loop)
    facts = f"{len(x) / RATE:6.2f} s {len(data):8d} bytes"
    return f"{name:18s} {facts} {loud:6.1f} LUFS {true_peak(x):6.1f} dBTP"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Synthesise the background clips.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all of them")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "clips")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(CLIPS))
    if unknown:
        parser.error(f"no such clip: {', '.join(unknown)} (there are: {', '.join(CLIPS)})")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or CLIPS:
        print(build(name, options.out), flush=True)


if __name__ == "__main__":
    main()
