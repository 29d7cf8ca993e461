"""Several encoders on one reading leave the codes that each of them leaves alone."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import tissue_image, write_slide
from numpy.typing import NDArray

from nic.compression.compress_cohort import compress_cohort
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.side_by_side import SideBySide, compress_side_by_side
from nic.compression.slide_of_cohort import CompressionOptions
from nic.encoder.spec import EncoderSpec
from nic.errors import EncoderError
from nic.slides.slide import SlideSource


@dataclass
class Pooled:
    """Mean colours of a tile's squares. tiles: how many it has encoded."""

    squares: int
    tile_px: int = 64
    tiles: int = 0

    @property
    def spec(self) -> EncoderSpec:
        size = 3 * self.squares**2
        return EncoderSpec(size, self.tile_px, 1.0, 0.5, "mean-rgb", (), f"{self.squares:064d}")

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.tiles += len(tiles)
        side = self.tile_px // self.squares
        blocks = tiles.reshape(len(tiles), self.squares, side, self.squares, side, 3)
        return blocks.mean((2, 4), dtype=np.float32).reshape(len(tiles), -1)


@pytest.fixture
def slides(tmp_path: Path) -> list[SlideSource]:
    sizes = {"a": (1280, 1024), "b": (1024, 1536)}
    files = {name: write_slide(tmp_path / f"{name}.tif", tissue_image(*size)) for name, size in sizes.items()}
    return [SlideSource(name, file) for name, file in files.items()]


@pytest.mark.parametrize("variants", [1, 8])
def test_each_folder_is_as_its_encoder_alone_leaves_it(
    slides: list[SlideSource], tmp_path: Path, variants: int
) -> None:
    options, encoders = CompressionOptions(d4_variants=variants), [Pooled(1), Pooled(2), Pooled(4)]
    together = {tmp_path / "together" / str(e.squares): e for e in encoders}
    reports = compress_side_by_side(slides, together, options)
    for folder, encoder in together.items():
        alone = tmp_path / "alone" / folder.name
        compress_cohort(slides, encoder, alone, options, readers=0)
        assert reports[folder].reused == ["a", "b"]  # made by the reading for all, and held for right
        for name in ("a.h5", "b.h5"):
            ours, expected = CompressedSlide.load(folder / name), CompressedSlide.load(alone / name)
            assert np.array_equal(ours.codes, expected.codes)
            assert np.array_equal(ours.row, expected.row)
            assert ours.encoder == encoder.spec
            assert CompressedSlide.head(folder / name) == CompressedSlide.head(alone / name)
            of_variants = [CompressedSlide.load_variants(of / name) for of in (folder, alone)]
            assert (of_variants[0] is None) == (variants == 1)
            assert np.array_equal(*of_variants)
    assert sorted(path.name for path in (tmp_path / "together").iterdir()) == ["1", "2", "4"]


def test_slides_are_encoded_once_however_often_it_is_called(slides: list[SlideSource], tmp_path: Path) -> None:
    first, second, third = Pooled(1), Pooled(2), Pooled(4)
    compress_side_by_side(slides, {tmp_path / "1": first, tmp_path / "2": second})
    tiles = first.tiles
    compress_side_by_side(slides, {tmp_path / "1": first, tmp_path / "2": second, tmp_path / "4": third})
    assert (first.tiles, second.tiles, third.tiles) == (tiles, tiles, tiles)


def test_encoders_of_other_tiles_are_compressed_by_themselves(slides: list[SlideSource], tmp_path: Path) -> None:
    encoders = {tmp_path / "64": Pooled(1), tmp_path / "128": Pooled(1, tile_px=128), tmp_path / "2": Pooled(2)}
    compress_side_by_side(slides, encoders)
    assert [CompressedSlide.head(out / "a.h5").encoding.encoder_sha256 for out in encoders] == [
        encoder.spec.sha256 for encoder in encoders.values()
    ]
    with pytest.raises(EncoderError, match="equal tiles"):
        SideBySide(list(encoders.values()))


def test_a_slide_that_is_refused_is_recorded_for_each_encoder(slides: list[SlideSource], tmp_path: Path) -> None:
    (tmp_path / "c.tif").write_bytes(b"no slide")
    bad = replace(slides[0], slide_id="c", path=tmp_path / "c.tif")
    reports = compress_side_by_side([*slides, bad], {tmp_path / "1": Pooled(1), tmp_path / "2": Pooled(2)})
    assert [[record.slide for record in report.quarantined] for report in reports.values()] == [["c"], ["c"]]
    assert [report.reused for report in reports.values()] == [["a", "b"], ["a", "b"]]
