"""The speakers, as what they play is heard: on a sound card of the tests' own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sound_card import RATE, SoundCard, level, needs_sound_card, sound_card, wait_for

from soundscape.outputs.file import write_audio
from soundscape.testing import replay

pytestmark = [needs_sound_card, pytest.mark.long]

HERTZ = {"bed": 400.0, "think": 1_000.0, "speak": 1_700.0}
SCENE = """
[defaults]
crossfade = 0.05
[base]
source = "bed.wav"
[states.thinking]
source = "think.wav"
[states.speaking]
source = "speak.wav"
[[transitions]]
to = "none"
fade_out = 0.5
"""
PLAYER = """
import asyncio, logging, os, sys
from soundscape import Scene, SpeakersOutput
from soundscape.engine import Engine, Fact
from soundscape.library import SceneClips

async def main():
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    scene = Scene.from_file("scene.toml")
    clips = SceneClips(scene)
    clips.load_all()
    engine, output = Engine(scene, clips), SpeakersOutput()
    await output.start(engine)
    while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if word == "close":
            engine.post(Fact("close"))
            await output.aclose(timeout=10)
            print("closed", engine.finished, flush=True)
        elif word == "die":
            print(engine.position, output.heard, flush=True)
            os._exit(0)
        elif word == "position":
            print(engine.position, flush=True)
        else:
            engine.post(Fact("agent", word))
            print(word, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def card(tmp_path: Path) -> Iterator[SoundCard]:
    with sound_card(tmp_path / "card") as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, hertz in HERTZ.items():
        tone = 0.1 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)
        write_audio(tmp_path / f"{name}.wav", [tone.astype(np.float32)[:, np.newaxis]], RATE)
    (tmp_path / "scene.toml").write_text(SCENE)
    return tmp_path


class Player:
    """A process that plays the scene and does as it is told, a word at a time."""

    def __init__(self, card: SoundCard, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PLAYER], env=card.env, cwd=folder, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def tell(self, word: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        return self.says()

    def says(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait(10)
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture
def player(card: SoundCard, folder: Path) -> Iterator[Player]:
    made = Player(card, folder)
    yield made
    made.close()


def sounds(card: SoundCard, hertz: float, seconds: float = 0.2) -> bool:
    """Whether a tone is heard now."""
    return level(card.heard()[-round(seconds * RATE) :], hertz) > 0.05


def sounding(heard: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """From the first frame that is not silent to the last."""
    (loud,) = np.nonzero(np.abs(heard) > 2e-4)
    return heard[loud[0] : loud[-1] + 1]


def holes(heard: npt.NDArray[np.float32], hertz: float) -> int:
    """Blocks of 10 ms in which a tone is not what it was in the block before: gone, weaker, or out of step."""
    block = RATE // 100
    blocks = heard[: len(heard) // block * block].reshape(-1, block)
    turns = np.exp(-2j * np.pi * hertz * np.arange(blocks.size) / RATE).reshape(-1, block)
    phasors = 2 * (blocks * turns).mean(axis=1)
    return int((np.abs(np.diff(phasors)) > 0.01).sum())


def test_states_are_heard_in_order_at_the_level_of_the_render(card: SoundCard, player: Player) -> None:
    for state in ("listening", "thinking", "speaking"):
        player.tell(state)
        wanted = ["bed", *(name for name in HERTZ if state.startswith(name))]
        wait_for(partial(lambda wanted: [n for n in HERTZ if sounds(card, HERTZ[n])] == wanted, wanted))
        card.goes_on(0.5)
    assert player.tell("close") == "closed True"
    heard = sounding(card.heard())
    tenths = [heard[at : at + RATE // 10] for at in range(0, len(heard) - RATE // 10, RATE // 10)]
    order = [name for tenth in tenths for name in ("think", "speak") if level(tenth, HERTZ[name]) > 0.08]
    assert order == sorted(order, reverse=True)
    assert set(order) == {"think", "speak"}
    assert max(level(tenth, HERTZ["think"]) for tenth in tenths) == pytest.approx(0.1, rel=0.12)  # 1 dB


def test_a_tone_is_continuous_at_its_level_and_fades_at_the_close(
    card: SoundCard, player: Player, folder: Path
) -> None:
    player.tell("listening")
    wait_for(lambda: sounds(card, 400))
    card.goes_on(3.0)
    assert player.tell("close") == "closed True"
    wait_for(lambda: not card.heard()[-RATE // 5 :].any())
    heard = sounding(card.heard())
    steady = heard[RATE // 5 : -round(0.6 * RATE)]
    assert holes(steady, 400) == 0
    rendered = replay(folder / "scene.toml", "listening@0 close@2").audio(1.0, 2.0)[:, 0]
    assert level(steady, 400) == pytest.approx(level(rendered, 400), rel=0.12)  # 1 dB
    # The law of a fade over 0.5 s: in its middle half of the power, near its end next to nothing.
    middle, end = heard[-round(0.27 * RATE) : -round(0.23 * RATE)], heard[-round(0.04 * RATE) :]
    assert level(middle, 400) == pytest.approx(0.0707, rel=0.2)
    assert 0 < level(end, 400) < 0.02


def test_what_counts_as_heard_was_played(card: SoundCard, player: Player) -> None:
    """A process that dies takes with it what the card has not got yet."""
    player.tell("listening")
    wait_for(lambda: sounds(card, 400))
    card.goes_on(1.0)
    position, heard = map(int, player.tell("die").split())
    wait_for(lambda: not card.heard()[-RATE // 5 :].any())
    played = len(sounding(card.heard()))
    assert heard < position
    assert abs(played - heard) < 0.1 * RATE


@pytest.mark.parametrize("how", ["unplugged", "crashed"])
def test_a_device_that_goes_is_told_once_and_played_to_again(card: SoundCard, player: Player, how: str) -> None:
    player.tell("listening")
    wait_for(lambda: sounds(card, 400))
    if how == "unplugged":
        card.pactl("unload-module", "module-null-sink")
    else:
        card.stop()
    assert player.says() == "the speakers are gone; the background plays on when they are back, said once"
    before = int(player.tell("position"))
    wait_for(lambda: int(player.tell("position")) > before + 2 * RATE)  # the call goes on, and it was tried again
    player.tell("thinking")
    if how == "unplugged":
        card.pactl("load-module", "module-null-sink", "sink_name=null", f"rate={RATE}", "channels=2")
        card.listen()
    else:
        card.start()
    wait_for(lambda: sounds(card, 400) and sounds(card, 1_000))
    assert player.tell("close") == "closed True"


def test_without_the_device_the_close_is_as_long_as_the_fade(card: SoundCard, player: Player) -> None:
    player.tell("listening")
    wait_for(lambda: sounds(card, 400))
    card.stop()
    assert "are gone" in player.says()
    assert player.tell("close") == "closed True"  # finished, not given up after ten seconds
