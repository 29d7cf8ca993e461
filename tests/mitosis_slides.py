"""Compressed slides whose codes are the log odds of a mitosis, and a graph of heads that reads them so."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.spec import EncoderSpec
from nic.encoder.task_heads import HEADS_KEY, HeadsSpec, TaskHeads
from nic.slides.grid import TileGrid

SPEC = EncoderSpec(2, 64, 1.0, 0.5, "multitask", ("mitosis",), "a" * 64)


def made_heads(folder: Path, classes: tuple[str, ...] = ("other", "mitosis"), sha256: str = SPEC.sha256) -> TaskHeads:
    """One task, whose class probabilities are the softmax of a code [2]."""
    node = helper.make_node("Softmax", ["codes"], ["mitosis.probabilities"], axis=1)
    codes, output = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2])
        for name in ("codes", "mitosis.probabilities")
    )
    model = helper.make_model(
        helper.make_graph([node], "heads", [codes], [output]), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    helper.set_model_props(model, {HEADS_KEY: HeadsSpec(sha256, {"mitosis": classes}).to_json()})
    onnx.save(model, folder / "heads.onnx")
    return TaskHeads.load(folder / "heads.onnx")


def made_slide(
    log_odds: NDArray[np.floating],
    overlap_px: int = 32,
    slide_id: str = "s",
    slide_mpp: float = 0.25,
    origin_l0px: tuple[int, int] = (0, 0),
) -> CompressedSlide:
    """log_odds: [rows, cols], of a mitosis; NaN where there is no tissue."""
    rows, cols = log_odds.shape
    tissue = np.isfinite(log_odds)
    row, col = (axis.astype(np.int32) for axis in np.nonzero(tissue))
    odds = log_odds[tissue]
    codes = np.stack([np.zeros_like(odds), odds], axis=1).astype(np.float16)
    grid = TileGrid(64, 1.0, slide_mpp, origin_l0px, rows, cols, overlap_px)
    tiling = Tiling(64.0, overlap_px)
    return CompressedSlide(slide_id, codes, row, col, grid, tissue, np.zeros_like(tissue), SPEC, "made", tiling)


def with_mitoses(shape: tuple[int, int], cells: NDArray[np.integer], log_odds: float = 4.0) -> NDArray[np.float64]:
    """[rows, cols] of tissue without mitoses, but for these cells, [M, 2]."""
    odds = np.full(shape, -4.0)
    odds[cells[:, 0], cells[:, 1]] = log_odds
    return odds
