"""Files that an older nic wrote (tests/kept) are read, with the tiling of their slides."""

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from conftest import PixelEncoder, compress_here

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.slide_of_cohort import CompressionOptions
from nic.compression.tiling import Encoding, Tiling
from nic.compression.tissue_rule import Mask, MaskFolder, OwnMask, Saturated
from nic.errors import ForeignCodes
from nic.patients.model_spec import PatientModelSpec
from nic.patients.predictor import PatientModel
from nic.slides.slide import SlideSource

KEPT = Path(__file__).parents[1] / "kept"
MASKS = MaskFolder(KEPT / "masks")
BY_CORNER = MaskFolder(KEPT / "masks", from_bounds=False)
TILINGS = {
    "masked": Tiling(64.0, 32, 0.6, ("dark",), OwnMask(), Mask("d2db5ea80000cc5c")),
    "outlined": Tiling(64.0, 0, 0.6, (), OwnMask(), Mask("14473470784ef801", from_bounds=False)),
    "saturated": Tiling(64.0, 0, 0.3, ("dark", "pen"), Saturated(30)),
    "imported": Tiling(64.0, 0, 0.0, (), OwnMask()),
}
"""Of the kept files."""
OPTIONS = {
    "masked": CompressionOptions(Tiling(overlap_px=32, exclude=("dark",), tissue=OwnMask()), MASKS),
    "outlined": CompressionOptions(Tiling(exclude=(), tissue=OwnMask()), BY_CORNER),
    "saturated": CompressionOptions(
        Tiling(min_tissue=0.3, exclude=("pen", "dark"), tissue=Saturated(30)), d4_variants=8
    ),
}
"""By which the kept files were compressed."""


def kept(name: str) -> CompressedSlide:
    return CompressedSlide.load(KEPT / "codes" / f"{name}.h5")


@pytest.mark.parametrize("name", list(TILINGS))
def test_a_kept_file_says_how_its_slide_was_tiled(name: str) -> None:
    assert kept(name).tiling == CompressedSlide.head(KEPT / "codes" / f"{name}.h5").tiling == TILINGS[name]
    assert len(kept(name).codes) == {"masked": 9, "outlined": 2, "saturated": 4, "imported": 12}[name]


def test_a_kept_file_says_how_its_tiles_were_encoded() -> None:
    encodings = {name: CompressedSlide.head(KEPT / "codes" / f"{name}.h5").encoding for name in TILINGS}
    assert encodings["masked"] == Encoding(PixelEncoder.spec.sha256, "onnx", 1)
    assert encodings["saturated"] == Encoding(PixelEncoder.spec.sha256, "onnx", 8)
    assert (encodings["imported"].runtime, encodings["imported"].pixel_version) == ("another tool", 0)
    assert encodings["masked"].pixel_version == 3


def test_a_file_that_is_older_than_most_parameters_has_the_usual_ones(tmp_path: Path) -> None:
    file = shutil.copy(KEPT / "codes" / "saturated.h5", tmp_path)
    with h5py.File(file, "a") as older:
        for name in ("exclude", "tissue_rule", "runtime", "overlap_px"):
            del older.attrs[name]
    assert CompressedSlide.load(file).tiling == Tiling(64.0, 0, 0.3, ())
    assert CompressedSlide.head(file).encoding.runtime == "onnx"


@pytest.mark.parametrize("name", ["masked", "saturated"])
def test_a_kept_model_takes_the_codes_it_took(name: str) -> None:
    model = PatientModel(KEPT / f"{name}.onnx")
    assert model.spec.tiling == replace(TILINGS[name], mask=None)
    assert PatientModelSpec.from_json(model.spec.to_json()) == model.spec
    assert model.predict([kept(name)]).tiles == len(kept(name).codes)


def test_what_a_kept_model_refuses_is_named() -> None:
    refusal = r"saturated: compressed with overlap_px=0, min_tissue=0\.3, exclude=dark,pen"
    with pytest.raises(ForeignCodes, match=refusal):
        PatientModel(KEPT / "masked.onnx").predict([kept("saturated")])
    other = replace(kept("saturated"), tiling=replace(TILINGS["saturated"], tissue=Saturated(31)))
    with pytest.raises(ForeignCodes, match=r"tissue=saturation above 31; wanted .* tissue=saturation above 30"):
        PatientModel(KEPT / "saturated.onnx").predict([other])


def compressed_again(name: str, options: CompressionOptions, folder: Path) -> tuple[list[str], list[str]]:
    """compressed, reused: the kept slide over the kept files."""
    shutil.copytree(KEPT / "codes", folder)
    report = compress_here([SlideSource(name, KEPT / "slide.tif")], PixelEncoder(), folder, options)
    return report.compressed, report.reused


@pytest.mark.parametrize("name", list(OPTIONS))
def test_a_kept_file_is_reused(tmp_path: Path, name: str) -> None:
    assert compressed_again(name, OPTIONS[name], tmp_path / "codes") == ([], [name])
    assert (tmp_path / "codes" / f"{name}.h5").read_bytes() == (KEPT / "codes" / f"{name}.h5").read_bytes()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("masked", replace(OPTIONS["masked"], tiling=replace(OPTIONS["masked"].tiling, overlap_px=16))),
        ("masked", replace(OPTIONS["masked"], masks=BY_CORNER)),
        ("outlined", replace(OPTIONS["outlined"], masks=MASKS)),
        ("saturated", replace(OPTIONS["saturated"], tiling=replace(TILINGS["saturated"], tissue=Saturated(31)))),
        ("saturated", replace(OPTIONS["saturated"], tiling=replace(TILINGS["saturated"], exclude=("pen",)))),
        ("saturated", replace(OPTIONS["saturated"], d4_variants=1)),
    ],
)
def test_a_kept_file_of_other_parameters_is_made_anew(tmp_path: Path, name: str, options: CompressionOptions) -> None:
    assert compressed_again(name, options, tmp_path / "codes") == ([name], [])
    again = CompressedSlide.head(tmp_path / "codes" / f"{name}.h5").tiling
    assert again == options.tiling.of_slide(name, PixelEncoder.spec, options.masks)
