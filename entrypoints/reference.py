"""A slide that nobody is a patient of, and a new model's answer to it: by this a served model shows which one it is."""

import json
from pathlib import Path

import numpy as np

from nic.compression.compress import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.encoder.onnx import OnnxEncoder
from nic.encoder.spec import EncoderSpec
from nic.patients.predictor import PatientModel
from nic.phantom.breast import BreastSlide
from nic.phantom.study import draw_breast
from nic.slides.slide import SlideSource
from nic.slides.tiling import TileGrid

SLIDE = BreastSlide("reference", "aspen", 10, 20.0, 10.0, 200.0, 0.5, 1.0)
"""Ten cells of 64 um along a side; what it shows does not matter."""
ROWS, COLS = 12, 9


def write_reference(folder: Path, encoder: Path | None, patient: Path, spec: EncoderSpec) -> Path:
    """Write request.json, the slide that it names, and answers.json; the folder.

    encoder, patient: the graphs. Where there is no encoder, the slide is a file of drawn codes. spec: of the encoder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    codes = _compressed(folder, encoder) if encoder else _drawn(folder, spec)
    answer = PatientModel(patient).predict([codes])
    numbers = {"prediction": answer.prediction, "uncertainty": answer.uncertainty, "tiles": answer.tiles}
    name = f"{SLIDE.slide_id}.tif" if encoder else f"{SLIDE.slide_id}.h5"
    (folder / "request.json").write_text(json.dumps([{"slide": name}]))
    (folder / "answers.json").write_text(json.dumps([{**numbers, **answer.calibrated}]))
    return folder


def _compressed(folder: Path, encoder: Path) -> CompressedSlide:
    path = folder / f"{SLIDE.slide_id}.tif"
    draw_breast(SLIDE, path, seed=0)
    return compress_slide(SlideSource(SLIDE.slide_id, path), OnnxEncoder(encoder))


def _drawn(folder: Path, spec: EncoderSpec) -> CompressedSlide:
    row, col = (axis.ravel().astype(np.int32) for axis in np.indices((ROWS, COLS)))
    codes = np.random.default_rng(0).normal(size=(ROWS * COLS, spec.code_size)).astype(np.float16)
    everywhere = np.ones((ROWS, COLS), bool)
    grid = TileGrid(spec.tile_px, spec.tile_mpp, spec.tile_mpp, (0, 0), ROWS, COLS)
    slide = CompressedSlide(SLIDE.slide_id, codes, row, col, grid, everywhere, ~everywhere, spec, "drawn")
    slide.save(folder / f"{SLIDE.slide_id}.h5")
    return slide
