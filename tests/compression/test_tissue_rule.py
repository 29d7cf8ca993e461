"""Each tissue rule, and the refusal of a mask that does not fit."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import PixelEncoder, compress_here, tissue_image, write_slide
from leica import write_scn

from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.slide_of_cohort import CompressionOptions
from nic.compression.tiling import Tiling
from nic.compression.tissue_rule import Everything, MaskFolder, Otsu, OwnMask, Saturated, tissue_named
from nic.errors import MaskError, UnreachedSlide
from nic.slides.slide import Slide, SlideSource

WIDTH, HEIGHT, SIDE = 2560, 1920, 128
"""A slide of 20 x 15 cells at 0.5 um/px, as PixelEncoder takes 64 px at 1 um/px."""


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> SlideSource:
    path = tmp_path_factory.mktemp("slides") / "s.tif"
    return SlideSource("s", write_slide(path, tissue_image(WIDTH, HEIGHT, 3)))


def compressed(slide: SlideSource, tiling: Tiling) -> CompressedSlide:
    return compress_slide(slide, PixelEncoder(), tiling)


def masked(slide: SlideSource, masks: Path) -> CompressedSlide:
    return compress_slide(slide, PixelEncoder(), Tiling(tissue=OwnMask()), masks=MaskFolder(masks))


def box(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]


def test_a_word_a_number_or_a_folder_names_a_rule(tmp_path: Path) -> None:
    assert tissue_named("otsu") == (Otsu(), None)
    assert tissue_named("all") == (Everything(), None)
    assert tissue_named("20") == (Saturated(20), None)
    assert tissue_named(str(tmp_path)) == (OwnMask(), MaskFolder(tmp_path))
    for wrong in ("otso", "given", "-1", "255", "nan"):
        with pytest.raises(MaskError, match=f"tissue={wrong}: wanted otsu, all"):
            tissue_named(wrong)


def test_a_rule_comes_back_from_json_and_is_never_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("30", "saturation above 30", "otsu", "given"):
        (tmp_path / name).mkdir()
    for rule in (Otsu(), Everything(), Saturated(12.5), OwnMask()):
        tiling = Tiling(64.0, tissue=rule)
        assert Tiling.from_fields(json.loads(tiling.to_json()), 1.0) == tiling
        assert (
            Tiling.from_attributes({"min_tissue": 0.6, "exclude": "pen", "tissue_rule": str(rule)}, 64.0).tissue == rule
        )
    for unknown in ("masks", "saturation above glass", "30"):
        with pytest.raises((KeyError, ValueError)):
            Tiling.from_attributes({"min_tissue": 0.6, "tissue_rule": unknown}, 64.0)


def test_masks_are_wanted_where_slides_are_to_have_their_own(slide: SlideSource) -> None:
    with pytest.raises(MaskError, match="each slide had a mask of its own; compress the slide with one"):
        compressed(slide, Tiling(tissue=OwnMask()))
    with pytest.raises(MaskError, match="each slide had a mask of its own"):
        CompressionOptions(Tiling(tissue=OwnMask()))


def test_everything_is_every_cell(slide: SlideSource) -> None:
    assert compressed(slide, Tiling(tissue=Everything(), exclude=())).valid.all()


def test_a_higher_saturation_leaves_less_tissue(slide: SlideSource) -> None:
    low, high = (compressed(slide, Tiling(tissue=Saturated(above), exclude=())).tissue for above in (15, 100))
    assert low.sum() > high.sum() > 0
    assert not (high & ~low).any()


def test_a_mask_is_an_image_of_any_size(slide: SlideSource, tmp_path: Path) -> None:
    mask = np.zeros((15, 20), np.uint8)  # a pixel a cell
    mask[4:9, 5:12] = 1
    cv2.imwrite(str(tmp_path / "s.png"), mask)
    assert np.array_equal(masked(slide, tmp_path).tissue, mask.astype(bool))


def test_a_mask_is_drawn_in_level_0_px_with_holes(slide: SlideSource, tmp_path: Path) -> None:
    outline, hole = box(5 * SIDE, 4 * SIDE, 7 * SIDE, 6 * SIDE), box(7 * SIDE, 6 * SIDE, 2 * SIDE, SIDE)
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [outline, hole]}, "properties": {}}
    (tmp_path / "s.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    wanted = np.zeros((15, 20), bool)
    wanted[4:10, 5:12] = True
    wanted[6, 7:9] = False
    assert np.array_equal(masked(slide, tmp_path).tissue, wanted)


def test_outlines_count_from_the_bounds_or_from_the_slides_corner(tmp_path: Path) -> None:
    source = SlideSource("s", write_scn(tmp_path / "s.scn", tissue_image(600, 500)))
    geometry = {"type": "Polygon", "coordinates": [box(0, 0, 200, 100)]}
    (tmp_path / "s.geojson").write_text(json.dumps({"type": "Feature", "geometry": geometry}))
    by_bounds, by_corner = (tissue_named(str(tmp_path), mask_bounds=bounds)[1] for bounds in (True, False))
    assert by_bounds
    assert by_corner
    with Slide.open(source) as opened:
        width, height = opened.size_l0px
        thumbnail = np.zeros((height // 10, width // 10, 3), np.uint8)
        for rule, (x, y) in ((by_bounds, opened.bounds_l0px[:2]), (by_corner, (0, 0))):
            row, col = np.nonzero(rule.mask(opened, thumbnail))
            assert (10 * col.min(), 10 * row.min()) == pytest.approx((x, y), abs=15)
    assert by_bounds.digest("s") != by_corner.digest("s")


def test_masks_that_do_not_fit_are_named(slide: SlideSource, tmp_path: Path) -> None:
    def refused() -> str:
        with pytest.raises(MaskError) as error:
            masked(slide, tmp_path)
        return str(error.value)

    with pytest.raises(UnreachedSlide, match="s: no mask of any slide in"):
        masked(slide, tmp_path)
    cv2.imwrite(str(tmp_path / "other.png"), np.ones((15, 20), np.uint8))
    assert "s: none in" in refused()
    file = tmp_path / "s.png"
    file.write_bytes(b"no image")
    assert "cannot be read" in refused()
    cv2.imwrite(str(file), np.ones((20, 20), np.uint8))
    assert "20 x 20 px, the slide 2560 x 1920" in refused()
    cv2.imwrite(str(file), np.zeros((15, 20), np.uint8))
    assert "marks nothing" in refused()
    (tmp_path / "s.geojson").write_text("{}")
    assert "s.png and s.geojson" in refused()
    file.unlink()
    assert "s.geojson" in refused()


def test_another_rule_or_another_mask_compresses_anew(slide: SlideSource, tmp_path: Path) -> None:
    masks, out = tmp_path / "masks", tmp_path / "codes"
    masks.mkdir()
    cv2.imwrite(str(masks / "s.png"), np.ones((15, 20), np.uint8))

    def report(how: CompressionOptions) -> tuple[list[str], list[str]]:
        found = compress_here([slide], PixelEncoder(), out, how)
        return found.compressed, found.reused

    masked = CompressionOptions(Tiling(tissue=OwnMask(), exclude=()), MaskFolder(masks))
    assert report(CompressionOptions()) == (["s"], [])
    assert report(masked) == (["s"], [])
    assert report(masked) == ([], ["s"])
    assert CompressedSlide.load(out / "s.h5").tiling.mask == MaskFolder(masks).digest("s")
    cv2.imwrite(str(masks / "s.png"), np.eye(15, 20, dtype=np.uint8))
    assert report(masked) == (["s"], [])
    before = (out / "s.h5").read_bytes()
    (masks / "s.png").rename(masks / "other.png")
    assert report(masked) == ([], [])
    (refusal,) = compress_here([slide], PixelEncoder(), out, masked).quarantined
    assert (refusal.reason, refusal.slide) == ("MaskError", "s")
    (masks / "other.png").unlink()
    (miss,) = compress_here([slide], PixelEncoder(), out, masked).unreached
    assert (miss.reason, miss.slide) == ("UnreachedSlide", "s")
    assert (out / "s.h5").read_bytes() == before
    assert report(CompressionOptions()) == (["s"], [])
