"""Unusual files are read correctly, or refused with the reason; an unreachable file is not called damaged."""

import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from conftest import PixelEncoder, tissue_image
from numpy.typing import NDArray

from nic.compression.compress_slide import compress_slide
from nic.compression.tissue_rule import Otsu, Saturated
from nic.errors import NoTissue, SlideError, UnreachedSlide, UnreadableSlide, UnsupportedSlide
from nic.slides.slide import Slide, SlideSource, find_slides
from nic.slides.tiff import TiffSlide

IMAGE = tissue_image(900, 700)
GREY = cv2.cvtColor(IMAGE, cv2.COLOR_RGB2GRAY)


def tiff(path: Path, image: NDArray[Any] = IMAGE, **options: Any) -> Path:
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    usual = {"tile": (128, 128), "photometric": "rgb", "metadata": None, **resolution}
    tifffile.imwrite(path, image, **(usual | options))
    return path


def opened(path: Path) -> Slide:
    return Slide.open(SlideSource(path.stem, path))


def refusal(path: Path) -> str:
    with pytest.raises(SlideError) as caught:
        opened(path)
    assert str(path.parent) not in str(caught.value)
    return f"{type(caught.value).__name__}: {caught.value}; {caught.value.remedy}"


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzma"},
        {"compression": "webp", "compressionargs": {"level": 100, "lossless": True}},
        {"byteorder": ">"},
        {"byteorder": ">", "compression": "lzw", "predictor": True},
    ],
)
def test_whole_tiffs_that_openslide_refuses_are_read(tmp_path: Path, options: dict[str, Any]) -> None:
    with opened(tiff(tmp_path / "a.tif", **options)) as slide:
        assert (slide.opened_by, slide.mpp, slide.size_l0px) == ("tifffile", 0.5, (900, 700))
        assert np.array_equal(slide.read_region(37, 201, 0, 500, 300), IMAGE[201:501, 37:537])
        beyond = slide.read_region(890, 690, 0, 30, 30)
        assert np.array_equal(beyond[:10, :10], IMAGE[690:, 890:])
        assert (beyond[10:] == 255).all()
        assert (beyond[:, 10:] == 255).all()


def test_levels_of_a_big_endian_pyramid_are_read_in_its_subdirectories_too(tmp_path: Path) -> None:
    half = np.asarray(cv2.resize(IMAGE, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    usual = {"tile": (128, 128), "photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 95}}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", byteorder=">") as file:
        file.write(IMAGE, subifds=1, resolution=(20_000, 20_000), resolutionunit="CENTIMETER", **usual)
        file.write(half, subfiletype=1, metadata=None, **usual)
    with opened(tmp_path / "a.ome.tif") as slide:
        assert slide.opened_by == "tifffile"
        assert slide.level_sizes_px == ((900, 700), (450, 350))
        assert slide.level_downsamples == (1.0, 2.0)
        assert np.abs(slide.read_region(200, 100, 1, 200, 200).astype(int) - half[50:250, 100:300]).mean() < 2
    compressed = compress_slide(SlideSource("a", tmp_path / "a.ome.tif"), PixelEncoder())
    assert compressed.reader == "jpeg tiles"


@pytest.mark.parametrize("side", [250, 387])
def test_tiles_of_any_side_are_read(tmp_path: Path, side: int) -> None:
    """Written by hand, because tifffile writes only multiples of 16."""
    down, across = -(-700 // side), -(-900 // side)
    padded = np.full((down * side, across * side, 3), 255, np.uint8)
    padded[:700, :900] = IMAGE
    tiles = padded.reshape(down, side, across, side, 3).swapaxes(1, 2)
    first = tiff(tmp_path / "of 16.tif", tile=(1024, 1024), compression=None)
    content = bytearray(first.read_bytes())
    offsets, counts = len(content), len(content) + 4 * down * across
    pixels = counts + 4 * down * across
    places = np.arange(down * across, dtype="<u4") * tiles[0, 0].nbytes + pixels
    sizes = np.full(down * across, tiles[0, 0].nbytes, "<u4")
    with tifffile.TiffFile(first) as file:
        tags = file.pages[0].aspage().tags
        entries = {name: tags[name].offset for name in ("TileWidth", "TileLength", "TileOffsets", "TileByteCounts")}
    for name, kind, count, value in (
        ("TileWidth", 4, 1, side),
        ("TileLength", 4, 1, side),
        ("TileOffsets", 4, down * across, offsets),
        ("TileByteCounts", 4, down * across, counts),
    ):
        entry = kind.to_bytes(2, "little") + count.to_bytes(4, "little") + value.to_bytes(4, "little")
        content[entries[name] + 2 : entries[name] + 12] = entry
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(content) + places.tobytes() + sizes.tobytes() + tiles.tobytes())
    with opened(path) as slide:
        assert np.array_equal(slide.read_region(37, 201, 0, 500, 300), IMAGE[201:501, 37:537])


def test_a_damaged_tile_is_not_invented(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", compression="lzma")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0].aspage()
        start = page.dataoffsets[9]  # of 8 tiles a row: row 1, column 1
    content = bytearray(path.read_bytes())
    content[start + 40 : start + 400] = bytes(360)
    path.write_bytes(content)
    with opened(path) as slide:
        with pytest.raises(UnreadableSlide, match=r"a: cannot decode at \(130, 130\)"):
            slide.read_region(130, 130, 0, 20, 20)
        assert np.array_equal(slide.read_region(300, 300, 0, 64, 64), IMAGE[300:364, 300:364])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"compression": "jpeg2000"}, r"in JPEG2000 \(compression 34712\)"),
        ({"compression": "lerc"}, r"in LERC \(compression 34887\)"),
        ({"tile": None, "rowsperstrip": 64}, "lie in strips, wanted tiles"),
        ({"image": GREY.astype(np.float32), "photometric": "minisblack"}, "are floats of 32 bit"),
        ({"image": GREY.astype(np.float16), "photometric": "minisblack"}, "are floats of 16 bit"),
        ({"image": IMAGE.astype(np.int16)}, "are signed numbers of 16 bit"),
        ({"image": IMAGE.astype(np.uint32)}, "are whole numbers of 32 bit"),
        ({"image": IMAGE[..., :2], "photometric": "minisblack", "planarconfig": "contig"}, "have 2 channels"),
        ({"image": np.stack([GREY] * 4), "photometric": "minisblack"}, "it has 4 grey channels, as fluorescence has"),
        ({"image": IMAGE.astype(np.uint16) * 257, "byteorder": ">"}, "a big-endian TIFF"),
    ],
)
def test_a_refusal_says_what_is_wrong_with_a_tiff_and_converting_helps(
    tmp_path: Path, options: dict[str, Any], why: str
) -> None:
    text = refusal(tiff(tmp_path / "a.tif", **options))
    assert text.startswith("UnsupportedSlide: a.tif: ")
    assert re.search(why, text)
    assert "convert it" in text
    assert "truncated" not in text
    assert "copy the file" not in text


def test_an_unknown_codec_is_named_by_its_number(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", compression="lzma")
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].aspage().tags["Compression"]
    content = bytearray(path.read_bytes())
    content[tag.valueoffset : tag.valueoffset + 2] = (61_234).to_bytes(2, "little")
    path.write_bytes(content)
    assert "its tiles are in compression 61234" in refusal(path)


def test_a_picture_is_not_a_slide(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(cv2.imencode(".png", IMAGE)[1].tobytes())
    assert "a PNG picture, wanted a slide in tiles; convert it" in refusal(tmp_path / "a.tif")


def test_a_mirax_file_without_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mrxs").write_bytes(cv2.imencode(".jpg", IMAGE)[1].tobytes())
    text = refusal(tmp_path / "a.mrxs")
    assert "its folder a/ with Slidedat.ini is not beside it" in text
    assert "copy the file, with all that belongs to it" in text
    (tmp_path / "a").mkdir()
    assert "its folder a/ with Slidedat.ini" in refusal(tmp_path / "a.mrxs")


def test_a_format_that_openslide_does_not_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.isyntax").write_bytes(b"<DataObject>")
    (source,) = find_slides(tmp_path)
    with pytest.raises(UnsupportedSlide, match=r"a\.isyntax: OpenSlide [0-9.]+ does not read \.isyntax"):
        Slide.open(source)


@pytest.mark.parametrize("rule", [Otsu(), Saturated(20)])
def test_a_grey_slide_has_no_stain(tmp_path: Path, rule: Otsu | Saturated) -> None:
    path = tiff(tmp_path / "a.tif", GREY, photometric="minisblack", compression="jpeg")
    with opened(path) as slide, pytest.raises(NoTissue, match=r"a: its picture has no colour.*tissue=all"):
        rule.mask(slide, slide.thumbnail(100))


def test_a_little_colour_is_not_called_grey(tmp_path: Path) -> None:
    glass = np.full((900, 700, 3), 240, np.uint8)
    glass[300:420, 300:420] = (200, 120, 180)
    with opened(tiff(tmp_path / "a.tif", glass)) as slide:
        assert not Saturated(200).mask(slide, slide.thumbnail(100)).any()


def test_an_unreachable_file_is_not_called_damaged(tmp_path: Path) -> None:
    """The system's errors are real: unmapped memory gives EIO, a link to itself ELOOP."""
    (tmp_path / "lost.svs").symlink_to("/proc/self/mem")
    (tmp_path / "loop.svs").symlink_to(tmp_path / "loop.svs")
    slide = tiff(tmp_path / "a.tif")
    for path, why in (
        (tmp_path / "lost.svs", "cannot be read now: Input/output error"),
        (tmp_path / "loop.svs", "cannot be read now: Too many levels"),
        (tmp_path / "gone.svs", "no such file"),
        (tmp_path / "gone" / "b.svs", "no such file"),
        (slide / "b.svs", "no such file"),
        (tmp_path / f"{'n' * 300}.svs", "cannot be read now: File name too long"),
    ):
        with pytest.raises(UnreachedSlide, match=why):
            opened(path)


def test_a_slide_that_vanishes_while_it_is_read_is_unreached(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", compression="deflate")
    with opened(path) as slide:
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
        path.unlink()
        with pytest.raises(UnreachedSlide, match=r"a\.tif: no such file"):
            slide.read_region(0, 0, 0, 10, 10)


def test_a_pipe_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.svs")
    assert "a.svs: not a regular file" in refusal(tmp_path / "a.svs")


def test_the_second_reader_refuses_what_it_might_decode_wrongly(tmp_path: Path) -> None:
    for name, options in (("grey", {"image": GREY, "photometric": "minisblack"}), ("lab", {"photometric": "cielab"})):
        with pytest.raises(ValueError, match="8-bit RGB"):
            TiffSlide(tiff(tmp_path / f"{name}.tif", **options))
