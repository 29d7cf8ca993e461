"""ONNX graphs in half precision, for GPUs."""

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16


def write_half(source: Path, target: Path) -> None:
    """Write a graph that computes in float16 what that of `source` does in float32; inputs and outputs stay as they
    are, and so do its metadata."""
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)
