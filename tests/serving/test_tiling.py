"""A served model tiles slides as in its training."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import tissue_image, write_slide
from served_files import write_plain_graphs

from nic.compression.compress_slide import compress_slide
from nic.compression.tiling import Tiling
from nic.compression.tissue_rule import OwnMask, Saturated
from nic.encoder.loading import load_encoder
from nic.patients.predictor import PatientModel
from nic.serving.cache import CodesCache
from nic.serving.limits import Limits
from nic.serving.served_model import RequestParams, ServedModel
from nic.slides.slide import SlideSource
from nic.stages.companions import write_reference

OVERLAPPING = Tiling(64.0, overlap_px=32, min_tissue=0.3, exclude=("blurred",), tissue=Saturated(20))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cut")
    write_slide(folder / "a.tif", tissue_image(900, 800))
    for name, tiling in (("usual", Tiling()), ("overlapping", OVERLAPPING), ("given", Tiling(tissue=OwnMask()))):
        write_plain_graphs(folder / name, tiling=tiling)
    return folder


def served(folder: Path, name: str, cache: Path, *, untrusted: bool = True) -> ServedModel:
    files = {graph: folder / name / f"{graph}.onnx" for graph in ("patient", "encoder")}
    limits = Limits((folder,)) if untrusted else Limits.none()
    return ServedModel.load(files, CodesCache(cache, 1 << 30), limits, "nic-score", "7")


@pytest.mark.parametrize("untrusted", [False, True])
def test_a_slide_is_cut_as_in_training(folder: Path, tmp_path: Path, untrusted: bool) -> None:
    model = served(folder, "overlapping", tmp_path, untrusted=untrusted)
    [answer] = model.answer(pd.DataFrame({"slide": [str(folder / "a.tif")]}), RequestParams()).to_dict("records")
    encoder = load_encoder(folder / "overlapping" / "encoder.onnx")
    codes = compress_slide(SlideSource("a", folder / "a.tif"), encoder, OVERLAPPING)
    assert (codes.tiling, answer["status"]) == (OVERLAPPING, "ok")
    assert answer["tiles"] == len(codes.codes)
    assert answer["prediction"] == pytest.approx(model.patient_model.predict([codes]).prediction, abs=1e-6)
    assert answer["tissue_mm2"] == pytest.approx(codes.tissue.sum() * 0.032**2)


def test_models_that_share_a_cache_do_not_share_codes_of_another_tiling(folder: Path, tmp_path: Path) -> None:
    rows = pd.DataFrame({"slide": [str(folder / "a.tif")]})
    names = ("usual", "overlapping", "usual")
    tiles = [served(folder, name, tmp_path).answer(rows, RequestParams())["tiles"][0] for name in names]
    assert tiles[0] == tiles[2] < tiles[1] / 3
    assert len(list(tmp_path.glob("*.h5"))) == 2


def test_codes_of_another_tiling_are_refused(folder: Path, tmp_path: Path) -> None:
    codes = compress_slide(SlideSource("a", folder / "a.tif"), load_encoder(folder / "usual" / "encoder.onnx"))
    codes.save(folder / "a.h5")
    rows = pd.DataFrame({"features": [str(folder / "a.h5")]})
    [answer] = served(folder, "overlapping", tmp_path).answer(rows, RequestParams()).to_dict("records")
    assert answer["status"] == "refused"
    assert "compressed with overlap_px=0, min_tissue=0.6, exclude=blurred,dark,pen, tissue=otsu" in answer["reason"]
    assert "compressed with overlap_px=32, min_tissue=0.3, exclude=blurred, tissue=saturation" in answer["reason"]


def test_who_learned_from_masks_wants_codes(folder: Path, tmp_path: Path) -> None:
    rows = pd.DataFrame({"slide": [str(folder / "a.tif")]})
    [answer] = served(folder, "given", tmp_path).answer(rows, RequestParams()).to_dict("records")
    assert answer["status"] == "refused"
    assert "each slide had a mask of its own; compress the slide with one, and give the file" in answer["reason"]


@pytest.mark.parametrize("name", ["usual", "overlapping"])
def test_the_reference_is_tiled_so_too(folder: Path, tmp_path: Path, name: str) -> None:
    encoder, patient = (folder / name / f"{graph}.onnx" for graph in ("encoder", "patient"))
    reference = write_reference(tmp_path / "reference", encoder, patient, load_encoder(encoder).spec)
    served(folder, name, tmp_path).check_reference(reference)
    assert PatientModel(patient).spec.tiling == (OVERLAPPING if name == "overlapping" else Tiling(64.0))
