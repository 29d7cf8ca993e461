"""Codes are the same when processes read the slides; a slide that kills or holds up a process costs itself alone."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from threading import Barrier, Lock

import cv2
import numpy as np
import pytest
from conftest import PixelEncoder, spoil_tile, tissue_image, write_slide
from numpy.typing import NDArray
from slide_jobs import Deadly

from nic.compression.compress_cohort import compress_cohort
from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.slide_of_cohort import CompressionOptions
from nic.compression.tiling import Tiling
from nic.compression.tissue_rule import OwnMask
from nic.encoder.spec import EncoderSpec
from nic.errors import EncoderError
from nic.slides.slide import SlideSource
from nic.slides.subprocess_reader import SubprocessReader
from nic.threads import SharedThreads, cores


def spoilt_slide(path: Path, compression: str) -> SlideSource:
    """One whose tiles begin between pixels, with a region out of focus and a tile that cannot be decoded."""
    image = tissue_image(2400, 1500)
    image[400:900, 300:1200] = cv2.GaussianBlur(image[400:900, 300:1200], (0, 0), 8)
    write_slide(path, image, 0.2425, downsamples=(1,), compression=compression)
    spoil_tile(path, 97)
    return SlideSource(path.stem, path)


@pytest.fixture(scope="module")
def three() -> Iterator[SubprocessReader]:
    with SubprocessReader(3, modules=["nic.compression.tile_jobs"]) as processes:
        yield processes


@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
@pytest.mark.parametrize("variants", [1, 8])
def test_codes_do_not_depend_on_processes_and_threads(
    tmp_path: Path,
    pixel_encoder: PixelEncoder,
    compression: str,
    variants: int,
    three: SubprocessReader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nic.compression.tile_jobs.CELLS_AT_A_TIME", 20)  # of which the slide has several
    slide, settings = spoilt_slide(tmp_path / "a.tif", compression), {"d4_variants": variants, "batch_tiles": 8}
    alone = compress_slide(slide, pixel_encoder, most_failed=0.5, **settings)
    with SharedThreads(3) as threads:
        shared = compress_slide(slide, pixel_encoder, most_failed=0.5, reading=three, threads=threads, **settings)
    assert alone.failed.any()
    assert alone.excluded is not None
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
def test_one_slide_gets_all_cores(tmp_path: Path) -> None:
    """Two batches, so two threads can meet; with one they would wait in vain."""
    path = write_slide(tmp_path / "a.tif", tissue_image(1800, 1600), 0.5)
    slide = SlideSource("a", path)
    assert 64 < len(compress_slide(slide, PixelEncoder()).codes) <= 128
    assert compress_cohort([slide], Meeting(2), tmp_path / "codes", readers=2).compressed == ["a"]


class Counting:
    """Notes the sizes of batches; of tiles so small that a little slide has hundreds."""

    spec = EncoderSpec(1, 16, 1.0, 0.5, "counting", (), "0" * 64)

    def __init__(self) -> None:
        self.sizes: Counter[int] = Counter()
        self.lock = Lock()

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self.lock:
            self.sizes[len(tiles)] += 1
        return tiles.mean((1, 2, 3), dtype=np.float32)[:, None]


def test_batches_have_one_size(tmp_path: Path) -> None:
    """Slides of odd sizes, of less than a batch, with blurred and with undecodable tiles."""
    slides = [spoilt_slide(tmp_path / f"spoilt{c}.tif", c) for c in ("jpeg", "deflate")]
    for width, height in ((900, 700), (333, 1111), (140, 140)):
        path = write_slide(tmp_path / f"{width}.tif", tissue_image(width, height))
        slides.append(SlideSource(path.stem, path))
    encoder = Counting()
    report = compress_cohort(
        slides, encoder, tmp_path / "codes", CompressionOptions(accept=("spoiltjpeg", "spoiltdeflate")), readers=2
    )
    assert len(report.compressed) == 5
    assert list(encoder.sizes) == [64]
    assert encoder.sizes[64] > 5


class Failing(PixelEncoder):
    """Answers once, then raises."""

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.calls += 1
        if self.calls > 1:
            raise EncoderError("out of memory")
        return super().encode(tiles)


def test_an_encoder_that_fails_ends_the_run_and_holds_no_process(
    tmp_path: Path, three: SubprocessReader, pixel_encoder: PixelEncoder
) -> None:
    slide = SlideSource("a", write_slide(tmp_path / "a.tif", tissue_image(2400, 2000), 0.5))
    with SharedThreads(2) as threads:
        with pytest.raises(EncoderError):
            compress_slide(slide, Failing(), batch_tiles=8, reading=three, threads=threads)
        assert len(compress_slide(slide, pixel_encoder, reading=three, threads=threads).codes)


def test_what_kills_or_holds_up_a_process_costs_its_own_slide(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "good0.tif", tissue_image(600, 500))
    for name in ("good1", "good2", "crash0", "crash1", "hang0", "hang-away"):
        (tmp_path / f"{name}.tif").write_bytes(path.read_bytes())
    names = ["crash0", "hang0", "good0", "good1", "hang-away", "crash1", "good2"]
    slides = [SlideSource(name, tmp_path / f"{name}.tif") for name in names]
    how = CompressionOptions(Tiling(tissue=OwnMask()), Deadly(), silent_s=5)
    report = compress_cohort(slides, PixelEncoder(), tmp_path / "codes", how, readers=2)
    assert report.compressed == ["good0", "good1", "good2"]
    assert [(r.slide, r.reason) for r in report.quarantined] == [
        ("crash0", "CrashingSlide"),
        ("crash1", "CrashingSlide"),
        ("hang0", "CrashingSlide"),
    ]
    assert "SIGABRT" in report.quarantined[0].evidence
    assert "was silent for 5 s, though its folder answers" in report.quarantined[2].evidence
    [away] = report.unreached
    assert (away.slide, away.reason) == ("hang-away", "UnreachedSlide")
    assert "4 ended (the process that read it ended by SIGABRT)" in report.shared
    again = compress_cohort(slides[2:4], PixelEncoder(), tmp_path / "codes", how, readers=2)
    assert again.reused == ["good0", "good1"]
    assert CompressedSlide.load(tmp_path / "codes" / "good0.h5").tiling.tissue == OwnMask()


def test_the_report_says_how_the_work_was_shared(tmp_path: Path) -> None:
    slide = SlideSource("a", write_slide(tmp_path / "a.tif", tissue_image(600, 500)))
    report = compress_cohort([slide], PixelEncoder(), tmp_path / "codes", readers=1)
    tiles = len(CompressedSlide.load(tmp_path / "codes" / "a.h5").codes)
    assert report.shared == f"read by 1 process ({tiles} tiles); encoded by {cores()} threads"
