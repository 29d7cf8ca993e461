"""The files registered with a patient model beside its graphs: how familiar codes look, and a reference slide."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.compression.tissue_rule import OwnMask
from nic.encoder.loading import load_encoder
from nic.encoder.spec import EncoderSpec
from nic.patients.crops import Gathered
from nic.patients.familiarity_fit import fit_familiarity, mean_code
from nic.patients.predictor import PatientModel
from nic.phantom.breast import BreastSlide
from nic.phantom.phantom_study import draw_breast
from nic.slides.grid import TileGrid
from nic.slides.slide import SlideSource
from nic.tracking.registry import REFERENCE

SLIDE = BreastSlide("reference", "aspen", 10, 20.0, 10.0, 200.0, 0.5, 1.0)
"""Drawn by the phantom; ten cells of 64 um along a side. What it shows does not matter."""
ROWS, COLS = 12, 9


def write_companions(patient: Path, encoder: Path | None, gathered: Gathered) -> Mapping[str, Path]:
    """Write the distribution of the training codes, and the reference, beside the patient model's graph."""
    means = [mean_code(slide.opened().codes.numpy() for slide in cells.slides) for cells in gathered.cells]
    familiarity = patient.with_name("familiarity.npz")
    fit_familiarity(np.stack(means)).save(familiarity)
    source = None if gathered.tiling.tissue == OwnMask() else encoder  # the drawn slide has no mask of its own
    reference = write_reference(patient.with_name(REFERENCE), source, patient, gathered.encoder)
    return {"familiarity": familiarity, REFERENCE: reference}


def write_reference(folder: Path, encoder: Path | None, patient: Path, spec: EncoderSpec) -> Path:
    """Write a drawn slide and the model's answer for it; a served model proves itself by giving the same answer.

    The folder receives request.json, the slide it names, and answers.json. encoder, patient: the graphs. Without an
    encoder the slide is a file of random codes. spec: of the encoder. The tiling is that of the training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = PatientModel(patient)
    tiling = model.spec.tiling
    codes = _compressed(folder, encoder, tiling) if encoder else _drawn(folder, spec, tiling)
    answer = model.predict([codes])
    numbers = {name: getattr(answer, name) for name in ("score", "prediction", "uncertainty", "tiles")}
    name = f"{SLIDE.slide_id}.tif" if encoder else f"{SLIDE.slide_id}.h5"
    (folder / "request.json").write_text(json.dumps([{"slide": name}]))
    (folder / "answers.json").write_text(json.dumps([{**numbers, **answer.calibrated}]))
    return folder


def _compressed(folder: Path, encoder: Path, tiling: Tiling) -> CompressedSlide:
    path = folder / f"{SLIDE.slide_id}.tif"
    draw_breast(SLIDE, path, seed=0)
    return compress_slide(SlideSource(SLIDE.slide_id, path), load_encoder(encoder), tiling)


def _drawn(folder: Path, spec: EncoderSpec, tiling: Tiling) -> CompressedSlide:
    row, col = (axis.ravel().astype(np.int32) for axis in np.indices((ROWS, COLS)))
    codes = np.random.default_rng(0).normal(size=(ROWS * COLS, spec.code_size)).astype(np.float16)
    everywhere = np.ones((ROWS, COLS), bool)
    grid = TileGrid(spec.tile_px, spec.tile_mpp, spec.tile_mpp, (0, 0), ROWS, COLS, tiling.overlap_px)
    slide = CompressedSlide(SLIDE.slide_id, codes, row, col, grid, everywhere, ~everywhere, spec, "drawn", tiling)
    slide.save(folder / f"{SLIDE.slide_id}.h5")
    return slide
