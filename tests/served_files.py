"""Two small real graphs, as training leaves them, for tests of what is served."""

from pathlib import Path

import numpy as np
import torch

from nic.compression.cutting import AS_USUAL, Cutting
from nic.encoder.export import export_encoder
from nic.encoder.network import TileEncoder
from nic.patients.cohort import Endpoint
from nic.patients.export import export_ensemble
from nic.patients.grid_cnn import GridCNN
from nic.patients.targets import Values
from nic.patients.training import Ensemble


def write_graphs(folder: Path, cutting: Cutting = AS_USUAL) -> None:
    """encoder.onnx and patient.onnx, of random weights and always the same. cutting: of the slides."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    sample = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    spec, _ = export_encoder(TileEncoder(), "random", [], folder / "encoder.onnx", sample)
    networks = tuple(GridCNN(spec.code_size).eval() for _ in range(2))
    export_ensemble(
        Ensemble(networks, np.arange(4.0), np.array([0, 1, 0, 1])),
        Endpoint("score", "regression", ("score",), "points"),
        Values(np.arange(4.0)),
        cohort_digest="0123456789abcdef",
        encoder=spec,
        encoder_version="nic-encoder/1",
        path=folder / "patient.onnx",
        cutting=cutting,
    )
