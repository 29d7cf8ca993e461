"""ONNX graphs in half precision, for GPUs."""

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from nic.errors import EncoderError


def write_half(source: Path, target: Path) -> None:
    """Write a graph that computes in float16 what that of `source` does in float32; inputs and outputs stay as they
    are, and so do its metadata. Parts that the graph computes in float32 on purpose become float16 too.

    Raises EncoderError when the converter cannot do it: of what it meets in a graph, it says so in many ways.
    """
    try:
        onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)
    except Exception as error:  # the converter's own assertions, shape inference, protobuf, types of no common root
        raise EncoderError(
            f"{source.name}: cannot be converted to half precision ({type(error).__name__}: {error}); use runtime=onnx"
        ) from error
