"""What a new patient model is registered with beside its graphs: whom it knows, and a reference with its answer."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nic.compression.compress import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.cutting import Cutting
from nic.compression.setting import Setting
from nic.compression.tissue_rule import GIVEN
from nic.encoder.onnx import OnnxEncoder
from nic.encoder.spec import EncoderSpec
from nic.patients.crops import Gathered
from nic.patients.familiarity_fit import fit_familiarity, mean_code
from nic.patients.predictor import PatientModel
from nic.phantom.breast import BreastSlide
from nic.phantom.phantom_study import draw_breast
from nic.slides.slide import SlideSource
from nic.slides.tiling import TileGrid
from nic.tracking.registry import REFERENCE

SLIDE = BreastSlide("reference", "aspen", 10, 20.0, 10.0, 200.0, 0.5, 1.0)
"""Ten cells of 64 um along a side; what it shows does not matter."""
ROWS, COLS = 12, 9


def write_companions(patient: Path, encoder: Path | None, gathered: Gathered) -> Mapping[str, Path]:
    """Written beside the patient model's graph: the distribution of the training codes, and the reference."""
    means = [mean_code(slide.opened().codes.numpy() for slide in cells.slides) for cells in gathered.cells]
    familiarity = patient.with_name("familiarity.npz")
    fit_familiarity(np.stack(means)).save(familiarity)
    drawn = encoder is None or gathered.cutting.tissue == GIVEN
    reference = write_reference(patient.with_name(REFERENCE), None if drawn else encoder, patient, gathered.encoder)
    return {"familiarity": familiarity, REFERENCE: reference}


def write_reference(folder: Path, encoder: Path | None, patient: Path, spec: EncoderSpec) -> Path:
    """A slide that nobody is a patient of, and the model's answer, by which a served one shows that it is this one.

    Writes request.json, the slide that it names, and answers.json; returns the folder.

    encoder, patient: the graphs. Where there is no encoder, the slide is a file of drawn codes. spec: of the encoder.
    It is cut as those of the training were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = PatientModel(patient)
    cutting = model.spec.cutting
    codes = _compressed(folder, encoder, cutting) if encoder else _drawn(folder, spec, cutting)
    answer = model.predict([codes])
    numbers = {name: getattr(answer, name) for name in ("score", "prediction", "uncertainty", "tiles")}
    name = f"{SLIDE.slide_id}.tif" if encoder else f"{SLIDE.slide_id}.h5"
    (folder / "request.json").write_text(json.dumps([{"slide": name}]))
    (folder / "answers.json").write_text(json.dumps([{**numbers, **answer.calibrated}]))
    return folder


def _compressed(folder: Path, encoder: Path, cutting: Cutting) -> CompressedSlide:
    path = folder / f"{SLIDE.slide_id}.tif"
    draw_breast(SLIDE, path, seed=0)
    return compress_slide(SlideSource(SLIDE.slide_id, path), OnnxEncoder(encoder), Setting.like(cutting))


def _drawn(folder: Path, spec: EncoderSpec, cutting: Cutting) -> CompressedSlide:
    row, col = (axis.ravel().astype(np.int32) for axis in np.indices((ROWS, COLS)))
    codes = np.random.default_rng(0).normal(size=(ROWS * COLS, spec.code_size)).astype(np.float16)
    everywhere = np.ones((ROWS, COLS), bool)
    grid = TileGrid(spec.tile_px, spec.tile_mpp, spec.tile_mpp, (0, 0), ROWS, COLS, cutting.overlap_px)
    cut = {"min_tissue": cutting.min_tissue, "exclude": cutting.exclude, "tissue_rule": cutting.tissue}
    slide = CompressedSlide(SLIDE.slide_id, codes, row, col, grid, everywhere, ~everywhere, spec, "drawn", **cut)
    slide.save(folder / f"{SLIDE.slide_id}.h5")
    return slide
