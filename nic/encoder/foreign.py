"""An encoder exported to ONNX elsewhere, a foundation model say, as one of ours."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from nic.encoder.onnx import METADATA_KEY, OnnxEncoder
from nic.encoder.spec import EncoderSpec
from nic.errors import EncoderError
from nic.onnx.pixels import Scaling, from_pixels
from nic.onnx.runtime import OnnxGraph


def import_onnx(
    source: Path, path: Path, *, name: str, tile_px: int, tile_mpp: float, read_mpp: float, scaling: Scaling
) -> EncoderSpec:
    """Write to `path` a graph that takes pixels and says how tiles must be cut; its spec, the code size measured.

    tile_px, tile_mpp, read_mpp: as in EncoderSpec. scaling: what the network was trained with.
    Raises EncoderError when the graph does not turn such an image into a vector.
    """
    with TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.onnx"
        from_pixels(source, draft, tile_px, scaling, {})
        tiles = np.random.default_rng(0).integers(0, 256, (2, tile_px, tile_px, 3), np.uint8)
        found = OnnxGraph(draft).run(tiles=tiles)[0]
    if found.ndim != 2 or len(found) != 2 or not np.isfinite(found).all():
        raise EncoderError(f"{source.name}: two tiles give {list(found.shape)}, wanted two finite codes [2, D]")
    spec = EncoderSpec(found.shape[1], tile_px, tile_mpp, read_mpp, f"imported:{name}", ())
    from_pixels(source, path, tile_px, scaling, {METADATA_KEY: spec.to_json()})
    return OnnxEncoder(path).spec
