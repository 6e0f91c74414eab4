"""Sources become clips: which file is meant, which are refused before they are opened, and every frame in its place."""

from __future__ import annotations

import io
import math
import os
import random
import struct
import threading
import wave
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from soundscape.exceptions import DecodeError
from soundscape.library import list_clips, load, resolve
from soundscape.library.decode import decode

RATE = 48_000
Sound = NDArray[np.float32]
LAYOUTS = {1: "mono", 2: "stereo", 4: "quad", 6: "5.1", 8: "7.1"}


def wav(path: Path, samples: NDArray[np.int16], rate: int = RATE) -> Path:
    """A 16-bit file of `(frames,)` or `(frames, channels)`, by the standard library."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def encoded(samples: Sound, codec: str, container: str, rate: int = RATE) -> bytes:
    """A file of `(frames,)` or `(channels, frames)`, by PyAV."""
    planes = np.ascontiguousarray(np.atleast_2d(samples), np.float32)
    if codec == "vorbis" and len(planes) == 1:  # FFmpeg's encoder knows stereo only
        planes = np.repeat(planes, 2, axis=0)
    layout = LAYOUTS[len(planes)]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = cast(AudioStream, out.add_stream(codec, rate=rate, options={"strict": "experimental"}))
        stream.layout = layout
        out.start_encoding()
        # Packed: PyAV cannot look at 8 planes either.
        packed = np.ascontiguousarray(planes.T).reshape(1, -1)
        whole = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        whole.sample_rate = rate
        convert = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
        queue = av.AudioFifo()
        for converted in convert.resample(whole):
            converted.pts = None
            queue.write(converted)
        at = 0
        while block := queue.read(stream.codec_context.frame_size or 4_096, partial=True):
            block.pts, block.time_base, at = at, Fraction(1, rate), at + block.samples
            out.mux(stream.encode(block))
        out.mux(stream.encode(None))
    return file.getvalue()


def float_wav(samples: Sound, rate: int = RATE) -> bytes:
    """A float32 WAV, by hand, so that it may hold what no encoder writes."""
    body = samples.astype("<f4").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, rate, 4 * rate, 4, 32)
    return (
        struct.pack("<4sI4s", b"RIFF", 20 + len(form) + len(body), b"WAVE")
        + form
        + b"data"
        + struct.pack("<I", len(body))
        + body
    )


def sound(data: bytes, rate: int = RATE) -> Sound:
    return decode(io.BytesIO(data), "x", rate)


def noise(frames: int, seed: int = 0) -> Sound:
    return (0.2 * np.random.default_rng(seed).standard_normal(frames)).clip(-1, 1).astype(np.float32)


@pytest.fixture
def beep(tmp_path: Path) -> Path:
    return wav(tmp_path / "beep.wav", np.arange(480, dtype=np.int16))


def refusal(source: str, base: Path, *, allow_outside: bool = False) -> str:
    with pytest.raises(DecodeError) as caught:
        resolve(source, base, allow_outside=allow_outside)
    assert str(base) not in str(caught.value), "the scene's own words suffice"
    return str(caught.value)


# --- Which file is meant ---------------------------------------------------------------------------------------------


def test_a_file_is_taken_from_the_scenes_folder(beep: Path) -> None:
    assert resolve("beep.wav", beep.parent) == beep.resolve()
    assert resolve("./sub/../beep.wav", (beep.parent / "sub").parent) == beep.resolve()


@pytest.mark.parametrize(
    "name", ["12:30.wav", "concat:a|b.wav", "~.wav", "$HOME.wav", "http:x.wav", "-.wav", "a\nb.wav"]
)
def test_odd_names_are_file_names_like_any_other(name: str, tmp_path: Path) -> None:
    wav(tmp_path / name, np.array([16_384], np.int16))
    assert load(resolve(name, tmp_path)).samples.tolist() == [0.5]


@pytest.mark.checkout
def test_every_clip_that_ships_is_found(tmp_path: Path) -> None:
    assert "office-ambience" in list_clips()
    assert all(resolve(f"soundscape:{name}", tmp_path).is_file() for name in list_clips())


@pytest.mark.checkout
def test_a_clip_that_does_not_ship_has_a_nearest_one(tmp_path: Path) -> None:
    message = refusal("soundscape:ofice-ambience", tmp_path)
    assert message == (
        "'soundscape:ofice-ambience': no clip of that name ships with soundscape; "
        "did you mean soundscape:office-ambience?"
    )


@pytest.mark.parametrize("name", ["office-ambience", "OFFICE_AMBIENCE"])
def test_livekits_clips_go_by_file_name_or_by_the_enums(name: str, tmp_path: Path) -> None:
    assert resolve(f"livekit:{name}", tmp_path).name == "office-ambience.ogg"


def test_every_name_of_livekits_enum_is_found(tmp_path: Path) -> None:
    from livekit.agents.voice.background_audio import BuiltinAudioClip

    for clip in BuiltinAudioClip:
        assert resolve(f"livekit:{clip.name}", tmp_path).name == clip.value


def test_an_unknown_clip_of_livekits_has_a_nearest_one(tmp_path: Path) -> None:
    assert "did you mean livekit:hold-music?" in refusal("livekit:hold-musik", tmp_path)


def test_a_shipped_name_is_no_path(tmp_path: Path) -> None:
    assert "no clip of that name" in refusal("soundscape:../clips/rain", tmp_path)


# --- Which are refused before they are opened ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("rain.wav", "'rain.wav': no such file; paths are taken from the scene's folder"),
        ("bep.wav", "'bep.wav': no such file; did you mean 'beep.wav'?"),
        ("beep.wav/x.wav", "'beep.wav/x.wav': no such file; paths are taken from the scene's folder"),
        ("https://x.org/y.wav", "no such file; URLs are not fetched: put the file into the scene's folder"),
        ("~/y.wav", "no such file; ~ and $NAME are not expanded: write a path from the scene's folder"),
        ("livekti:rain", "no such file; did you mean livekit:rain?"),
        ("", "'' is no file name"),
        ("a\0b", "is no file name"),
        (".", "'.' is a folder; name the sound files in it, in a pool"),
        ("x" * 5_000, "cannot be read: file name too long"),
        ("/etc/passwd", "'/etc/passwd' is an absolute path; only files in the scene's folder are played"),
        ("../beep.wav", "'../beep.wav' leaves the scene's folder"),
        ("a/../../beep.wav", "leaves the scene's folder"),
    ],
)
def test_a_path_is_refused_in_its_own_words(source: str, said: str, beep: Path) -> None:
    assert said in refusal(source, beep.parent)


def test_a_path_is_judged_by_its_text_even_if_it_comes_back(beep: Path) -> None:
    assert "leaves the scene's folder" in refusal(f"../{beep.parent.name}/beep.wav", beep.parent)
    with pytest.raises(DecodeError, match="is an absolute path"):
        resolve(str(beep), beep.parent)


def test_a_path_is_judged_by_where_it_leads(beep: Path, tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    scene.mkdir()
    (scene / "link.wav").symlink_to(beep)
    (scene / "folder").symlink_to(tmp_path)
    for source in ("link.wav", "folder/beep.wav", "folder/missing.wav"):
        assert "leads out of the scene's folder by a link" in refusal(source, scene)
        if "missing" not in source:
            assert resolve(source, scene, allow_outside=True) == beep.resolve()


def test_a_link_inside_the_folder_is_followed(beep: Path) -> None:
    (beep.parent / "link.wav").symlink_to("beep.wav")
    assert resolve("link.wav", beep.parent) == beep.resolve()


def test_a_link_to_itself_is_an_error_and_no_hang(tmp_path: Path) -> None:
    (tmp_path / "me.wav").symlink_to("me.wav")
    assert "cannot be read" in refusal("me.wav", tmp_path)


def test_the_caller_may_allow_what_is_outside(beep: Path, tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    scene.mkdir()
    assert resolve("../beep.wav", scene, allow_outside=True) == beep.resolve()
    assert resolve(str(beep), scene, allow_outside=True) == beep.resolve()


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    """Opening one would wait until somebody writes."""
    os.mkfifo(tmp_path / "pipe.wav")
    assert "is a pipe or a device" in refusal("pipe.wav", tmp_path)
    with pytest.raises(DecodeError, match="is a pipe or a device"):
        load(tmp_path / "pipe.wav")


def test_a_device_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    assert "is a pipe or a device" in refusal("zero.wav", tmp_path, allow_outside=True)


@pytest.mark.parametrize("name", ["list.m3u8", "LIST.M3U", "x.pls", "x.cue", "x.xspf", ".m3u8"])
def test_playlists_are_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    assert "playlists are not played" in refusal(name, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile {}\n",
        "#EXTM3U\n#EXTINF:1,\n{}\n",
        "[playlist]\nFile1={}\n",
        'FILE "{}" WAVE\n',
        "<?xml version='1.0'?><playlist/>",
    ],
)
def test_a_playlist_called_wav_is_refused_by_its_first_bytes(text: str, beep: Path) -> None:
    """FFmpeg would play what it names, wherever that is."""
    path = beep.with_name("list.wav")
    path.write_text(text.format(beep))
    with pytest.raises(DecodeError, match=r"'list\.wav': playlists are not played"):
        load(path)


# --- What is no sound ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "'x' is empty"),
        (b"MZ\x90\0" * 100, "'x' is no sound file that is known; convert it to WAV, FLAC"),
        (b"RIFF\x24\0\0\0WAVE", "'x' cannot be decoded"),
        (float_wav(np.zeros(0, np.float32)), "'x' has not a single frame of sound"),
        (float_wav(np.array([0, np.nan, 0], np.float32)), "holds numbers that are no sound"),
        (float_wav(np.array([0, -np.inf], np.float32)), "holds numbers that are no sound"),
        (float_wav(np.zeros(9, np.float32), rate=1), "sample rate of 1 Hz; it must be 1000 to 768000 Hz"),
    ],
)
def test_what_is_no_sound_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(DecodeError) as caught:
        sound(data)
    assert said in str(caught.value)


@pytest.mark.parametrize(("codec", "container"), [("libopus", "ogg"), ("flac", "flac"), ("pcm_s16le", "wav")])
def test_eight_channels_are_refused_before_a_frame_is_looked_at(codec: str, container: str) -> None:
    """PyAV 18.1 ends the process there."""
    with pytest.raises(DecodeError, match="8 channels; mix it down: 6 is the most"):
        sound(encoded(np.zeros((8, 4_800), np.float32), codec, container))


def test_pictures_are_no_sound() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        out.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        out.mux(stream.encode(None))
    with pytest.raises(DecodeError, match="has no sound in it"):
        sound(file.getvalue())


def long_flac(hours: float, *, stated: bool) -> bytes:
    """Silence at 1 kHz, 0.3 MB an hour; with larger blocks than FFmpeg writes, 24 hours fit into 1 MB."""
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as out:
        stream = out.add_stream("flac", rate=1_000)
        stream.layout = "mono"
        stream.codec_context.format = "s16"
        out.start_encoding()
        size = stream.codec_context.frame_size
        block = av.AudioFrame.from_ndarray(np.zeros((1, size), np.int16), format="s16", layout="mono")
        block.sample_rate = 1_000
        for k in range(math.ceil(hours * 3_600_000 / size)):
            block.pts = k * size
            out.mux(stream.encode(block))
        out.mux(stream.encode(None))
    data = bytearray(file.getvalue())
    if not stated:  # STREAMINFO's total, 36 bits: 0 is "unknown"
        data[21] &= 0xF0
        data[22:26] = bytes(4)
    return bytes(data)


@pytest.mark.parametrize("stated", [True, False])
def test_hours_in_a_few_bytes_are_refused(stated: bool) -> None:
    """By its header, or, where that is silent, once 30 minutes have come out."""
    data = long_flac(3, stated=stated)
    assert len(data) < 1_000_000
    with pytest.raises(DecodeError, match="longer than 30 minutes"):
        sound(data, 8_000)


def test_thirty_minutes_are_allowed_and_a_frame_more_is_not() -> None:
    silence = np.zeros(30 * 60 * 1_000, np.float32)
    assert len(sound(float_wav(silence, 1_000), 1_000)) == len(silence)
    with pytest.raises(DecodeError, match="longer than 30 minutes"):
        sound(float_wav(np.append(silence, np.float32(0)), 1_000), 1_000)


@pytest.mark.parametrize(
    ("codec", "container", "said"),
    [
        ("pcm_s16le", "wav", "breaks off after 0.50 s;"),
        ("pcm_s16be", "aiff", "breaks off after 0.50 of 1.00 s;"),
        ("flac", "flac", r"breaks off after 0\.\d\d of 1\.00 s;"),
        ("libmp3lame", "mp3", r"breaks off after 0\.\d\d of 1\.00 s;"),
        ("libopus", "webm", r"breaks off after 0\.\d\d of 1\.0\d s;"),
        ("aac", "ipod", "cannot be decoded"),
    ],
)
def test_half_a_file_is_no_clip(codec: str, container: str, said: str) -> None:
    """Of the whole length what is known: a WAV's is taken from what is left of it."""
    data = encoded(noise(RATE), codec, container)
    with pytest.raises(DecodeError, match=said):
        sound(data[: len(data) // 2])


def test_of_a_file_that_breaks_off_near_its_end_it_is_said_how_near() -> None:
    """Not `1.0 of 1.0 s`."""
    data = encoded(noise(RATE), "pcm_s16be", "aiff")
    with pytest.raises(DecodeError, match=r"breaks off after 0\.97 of 1\.00 s;"):
        sound(data[: round(0.975 * len(data))])


def test_a_hole_in_a_file_is_no_clip() -> None:
    data = bytearray(encoded(noise(2 * RATE), "flac", "flac"))
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    with pytest.raises(DecodeError, match="half a clip is not played: copy the file anew"):
        sound(bytes(data))


def test_a_wav_from_a_pipe_may_not_know_its_size() -> None:
    """The program that wrote it could not go back to fill it in."""
    data = bytearray(float_wav(noise(5_000)))
    for at in (4, data.index(b"data") + 4):
        data[at : at + 4] = b"\xff\xff\xff\xff"
    assert np.array_equal(sound(bytes(data)), noise(5_000))


# --- Every frame in its place ----------------------------------------------------------------------------------------


def test_integers_come_out_exact(tmp_path: Path) -> None:
    numbers = np.array([-32_768, -1, 0, 1, 12_345, 32_767], np.int16)
    assert (load(wav(tmp_path / "x.wav", numbers)).samples == numbers / 32_768).all()


def test_floats_come_out_as_they_are_beyond_full_scale_too() -> None:
    numbers = np.array([0.1, -3.5, 1e-9, 2.0], np.float32)
    assert sound(float_wav(numbers)).tolist() == numbers.tolist()


def test_stereos_mono_is_half_of_the_sum(tmp_path: Path) -> None:
    both = np.array([[16_384, 0], [16_384, 16_384], [32_767, -32_767]], np.int16)
    assert load(wav(tmp_path / "x.wav", both)).samples.tolist() == [0.25, 0.5, 0]


def test_of_more_channels_it_is_the_mean_without_the_low_frequency_effects() -> None:
    channels = np.array([0.1, 0.2, 0.3, 0.9, 0.4, 0.5], np.float32)  # FFmpeg's 5.1: L R C LFE Ls Rs
    data = encoded(np.repeat(channels[:, np.newaxis], 100, axis=1), "pcm_f32le", "wav")
    assert sound(data) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("codec", "container"),
    [
        ("pcm_s24le", "wav"),
        ("pcm_s16le", "w64"),
        ("pcm_s16be", "aiff"),
        ("pcm_s16le", "caf"),
        ("flac", "flac"),
        ("flac", "ogg"),
        ("alac", "ipod"),
    ],
)
def test_lossless_formats_lose_nothing(codec: str, container: str) -> None:
    whole = ((noise(10_000) * 32_768).round() / 32_768).astype(np.float32)
    # Within a step of 16 bits: converting to them before the encoder rounds.
    assert np.abs(sound(encoded(whole, codec, container)) - whole).max() <= 1 / 32_768


@pytest.mark.parametrize(
    ("codec", "container", "frames", "excess"),
    [
        ("libopus", "ogg", 50_001, 0),
        ("libopus", "ogg", 1_000, 0),
        ("libopus", "webm", 50_001, 0),
        ("libmp3lame", "mp3", 50_001, 0),
        ("libmp3lame", "mp3", 1_000, 0),
        ("vorbis", "ogg", 48_000, 0),  # FFmpeg's encoder cannot write other lengths than multiples of 64
        ("aac", "ipod", 48_000, 0),
        ("aac", "ipod", 50_001, 15),  # FFmpeg's edit list counts milliseconds: 1042 of them
    ],
)
def test_lossy_formats_keep_their_length_and_place(codec: str, container: str, frames: int, excess: int) -> None:
    """Encoder delay and padding are cut off. Low noise, which every codec keeps, shows the place to the frame."""
    given = np.convolve(noise(frames + 63), np.hanning(64) / 32, "valid").astype(np.float32)
    got = sound(encoded(given, codec, container))
    assert len(got) == frames + excess
    match = np.correlate(got[:1_200], given[:1_000], "full")
    assert int(match.argmax()) == 999


def test_an_mp3_with_a_title_is_the_same_sound() -> None:
    data = encoded(noise(9_600), "libmp3lame", "mp3")
    assert data[:3] == b"ID3"
    assert np.array_equal(sound(data), sound(data[10 + data[9] + 128 * data[8] :]))


def test_a_videos_sound_is_taken() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        pictures = out.add_stream("mpeg4", rate=25)
        pictures.width = pictures.height = 16
        pictures.pix_fmt = "yuv420p"
        stream = out.add_stream("pcm_s16le", rate=RATE)
        stream.layout = "mono"
        block = av.AudioFrame.from_ndarray(np.full((1, 4_800), 8_192, np.int16), format="s16", layout="mono")
        block.sample_rate = RATE
        out.mux(pictures.encode(av.VideoFrame(16, 16, "yuv420p")))
        out.mux(stream.encode(block))
        for each in (pictures, stream):
            out.mux(each.encode(None))
    assert sound(file.getvalue()).tolist() == [0.25] * 4_800


@pytest.mark.parametrize(
    "rates", [(8_000, 48_000), (44_100, 48_000), (48_000, 44_100), (192_000, 48_000), (48_000, 8_000)]
)
@pytest.mark.parametrize("frames", [1, 20, 100, 30_000])
def test_resampling_loses_nothing_at_either_end(rates: tuple[int, int], frames: int) -> None:
    """The length is the file's to half a frame, a click stays within a frame, a constant is constant to its ends."""
    source, target = rates
    click = np.zeros(frames, np.float32)
    click[frames // 3] = 1
    got = sound(float_wav(click, source), target)
    assert len(got) == max(1, math.floor(frames * target / source + 0.5))
    assert abs(int(np.abs(got).argmax()) - frames // 3 * target / source) <= 1
    steady = sound(float_wav(np.full(frames, 0.5, np.float32), source), target)
    assert steady == pytest.approx(0.5, abs=1e-3)


def test_resampling_in_batches_is_resampling_at_once() -> None:
    """A tone of 3 s at 44.1 kHz, some batches long, comes out as the same tone at 48 kHz."""
    given = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(3 * 44_100) / 44_100)
    wanted = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(3 * RATE) / RATE)
    got = sound(float_wav(given.astype(np.float32), 44_100))
    assert np.abs(got - wanted)[100:-100].max() < 1e-4


# --- Once per process ------------------------------------------------------------------------------------------------


def test_a_file_is_decoded_once(beep: Path) -> None:
    assert load(beep) is load(beep)
    assert load(beep, 8_000) is not load(beep)
    assert load(beep, 8_000).sample_rate == 8_000


def test_threads_that_ask_at_once_get_one_clip(tmp_path: Path) -> None:
    path = wav(tmp_path / "long.wav", np.zeros(2_000_000, np.int16))
    got = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        got.append(load(path))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert len({id(clip) for clip in got}) == 1


def test_a_file_rewritten_under_its_name_is_heard_as_it_is_now(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", np.array([1], np.int16))
    before = load(path)
    path.unlink()
    assert load(wav(path, np.array([2], np.int16))).samples.tolist() == [2 / 32_768]
    assert before.samples.tolist() == [1 / 32_768]


def test_an_error_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"nothing")
    for _ in range(2):
        with pytest.raises(DecodeError, match=r"'rain' is no sound file"):
            load(path, name="rain")
    assert load(wav(path, np.array([1], np.int16))).length == 1


def test_a_clips_samples_cannot_be_written_to(beep: Path) -> None:
    assert not load(beep).samples.flags.writeable


# --- Whatever the bytes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "container"),
    [
        ("pcm_s16le", "wav"),
        ("flac", "flac"),
        ("libopus", "ogg"),
        ("vorbis", "ogg"),
        ("libmp3lame", "mp3"),
        ("aac", "ipod"),
        ("pcm_s16be", "aiff"),
        ("libopus", "webm"),
    ],
)
def test_damaged_files_are_a_sound_or_a_decode_error(codec: str, container: str) -> None:
    """Never another error, a crash, a hang or a descriptor left open."""
    whole = encoded(noise(6_000), codec, container)
    draw = random.Random(f"{codec} {container}")
    for _ in range(30):
        data = bytearray(whole)
        reach = draw.choice([64, 300, len(data)])
        for _ in range(draw.randint(1, 12)):
            data[draw.randrange(min(reach, len(data)))] = draw.choice([0, 0x7F, 0x80, 0xFF, draw.randrange(256)])
        if draw.random() < 0.3:
            del data[draw.randrange(len(data)) :]
        try:
            got = sound(bytes(data))
        except DecodeError:
            continue
        assert len(got) >= 1
        assert np.isfinite(got).all()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors where the system lists them")
def test_no_descriptor_is_left_open(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.flac").write_bytes(encoded(noise(9_000), "flac", "flac")[:3_000])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(DecodeError):
            load(tmp_path / "bad.flac")
    assert len(os.listdir("/proc/self/fd")) == before
    assert capfd.readouterr().err == ""
