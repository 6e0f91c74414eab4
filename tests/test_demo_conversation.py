"""The demo's conversation, a real `AgentSession` with no keys, server or sound card; its voice."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from livekit import rtc
from livekit.agents import AgentSession
from numpy.typing import NDArray

from soundscape.demo.conversation import Timing, Turn, converse
from soundscape.demo.models import models
from soundscape.demo.scripted import Completion, PacedVoice, ToolCall
from soundscape.demo.voice import speak

RATE = 24_000
QUICK = Timing(pause=0.05, caller=0, think=0.05, tool=0.9, answer=0.05, between=0.002, voice=0.02, tail=0.1)
GREETING = "Hello, this is the order desk. How can I help you today?"


@dataclass
class Record:
    """What a session did, and when (seconds after `origin`)."""

    origin: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    states: list[tuple[float, str]] = field(default_factory=list)
    tools: list[tuple[float, str]] = field(default_factory=list)
    closed: list[float] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    finished: list[tuple[float, bool]] = field(default_factory=list)

    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.origin

    def listen_to(self, session: AgentSession[None], voice: PacedVoice) -> None:
        session.on("agent_state_changed", lambda ev: self.states.append((self.now(), ev.new_state)))
        session.on("tool_execution_updated", lambda ev: self.tools.append((self.now(), ev.update.type)))
        session.on("close", lambda _: self.closed.append(self.now()))
        voice.on(
            "playback_finished",
            lambda ev: self.finished.append((ev.playback_position, ev.interrupted)),
        )

    def order(self) -> list[str]:
        merged = sorted(self.states + self.tools + [(at, "close") for at in self.closed])
        return [name for _, name in merged]

    def speaking(self) -> list[tuple[float, float]]:
        return [(at, until) for (at, state), (until, _) in pairwise(self.states) if state == "speaking"]


def turn(text: str, *more: Completion, call: ToolCall | None = None) -> Turn:
    first = Completion(text, think=QUICK.think, call=call, between=QUICK.between)
    return Turn("Where is my order?", (first, *more))


async def held(
    *turns: Turn, session: AgentSession[None] | None = None, timing: Timing = QUICK
) -> tuple[Record, PacedVoice]:
    record = Record()
    session = session or AgentSession()
    voice = PacedVoice(origin=record.origin)
    session.output.audio = voice
    record.listen_to(session, voice)
    await converse(
        session,
        timing=timing,
        turns=turns,
        on_line=lambda who, text: record.lines.append((who, text)),
    )
    return record, voice


def sounding(sound: NDArray[np.float32], rate: int) -> list[tuple[float, float]]:
    """Stretches of sound in seconds; a plosive's closure (below 80 ms) does not part them."""
    loud = np.flatnonzero(np.abs(sound) > 1e-3)
    if not len(loud):
        return []
    gaps = np.flatnonzero(np.diff(loud) > 0.08 * rate)
    begins, ends = loud[np.r_[0, gaps + 1]], loud[np.r_[gaps, len(loud) - 1]]
    return [(float(a / rate), float(b / rate)) for a, b in zip(begins, ends, strict=True)]


def measured(sound: NDArray[np.float32], rate: int) -> tuple[float, float]:
    """Integrated loudness in LUFS and true peak in dBFS, as FFmpeg's ebur128 finds them."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate, format="flt", layout="mono", time_base=Fraction(1, rate))
    meter, sink = graph.add("ebur128", "peak=true:metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(sound[None], format="flt", layout="mono")
    frame.sample_rate = rate
    source.push(frame)
    source.push(None)
    values: dict[str, str] = {}
    while True:
        try:
            values = dict(sink.pull().metadata) or values
        except (av.error.EOFError, av.error.BlockingIOError):
            break
    peak = float(values["lavfi.r128.true_peak"])
    return float(values["lavfi.r128.I"]), float(20 * np.log10(peak))


# --- the conversation -----------------------------------------------------------------------------


async def test_turns_go_through_the_states_in_order_and_each_line_is_handed_over_once() -> None:
    record, _ = await held(turn("Yes."), turn("Good day."))
    states = ["listening", "thinking", "speaking", "listening", "thinking", "speaking", "listening"]
    assert record.order() == [*states, "close"]
    assert record.lines == [
        ("caller", "Where is my order?"),
        ("agent", "Yes."),
        ("caller", "Where is my order?"),
        ("agent", "Good day."),
    ]


async def test_a_tool_is_called_while_thinking_and_thinking_resumes_until_it_is_done() -> None:
    call = ToolCall("look_up_order", {"order_number": "4713"})
    record, _ = await held(turn("Yes.", Completion("Good day.", think=QUICK.answer), call=call))
    assert record.order() == [
        "listening",
        "thinking",
        "tool_call_started",
        "speaking",
        "thinking",
        "tool_call_ended",
        "speaking",
        "listening",
        "close",
    ]
    (_, started), (_, ended) = record.tools[0], record.tools[1]
    assert (started, ended) == ("tool_call_started", "tool_call_ended")
    # The tool's own sleep, and what the loop is late by on a busy machine.
    assert record.tools[1][0] - record.tools[0][0] == pytest.approx(QUICK.tool, abs=0.1)


async def test_a_tool_without_words_is_thinking_throughout() -> None:
    call = ToolCall("look_up_order", {"order_number": "4713"})
    record, _ = await held(
        turn("", Completion("Good day.", think=QUICK.answer), call=call),
        timing=replace(QUICK, tool=0.2),
    )
    assert [state for _, state in record.states] == [
        "listening",
        "thinking",
        "speaking",
        "listening",
    ]


async def test_the_voice_is_heard_while_speaking_and_at_no_other_time() -> None:
    record, voice = await held(turn("Yes we will."), turn("Good day."))
    heard = sounding(voice.heard(record.now(), sample_rate=48_000), 48_000)
    spoken = record.speaking()
    assert len(heard) == len(spoken) == 2
    for (begin, end), (speaking, silent) in zip(heard, spoken, strict=True):
        # Both are of one event loop, milliseconds apart; a busy machine is granted the rest.
        assert begin == pytest.approx(speaking, abs=0.15)
        assert end == pytest.approx(silent, abs=0.15)


async def test_an_interruption_is_silence_at_once_and_ends_speaking() -> None:
    session: AgentSession[None] = AgentSession()
    interrupted: list[float] = []

    def interrupt() -> None:
        interrupted.append(asyncio.get_running_loop().time())
        session.interrupt()

    def interrupt_soon(_: object) -> None:
        if session.agent_state == "speaking":
            asyncio.get_running_loop().call_later(0.3, interrupt)

    session.on("agent_state_changed", interrupt_soon)
    record, voice = await held(turn("This sentence is a good deal longer than it will be."), session=session)
    at = interrupted[0] - record.origin
    ((begin, silent),) = record.speaking()
    assert silent == pytest.approx(at, abs=0.1)
    ((played, cut_short),) = record.finished
    assert cut_short
    assert played == pytest.approx(at - begin, abs=0.1)
    assert not voice.heard(record.now(), since=at + 0.02).any()


async def test_a_conversation_leaves_no_task_and_the_session_can_be_used_again() -> None:
    session: AgentSession[None] = AgentSession()
    for _ in range(2):
        record, _ = await held(turn("Yes."), session=session)
        assert record.order()[0] == "listening"
        assert record.order()[-1] == "close"
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_script_that_is_too_short_raises_and_the_session_is_closed() -> None:
    session: AgentSession[None] = AgentSession()
    with pytest.raises(IndexError, match="ends after 0 completions"):
        await converse(session, timing=QUICK, turns=[Turn("Hello?", ())])
    assert session.agent_state == "initializing"


# --- the output -----------------------------------------------------------------------------------


async def test_a_pause_of_the_output_delays_what_is_left_and_loses_nothing() -> None:
    voice = PacedVoice(sample_rate=RATE)
    tone = (12_000 * np.sin(2 * np.pi * 440 * np.arange(RATE // 5) / RATE)).astype("<i2")
    await voice.capture_frame(rtc.AudioFrame(tone.tobytes(), RATE, 1, len(tone)))
    voice.flush()
    await asyncio.sleep(0.08)
    voice.pause()
    await asyncio.sleep(0.15)
    voice.resume()
    finished = await asyncio.wait_for(voice.wait_for_playout(), 2)
    assert finished.playback_position == pytest.approx(0.2)
    assert not finished.interrupted
    (first, second) = sounding(voice.heard(1.0), RATE)
    assert second[0] - first[1] == pytest.approx(0.15, abs=0.05)
    played = (first[1] - first[0]) + (second[1] - second[0])
    assert played == pytest.approx(0.2, abs=0.005)


async def test_what_is_heard_does_not_depend_on_the_pieces_it_is_asked_for_in() -> None:
    record, voice = await held(turn("Yes we will."))
    whole = voice.heard(1.5, sample_rate=48_000)
    pieces = [voice.heard(0.1 * i + 0.1, since=0.1 * i, sample_rate=48_000) for i in range(15)]
    assert len(whole) == 72_000
    # Band-limited resampling reaches across the ends of a piece; a second away nothing is left.
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)
    assert record.speaking()


# --- the voice ------------------------------------------------------------------------------------


def test_the_same_text_and_seed_give_the_same_samples_and_another_seed_others() -> None:
    assert np.array_equal(speak(GREETING, sample_rate=RATE), speak(GREETING, sample_rate=RATE))
    other = speak(GREETING, sample_rate=RATE, seed=1)
    assert not np.array_equal(speak(GREETING, sample_rate=RATE)[:RATE], other[:RATE])


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_speech_is_at_minus_20_lufs_without_clipping_or_dc(rate: int) -> None:
    sound = speak(GREETING, sample_rate=rate)
    loudness, true_peak = measured(sound, rate)
    # Holding the peaks takes up to 0.7 LU away.
    assert loudness == pytest.approx(-20, abs=1)
    assert true_peak < -3
    assert abs(sound.mean()) < 1e-4
    assert sound.dtype == np.float32
    assert sound.ndim == 1


def test_speech_pauses_at_punctuation_and_nowhere_else() -> None:
    assert len(sounding(speak("We will all be here on a Monday", sample_rate=RATE), RATE)) == 1
    parts = sounding(speak("We will, all be. Here on a Monday.", sample_rate=RATE), RATE)
    (_, comma), (resumed, stop), (again, _) = parts
    assert 0.15 < resumed - comma < 0.4
    assert 0.35 < again - stop < 0.65


def test_speech_has_about_four_syllables_a_second() -> None:
    sound = speak("Your lamp left our warehouse early this morning with seven others", sample_rate=RATE)
    assert 15 / (len(sound) / RATE) == pytest.approx(4, abs=0.7)


def test_speech_has_the_pitch_of_a_voice_and_it_moves() -> None:
    sound = speak("We are going all around the world now", sample_rate=RATE).astype(np.float64)
    pitches = []
    for start in range(0, len(sound) - 1920, 960):
        block = sound[start : start + 1920]
        if np.sqrt(np.mean(block**2)) > 0.05:
            correlation = np.correlate(block, block, mode="full")[1919:]
            pitches.append(RATE / (96 + int(np.argmax(correlation[96:240]))))
    assert 130 < np.median(pitches) < 220
    assert np.percentile(pitches, 90) / np.percentile(pitches, 10) > 1.15


def test_speech_is_made_much_quicker_than_it_is_spoken() -> None:
    took = []
    for _ in range(3):
        begin = time.thread_time()  # of the processor: other tests may run beside this one
        sound = speak(GREETING, sample_rate=RATE)
        took.append(time.thread_time() - begin)
    # 100 times real time was measured; a slower machine is granted half of that.
    assert min(took) < len(sound) / RATE / 50


def test_a_text_without_a_letter_is_a_short_silence() -> None:
    silence = speak("...", sample_rate=RATE)
    assert len(silence) == RATE // 5
    assert not silence.any()


def test_a_sample_rate_too_low_for_speech_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8000"):
        speak("Hello", sample_rate=4000)


@pytest.mark.parametrize(
    ("scripted", "environment"),
    [
        (False, {"LIVEKIT_URL": "wss://shop.livekit.cloud"}),
        (False, {"LIVEKIT_URL": "wss://shop.livekit.run"}),
        (True, {"LIVEKIT_URL": "ws://127.0.0.1:7880"}),
        (True, {}),
        (False, {"LIVEKIT_INFERENCE_API_KEY": "key", "LIVEKIT_INFERENCE_API_SECRET": "secret"}),
        (True, {"LIVEKIT_INFERENCE_API_KEY": "", "LIVEKIT_INFERENCE_API_SECRET": ""}),
        (True, {"LIVEKIT_INFERENCE_API_KEY": "key"}),
    ],
)
def test_a_script_answers_only_where_livekits_models_cannot_be_reached(
    scripted: bool, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("LIVEKIT_URL", "LIVEKIT_INFERENCE_API_KEY", "LIVEKIT_INFERENCE_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (models(llm="openai/gpt-4.1-mini") == {"llm": "openai/gpt-4.1-mini"}) is not scripted
    assert ("a script answers" in caplog.text) is scripted
