"""Decoded sound on disk: written whole or not at all, believed only if it is whole, and never needed."""

from __future__ import annotations

import hashlib
import mmap
import os
import pickle
import random
import subprocess
import sys
import textwrap
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from soundscape import UsageError, prewarm
from soundscape.library import SceneClips, load
from soundscape.library.cache import Cache
from soundscape.loader import Scene

ROOT = Path(__file__).parent.parent
KEY, OTHER = hashlib.sha256(b"1").digest(), hashlib.sha256(b"2").digest()
SOUND = np.random.default_rng(5).standard_normal(100_000).astype(np.float32)
REST = b"what goes with it"

posix = pytest.mark.skipif(os.name != "posix", reason="owners, modes, limits and links of POSIX")

SAID = """
import hashlib, sys
from soundscape.library import load

def said(names):
    for name in names:
        for measured in (False, True):
            clip = load(name, measured=measured)
            of = hashlib.sha256(clip.samples.tobytes() + clip.seam.tobytes())
            print(name, of.hexdigest(), clip.start, clip.period, clip.lufs, flush=True)
"""
"""All of what clips are, in a line each."""


def write_wav(path: Path, samples: NDArray[np.int16]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def sounds(folder: Path) -> list[str]:
    """Three files: one that gets a seam, one that has no loudness, and one of two seconds."""
    draw = np.random.default_rng(3)
    for name, frames in (("a.wav", 30_000), ("b.wav", 400), ("c.wav", 48_000)):
        write_wav(folder / name, (draw.standard_normal(frames) * 3_000).astype(np.int16))
    return ["a.wav", "b.wav", "c.wav"]


def process(code: str, folder: Path, cache: str) -> subprocess.Popen[str]:
    """A fresh interpreter that runs a piece of code."""
    environment = {**os.environ, "SOUNDSCAPE_CACHE": cache, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SAID + textwrap.dedent(code)],
        cwd=folder,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(code: str, folder: Path, cache: str) -> tuple[str, str]:
    """What it printed, and what it logged."""
    running = process(code, folder, cache)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    return out, err


def truth(folder: Path, names: list[str]) -> str:
    """What the files are without a cache."""
    out, err = run(f"said({names})", folder, "off")
    assert out.count("\n") == 2 * len(names)
    assert err == ""
    return out


def clips(folder: Path) -> int:
    """How many clips are kept, whatever else is, and nothing half written."""
    names = [path.name for path in entries(folder)]
    assert not any(name.startswith("writing") for name in names)
    found = [Cache(folder).read(bytes.fromhex(path.stem)) for path in entries(folder)]
    return sum(len(entry.body) > 0 for entry in found if entry is not None)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.soundscape"))


# --- An entry --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [0, 1, 1_023, 1_024, 1_025, 65_536, 100_000])
def test_what_was_written_is_read(tmp_path: Path, frames: int) -> None:
    Cache(tmp_path / "new" / "folder").write(KEY, SOUND[:frames], REST)
    entry = Cache(tmp_path / "new" / "folder").read(KEY)
    assert entry is not None
    np.testing.assert_array_equal(entry.body, SOUND[:frames], strict=True)
    assert entry.rest == REST
    assert Cache(tmp_path).read(OTHER) is None


def test_the_first_one_wins(tmp_path: Path) -> None:
    """So that all that fill a cache at once map one file."""
    cache = Cache(tmp_path)
    for rest in (b"first", b"second"):
        cache.write(KEY, SOUND, rest)
    entry = cache.read(KEY)
    assert entry is not None
    assert entry.rest == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_mapped_cannot_be_written_to_and_outlives_its_file(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.write(KEY, SOUND, REST)
    entry = cache.read(KEY)
    assert entry is not None
    with pytest.raises(ValueError, match="WRITEABLE"):
        entry.body.setflags(write=True)
    entries(tmp_path)[0].unlink()
    np.testing.assert_array_equal(entry.body, SOUND)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors where the system lists them")
def test_what_is_mapped_holds_no_descriptor(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.write(KEY, SOUND, REST)
    before = len(os.listdir("/proc/self/fd"))
    held = [cache.read(KEY) for _ in range(5)]
    assert str(tmp_path) in Path("/proc/self/maps").read_text(encoding="utf-8")
    assert len(os.listdir("/proc/self/fd")) == before
    del held
    assert str(tmp_path) not in Path("/proc/self/maps").read_text(encoding="utf-8")


def damages(whole: bytes) -> dict[str, bytes]:
    """What can have become of a file. From 84 on there are zeros that say nothing, to 128."""
    found = {
        "empty": b"",
        "a head alone": whole[:100],
        "half": whole[: len(whole) // 2],
        "a byte less": whole[:-1],
        "a byte more": whole + b"\0",
        "zeros behind its head": whole[:128] + bytes(len(whole) - 128),
        "a page of zeros": whole[:8_192] + bytes(4_096) + whole[12_288:],
        "two pages in turn": whole[:128] + whole[4_224:8_320] + whole[128:4_224] + whole[8_320:],
        "the body's tail for the rest": whole[:52] + b"\xff" * 4 + whole[56:],
    }
    draw = random.Random(7)
    for at in [
        *range(0, 84, 5),
        128,
        127 + SOUND.nbytes,
        *(draw.randrange(128, len(whole)) for _ in range(20)),
        len(whole) - 1,
    ]:
        found[f"bit {at}"] = whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :]
    return found


def test_a_damaged_entry_is_noticed_and_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(tmp_path)
    cache.write(KEY, SOUND, REST)
    (path,) = entries(tmp_path)
    whole = path.read_bytes()
    assert cache.read(KEY) is not None
    for what, damaged in damages(whole).items():
        path.write_bytes(damaged)
        assert cache.read(KEY) is None, what
        assert not path.exists(), what
        cache.write(KEY, SOUND, REST)
        assert path.read_bytes() == whole
    assert [record.levelname for record in caplog.records] == ["WARNING"], "once, not for each"
    assert "is damaged: it is made again" in caplog.text


def test_an_entry_under_anothers_name_is_not_believed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.write(KEY, SOUND, REST)
    entries(tmp_path)[0].rename(tmp_path / f"{OTHER.hex()}.soundscape")
    assert cache.read(OTHER) is None


# --- Whose it is -----------------------------------------------------------------------------------------------------


@posix
def test_the_folder_and_its_entries_are_the_users_own(tmp_path: Path) -> None:
    Cache(tmp_path / "cache").write(KEY, SOUND, REST)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert entries(tmp_path / "cache")[0].stat().st_mode & 0o777 == 0o600


@posix
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_not_used(
    mode: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They could put sound into this user's calls."""
    cache = Cache(tmp_path)
    cache.write(KEY, SOUND, REST)
    tmp_path.chmod(mode)
    assert cache.read(KEY) is None
    cache.write(OTHER, SOUND, REST)
    assert len(entries(tmp_path)) == 1
    assert "this user's and writable by nobody else (chmod 700)" in caplog.text
    tmp_path.chmod(0o700)
    assert cache.read(KEY) is not None


@posix
def test_an_entry_that_others_may_write_to_or_a_link_is_not_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    cache.write(KEY, SOUND, REST)
    (path,) = entries(tmp_path / "cache")
    path.chmod(0o622)
    assert cache.read(KEY) is None
    path.chmod(0o600)
    assert cache.read(KEY) is not None
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.read(KEY) is None


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("of", ["folder", "entry"])
def test_what_is_anothers_is_not_used(of: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.write(KEY, SOUND, REST)
    os.chown(tmp_path if of == "folder" else entries(tmp_path)[0], 65_534, -1)
    assert cache.read(KEY) is None


# --- How much of it --------------------------------------------------------------------------------------------------


def aged(folder: Path, key: bytes, seconds: float) -> None:
    at = time.time() - seconds
    os.utime(folder / f"{key.hex()}.soundscape", (at, at))


def keys(count: int) -> list[bytes]:
    return [hashlib.sha256(bytes([n])).digest() for n in range(count)]


def there(folder: Path, wanted: list[bytes]) -> list[int]:
    return [n for n, key in enumerate(wanted) if (folder / f"{key.hex()}.soundscape").exists()]


def test_what_was_not_used_for_the_longest_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=3 * 410_000)  # SOUND is 400,000
    many = keys(5)
    for age, key in zip((4_000, 6_000, 5_000), many, strict=False):
        cache.write(key, SOUND, REST)
        aged(tmp_path, key, age)
    cache.write(many[3], SOUND, REST)
    assert there(tmp_path, many) == [0, 2, 3]
    assert cache.read(many[2]) is not None  # which is a use
    cache.write(many[4], SOUND, REST)
    assert there(tmp_path, many) == [2, 3, 4]


def test_what_is_in_use_stays_and_what_is_new_is_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else a scene that is larger than the cache would find nothing of itself at its next start."""
    cache = Cache(tmp_path, limit=2 * 410_000)
    many = keys(3)
    for key in many:
        cache.write(key, SOUND, REST)
    assert there(tmp_path, many) == [0, 1]
    assert "is full of what is in use" in caplog.text


def test_small_entries_cannot_be_without_number(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=10 << 16)
    for key in keys(20):
        cache.write(key, SOUND[:1], REST)
    assert len(entries(tmp_path)) == 10


def test_what_is_larger_than_the_cache_throws_nothing_out(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=200_000)
    cache.write(KEY, SOUND[:10], REST)
    aged(tmp_path, KEY, 4_000)
    cache.write(OTHER, SOUND, REST)
    assert there(tmp_path, [KEY, OTHER]) == [0]


def test_what_a_killed_process_left_goes_and_what_others_put_there_stays(tmp_path: Path) -> None:
    for name in ("writing-x.soundscape", "notes.txt"):
        (tmp_path / name).write_bytes(bytes(300_000))
        os.utime(tmp_path / name, (0, 0))
    Cache(tmp_path, limit=410_000).write(KEY, SOUND, REST)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{KEY.hex()}.soundscape", "notes.txt"]


# --- Where it is -----------------------------------------------------------------------------------------------------


def test_it_may_be_moved_or_done_without(tmp_path: Path) -> None:
    sounds(tmp_path)
    for cache, there in (("moved/to here", True), ("off", False)):
        run("said(['a.wav'])", tmp_path, cache)
        assert bool(entries(tmp_path / cache)) == there


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="where Linux keeps caches")
def test_it_is_where_the_system_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOUNDSCAPE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Cache.from_environment().write(KEY, SOUND, REST)
    assert len(entries(tmp_path / "soundscape")) == 1


# --- Always the right sound ------------------------------------------------------------------------------------------


def test_from_the_cache_or_not_a_clip_is_the_same_to_the_bit(tmp_path: Path) -> None:
    names = sounds(tmp_path)
    without = truth(tmp_path, names)
    for _ in range(3):
        assert run(f"said({names})", tmp_path, "cache") == (without, "")
    assert "None" in without.splitlines()[3], "b.wav is too short for a loudness"


def test_a_kept_clip_is_neither_decoded_nor_measured_again(tmp_path: Path) -> None:
    """Shown by entries that say something else than the file does."""
    sounds(tmp_path)
    first, _ = run("said(['a.wav'])", tmp_path, "cache")
    cache = Cache(tmp_path / "cache")
    for path in entries(tmp_path / "cache"):
        key = bytes.fromhex(path.stem)
        entry = cache.read(key)
        assert entry is not None
        path.unlink()
        rest = entry.rest if len(entry.body) else np.float64(-33.5).tobytes()
        cache.write(key, np.zeros_like(entry.body), rest)
    out, _ = run("said(['a.wav']); print(load('a.wav').samples.any())", tmp_path, "cache")
    assert out.splitlines()[1].split()[2:] == [*first.splitlines()[1].split()[2:4], "-33.5"]
    assert out.splitlines()[2] == "False"


def test_eight_processes_may_fill_an_empty_cache_at_once(tmp_path: Path) -> None:
    names = sounds(tmp_path)
    without = truth(tmp_path, names)
    code = f"print('ready', flush=True); sys.stdin.readline(); said({names})"
    running = [process(code, tmp_path, "cache") for _ in range(8)]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    assert [each.communicate(timeout=120) for each in running] == [(without, "")] * 8
    assert clips(tmp_path / "cache") == 3


KILLED = """
import os, resource, signal, shutil
import soundscape.library.cache

def attempt(prepare):
    "Whether a process that loads the sounds comes to its end."
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        prepare()
        said(NAMES)
        os._exit(0)
    return os.waitpid(child, 0)[1]

def at_step(n):
    "Is killed as it is about to touch the folder for the nth time."
    def watch(event, arguments):
        nonlocal n
        if event in ("open", "os.mkdir", "os.link", "os.remove", "os.rename", "os.utime", "os.scandir"):
            if "cache" in str(arguments[0]) and not (n := n - 1):
                os.kill(os.getpid(), signal.SIGKILL)
    return lambda: sys.addaudithook(watch)

def at_size(n):
    "Is killed in the middle of a write."
    def prepare():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))
    return prepare

def look():
    child = os.fork()
    if not child:
        said(NAMES)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    shutil.rmtree("cache")
    print("--", flush=True)
"""


@posix
def test_a_process_may_be_killed_at_each_step_of_a_write(tmp_path: Path) -> None:
    names = sounds(tmp_path)[:1]
    without = truth(tmp_path, names)
    code = f"""
        NAMES = {names}
        step = 1
        while attempt(at_step(step)):
            look()
            step += 1
        shutil.rmtree("cache")
        print(step)
        """
    *looks, steps = run(KILLED + textwrap.dedent(code), tmp_path, "cache")[0].split("--\n")
    assert int(steps) > 10, "two entries: a folder, a look for room, a file, a link, an end and a look at it"
    assert len(looks) == int(steps) - 1
    assert set(looks) == {without}


@posix
def test_a_process_may_be_killed_in_the_middle_of_a_write(tmp_path: Path) -> None:
    names = sounds(tmp_path)
    without = truth(tmp_path, names)
    code = f"""
        NAMES = {names}
        for size in (1, 100, 128, 129, 5_000, 100_000, 239_000):
            assert attempt(at_size(size)) == signal.SIGXFSZ, size
            look()
        """
    looks = run(KILLED + textwrap.dedent(code), tmp_path, "cache")[0].split("--\n")
    assert looks == [without] * 7 + [""]


@posix
def test_a_full_disk_is_done_without(tmp_path: Path) -> None:
    """What fits is kept; the rest is said once."""
    names = sounds(tmp_path)
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)); said({names})"
    out, err = run(code, tmp_path, "cache")
    assert out == truth(tmp_path, names)
    assert err.count("\n") == 1
    assert "cannot be written to, each process decodes for itself: File too large" in err
    assert clips(tmp_path / "cache") == 1


@posix
@pytest.mark.parametrize("filled", [False, True])
def test_a_read_only_folder_is_read(filled: bool, tmp_path: Path) -> None:
    names = sounds(tmp_path)
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    if filled:
        run(f"said({names})", tmp_path, "cache")
    if os.geteuid() == 0:  # to whom nothing is read-only
        for path in (cache, *cache.iterdir()):
            os.chown(path, 65_534, -1)
    cache.chmod(0o500)
    write_wav(tmp_path / "first.wav", np.arange(30_000, dtype=np.int16))
    code = f"""
        import os
        os.environ["SOUNDSCAPE_CACHE"] = "off"
        load("first.wav", measured=True)  # all that is imported late may lie where that user may not look
        os.environ["SOUNDSCAPE_CACHE"] = "cache"
        if os.geteuid() == 0:
            os.seteuid(65_534)
        said({names})
        print(open("/proc/self/maps").read().count(".soundscape"))
        """
    out, err = run(code, tmp_path, "cache")
    cache.chmod(0o700)
    assert out == truth(tmp_path, names) + ("3\n" if filled else "0\n")
    assert err.count("\n") == (0 if filled else 1)
    assert filled or "cannot be written to, each process decodes for itself: Permission denied" in err


@pytest.mark.parametrize("place", ["a.wav", "a.wav/below", "/proc/soundscape", "x" * 5_000])
def test_a_place_that_cannot_be_is_done_without(place: str, tmp_path: Path) -> None:
    names = sounds(tmp_path)
    out, err = run(f"said({names})", tmp_path, place)
    assert out == truth(tmp_path, names)
    assert "the cache of decoded sound" in err
    assert err.count("\n") <= 2, "once that it cannot be read, and once that it cannot be written to"


# --- A file is known by its bytes ------------------------------------------------------------------------------------


def test_a_copy_is_the_same_clip(tmp_path: Path) -> None:
    sounds(tmp_path)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    assert load(tmp_path / "copy.wav") is load(tmp_path / "a.wav")


def test_a_measured_clip_and_one_that_is_not_share_their_samples(tmp_path: Path) -> None:
    sounds(tmp_path)
    for name, order in (("a.wav", (True, False)), ("c.wav", (False, True))):
        clips = {measured: load(tmp_path / name, 44_100, measured=measured) for measured in order}
        assert clips[True].samples is clips[False].samples
        assert clips[True].lufs is not None
        assert clips[False].lufs is None


@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_rewritten_in_place_is_heard_as_it_is_now_also_within_a_tick(mapped: bool, tmp_path: Path) -> None:
    """Same inode, same size, and, before Linux 6.13 or by a mapping (until it is written back), the same times."""
    path = write_wav(tmp_path / "x.wav", np.zeros(8, np.int16))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as pages:
        for n in range(10 if mapped else 200):
            if mapped:
                pages[-2:] = n.to_bytes(2, "little")
            else:
                file.seek(-2, os.SEEK_END)
                file.write(n.to_bytes(2, "little"))
                file.flush()
            assert load(path, 24_000).samples[-1] == n / 32_768


def test_a_stamp_is_believed_once_it_has_settled_and_a_change_shows_in_it(tmp_path: Path) -> None:
    path = tmp_path / sounds(tmp_path)[0]
    before, _ = run("said(['a.wav'])", tmp_path, "cache")
    time.sleep(2.5)
    assert run("said(['a.wav'])", tmp_path, "cache")[0] == before
    assert len(entries(tmp_path / "cache")) == 3, "the clip, its loudness, and what the bytes were"
    status, data = path.stat(), path.read_bytes()
    with path.open("r+b") as file:
        file.write(data[:-2] + bytes(2))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    after = truth(tmp_path, ["a.wav"])
    assert after != before
    assert run("said(['a.wav'])", tmp_path, "cache")[0] == after
    time.sleep(2.5)
    assert run("said(['a.wav'])", tmp_path, "cache")[0] == after


@pytest.mark.slow
def test_a_clip_that_lives_is_not_decoded_again_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although so much was loaded since that nobody else would find it in memory."""
    monkeypatch.setenv("SOUNDSCAPE_CACHE", "off")
    for n in range(3):
        write_wav(tmp_path / f"{n}.wav", np.full(24_000 * 60 * 20, n, np.int16))
    text = "".join(f'[clips.name{n}]\nsource = "0.wav"\ngain_db = -{n}\n' for n in range(2))
    clips = SceneClips(Scene.from_toml(text, tmp_path))
    first = clips["name0"]
    for n in (1, 2):
        load(tmp_path / f"{n}.wav")
    assert clips["name1"].samples is first.samples


# --- Before a call ---------------------------------------------------------------------------------------------------


def test_prewarming_loads_and_can_be_sent_to_another_process(tmp_path: Path) -> None:
    sounds(tmp_path)
    (tmp_path / "mine.toml").write_text('[base]\nsource = "a.wav"', encoding="utf-8")
    again = prewarm(tmp_path / "mine.toml")
    kept = load(tmp_path / "a.wav")
    pickle.loads(pickle.dumps(again))("LiveKit's JobProcess")
    assert SceneClips(Scene.from_file(tmp_path / "mine.toml"))["a.wav"] is kept


@pytest.mark.checkout
def test_prewarming_fits_where_livekit_wants_it() -> None:
    from livekit.agents import AgentServer, WorkerOptions

    async def entrypoint(_: object) -> None: ...

    warm = prewarm("quiet-typing")
    assert WorkerOptions(entrypoint_fnc=entrypoint, prewarm_fnc=warm).prewarm_fnc is warm
    AgentServer().setup_fnc = warm


def test_prewarming_holds_what_it_loads(tmp_path: Path) -> None:
    """In a process that does without the cache, the source may be gone from the disk's memory and ours."""
    sounds(tmp_path)
    (tmp_path / "mine.toml").write_text('[base]\nsource = "a.wav"', encoding="utf-8")
    code = """
        import gc, weakref
        import soundscape.library.shared as shared
        from soundscape import prewarm
        prewarm("mine.toml")
        found = weakref.ref(load("a.wav"))
        shared._recent.clear()
        gc.collect()
        print(found() is load("a.wav"))
        """
    assert run(code, tmp_path, "off") == ("True\n", "")


def test_prewarming_says_what_is_wrong_in_from_files_words_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error would end the process, and each one that LiveKit starts in its place."""
    sounds(tmp_path)
    (tmp_path / "wrong.toml").write_text('[base]\nsource = "aa.wav"', encoding="utf-8")
    (tmp_path / "broken.toml").write_text("[base", encoding="utf-8")
    (tmp_path / "right.toml").write_text('[base]\nsource = "c.wav"', encoding="utf-8")
    prewarm(tmp_path / "wrong.toml", tmp_path / "broken.toml", tmp_path / "missing.toml", tmp_path / "right.toml")
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 3
    assert said[0].endswith(
        "wrong.toml:2:1: base.source: 'aa.wav': no such file; did you mean 'a.wav'?: it is not prewarmed"
    )
    assert "broken.toml:1" in said[1]
    assert "missing.toml" in said[2]


@pytest.mark.parametrize("scenes", [(), (7,), ("office", object())])
def test_prewarming_needs_scenes(scenes: tuple[str, ...]) -> None:
    """`prewarm_fnc=prewarm` is called with LiveKit's process."""
    with pytest.raises(UsageError, match=r"prewarm_fnc=prewarm\('office'\)"):
        prewarm(*scenes)
