"""The head of a file has the digests of its content, and rows that are not those that were written are refused."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from nic.compression import hdf5_file
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.hdf5_file import content_digest
from nic.compression.tiling import Tiling
from nic.encoder.spec import EncoderSpec
from nic.errors import CodesError
from nic.patients.cohort import Patient, SlideRow
from nic.patients.crops import gather_cells
from nic.slides.grid import TileGrid
from nic.slides.slide import SlideSource
from nic.tracking.digests import codes_digest, folder_digest

CELLS, CODE_SIZE = 6, 4
ENCODER = EncoderSpec(CODE_SIZE, 64, 1.0, 0.5, "multitask", ("a",), "a" * 64)


def drawn(seed: int = 0, encoder: EncoderSpec = ENCODER, variants: bool = False) -> CompressedSlide:
    row, col = (axis.ravel().astype(np.int32) for axis in np.indices((2, 3)))
    rng, everywhere = np.random.default_rng(seed), np.ones((3, 4), bool)
    codes = rng.normal(size=(CELLS, CODE_SIZE)).astype(np.float16)
    turned = np.concatenate([codes[None], rng.normal(size=(7, CELLS, CODE_SIZE)).astype(np.float16)])
    grid = TileGrid(64, 1.0, 0.5, (0, 0), 3, 4)
    slide = CompressedSlide("s", codes, row, col, grid, everywhere, ~everywhere, encoder, "f" * 64, Tiling())
    return replace(slide, variants=turned) if variants else slide


def made_older(path: Path) -> None:
    """As files were before digests stood in them."""
    with h5py.File(path, "a") as file:
        for name in ("rows_sha256", "variants_sha256", "content_sha256"):
            if name in file.attrs:
                del file.attrs[name]


def overwrite(path: Path, dataset: str, at: tuple[int, ...], value: float) -> None:
    """Other bytes in the same place: neither name nor size of the file change."""
    size = path.stat().st_size
    with h5py.File(path, "a") as file:
        file[dataset][at] = value
    assert path.stat().st_size == size


def test_the_digest_of_the_rows_is_of_their_bytes(tmp_path: Path) -> None:
    slide = drawn()
    slide.save(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as file:
        expected = hashlib.sha256(slide.codes.tobytes() + slide.row.tobytes() + slide.col.tobytes()).hexdigest()
        assert file.attrs["rows_sha256"] == expected


def test_one_content_has_one_digest_in_an_older_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_file, "PART_ROWS", 4)  # of 6 rows
    for name in ("a", "b"):
        drawn(variants=True).save(tmp_path / f"{name}.h5")
    made_older(tmp_path / "b.h5")
    assert content_digest(tmp_path / "a.h5") == content_digest(tmp_path / "b.h5")


@pytest.mark.parametrize(
    "other",
    [
        drawn(seed=1),
        drawn(encoder=ENCODER.with_sha256("b" * 64)),
        replace(drawn(), fingerprint="e" * 64),
        replace(drawn(), tiling=Tiling(min_tissue=0.5)),
        replace(drawn(), runtime="openvino"),
        replace(drawn(), tiling=Tiling(exclude=("pen",))),
        replace(drawn(), grid=TileGrid(64, 1.0, 0.5, (8, 0), 3, 4)),
    ],
)
def test_any_difference_is_another_content_at_the_same_name_and_size(other: CompressedSlide, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    drawn().save(tmp_path / "one" / "s.h5")
    other.save(tmp_path / "two" / "s.h5")
    assert codes_digest(tmp_path / "one") != codes_digest(tmp_path / "two")
    assert folder_digest(tmp_path / "one") != folder_digest(tmp_path / "two")


def test_an_older_file_whose_rows_change_is_another_content(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    drawn().save(path)
    made_older(path)
    before = codes_digest(tmp_path)
    overwrite(path, "features", (3, 1), 7.0)
    os.utime(path, ns=(0, 0))
    assert codes_digest(tmp_path) != before


@pytest.mark.parametrize(("dataset", "at", "value"), [("features", (3, 1), 9), ("col", (5,), 3), ("row", (5,), 2)])
def test_rows_that_changed_on_the_disk_are_refused(
    dataset: str, at: tuple[int, ...], value: float, tmp_path: Path
) -> None:
    drawn().save(tmp_path / "s.h5")
    overwrite(tmp_path / "s.h5", dataset, at, value)
    with pytest.raises(CodesError, match=r"s\.h5: damaged: rows do not have the digest .* compress the slide again"):
        CompressedSlide.load(tmp_path / "s.h5")


def test_variants_that_changed_on_the_disk_are_refused_before_they_teach(tmp_path: Path) -> None:
    drawn(variants=True).save(tmp_path / "s.h5")
    overwrite(tmp_path / "s.h5", "features_d4", (5, 2, 1), 7.0)
    patient = Patient("P", "train", (SlideRow(2, SlideSource("s", tmp_path / "s.svs"), {}),))
    with pytest.raises(CodesError, match=r"s\.h5: damaged: variants"):
        gather_cells([patient], tmp_path)
    with pytest.raises(CodesError, match="damaged: variants"):
        CompressedSlide.load_variants(tmp_path / "s.h5")


def test_a_file_from_before_rows_were_digested_is_read(tmp_path: Path) -> None:
    drawn(variants=True).save(tmp_path / "s.h5")
    made_older(tmp_path / "s.h5")
    np.testing.assert_array_equal(CompressedSlide.load(tmp_path / "s.h5").codes, drawn(variants=True).codes)
    assert CompressedSlide.load_variants(tmp_path / "s.h5") is not None


def test_a_damaged_file_is_not_the_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    drawn().save(path)
    whole = codes_digest(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CodesError, match=r"s\.h5: not a compressed slide"):
        content_digest(path)
    assert codes_digest(tmp_path) != whole
