"""Threads share a slide's work, and nobody can see it in the codes."""

import time
from dataclasses import fields
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import PixelEncoder, spoil_tile, tissue_image, write_slide
from numpy.typing import NDArray

from nic.compression.compress import MOST_TILES, compress_slide, threads_for
from nic.compression.engines import compress_cohort
from nic.compression.setting import Setting
from nic.encoder.spec import EncoderSpec
from nic.errors import EncoderError
from nic.slides.reader import TileBatch, TileReader
from nic.slides.slide import Slide, SlideSource
from nic.threads import cores


def spoilt_slide(path: Path, compression: str) -> SlideSource:
    """One whose tiles begin between pixels, with a region out of focus and a tile that cannot be decoded."""
    image = tissue_image(2400, 1500)
    image[400:900, 300:1200] = cv2.GaussianBlur(image[400:900, 300:1200], (0, 0), 8)
    write_slide(path, image, 0.2425, downsamples=(1,), compression=compression)
    spoil_tile(path, 97)
    return SlideSource(path.stem, path)


@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
@pytest.mark.parametrize("variants", [1, 8])
def test_codes_do_not_depend_on_threads(
    tmp_path: Path, pixel_encoder: PixelEncoder, compression: str, variants: int
) -> None:
    slide, setting = spoilt_slide(tmp_path / "a.tif", compression), Setting(variants=variants)
    alone, shared = (
        compress_slide(slide, pixel_encoder, setting, most_failed=0.5, batch_tiles=8, threads=threads)
        for threads in (1, 5)
    )
    assert alone.failed.any()
    assert alone.excluded.any()
    for field in fields(alone):
        one, other = getattr(alone, field.name), getattr(shared, field.name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, field.name


class Meeting(PixelEncoder):
    """Encodes only when so many threads are at it at once."""

    def __init__(self, threads: int) -> None:
        self.barrier = Barrier(threads)

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.barrier.wait(timeout=20)
        return super().encode(tiles)


@pytest.mark.skipif(cores() < 2, reason="wants two cores")
def test_one_slide_is_given_all_cores(tmp_path: Path) -> None:
    """Two batches, so two threads can meet; with one they would wait in vain."""
    path = write_slide(tmp_path / "a.tif", tissue_image(1800, 1600), 0.5)
    slide = SlideSource("a", path)
    assert 64 < len(compress_slide(slide, PixelEncoder()).codes) <= 128
    assert compress_cohort([slide], Meeting(2), tmp_path / "codes").done == ["a"]


@pytest.mark.parametrize(
    ("machine", "slides", "threads"), [(16, 1, 16), (16, 5, 3), (16, 16, 1), (16, 10_000, 1), (16, 0, 16), (1, 3, 1)]
)
def test_cores_are_shared_between_slides(
    monkeypatch: pytest.MonkeyPatch, machine: int, slides: int, threads: int
) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: machine)
    assert threads_for(slides) == threads


class Counting:
    """Notes how many threads are at it at once; of tiles so small that a little slide has thousands."""

    spec = EncoderSpec(1, 16, 1.0, 0.5, "counting", (), "0" * 64)

    def __init__(self) -> None:
        self.at_once = self.most = 0
        self.lock = Lock()

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(0.2)
        with self.lock:
            self.at_once -= 1
        return np.zeros((len(tiles), 1), np.float32)


@pytest.mark.parametrize(("tiles", "most"), [(MOST_TILES // 3, 3), (MOST_TILES // 2, 2), (MOST_TILES // 2 + 1, 1)])
def test_large_batches_leave_fewer_threads(tmp_path: Path, tiles: int, most: int) -> None:
    """Else so much memory is wanted that a server refuses a slide which its limits allow."""
    encoder, setting = Counting(), Setting(exclude=())
    slide = SlideSource("a", write_slide(tmp_path / "a.tif", tissue_image(1800, 1600)))
    assert len(compress_slide(slide, encoder, setting, batch_tiles=tiles, threads=6).codes) > MOST_TILES
    assert 1 <= encoder.most <= most


class Failing(PixelEncoder):
    """Answers once, then raises."""

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.calls += 1
        if self.calls > 1:
            raise EncoderError("out of memory")
        return super().encode(tiles)


@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
def test_no_read_runs_after_the_slide_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    """Else pixels are read out of memory that OpenSlide has given back."""
    events: list[str] = []
    read, close = TileReader._strip, Slide.__exit__

    def slow(self: TileReader, row: int, cols: NDArray[np.intp]) -> TileBatch:
        time.sleep(0.02)
        strip = read(self, row, cols)
        events.append("read")
        return strip

    def closed(self: Slide, *error: Any) -> None:
        events.append("closed")
        close(self, *error)

    monkeypatch.setattr(TileReader, "_strip", slow)
    monkeypatch.setattr(Slide, "__exit__", closed)
    path = write_slide(tmp_path / "a.tif", tissue_image(2400, 2000), 0.5, compression=compression)
    with pytest.raises(EncoderError):
        compress_slide(SlideSource("a", path), Failing(), batch_tiles=8, threads=4)
    time.sleep(0.3)
    assert events[-1] == "closed"
    assert events.count("read") > 1
