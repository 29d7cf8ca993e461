"""Finished codes stay, whatever cannot be read or written today: only a finished file replaces one."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import PixelEncoder, compress_here, tissue_image, write_slide
from numpy.typing import NDArray

from nic.compression.codes_folder import CodesFolder
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.left_out import MANY
from nic.errors import CodesError, UnreachedCodes, UnreachedSlides, UnreadableSlide, UnwritableFolder
from nic.slides.slide import Slide, SlideSource, find_slides
from nic.system_errors import cannot_be_read

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="wants root, to mount a small disk")


@pytest.fixture
def slides(tmp_path: Path) -> list[SlideSource]:
    (tmp_path / "slides").mkdir()
    for name in "abc":
        write_slide(tmp_path / "slides" / f"{name}.tif", tissue_image(700, 600, seed=ord(name)))
    return find_slides(tmp_path / "slides")


@pytest.fixture
def out(tmp_path: Path, slides: list[SlideSource]) -> Path:
    assert compress_here(slides, PixelEncoder(), tmp_path / "codes").compressed == ["a", "b", "c"]
    return tmp_path / "codes"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.h5")}


def raising(number: int) -> Callable[..., Any]:
    def raises(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number), "/somewhere/secret.svs")

    return raises


def test_a_folder_of_slides_that_is_away_leaves_all_codes_and_slides_that_come_back_clear_the_record(
    slides: list[SlideSource], out: Path
) -> None:
    before = contents(out)
    folder = slides[0].path.parent
    folder.rename(folder.with_name("away"))
    report = compress_here(slides, PixelEncoder(), out)
    assert [miss.slide for miss in report.unreached] == ["a", "b", "c"]
    assert not report.quarantined
    assert contents(out) == before
    assert [miss.slide for miss in CodesFolder(out).status(["a", "b", "c"]).unreached] == ["a", "b", "c"]
    folder.with_name("away").rename(folder)
    assert compress_here(slides, PixelEncoder(), out).reused == ["a", "b", "c"]
    assert not (out / "unreached.csv").exists()
    assert not CodesFolder(out).unreached()


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EMFILE]
)
def test_errors_of_the_system_say_nothing_of_a_slide(
    slides: list[SlideSource], out: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = contents(out)
    monkeypatch.setattr(Slide, "open", raising(number))
    report = compress_here(slides, PixelEncoder(), out)
    assert [miss.reason for miss in report.unreached] == ["UnreachedSlide"] * 3
    assert os.strerror(number) in report.unreached[0].evidence
    assert "/somewhere" not in report.unreached[0].evidence
    assert contents(out) == before


def test_no_memory_for_a_slide_leaves_its_codes(slides: list[SlideSource], out: Path) -> None:
    before = contents(out)

    class Large(PixelEncoder):
        spec = PixelEncoder.spec.with_sha256("1" * 64)

        def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            raise MemoryError

    report = compress_here(slides, Large(), out)
    assert ["memory" in miss.evidence for miss in report.unreached] == [True] * 3
    assert contents(out) == before


def test_a_slide_that_looks_damaged_because_it_is_gone_is_unreached(
    slides: list[SlideSource], tmp_path: Path, pixel_encoder: PixelEncoder
) -> None:
    class Unmounting(PixelEncoder):
        def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            slides[0].path.unlink(missing_ok=True)
            raise UnreadableSlide("a: cannot decode at (0, 0)")

    report = compress_here(slides[:1], Unmounting(), tmp_path / "codes")
    assert ([miss.slide for miss in report.unreached], report.quarantined) == (["a"], [])


def test_codes_that_cannot_be_read_are_neither_missing_nor_damaged(
    slides: list[SlideSource], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(out)
    with monkeypatch.context() as broken:
        broken.setattr(h5py, "File", raising(errno.EACCES))
        for read in (CompressedSlide.head, CompressedSlide.load, CompressedSlide.count, CompressedSlide.identity):
            with pytest.raises(UnreachedCodes, match=r"a\.h5: cannot be read now: Permission denied"):
                read(out / "a.h5")
        report = compress_here(slides, PixelEncoder(), out)
    assert [miss.reason for miss in report.unreached] == ["UnreachedCodes"] * 3
    assert contents(out) == before


def test_what_hdf5_says_of_the_system_is_known_from_what_it_says_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(OSError, match="signature") as of_content:
        h5py.File(tmp_path / "text.h5")
    assert not cannot_be_read(of_content.value)
    with pytest.raises(FileNotFoundError) as missing:
        h5py.File(tmp_path / "gone.h5")
    assert not cannot_be_read(missing.value)
    assert cannot_be_read(KeyError("Unable to open object (file read failed: errno = 5, error message = 'EIO')"))
    for name in ("text", "gone"):
        with pytest.raises(CodesError, match="compress the slide again") as refused:
            CompressedSlide.head(tmp_path / f"{name}.h5")
        assert not isinstance(refused.value, UnreachedCodes)


def test_many_slides_in_a_row_that_cannot_be_reached_end_the_run(tmp_path: Path, slides: list[SlideSource]) -> None:
    missing = [SlideSource(f"m{number:03}", tmp_path / "away" / f"m{number:03}.svs") for number in range(200)]
    out = tmp_path / "codes"
    compress_here(slides, PixelEncoder(), out)
    before = contents(out)
    with pytest.raises(UnreachedSlides, match=rf"^{MANY} slides in a row could not be reached.*no such file") as error:
        compress_here([*missing, *slides], PixelEncoder(), out)
    assert "\n" not in str(error.value)
    assert MANY <= (out / "unreached.csv").read_text().count("\n") - 1 < 100
    assert contents(out) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_ends_the_run_with_a_sentence(
    slides: list[SlideSource], out: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = contents(out)
    monkeypatch.setattr(CompressedSlide, "save", raising(number))
    other = PixelEncoder()
    other.spec = PixelEncoder.spec.with_sha256("1" * 64)  # type: ignore[misc]
    with pytest.raises(UnwritableFolder, match=rf"codes: cannot be written: {os.strerror(number)}; .* run again$"):
        compress_here(slides, other, out)
    assert contents(out) == before


@as_root
def test_a_full_disk_ends_the_run_and_it_goes_on_when_there_is_room(tmp_path: Path, slides: list[SlideSource]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    size = "size=24k"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount")
    try:
        out = disk / "codes"
        with pytest.raises(UnwritableFolder, match="No space left on device; what is in it stays; make room"):
            compress_here(slides, PixelEncoder(), out)
        kept = contents(out)
        assert len(kept) < 3
        assert all(len(CompressedSlide.load(out / name).codes) for name in kept)
        assert not list(out.glob(".*.draft"))
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        report = compress_here(slides, PixelEncoder(), out)
        assert (sorted(report.reused + report.compressed), len(report.reused)) == (["a", "b", "c"], len(kept))
        assert kept.items() <= contents(out).items()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_name_that_no_file_can_have_is_refused_and_the_others_are_done(
    slides: list[SlideSource], tmp_path: Path
) -> None:
    long = SlideSource("L" * 260, slides[0].path)
    report = compress_here([long, *slides], PixelEncoder(), tmp_path / "codes")
    assert report.compressed == ["a", "b", "c"]
    assert ["the name is too long" in refusal.evidence for refusal in report.quarantined] == [True]
