"""A slide is compressed once for all requests, the folder stays small, and truncated files are not read."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import PixelEncoder, tissue_image, write_slide

from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.errors import OverLimit
from nic.serving.cache import STALE_S, CodesCache
from nic.slides.slide import SlideSource

KEY = "ab12"


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> CompressedSlide:
    path = write_slide(tmp_path_factory.mktemp("slides") / "a.tif", tissue_image(900, 800))
    return compress_slide(SlideSource("a", path), PixelEncoder())


def test_sixteen_requests_at_once_make_one_file(slide: CompressedSlide, tmp_path: Path) -> None:
    cache, made, gate = CodesCache(tmp_path, 1 << 30), [], threading.Barrier(16)

    def make(into: Path) -> None:
        made.append(1)
        time.sleep(0.2)
        slide.save(into)

    def ask(_: int) -> CompressedSlide:
        gate.wait()
        return cache.take(KEY, make, CompressedSlide.load, wait_s=60)

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(16)))
    assert len(made) == 1
    assert all((answer.codes == slide.codes).all() for answer in answers)


def test_the_least_recently_used_are_removed(slide: CompressedSlide, tmp_path: Path) -> None:
    slide.save(tmp_path / "measure" / "one.h5")
    size = (tmp_path / "measure" / "one.h5").stat().st_size
    cache = CodesCache(tmp_path / "cache", int(2.5 * size))
    for key in ("aa", "bb", "aa", "cc"):
        cache.take(key, slide.save, CompressedSlide.load, wait_s=60)
        time.sleep(0.02)
    assert {f.stem for f in cache.folder.glob("*.h5")} == {"aa", "cc"}


def test_a_damaged_file_is_made_again(slide: CompressedSlide, tmp_path: Path) -> None:
    cache = CodesCache(tmp_path, 1 << 30)
    cache.take(KEY, slide.save, CompressedSlide.load, wait_s=60)
    file = tmp_path / f"{KEY}.h5"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert np.array_equal(cache.take(KEY, slide.save, CompressedSlide.load, wait_s=60).codes, slide.codes)
    CompressedSlide.load(file)


def test_a_killed_process_does_not_block_the_next(slide: CompressedSlide, tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\nfrom nic.serving.cache import CodesCache\n"
        "from nic.compression.compressed_slide import CompressedSlide\n"
        "def make(into):\n    print('made', flush=True)\n    time.sleep(60)\n"
        f"CodesCache(pathlib.Path(sys.argv[1]), 1 << 30).take({KEY!r}, make, CompressedSlide.load, 60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "made\n"
        with pytest.raises(OverLimit, match="ask again"):
            CodesCache(tmp_path, 1 << 30).take(KEY, slide.save, CompressedSlide.load, wait_s=0.1)
        process.send_signal(signal.SIGKILL)
    kept = CodesCache(tmp_path, 1 << 30).take(KEY, slide.save, CompressedSlide.load, wait_s=5)
    assert np.array_equal(kept.codes, slide.codes)


FILL = """
import random, sys, pathlib
from concurrent.futures import ThreadPoolExecutor
from nic.compression.compressed_slide import CompressedSlide
from nic.serving.cache import STALE_S, CodesCache
folder, one, size = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
cache, slide, draw = CodesCache(folder, 3 * size), CompressedSlide.load(one), random.Random(int(sys.argv[4]))
keys = [f"{n:02x}" for n in range(12)]
def ask(key):
    return len(cache.take(key, slide.save, CompressedSlide.load, 120).codes)
with ThreadPoolExecutor(4) as threads:
    print(set(threads.map(ask, draw.choices(keys, k=150))))
"""


def test_threads_and_processes_remove_old_files_without_an_error(slide: CompressedSlide, tmp_path: Path) -> None:
    slide.save(tmp_path / "one.h5")
    size = (tmp_path / "one.h5").stat().st_size
    command = [sys.executable, "-c", FILL, str(tmp_path / "cache"), str(tmp_path / "one.h5"), str(size)]
    fillers = [
        subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for seed in range(3)
    ]
    for filler in fillers:
        out, fault = filler.communicate(timeout=300)
        assert out == f"{{{len(slide.codes)}}}\n", fault
        assert not fault
    held = list((tmp_path / "cache").glob("*.h5"))
    assert 1 <= len(held) <= 3 + 3 * 4  # others were writing while the last one counted
    for file in held:
        CompressedSlide.load(file)
    assert not list((tmp_path / "cache").glob(".*.h5.*"))


def test_on_a_full_disk_answers_are_given(
    slide: CompressedSlide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/slides/Jane_Roe.h5")

    monkeypatch.setattr(shutil, "copyfile", full)
    cache = CodesCache(tmp_path, 1 << 30)
    for _ in range(2):
        codes = cache.take(KEY, slide.save, CompressedSlide.load, wait_s=60).codes
        assert np.array_equal(codes, slide.codes)
    assert not list(tmp_path.glob("*.h5"))
    assert f"OSError {errno.ENOSPC} at" in caplog.text
    assert "Jane_Roe" not in caplog.text


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOSPC])
def test_codes_are_cached_on_a_disk_without_locks(
    slide: CompressedSlide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    cache, made = CodesCache(tmp_path, 1 << 30), []

    def make(into: Path) -> None:
        made.append(1)
        slide.save(into)

    for _ in range(2):
        cache.take(KEY, make, CompressedSlide.load, wait_s=5)
    assert made == [1]


def test_a_draft_of_a_killed_process_is_removed(slide: CompressedSlide, tmp_path: Path) -> None:
    cache = CodesCache(tmp_path, 1 << 30)
    for name, age_s in ((".aa.h5.1.2", 2 * STALE_S), (".bb.h5.1.2", 0.0)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    cache.take(KEY, slide.save, CompressedSlide.load, wait_s=5)
    assert [file.name for file in tmp_path.glob(".*.h5.*")] == [".bb.h5.1.2"]
