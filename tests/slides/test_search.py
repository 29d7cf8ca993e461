"""The search for slides in folders, by globs and from tables; none is skipped silently."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile

from nic.errors import UnreachedSlide, UnreadableSlide
from nic.slides.search import file_of, find_slides, in_table
from nic.slides.slide import Slide
from nic.slides.source import SlideSource


def slide(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), tile=(64, 64), photometric="rgb", metadata=None)
    return path


def ids(where: str | Path) -> list[str]:
    return [source.slide_id for source in find_slides(where)]


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    slide(tmp_path / "x.svs")
    (tmp_path / "._x.svs").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    slide(tmp_path / ".Trash" / "y.svs")
    for where in (tmp_path, f"{tmp_path}/*.svs", f"{tmp_path}/*", f"{tmp_path}/**/*.svs"):
        assert ids(where) == ["x"]


def test_a_glob_below_a_folder_whose_name_has_brackets(tmp_path: Path) -> None:
    for name in ("[1] a", "b"):
        slide(tmp_path / "Müller's [2020] #1 100%" / f"{name}.TIF")
    assert ids(f"{tmp_path}/Müller's [2020] #1 100%/*.TIF") == ["[1] a", "b"]
    assert ids(f"{tmp_path}/Müller's [2020] #1 100%/[b].TIF") == ["b"]


def test_slides_in_subfolders_are_found(tmp_path: Path) -> None:
    for name in ("a.svs", "one/b.tif", "one/two/c.ndpi"):
        slide(tmp_path / name)
    (tmp_path / "one" / "round").symlink_to(tmp_path)
    assert ids(tmp_path) == ["a", "b", "c"]


def test_two_slides_of_one_id_are_refused_in_any_folders(tmp_path: Path) -> None:
    slide(tmp_path / "day 1" / "a.svs")
    slide(tmp_path / "day 2" / "a.tif")
    with pytest.raises(UnreadableSlide, match=r"a: two slides have this id, day 1/a\.svs and day 2/a\.tif"):
        find_slides(tmp_path)


def test_links_to_slides_are_slides_by_their_own_names(tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "P1.svs").symlink_to(slide(tmp_path / "archive" / "0001.svs"))
    (tmp_path / "slides" / "gone.svs").symlink_to(tmp_path / "archive" / "0002.svs")
    assert ids(tmp_path / "slides") == ["P1", "gone"]
    with pytest.raises(UnreachedSlide, match=r"gone\.svs: no such file"):
        Slide.open(find_slides(tmp_path / "slides")[1])


def test_slides_of_unknown_suffixes_are_found_if_openslide_reads_them(tmp_path: Path) -> None:
    slide(tmp_path / "a.tif").rename(tmp_path / "a.newformat")
    (tmp_path / "b.CZI").write_bytes(b"ZISRAWFILE" + bytes(600))
    (tmp_path / "c.isyntax").write_bytes(b"<DataObject>")
    (tmp_path / "notes").write_text("no slide")
    slide(tmp_path / "mask.tif").rename(tmp_path / "mask.png")
    assert openslide.OpenSlide.detect_format(tmp_path / "a.newformat") == "generic-tiff"
    assert ids(tmp_path) == ["a.newformat", "b", "c"]


def test_dicom_files_are_recognised_in_capitals_and_without_a_suffix(tmp_path: Path, shared_data: Path) -> None:
    series = sorted((shared_data / "wsi" / "derived_CMU-1-Small-Region_dicom").glob("*.dcm"))
    for count, name in enumerate(("IM1.DCM", "IM2")):
        (tmp_path / "one.1").mkdir(exist_ok=True)
        (tmp_path / "one.1" / name).write_bytes(series[count].read_bytes())
    (tmp_path / "one.1" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (source,) = find_slides(tmp_path)
    assert (source.slide_id, source.path) == ("one.1", tmp_path / "one.1")
    with Slide.open(source) as opened:
        assert opened.size_l0px[0] > 0


def test_a_missing_place_is_unreached(tmp_path: Path) -> None:
    with pytest.raises(UnreachedSlide, match="no such file"):
        find_slides(tmp_path / "share" / "slides")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UnreachedSlide, match=r"no such file|cannot be read now"):
        find_slides(tmp_path / "loop" / "slides")
    with pytest.raises(UnreadableSlide, match="no slides there"):
        find_slides(tmp_path)


def test_names_of_any_bytes_are_found(tmp_path: Path) -> None:
    slide(tmp_path / os.fsdecode(b"\xfc.svs"))
    (source,) = find_slides(tmp_path)
    assert source.slide_id == r"\xfc"
    with Slide.open(SlideSource(source.slide_id, source.path, 0.5)) as opened:
        assert opened.size_l0px == (64, 64)


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("a.svs", "a.svs"),
        ("TCGA-01.B34C", "TCGA-01.B34C.svs"),
        ("a.svs", "a.SVS"),
        (unicodedata.normalize("NFC", "Müller.tif"), unicodedata.normalize("NFD", "Müller.tif")),
        (unicodedata.normalize("NFD", "Öl/Müller"), unicodedata.normalize("NFC", "Öl/Müller.tif")),
        (r"day 1\a.svs", "day 1/a.svs"),
        ("day 1/a.svs", "day 1/a.svs"),
    ],
)
def test_a_cell_of_a_table_means_the_existing_file(tmp_path: Path, written: str, there: str) -> None:
    path = slide(tmp_path / there)
    assert file_of(in_table(written, tmp_path)) == path


def test_a_cell_that_could_mean_two_files_or_none_is_not_guessed(tmp_path: Path) -> None:
    for name in ("a.svs", "a.tif"):
        slide(tmp_path / name)
    with pytest.raises(UnreachedSlide, match=r"a: no such file, but a\.svs and a\.tif"):
        file_of(in_table("a", tmp_path))
    assert file_of(in_table("a.ndpi", tmp_path)) == tmp_path / "a.ndpi"
    source = SlideSource("a", tmp_path / "a")  # not of a table: the path is exact
    assert file_of(source) == tmp_path / "a"
