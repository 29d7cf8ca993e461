"""A slide is compressed once for all who ask, the folder stays small, and what was cut short is not read."""

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

from nic.compression.compress import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.errors import OverLimit
from nic.serving.cache import CodesCache
from nic.slides.slide import SlideSource

KEY = "ab12"


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> CompressedSlide:
    path = write_slide(tmp_path_factory.mktemp("slides") / "a.tif", tissue_image(900, 800))
    return compress_slide(SlideSource("a", path), PixelEncoder())


def test_sixteen_at_once_make_it_once(slide: CompressedSlide, tmp_path: Path) -> None:
    cache, made, gate = CodesCache(tmp_path, 1 << 30), [], threading.Barrier(16)

    def make(into: Path) -> None:
        made.append(1)
        time.sleep(0.2)
        slide.save(into)

    def ask(_: int) -> CompressedSlide:
        gate.wait()
        return cache.take(KEY, make, CompressedSlide.load, patience_s=60)

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(16)))
    assert len(made) == 1
    assert all((answer.codes == slide.codes).all() for answer in answers)


def test_the_least_recently_used_are_forgotten(slide: CompressedSlide, tmp_path: Path) -> None:
    slide.save(tmp_path / "measure" / "one.h5")
    size = (tmp_path / "measure" / "one.h5").stat().st_size
    cache = CodesCache(tmp_path / "cache", int(2.5 * size))
    for key in ("aa", "bb", "aa", "cc"):
        cache.take(key, slide.save, CompressedSlide.load, patience_s=60)
        time.sleep(0.02)
    assert {f.stem for f in cache.folder.glob("*.h5")} == {"aa", "cc"}


def test_a_damaged_file_is_made_again(slide: CompressedSlide, tmp_path: Path) -> None:
    cache = CodesCache(tmp_path, 1 << 30)
    cache.take(KEY, slide.save, CompressedSlide.load, patience_s=60)
    file = tmp_path / f"{KEY}.h5"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert np.array_equal(cache.take(KEY, slide.save, CompressedSlide.load, patience_s=60).codes, slide.codes)
    CompressedSlide.load(file)


def test_a_killed_process_holds_nobody_up_who_came_after(slide: CompressedSlide, tmp_path: Path) -> None:
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
            CodesCache(tmp_path, 1 << 30).take(KEY, slide.save, CompressedSlide.load, patience_s=0.1)
        process.send_signal(signal.SIGKILL)
    kept = CodesCache(tmp_path, 1 << 30).take(KEY, slide.save, CompressedSlide.load, patience_s=5)
    assert np.array_equal(kept.codes, slide.codes)
