"""An encoder that another tool exported to ONNX, such as a foundation model, as one of ours."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from nic.encoder.spec import METADATA_KEY, EncoderSpec
from nic.errors import EncoderError, ParityFailed
from nic.graphs.adapt import ForeignGraph, Scaling, describe, save_graph
from nic.graphs.files import copy_graph, graph_sha256, move_graph
from nic.graphs.parity import parity
from nic.graphs.run import OnnxGraph

CHECKED = 3
"""Tiles that a graph is checked on."""
TOLERANCE = 1e-2
"""Of parity. Equal graphs differ by less, also in float16; a wrong scaling by more."""


def import_onnx(
    source: Path,
    path: Path,
    *,
    name: str,
    tile_px: int,
    tile_mpp: float,
    read_mpp: float,
    scaling: Scaling,
    output: str = "",
) -> tuple[EncoderSpec, float]:
    """Write to `path` a graph that takes pixels and has a spec: that spec, and its parity with the source.

    Weights in files beside the source are copied beside `path`, and never loaded into the graph.

    tile_px, tile_mpp, read_mpp: as in EncoderSpec. scaling: what the network was trained with. output: name of the
    code among several outputs. The code size is measured.
    Raises EncoderError when the graph does not give one vector for each image, independent of its batch.
    """
    tiles = np.random.default_rng(0).integers(0, 256, (CHECKED, tile_px, tile_px, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as place:
        folder = Path(place)
        alone, draft = folder / f"alone.{source.name}", folder / source.name
        copy_graph(source, alone)
        foreign = ForeignGraph.read(alone, tile_px, output, source.name)
        graph = foreign.from_pixels(tile_px, scaling)
        save_graph(graph, draft)
        save_graph(foreign.model, alone)
        codes = _checked_codes(OnnxGraph(draft, fused=True), tiles)
        original = OnnxGraph(alone).run(**foreign.own_input(tiles, scaling))[foreign.place]
        spec = EncoderSpec(codes.shape[1], tile_px, tile_mpp, read_mpp, f"imported:{name}", ())
        difference = parity([(original, codes)])
        if not difference <= TOLERANCE:
            raise ParityFailed(
                f"{source.name}: scaled inside the graph, codes differ by {difference:.2e} from the original"
            )
        describe(graph, {METADATA_KEY: spec.to_json()})
        save_graph(graph, draft)
        move_graph(draft, path)
    return spec.with_sha256(graph_sha256(path)), difference


def _checked_codes(graph: OnnxGraph, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Codes [N, D]. Raises EncoderError when a code depends on the other tiles of its batch."""
    name, count = graph.path.name, len(tiles)
    codes = graph.run(tiles=tiles)[0]
    if codes.ndim != 2 or len(codes) != count or not np.isfinite(codes).all():
        raise EncoderError(f"{name}: {count} tiles give {list(codes.shape)}, wanted {count} finite codes [{count}, D]")
    alone = np.concatenate([graph.run(tiles=tiles[i : i + 1])[0] for i in range(count)])
    if not parity([(codes, alone)]) <= TOLERANCE:
        raise EncoderError(f"{name}: a tile's code depends on the tiles beside it; export it in inference mode")
    return codes
