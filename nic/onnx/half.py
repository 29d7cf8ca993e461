"""ONNX graphs in half precision, for GPUs."""

from pathlib import Path

import onnx
from onnx.external_data_helper import load_external_data_for_model
from onnxruntime.transformers.float16 import convert_float_to_float16

from nic.errors import EncoderError
from nic.onnx.files import graph_files


def write_half(source: Path, target: Path) -> None:
    """Write a graph that computes in float16 what that of `source` does in float32; inputs and outputs stay as they
    are, and so do its metadata. Parts that the graph computes in float32 on purpose become float16 too. Where weights
    lie beside `source`, they do beside `target`.

    Raises EncoderError when the converter cannot do it: of what it meets in a graph, it says so in many ways.
    """
    beside = len(graph_files(source)) > 1
    try:
        # Shapes are inferred without the weights: of 2 GiB and more, nothing can be.
        model = onnx.load(source, load_external_data=False)
        model = onnx.shape_inference.infer_shapes(model)
        if beside:
            load_external_data_for_model(model, str(source.parent))
        half = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
        onnx.save(half, target, save_as_external_data=beside, location=f"{target.stem}.data")
    except Exception as error:  # the converter's own assertions, shape inference, protobuf, types of no common root
        raise EncoderError(
            f"{source.name}: cannot be converted to half precision ({type(error).__name__}: {error}); use runtime=onnx"
        ) from error
