"""`soundscape play`, in a terminal of its own, and what is heard of it on a sound card of the tests' own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sound_card import RATE, SoundCard, Terminal, level, needs_sound_card, sound_card, wait_for, without_portaudio

from soundscape.outputs.file import write_audio

pytestmark = pytest.mark.long

HERTZ = {"bed": 400.0, "think": 1_000.0, "look": 1_700.0, "hold": 2_300.0, "away": 2_900.0}
SCENE = """
[defaults]
crossfade = 0.05
[base]
key = "bed"
source = "bed.wav"
[states.thinking]
key = "think"
source = "think.wav"
[states.tool]
key = "look"
source = "look.wav"
[states.on_hold]
key = "hold"
source = "hold.wav"
[states.away]
key = "away"
source = "away.wav"
[[ducks]]
while = "user_speaking"
by_db = -12
"""
PLAY = "from soundscape.cli import main; main()"


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoundCard]:
    with sound_card(tmp_path_factory.mktemp("card")) as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, hertz in HERTZ.items():
        tone = 0.1 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)
        write_audio(tmp_path / f"{name}.wav", [tone.astype(np.float32)[:, np.newaxis]], RATE)
    (tmp_path / "scene.toml").write_text(SCENE)
    return tmp_path


@pytest.fixture
def desk(card: SoundCard, folder: Path) -> Iterator[Terminal]:
    wait_for(partial(silent, card))  # after the one before
    terminal = Terminal("-c", PLAY, "play", "scene.toml", env=card.env, cwd=folder)
    wait_for(lambda: "end" in terminal.shown and heard(card) == ["bed"])
    yield terminal
    terminal.close()


def heard(card: SoundCard) -> list[str]:
    """Which tones are heard now."""
    return [name for name, hertz in HERTZ.items() if level(card.heard()[-RATE // 5 :], hertz) > 0.05]


def hears(card: SoundCard, *names: str) -> None:
    """Waits until these and no others are heard."""
    wait_for(lambda: heard(card) == list(names))


def silent(card: SoundCard) -> bool:
    return not card.heard()[-RATE // 5 :].any()


@needs_sound_card
def test_each_state_has_a_key_and_is_heard(card: SoundCard, desk: Terminal) -> None:
    for key, names in [
        ("2", ["bed", "think"]),
        ("4", ["bed", "look"]),
        ("5", ["bed", "hold"]),
        ("6", ["bed", "away"]),
        ("3", ["bed"]),
        ("2", ["bed", "think"]),
        ("1", ["bed"]),
    ]:
        desk.press(key)
        hears(card, *names)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", desk.shown)
    assert "1 listening  2 thinking  3 speaking  4 tool  5 on_hold  6 away  u caller speaks  q end  |  bed" in plain
    assert "look 0 dB" in plain
    desk.press("q")
    assert desk.ended() == 0
    wait_for(partial(silent, card))


@needs_sound_card
def test_the_caller_speaks_while_u_says_so(card: SoundCard, desk: Terminal) -> None:
    def bed() -> float:
        return level(card.heard()[-RATE // 5 :], HERTZ["bed"])

    desk.press("u")
    wait_for(lambda: 0.02 < bed() < 0.03)  # 12 dB under 0.1
    desk.press("u")
    wait_for(lambda: bed() > 0.09)
    desk.press("\x1b[A")  # an arrow is no Escape
    card.goes_on(0.2)
    desk.press("\udce4")  # nor is a letter of another encoding's the end
    card.goes_on(0.2)
    desk.press("2")
    hears(card, "bed", "think")
    desk.press("\x1b")
    assert desk.ended() == 0


@needs_sound_card
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_fades_out_and_leaves_the_terminal_as_it_was(
    card: SoundCard, desk: Terminal, number: signal.Signals
) -> None:
    if number == signal.SIGINT:
        desk.press("\x03")  # the terminal turns it into the signal
    else:
        desk.signal(number)
    assert desk.ended() == 0
    assert "Traceback" not in desk.shown
    assert desk.echoes
    wait_for(partial(silent, card))


@needs_sound_card
def test_a_fade_that_takes_too_long_is_ended_without_a_click(card: SoundCard, folder: Path) -> None:
    (folder / "scene.toml").write_text(SCENE + '[[transitions]]\nto = "none"\ncrossfade = 60.0\n')
    wait_for(partial(silent, card))
    hasty = f"from soundscape.cli import play; play.CLOSE_SECONDS = 1.0; {PLAY}"
    desk = Terminal("-c", hasty, "play", "scene.toml", env=card.env, cwd=folder)
    try:
        hears(card, "bed")
        desk.press("q")
        assert desk.ended() == 0
    finally:
        desk.close()
    wait_for(partial(silent, card))
    played = np.flatnonzero(card.heard())
    end = card.heard()[: played[-1] + 1]
    assert np.abs(end[-RATE // 10 : -RATE // 20]).max() > 0.09
    assert np.abs(end[-RATE // 2_000 :]).max() < 0.05  # the last half a millisecond


@needs_sound_card
def test_what_is_saved_is_heard_and_what_is_wrong_is_said(card: SoundCard, desk: Terminal, folder: Path) -> None:
    scene = folder / "scene.toml"
    scene.write_text(SCENE.replace('source = "bed.wav"', 'sorce = "bed.wav"'))
    wait_for(lambda: "did you mean 'source'?" in desk.shown)
    desk.press("2")
    hears(card, "bed", "think")
    scene.write_text(SCENE.replace("think.wav", "hold.wav"))
    hears(card, "bed", "hold")
    assert "plays as saved" in desk.shown


@needs_sound_card
def test_a_sequence_is_played_in_real_time_and_told(card: SoundCard, folder: Path) -> None:
    """Given, or where the input is no terminal; it ends by itself."""
    wait_for(partial(silent, card))
    played = subprocess.Popen(
        [sys.executable, "-c", PLAY, "play", "scene.toml", "listening@0 thinking@1 listening@2 app=on_hold@3 close@4"],
        env=card.env, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    for names in (["bed"], ["bed", "think"], ["bed"], ["bed", "hold"], []):
        hears(card, *names)
    told, _ = played.communicate(timeout=30)
    assert played.returncode == 0
    commits = [line.split() for line in told.splitlines() if len(line.split()) == 2]
    assert commits == [
        ["0.000", "listening"], ["1.000", "thinking"], ["2.000", "listening"], ["3.000", "on_hold"], ["4.000", "none"]
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="what finds libraries elsewhere is not kept from it")
def test_without_portaudio_it_says_so_in_a_line(folder: Path) -> None:
    env = without_portaudio(dict(os.environ), folder / "system")
    for arguments in (["scene.toml"], ["scene.toml", "listening@0"]):
        ended = subprocess.run(
            [sys.executable, "-c", PLAY, "play", *arguments], env=env, cwd=folder, capture_output=True, text=True
        )
        assert (ended.returncode, ended.stdout) == (1, "")
        (line,) = ended.stderr.splitlines()
        assert line.startswith("soundscape: no speakers: PortAudio library not found; install PortAudio (apt install")
