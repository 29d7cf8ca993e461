"""Attention and GELU fused into one operator each, where an exporter wrote them as several: fewer passes over memory.

onnxruntime.transformers.optimizer knows the attention of older exporters. It leaves that of torch's present exporter,
with a dynamic batch, as MatMul, Softmax, MatMul. Only the necessary part is matched here: a Softmax between two MatMuls
of [batch, head, row, column]. Unknown operators before it stay, so the result is right for any graph, and fastest for
known ones.
"""

import logging
import math
from collections import defaultdict
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

log = logging.getLogger(__name__)
MICROSOFT = "com.microsoft"
HEADS_BEHIND = [0, 2, 1, 3]
"""[batch, row, head, column] to [batch, head, row, column], and back."""
THREE_FIRST = [2, 0, 3, 1, 4]
"""[batch, row, 3, head, column] to [3, batch, head, row, column]."""
SMALL = 1024
"""Most numbers in a constant that may be a shape or a scale; weights have more."""


def fused(path: Path, folder: Path, *, on_cpu: bool = True) -> str | bytes | None:
    """The graph with attention and GELU fused, as ONNX Runtime loads it: a file in `folder`, or its bytes where its
    weights are in files beside `path`. None where there is nothing to fuse, or where fusing fails.

    on_cpu: whether layers take their bias along in one Gemm: a ViT-S is some 4% faster by it on a CPU. On a GPU, where
    this was not measured, the bias stays for ONNX Runtime to fuse into the GELU or normalisation behind it.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        graph = _Fusing(model)
    except (DecodeError, onnx.shape_inference.InferenceError) as error:
        log.debug("%s: cannot be fused: %s", path.name, error)
        return None
    counts = graph.attention(), graph.gelu()
    log.debug("%s: %d attentions and %d GELUs fused", path.name, *counts)
    if not any(counts):
        return None
    if on_cpu:
        graph.layers()
    graph.finish()
    if any(uses_external_data(tensor) for tensor in model.graph.initializer):
        return bytes(model.SerializeToString())
    onnx.save(model, folder / path.name)
    return str(folder / path.name)


class _Fusing:
    """A graph while parts of it are replaced. shapes: the known shapes of its values."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.shapes = _shapes(model)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer if math.prod(tensor.dims) <= SMALL}
        self.weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
        self.constants |= {n.output[0]: n.attribute[0].t for n in self.nodes if n.op_type == "Constant"}
        self.makers = {output: node for node in self.nodes for output in node.output}
        self.users: defaultdict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.users[name].append(node)
        self.replaced: dict[str, list[NodeProto]] = {}
        """New nodes by the output of the last of them."""

    def attention(self) -> int:
        """Replace each softmax(scale q k^T) v; how many there were."""
        return sum(self._attended(node) for node in self.nodes if node.op_type == "Softmax")

    def gelu(self) -> int:
        """Replace each x (1 + erf(x / sqrt 2)) / 2; how many there were."""
        return sum(self._activated(node) for node in self.nodes if node.op_type == "Erf")

    def layers(self) -> None:
        """Replace each x w + b of [batch, row, column] by one product of [batch x row, column]."""
        for node in self.nodes:
            if node.op_type == "MatMul":
                self._layered(node)

    def finish(self) -> None:
        """Put new nodes in place of old ones, and drop nodes whose output is no longer read."""
        nodes = [
            new for node in self.nodes for new in (self.replaced.get(node.output[0]) if node.output else None) or [node]
        ]
        wanted, kept = {output.name for output in self.model.graph.output}, list[NodeProto]()
        for node in reversed(nodes):
            if wanted & set(node.output):
                kept.append(node)
                wanted |= _read_by(node)
        del self.model.graph.node[:]
        self.model.graph.node.extend(reversed(kept))
        if MICROSOFT not in {opset.domain for opset in self.model.opset_import}:
            self.model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))

    def _attended(self, softmax: NodeProto) -> bool:
        scores, scale = self._unscaled(softmax.input[0])
        product, weighed = self._made(scores, "MatMul"), self._user(softmax.output[0], "MatMul")
        joined = self._user(weighed.output[0], "Transpose") if weighed else None
        axes, shape = [a.i for a in softmax.attribute if a.name == "axis"], self.shapes.get(scores, [])
        if not (product and weighed and joined and len(shape) == 4 and axes in ([-1], [3])):
            return False
        if _permutation(joined) != HEADS_BEHIND or weighed.input[0] != softmax.output[0]:
            return False
        if not isinstance(heads := shape[1], int):
            return False
        (query, of_query), (turned_key, of_key) = map(self._unscaled, product.input)
        new: list[NodeProto] = []
        rows = [self._rows(query, new), self._key_rows(turned_key, new), self._rows(weighed.input[1], new)]
        name = joined.output[0]
        apart = helper.make_tensor(f"{name}/apart", TensorProto.INT64, [4], [0, 0, heads, -1])
        self.model.graph.initializer.append(apart)
        options = {"domain": MICROSOFT, "num_heads": heads, "scale": scale * of_query * of_key}
        new.append(helper.make_node("MultiHeadAttention", rows, [f"{name}/rows"], **options))
        new.append(helper.make_node("Reshape", [f"{name}/rows", apart.name], [name]))
        self.replaced[name] = new
        return True

    def _activated(self, erf: NodeProto) -> bool:
        value, factor = self._unscaled(erf.input[0])
        plus = self._user(erf.output[0], "Add")
        times = self._user(plus.output[0], "Mul") if plus else None
        if not (plus and times) or not math.isclose(factor, 0.5**0.5, rel_tol=1e-3):
            return False
        if self._number(_other(plus, erf.output[0])) != 1:
            return False
        whole, half = self._unscaled(_other(times, plus.output[0]))
        if (whole, half) != (value, 0.5):  # else the half, or the value, is a separate product
            beside, last = _other(times, plus.output[0]), self._user(times.output[0], "Mul")
            final = _other(last, times.output[0]) if last else ""
            if not last or (value, 0.5) not in ((final, self._number(beside)), (beside, self._number(final))):
                return False
            times = last
        name = times.output[0]
        self.replaced[name] = [helper.make_node("Gelu", [value], [name], domain=MICROSOFT)]
        return True

    def _layered(self, product: NodeProto) -> None:
        plus = self._user(product.output[0], "Add")
        value, weight = product.input
        shape, wide = self.shapes.get(value, []), self.weights.get(weight, [])
        if not plus or len(shape) != 3 or len(wide) != 2 or not isinstance(shape[1], int):
            return
        bias = _other(plus, product.output[0])
        if self.weights.get(bias) != wide[1:]:
            return
        name = plus.output[0]
        flat = helper.make_tensor(f"{name}/flat", TensorProto.INT64, [2], [-1, wide[0]])
        whole = helper.make_tensor(f"{name}/whole", TensorProto.INT64, [3], [-1, shape[1], wide[1]])
        self.model.graph.initializer.extend([flat, whole])
        self.replaced[name] = [
            helper.make_node("Reshape", [value, flat.name], [f"{name}/in"]),
            helper.make_node("Gemm", [f"{name}/in", weight, bias], [f"{name}/out"]),
            helper.make_node("Reshape", [f"{name}/out", whole.name], [name]),
        ]

    def _made(self, value: str, kind: str) -> NodeProto | None:
        """The node with this output, if it is of this kind."""
        node = self.makers.get(value)
        return node if node and node.op_type == kind else None

    def _user(self, value: str, kind: str) -> NodeProto | None:
        """The only node that reads a value, if it is of this kind."""
        users = self.users[value]
        return users[0] if len(users) == 1 and users[0].op_type == kind else None

    def _number(self, value: str) -> float | None:
        """A constant's only number."""
        tensor = self.constants.get(value)
        values = None if tensor is None or uses_external_data(tensor) else numpy_helper.to_array(tensor)
        return float(values.reshape(-1)[0]) if values is not None and values.size == 1 else None

    def _unscaled(self, value: str) -> tuple[str, float]:
        """The value that this one is a multiple of, and the factor above 0; else itself and 1."""
        node = self.makers.get(value)
        if not node or node.op_type not in ("Mul", "Div"):
            return value, 1.0
        left, right = node.input
        if node.op_type == "Mul" and self._number(right) is None:
            left, right = right, left
        number = self._number(right)
        if number is None or number <= 0:
            return value, 1.0
        inner, factor = self._unscaled(left)
        return inner, factor * number if node.op_type == "Mul" else factor / number

    def _key_rows(self, turned: str, new: list[NodeProto]) -> str:
        """A key [batch, head, column, row] as [batch, row, head x column]."""
        node = self._made(turned, "Transpose")
        if node and _permutation(node) == [0, 2, 3, 1]:  # two turns that the exporter made one
            return self._flat(node.input[0], new)
        if node and _permutation(node) == [0, 1, 3, 2]:
            return self._rows(node.input[0], new)
        # torch's exporter turns two axes of three: Reshape to [batch x head, row, column], Transpose, Reshape.
        last = self._made(turned, "Reshape")
        middle = self._made(last.input[0], "Transpose") if last else None
        first = self._made(middle.input[0], "Reshape") if middle and _permutation(middle) == [0, 2, 1] else None
        if first:
            whole, flat, final = (self.shapes.get(v, []) for v in (first.input[0], first.output[0], turned))
            if len(whole) == 4 and flat[1:] == whole[2:] and final[1:] == [whole[1], whole[3], whole[2]]:
                return self._rows(first.input[0], new)
        new.append(helper.make_node("Transpose", [turned], [f"{turned}/back"], perm=[0, 3, 1, 2]))
        return self._flat(f"{turned}/back", new)

    def _rows(self, value: str, new: list[NodeProto]) -> str:
        """A value [batch, head, row, column] as [batch, row, head x column]."""
        if packed := self._third(value, new):
            return packed
        node = self._made(value, "Transpose")
        if node and _permutation(node) == HEADS_BEHIND:
            return self._flat(node.input[0], new)
        new.append(helper.make_node("Transpose", [value], [f"{value}/back"], perm=HEADS_BEHIND))
        return self._flat(f"{value}/back", new)

    def _flat(self, apart: str, new: list[NodeProto]) -> str:
        """A value [batch, row, head, column] as [batch, row, head x column]."""
        split = self._made(apart, "Reshape")
        if split and self.shapes.get(split.input[0], [])[2:] == [_product(self.shapes.get(apart, [])[2:])]:
            return str(split.input[0])
        together = helper.make_tensor(f"{apart}/together", TensorProto.INT64, [3], [0, 0, -1])
        self.model.graph.initializer.append(together)
        new.append(helper.make_node("Reshape", [apart, together.name], [f"{apart}/rows"]))
        return f"{apart}/rows"

    def _third(self, value: str, new: list[NodeProto]) -> str:
        """Query, key or value from a layer [batch, row, 3 x head x column] that makes all three; else empty."""
        node = self._made(value, "Squeeze")
        part = self._made(node.input[0], "Slice") if node else self._made(value, "Gather")
        if not part or not (place := self._place(part)):
            return ""
        turned = self._made(part.input[0], "Transpose")
        apart = self._made(turned.input[0], "Reshape") if turned and _permutation(turned) == THREE_FIRST else None
        shape = self.shapes.get(apart.output[0], []) if apart else []
        if not apart or len(shape) != 5 or shape[2] != 3:
            return ""
        layer = str(apart.input[0])
        if self.shapes.get(layer, [])[2:] != [_product(shape[2:])]:
            return ""
        thirds = [f"{layer}/{number}" for number in range(3)]
        if not any(n.op_type == "Split" and n.input[0] == layer for n in new):
            new.append(helper.make_node("Split", [layer], thirds, axis=2, num_outputs=3))
        return thirds[place[0]]

    def _place(self, part: NodeProto) -> list[int]:
        """The index on the first axis that a Slice or Gather takes, as a list of one; else empty."""
        if part.op_type == "Gather":
            number = self._number(part.input[1])
            axis = next((a.i for a in part.attribute if a.name == "axis"), 0)
            return [int(number)] if number is not None and 0 <= number < 3 and axis == 0 else []
        start, end, axis, step = (self._number(name) for name in (*part.input[1:], "", "")[:4])
        taken = start is not None and 0 <= start < 3 and end == start + 1 and axis == 0 and step in (None, 1)
        return [int(start)] if taken and start is not None else []


def _shapes(model: ModelProto) -> dict[str, list[int | str]]:
    """The axes of each value: numbers, names of dynamic axes, ? where nothing is known."""
    graph, bare = model.graph, ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(model.functions)
    for part in ("node", "input", "output", "value_info"):
        getattr(bare.graph, part).extend(getattr(graph, part))
    for tensor in graph.initializer:  # weights are large; only their shape matters here
        if math.prod(tensor.dims) <= SMALL:
            bare.graph.initializer.append(tensor)
        else:
            bare.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    inferred = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    return {
        value.name: [axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in axes]
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
        if (axes := value.type.tensor_type.shape.dim)
    }


def _permutation(node: NodeProto) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == "perm"), []) if node.op_type == "Transpose" else []


def _other(node: NodeProto, value: str) -> str:
    """The other input of a node of two."""
    return str(node.input[1] if node.input[0] == value else node.input[0])


def _product(axes: list[int | str]) -> int:
    """0 where an axis is not known."""
    return math.prod(axis if isinstance(axis, int) else 0 for axis in axes)


def _read_by(node: NodeProto) -> set[str]:
    """Values that a node reads, also those that graphs inside it read from outside."""
    inner = [n for a in node.attribute for g in (a.g, *a.graphs) for n in g.node]
    outputs = {o.name for a in node.attribute for g in (a.g, *a.graphs) for o in g.output}
    return set(node.input).union(outputs, *map(_read_by, inner))
