"""Compression loses no slide and no cell, and never takes a half-written file for a finished one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import PixelEncoder, compress_here, spoil_tile, tissue_image, write_slide
from numpy.typing import NDArray

from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.slide_of_cohort import CompressionOptions
from nic.compression.tiling import Tiling
from nic.encoder.spec import EncoderSpec
from nic.errors import CodesError, NoTissue, ResolutionTooLow, TooManyFailedCells
from nic.patients.crops import SlideCells
from nic.slides.d4 import D4_VARIANTS, d4_variant
from nic.slides.reader import PIXEL_VERSION
from nic.slides.slide import SlideSource, find_slides
from nic.stages.compress import made_by_older_pixels


def source(path: Path) -> SlideSource:
    return SlideSource(path.stem, path)


def test_codes_are_those_of_the_tiles_at_their_cells(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    image = tissue_image(1280, 1024)
    slide = compress_slide(source(write_slide(tmp_path / "a.tif", image)), pixel_encoder)
    assert 0 < len(slide.codes) < slide.grid.rows * slide.grid.cols
    for code, row, col in zip(slide.codes, slide.row, slide.col, strict=True):
        tile = image[row * 128 : (row + 1) * 128, col * 128 : (col + 1) * 128]
        assert np.allclose(code, tile.reshape(4, 32, 4, 32, 3).mean((1, 3)).ravel() / 255, atol=0.02)


@pytest.mark.parametrize("batch_tiles", [1, 7, 1000])
def test_codes_do_not_depend_on_how_many_are_made_at_a_time(
    tmp_path: Path, pixel_encoder: PixelEncoder, batch_tiles: int
) -> None:
    slide = source(write_slide(tmp_path / "a.tif", tissue_image(1280, 1024)))
    usual, other = (compress_slide(slide, pixel_encoder, **how) for how in ({}, {"batch_tiles": batch_tiles}))
    assert np.array_equal(other.codes, usual.codes)
    assert np.array_equal(other.row, usual.row)
    assert np.array_equal(other.col, usual.col)


def test_a_file_holds_all_that_was_written(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    slide = compress_slide(source(write_slide(tmp_path / "a.tif", tissue_image(1024, 1024), 0.499)), pixel_encoder)
    slide.save(tmp_path / "a.h5")
    loaded = CompressedSlide.load(tmp_path / "a.h5")
    assert (loaded.slide_id, loaded.grid, loaded.encoder, loaded.fingerprint) == (
        slide.slide_id,
        slide.grid,
        slide.encoder,
        slide.fingerprint,
    )
    for name in ("codes", "row", "col", "tissue", "failed"):
        assert np.array_equal(getattr(loaded, name), getattr(slide, name))
    assert np.array_equal(loaded.dense()[:, loaded.valid].T.astype(np.float16), loaded.codes)
    assert (loaded.dense()[:, ~loaded.valid] == 0).all()


def test_the_field_reads_the_file(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    """`features` and `coords` as TRIDENT lays them out, sorted and contiguous so that they can be mapped."""
    compress_slide(source(write_slide(tmp_path / "a.tif", tissue_image(1024, 1024), 0.25)), pixel_encoder).save(
        tmp_path / "a.h5"
    )
    with h5py.File(tmp_path / "a.h5") as file:
        features, coords = file["features"], file["coords"]
        assert features.dtype == np.float16
        assert features.id.get_offset() is not None  # contiguous: a plain block of the file
        assert coords.dtype == np.int64
        assert coords.attrs["patch_size_level0"] == 256
        assert (np.diff(coords[:, 1] * 10**6 + coords[:, 0]) > 0).all()
        assert not any(str(tmp_path) in str(value) for value in (*file.attrs.values(), *coords.attrs.values()))


@pytest.mark.parametrize("turn", range(D4_VARIANTS))
def test_a_d4_variant_of_the_codes_is_that_of_the_slide(tmp_path: Path, pixel_encoder: PixelEncoder, turn: int) -> None:
    """Through the file and the patient models' own turning, against a slide whose pixels were turned."""
    image = tissue_image(1024, 768)
    upright = compress_slide(
        source(write_slide(tmp_path / "a.tif", image, compression="deflate")), pixel_encoder, d4_variants=8
    )
    upright.save(tmp_path / "a.h5")
    cells = SlideCells.of(CompressedSlide.load(tmp_path / "a.h5"), CompressedSlide.load_variants(tmp_path / "a.h5"))
    other = write_slide(tmp_path / "b.tif", d4_variant(image[None], turn)[0], compression="deflate")
    expected, varied = SlideCells.of(compress_slide(source(other), pixel_encoder)), cells.d4_variant(turn)
    order = np.lexsort((varied.col.numpy(), varied.row.numpy()))
    assert np.array_equal(varied.row[order], expected.row)
    assert np.array_equal(varied.col[order], expected.col)
    assert (varied.codes[order] - expected.codes).abs().max() <= 1e-3


def test_d4_variants_are_made_when_a_file_has_none(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    path, out = write_slide(tmp_path / "a.tif", tissue_image(700, 600)), tmp_path / "codes"
    assert compress_here([source(path)], pixel_encoder, out).compressed == ["a"]
    assert CompressedSlide.load_variants(out / "a.h5") is None
    assert compress_here([source(path)], pixel_encoder, out, CompressionOptions(d4_variants=8)).compressed == ["a"]
    assert compress_here([source(path)], pixel_encoder, out, CompressionOptions(d4_variants=8)).reused == ["a"]
    variants = CompressedSlide.load_variants(out / "a.h5")
    assert variants is not None
    assert np.array_equal(variants[0], CompressedSlide.load(out / "a.h5").codes)


def test_glass_alone_is_no_tissue(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    path = write_slide(tmp_path / "glass.tif", np.full((600, 600, 3), 242, np.uint8))
    with pytest.raises(NoTissue, match="glass"):
        compress_slide(source(path), pixel_encoder)


def test_tiles_of_224_px_are_read_and_averaged_as_the_encoder_takes_them(tmp_path: Path) -> None:
    """As foundation models do: 224 px at 0.5 um/px, read at 0.5, of a slide of 0.25."""

    class Means:
        spec = EncoderSpec(3, 224, 0.5, 0.5, "means", (), "2" * 64)

        def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            return tiles.mean((1, 2)).astype(np.float32)

    image = tissue_image(2400, 2000)
    path = write_slide(tmp_path / "a.tif", image, 0.25, downsamples=(1,), compression="deflate")
    slide = compress_slide(source(path), Means(), Tiling(exclude=()))
    assert (slide.grid.tile_px, slide.grid.side_l0px) == (224, 448)
    assert len(slide.codes) >= 6
    for code, row, col in zip(slide.codes, slide.row, slide.col, strict=True):
        y, x = row * 448, col * 448
        if y + 448 <= 2000 and x + 448 <= 2400:
            assert np.abs(image[y : y + 448, x : x + 448].mean((0, 1)) - code).max() < 0.3
    coarse = write_slide(tmp_path / "b.tif", image, 0.6, downsamples=(1,), compression="deflate")
    with pytest.raises(ResolutionTooLow, match=r"wanted 0\.5 um/px"):
        compress_slide(source(coarse), Means())


def test_the_runtime_in_the_file_is_the_encoders(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    class Faster(PixelEncoder):
        runtime = "openvino"

    path = write_slide(tmp_path / "a.tif", tissue_image(700, 600))
    assert compress_slide(source(path), pixel_encoder).runtime == "onnx"
    assert compress_slide(source(path), Faster()).runtime == "openvino"
    out = tmp_path / "codes"
    assert compress_here([source(path)], pixel_encoder, out).compressed == ["a"]
    assert compress_here([source(path)], Faster(), out).compressed == ["a"]
    assert CompressedSlide.load(out / "a.h5").runtime == "openvino"  # a file of another runtime is made anew


def test_codes_say_by_which_arithmetic_their_tiles_were_averaged(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    path, out = write_slide(tmp_path / "a.tif", tissue_image(700, 600)), tmp_path / "codes"
    compress_here([source(path)], pixel_encoder, out)
    assert CompressedSlide.load(out / "a.h5").pixel_version == PIXEL_VERSION
    assert CompressedSlide.head(out / "a.h5").encoding.pixel_version == PIXEL_VERSION
    with h5py.File(out / "a.h5", "r+") as file:
        del file.attrs["pixel_version"]  # as files were before they said it
    assert CompressedSlide.load(out / "a.h5").pixel_version == 1
    assert CompressedSlide.head(out / "a.h5").encoding.pixel_version == 1
    assert compress_here([source(path)], pixel_encoder, out).reused == ["a"]
    assert made_by_older_pixels(out, ["a"]) == 1


def test_an_odd_attribute_is_a_damaged_file_and_ends_nothing(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    path, out = write_slide(tmp_path / "a.tif", tissue_image(700, 600)), tmp_path / "codes"
    compress_here([source(path)], pixel_encoder, out)
    with h5py.File(out / "a.h5", "r+") as file:
        file.attrs["tiling"] = [0.6, 0.7]
    assert compress_here([source(path)], pixel_encoder, out).compressed == ["a"]


def test_a_bad_slide_is_recorded_and_the_others_are_done(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    slides = tmp_path / "slides"
    slides.mkdir()
    write_slide(slides / "good.tif", tissue_image(700, 600))
    write_slide(slides / "glass.tif", np.full((600, 600, 3), 242, np.uint8))
    write_slide(slides / "mute.tif", tissue_image(700, 600), mpp=None)
    (slides / "empty.svs").write_bytes(b"")
    (slides / "text.svs").write_text("a letter, not a slide")
    whole = write_slide(slides / "cut.tif", tissue_image(700, 600)).read_bytes()
    (slides / "cut.tif").write_bytes(whole[: len(whole) // 3])
    report = compress_here(find_slides(slides), pixel_encoder, tmp_path / "codes")
    assert report.compressed == ["good"]
    assert {q.slide: q.reason for q in report.quarantined} == {
        "cut": "UnreadableSlide",
        "empty": "UnreadableSlide",
        "glass": "NoTissue",
        "mute": "MissingResolution",
        "text": "UnreadableSlide",
    }
    assert (tmp_path / "codes" / "quarantine.csv").read_text().count("\n") == 6


def test_finished_files_are_kept_and_broken_ones_made_anew(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    for name in ("a", "b"):
        write_slide(tmp_path / f"{name}.tif", tissue_image(700, 600))
    sources, out = find_slides(f"{tmp_path}/*.tif"), tmp_path / "codes"
    assert compress_here(sources, pixel_encoder, out).compressed == ["a", "b"]
    (out / "b.h5").write_bytes((out / "b.h5").read_bytes()[:1000])
    again = compress_here(sources, pixel_encoder, out)
    assert (again.reused, again.compressed) == (["a"], ["b"])
    assert len(CompressedSlide.load(out / "b.h5").codes)


def test_another_encoder_or_another_slide_is_compressed_anew(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    path, out = write_slide(tmp_path / "a.tif", tissue_image(700, 600)), tmp_path / "codes"
    compress_here([source(path)], pixel_encoder, out)

    class Other(PixelEncoder):
        spec = EncoderSpec(48, 64, 1.0, 0.5, "pixels", (), "1" * 64)

    assert compress_here([source(path)], Other(), out).compressed == ["a"]
    write_slide(path, tissue_image(700, 600, seed=3))
    assert compress_here([source(path)], Other(), out).compressed == ["a"]


def test_another_resolution_or_tissue_share_is_compressed_anew(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    path, out = write_slide(tmp_path / "a.tif", tissue_image(700, 600)), tmp_path / "codes"
    compress_here([source(path)], pixel_encoder, out)
    assert compress_here([source(path)], pixel_encoder, out, CompressionOptions(Tiling(min_tissue=0.9))).compressed == [
        "a"
    ]
    finer = SlideSource("a", path, mpp=0.4)
    assert compress_here([finer], pixel_encoder, out, CompressionOptions(Tiling(min_tissue=0.9))).compressed == ["a"]
    assert compress_here([finer], pixel_encoder, out, CompressionOptions(Tiling(min_tissue=0.9))).reused == ["a"]


def test_a_slide_that_is_refused_keeps_its_older_file(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    path, out = write_slide(tmp_path / "a.tif", tissue_image(700, 600)), tmp_path / "codes"
    compress_here([source(path)], pixel_encoder, out)
    before = (out / "a.h5").read_bytes()
    write_slide(path, np.full((600, 700, 3), 242, np.uint8))
    assert [r.reason for r in compress_here([source(path)], pixel_encoder, out).quarantined] == ["NoTissue"]
    assert sorted(p.name for p in out.glob("[!.]*")) == ["a.h5", "quarantine.csv"]
    assert (out / "a.h5").read_bytes() == before


def test_an_interrupted_recompression_keeps_the_older_file(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    path, out = write_slide(tmp_path / "a.tif", tissue_image(700, 600)), tmp_path / "codes"
    compress_here([source(path)], pixel_encoder, out)
    before = (out / "a.h5").read_bytes()

    class Interrupted(PixelEncoder):
        spec = EncoderSpec(48, 64, 1.0, 0.5, "pixels", (), "1" * 64)

        def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress_here([source(path)], Interrupted(), out)
    assert [p.name for p in out.iterdir() if p.is_file()] == ["a.h5"]
    assert (out / "a.h5").read_bytes() == before


def test_cells_that_cannot_be_decoded_are_marked_and_too_many_refuse_the_slide(
    tmp_path: Path, pixel_encoder: PixelEncoder
) -> None:
    path = write_slide(tmp_path / "a.tif", tissue_image(1024, 1024), downsamples=(1,))
    whole = compress_slide(source(path), pixel_encoder)
    for index in (3 * 8 + 3, 4 * 8 + 5):  # 8 TIFF tiles of 128 px a row
        spoil_tile(path, index)
    slide = compress_slide(source(path), pixel_encoder)
    assert np.argwhere(slide.failed).tolist() == [[3, 3], [4, 5]]
    assert np.array_equal(slide.valid, whole.valid & ~slide.failed)
    assert np.array_equal(slide.dense()[:, slide.valid], whole.dense()[:, slide.valid])
    for index in range(2 * 8, 4 * 8):
        spoil_tile(path, index)
    with pytest.raises(TooManyFailedCells, match=r"a: \d+ of \d+ tissue tiles cannot be decoded"):
        compress_slide(source(path), pixel_encoder)


def test_two_slides_never_share_a_file(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    one, other = (write_slide(tmp_path / f"{name}.tif", tissue_image(700, 600)) for name in ("a", "b"))
    sources = [SlideSource("x", one), SlideSource("x", other)]
    with pytest.raises(CodesError, match=r"x\.h5: wanted for two slides"):
        compress_here(sources, pixel_encoder, tmp_path / "codes")
    assert compress_here([sources[0]] * 2, pixel_encoder, tmp_path / "codes").compressed == ["x"]


def test_an_encoder_that_breaks_ends_the_run_and_what_was_done_stays(
    tmp_path: Path, pixel_encoder: PixelEncoder
) -> None:
    for name in "abcdef":
        write_slide(tmp_path / f"{name}.tif", tissue_image(700, 600, seed=ord(name)))

    class Breaking(PixelEncoder):
        calls = 0

        def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            self.calls += 1
            if self.calls > 2:
                raise RuntimeError("the device is lost")
            return super().encode(tiles)

    sources, out = find_slides(tmp_path), tmp_path / "codes"
    with pytest.raises(RuntimeError):
        compress_here(sources, Breaking(), out)
    kept = len(list(out.glob("*.h5")))
    report = compress_here(sources, pixel_encoder, out)
    assert (len(report.reused), len(report.compressed)) == (kept, 6 - kept)
    assert kept > 0


def test_codes_that_are_not_finite_are_not_written(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    slide = compress_slide(source(write_slide(tmp_path / "a.tif", tissue_image(700, 600))), pixel_encoder)
    broken = replace(slide, codes=np.where(np.arange(48) == 3, np.float16(np.inf), slide.codes))
    with pytest.raises(CodesError, match="a: codes are not finite"):
        broken.save(tmp_path / "a.h5")
    with pytest.raises(CodesError, match="order"):
        replace(slide, row=slide.row[::-1], col=slide.col[::-1]).save(tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.attrs.__delitem__("encoder"), "encoder"),
        (lambda file: file["row"].__setitem__(0, 10_000), "outside the grid"),
        (lambda file: file["features"].__setitem__(0, np.nan), "not finite"),
        (lambda file: file["features"].__setitem__((11, 0), -np.nan), "not finite"),
        (lambda file: file["features"].__setitem__((11, 0), np.inf), "not finite"),
        (lambda file: file["features"].__setitem__((11, 0), -np.inf), "not finite"),
        (lambda file: file.attrs.__setitem__("rows", 3), "do not fit"),
        (lambda file: file.attrs.__setitem__("encoder", "{}"), "encoder spec"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(
    tmp_path: Path, pixel_encoder: PixelEncoder, damage: Callable[[h5py.File], None], said: str
) -> None:
    path = tmp_path / "a.h5"
    compress_slide(source(write_slide(tmp_path / "a.tif", tissue_image(700, 600))), pixel_encoder).save(path)
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(CodesError, match=rf"a\.h5: .*{said}"):
        CompressedSlide.load(path)


def test_a_file_that_is_no_compressed_slide_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.h5").write_bytes(b"nothing")
    with pytest.raises(CodesError, match=r"odd\.h5"):
        CompressedSlide.load(tmp_path / "odd.h5")


def test_three_formats_of_one_real_slide_give_one_grid(shared_data: Path, pixel_encoder: PixelEncoder) -> None:
    compressed = {
        s.slide_id: compress_slide(s, pixel_encoder) for s in find_slides(shared_data / "wsi") if "CMU" in s.slide_id
    }
    svs, dicom = compressed["CMU-1-Small-Region"], compressed["derived_CMU-1-Small-Region_dicom"]
    tiff = compressed["derived_CMU-1-Small-Region_pyramid"]
    assert svs.grid == dicom.grid == tiff.grid
    assert (svs.reader, dicom.reader, tiff.reader) == ("jpeg tiles", "openslide", "jpeg tiles")
    assert np.array_equal(svs.valid, dicom.valid)
    assert np.array_equal(svs.codes, dicom.codes)
    both = svs.valid & tiff.valid  # the TIFF's mask comes of its own coarser levels
    assert both.sum() >= 0.99 * (svs.valid | tiff.valid).sum()
    assert np.abs(svs.dense()[:, both] - tiff.dense()[:, both]).max() < 0.02


def test_a_coarse_level_is_recorded_with_both_figures(
    shared_data: Path, tmp_path: Path, pixel_encoder: PixelEncoder
) -> None:
    (refusal,) = compress_here(
        [source(shared_data / "wsi" / "camelyon_lowres_level.dcm")], pixel_encoder, tmp_path
    ).quarantined
    assert refusal.reason == "ResolutionTooLow"
    assert "28.97 um/px" in refusal.evidence
    assert "0.5 um/px" in refusal.evidence
