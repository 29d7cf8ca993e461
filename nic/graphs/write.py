"""Torch modules written as ONNX graphs with metadata, and checked before the file appears."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch

from nic.errors import ParityFailed
from nic.graphs.parity import parity
from nic.graphs.run import OnnxGraph

OPSET = 18
# It warns that torchvision is missing.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)


def export_graph(
    module: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
    metadata: Mapping[str, str],
    path: Path,
    *,
    tolerance: float = 1e-4,
) -> float:
    """Write `module` to `path` and return the parity of the graph with torch on `inputs`.

    inputs: example of every argument of `forward`, by name, in order. dynamic: per input, the axes that vary and their
    names. The file appears only after the check. Raises ParityFailed above `tolerance`.
    """
    module = module.eval()
    dims: dict[str, torch.export.Dim] = {}
    shapes = tuple(
        {axis: dims.setdefault(name, torch.export.Dim(name, min=1)) for axis, name in dynamic.get(key, {}).items()}
        for key in inputs
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as folder, torch.no_grad(), warnings.catch_warnings():
        # The exporter warns of its own deprecations and of equal names for equal axes.
        warnings.filterwarnings("ignore", module=r"torch\.onnx|copyreg")
        draft = Path(folder) / "graph.onnx"
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        model = program.model_proto
        # Stack traces with this machine's paths would be published, and change the digest of equal weights.
        for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
            part.ClearField("metadata_props")
        onnx.helper.set_model_props(model, dict(metadata))
        onnx.save(model, draft)
        expected = module(*inputs.values())
        difference = parity_with_torch(
            OnnxGraph(draft), inputs, expected if isinstance(expected, tuple) else (expected,)
        )
        if not difference <= tolerance:
            raise ParityFailed(f"{path.name}: graph and torch differ by {difference:.2e}, wanted <= {tolerance:.0e}")
        draft.replace(path)
    return difference


def parity_with_torch(graph: OnnxGraph, inputs: Mapping[str, torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Parity of the graph's outputs with those of torch."""
    outputs = graph.run(**{name: value.numpy() for name, value in inputs.items()})
    return parity(zip((of_torch.numpy() for of_torch in expected), outputs, strict=True))
