"""A file of codes is checked before it is read: it may not link to other files, nor be larger than allowed."""

import resource
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile

import h5py
import numpy as np
import pytest
from served_files import codes_file, write_plain_graphs

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import CodesError, NicError, OverLimit
from nic.serving.limits import Budget
from nic.serving.untrusted_codes import check_codes, check_numbers

MB = 1 << 20
BUDGET = Budget(1000, float("inf"), features_bytes=256 * MB, memory_bytes=1024 * MB)
Spoil = Callable[[h5py.File, Path], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codes")
    codes_file(folder / "good.h5", write_plain_graphs(folder), [(0, 0), (0, 1), (2, 3)], (5, 6))
    return folder / "good.h5"


def outside(file: h5py.File, elsewhere: Path) -> None:
    del file["features"]
    file["features"] = h5py.ExternalLink(str(elsewhere), "features")


def masks_outside(file: h5py.File, elsewhere: Path) -> None:
    del file["tissue"]
    file["tissue"] = h5py.ExternalLink(str(elsewhere), "tissue")


def places_outside(file: h5py.File, elsewhere: Path) -> None:
    del file["coords"]
    file["coords"] = h5py.ExternalLink(str(elsewhere), "coords")


def by_a_soft_link(file: h5py.File, elsewhere: Path) -> None:
    file.move("features", "others")
    file["features"] = h5py.SoftLink("/others")


def virtual(file: h5py.File, elsewhere: Path) -> None:
    shape = file["features"].shape
    del file["features"]
    layout = h5py.VirtualLayout(shape, np.float16)
    layout[:] = h5py.VirtualSource(str(elsewhere), "features", shape)
    file.create_virtual_dataset("features", layout)


def in_raw_bytes_elsewhere(file: h5py.File, elsewhere: Path) -> None:
    shape = file["features"].shape
    del file["features"]
    file.create_dataset("features", shape, np.float16, external=[(str(elsewhere), 0, 1000)])


def of_variable_length(file: h5py.File, elsewhere: Path) -> None:
    del file["row"]
    file.create_dataset("row", (3,), h5py.vlen_dtype(np.int32))


def of_references(file: h5py.File, elsewhere: Path) -> None:
    del file["row"]
    file.create_dataset("row", (3,), h5py.ref_dtype)


def a_group(file: h5py.File, elsewhere: Path) -> None:
    del file["tissue"]
    file.create_group("tissue")


def by_a_plug_in(file: h5py.File, elsewhere: Path) -> None:
    del file["features"]
    file.create_dataset("features", (3, 4), np.float16, chunks=(3, 4), compression=307, allow_unknown_filter=True)


def a_reference_for_a_name(file: h5py.File, elsewhere: Path) -> None:
    file.attrs["slide_id"] = file["features"].ref


def without_rows(file: h5py.File, elsewhere: Path) -> None:
    del file["row"]


@pytest.mark.parametrize(
    "spoil",
    [
        outside,
        masks_outside,
        places_outside,
        by_a_soft_link,
        virtual,
        in_raw_bytes_elsewhere,
        of_variable_length,
        of_references,
        a_group,
        by_a_plug_in,
        a_reference_for_a_name,
        without_rows,
    ],
)
def test_what_leads_out_of_the_file_or_is_no_plain_array_is_refused(good: Path, tmp_path: Path, spoil: Spoil) -> None:
    with h5py.File(copyfile(good, tmp_path / "a.h5"), "a") as file:
        spoil(file, good)
    with pytest.raises(CodesError):
        check_codes(tmp_path / "a.h5", BUDGET)


def terabytes_of_codes(file: h5py.File, elsewhere: Path) -> None:
    del file["features"]
    file.create_dataset("features", (3, 1 << 40), np.float16, chunks=(1, 1 << 20))


def huge_chunks(file: h5py.File, elsewhere: Path) -> None:
    del file["features"]
    file.create_dataset("features", (3, 4), np.float16, maxshape=(None, None), chunks=(1 << 12, 1 << 18))


def huge_masks_that_compress_to_nothing(file: h5py.File, elsewhere: Path) -> None:
    for name in ("tissue", "failed"):
        del file[name]
        file.create_dataset(name, (20_000, 20_000), bool, chunks=(1000, 1000), compression="gzip")
    file.attrs["rows"] = file.attrs["cols"] = 20_000


def many_codes(file: h5py.File, elsewhere: Path) -> None:
    del file["features"]
    file.create_dataset("features", (1001, 4), np.float16)


def many_rows(file: h5py.File, elsewhere: Path) -> None:
    del file["row"]
    file.create_dataset("row", (1001,), np.int32)


def corners_of_a_wide_grid(file: h5py.File, elsewhere: Path) -> None:
    for name in ("tissue", "failed"):
        del file[name]
        file.create_dataset(name, (10_000, 10_000), bool, chunks=(1000, 1000), compression="gzip")
    file.attrs["rows"] = file.attrs["cols"] = 10_000
    file["row"][:] = file["col"][:] = [0, 1, 9_999]


def a_long_name(file: h5py.File, elsewhere: Path) -> None:
    file.attrs["slide_id"] = ["a"] * 1000


@pytest.mark.parametrize(
    "spoil",
    [
        terabytes_of_codes,
        huge_chunks,
        huge_masks_that_compress_to_nothing,
        many_codes,
        many_rows,
        corners_of_a_wide_grid,
        a_long_name,
    ],
)
def test_what_is_large_is_refused_before_it_is_read(good: Path, tmp_path: Path, spoil: Spoil) -> None:
    with h5py.File(copyfile(good, tmp_path / "a.h5"), "a") as file:
        spoil(file, good)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(OverLimit):
        check_codes(tmp_path / "a.h5", BUDGET)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # KiB


def test_what_nic_writes_is_taken_also_compressed_or_with_more_beside(good: Path, tmp_path: Path) -> None:
    check_codes(good, BUDGET)
    with h5py.File(copyfile(good, tmp_path / "a.h5"), "a") as file:
        codes = file["features"][:]
        del file["features"]
        file.create_dataset("features", data=codes, compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("features_d4", (8, *codes.shape), np.float16)
        file["somebody's own"] = h5py.ExternalLink("/etc/passwd", "/")
    check_codes(tmp_path / "a.h5", BUDGET)


@pytest.mark.parametrize(
    ("name", "value"),
    [("slide_mpp", 0.0), ("slide_mpp", np.inf), ("tile_mpp", np.nan), ("tile_px", -64), ("overlap_px", 64.0)],
)
def test_a_grid_that_cannot_be_is_refused(good: Path, tmp_path: Path, name: str, value: float) -> None:
    with h5py.File(copyfile(good, tmp_path / "a.h5"), "a") as file:
        file.attrs[name] = value
    with pytest.raises(NicError):
        check_numbers(CompressedSlide.load(tmp_path / "a.h5"))


def test_an_overview_that_declares_billions_of_pixels_is_refused(good: Path, tmp_path: Path) -> None:
    size = (60_000).to_bytes(2, "big")
    jpeg = b"\xff\xd8\xff\xc0\x00\x0b\x08" + size + size + b"\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    with h5py.File(copyfile(good, tmp_path / "a.h5"), "a") as file:
        file["overview"] = np.frombuffer(jpeg, np.uint8)
    with pytest.raises(NicError, match="overview"):
        check_numbers(CompressedSlide.load(tmp_path / "a.h5"))
