"""Files that an older nic wrote (tests/kept) are read, with the tiling of their slides."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PixelEncoder, compress_here
from nic.compression.cutting import Cutting
from nic.compression.setting import Setting

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tissue_rule import Given, Saturated
from nic.compression.work import How
from nic.errors import ForeignCodes
from nic.patients.predictor import PatientModel
from nic.slides.slide import SlideSource

KEPT = Path(__file__).parents[1] / "kept"
MASKS = KEPT / "masks"
HOW = {
    "masked": Setting(overlap_px=32, exclude=("dark",), tissue=Given(MASKS)),
    "outlined": Setting(exclude=(), tissue=Given(MASKS, from_bounds=False)),
    "saturated": Setting(min_tissue=0.3, variants=8, exclude=("pen", "dark"), tissue=Saturated(30)),
}
"""How the slides of the kept files were compressed."""
CUTTINGS = {
    "masked": Cutting(32, 0.6, ("dark",), "given"),
    "outlined": Cutting(0, 0.6, (), "given"),
    "saturated": Cutting(0, 0.3, ("dark", "pen"), "saturation above 30"),
    "imported": Cutting(0, 0.0, (), "given"),
}


def kept(name: str) -> CompressedSlide:
    return CompressedSlide.load(KEPT / "codes" / f"{name}.h5")


@pytest.mark.parametrize("name", list(CUTTINGS))
def test_a_kept_file_says_how_its_slide_was_tiled(name: str) -> None:
    assert kept(name).cutting == CUTTINGS[name]
    assert len(kept(name).codes) == {"masked": 9, "outlined": 2, "saturated": 4, "imported": 12}[name]


def test_a_kept_file_says_how_its_tiles_were_encoded() -> None:
    assert (kept("masked").kind.runtime, kept("masked").kind.pixel_version) == ("onnx", 3)
    assert (kept("imported").kind.runtime, kept("imported").kind.pixel_version) == ("another tool", 0)


@pytest.mark.parametrize("name", ["masked", "saturated"])
def test_a_kept_model_takes_the_codes_it_took(name: str) -> None:
    model = PatientModel(KEPT / f"{name}.onnx")
    assert model.spec.cutting == CUTTINGS[name]
    assert model.predict([kept(name)]).tiles == len(kept(name).codes)


def test_what_a_kept_model_refuses_is_named() -> None:
    with pytest.raises(
        ForeignCodes, match=r"saturated: compressed with overlap_px=0, min_tissue=0\.3, exclude=dark,pen"
    ):
        PatientModel(KEPT / "masked.onnx").predict([kept("saturated")])
    other = replace(kept("saturated"), tissue_rule="saturation above 31")
    with pytest.raises(ForeignCodes, match=r"tissue=saturation above 31; wanted .* tissue=saturation above 30"):
        PatientModel(KEPT / "saturated.onnx").predict([other])


@pytest.mark.parametrize("name", list(HOW))
def test_a_kept_file_is_reused(tmp_path: Path, name: str) -> None:
    shutil.copytree(KEPT / "codes", tmp_path / "codes")
    slide = SlideSource(name, KEPT / "slide.tif")
    before = (tmp_path / "codes" / f"{name}.h5").read_bytes()
    assert compress_here([slide], PixelEncoder(), tmp_path / "codes", How(HOW[name])).reused == [name]
    assert (tmp_path / "codes" / f"{name}.h5").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("masked", {"overlap_px": 16}),
        ("masked", {"tissue": Given(MASKS, from_bounds=False)}),
        ("outlined", {"tissue": Given(MASKS)}),
        ("saturated", {"tissue": Saturated(31)}),
        ("saturated", {"variants": 1}),
        ("saturated", {"exclude": ("pen",)}),
    ],
)
def test_a_kept_file_of_other_parameters_is_made_anew(tmp_path: Path, name: str, changed: dict[str, object]) -> None:
    shutil.copytree(KEPT / "codes", tmp_path / "codes")
    how = How(replace(HOW[name], **changed))
    assert compress_here([SlideSource(name, KEPT / "slide.tif")], PixelEncoder(), tmp_path / "codes", how).done == [
        name
    ]
