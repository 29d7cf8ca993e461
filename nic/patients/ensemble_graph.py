"""An ensemble of networks as one ONNX graph."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nic.compression.tiling import Tiling
from nic.encoder.spec import EncoderSpec
from nic.graphs.write import export_graph
from nic.patients.calibration import Calibration, SoftmaxProbabilities, most_probable, scores_of_classes
from nic.patients.calibration_fit import fit_calibration
from nic.patients.cohort import Endpoint
from nic.patients.ensemble import Ensemble
from nic.patients.model_spec import METADATA, PatientModelSpec
from nic.patients.networks import PatientNetwork
from nic.patients.targets import Targets, guess_of, names_of, shares_of

DEFAULT_TILING = Tiling()
SAMPLE_CELLS = 23, 19
"""Rows and columns of the sample that graph and networks are compared on, for networks that score each cell."""


class _Ensemble(nn.Module):
    def __init__(self, networks: Sequence[PatientNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, codes: Tensor, valid: Tensor) -> Tensor:
        """codes [1, D, rows, cols], valid [1, 1, rows, cols] -> score maps [K * C, rows, cols]; 0 where not valid."""
        return torch.cat([network(codes, valid)[0] for network in self.networks])


def export_ensemble(
    ensemble: Ensemble,
    endpoint: Endpoint,
    targets: Targets,
    *,
    cohort_digest: str,
    encoder: EncoderSpec,
    encoder_version: str,
    path: Path,
    tiling: Tiling = DEFAULT_TILING,
    runtimes: Iterable[str] = (),
    pixel_versions: Iterable[int] = (),
) -> float:
    """Write the graph with what it says of itself; its parity with torch.

    targets: of the training patients. encoder, encoder_version: whose codes they were trained on. tiling: of
    their slides. runtimes, pixel_versions: by which these codes were made; empty where that is not known.
    Raises ParityFailed when graph and networks differ by more than 1e-4.
    """
    calibration = fit_calibration(targets, ensemble.comparable)
    spec = PatientModelSpec(
        endpoint=endpoint.name,
        kind=endpoint.kind,
        unit=endpoint.unit,
        classes=names_of(targets),
        encoder_sha256=encoder.sha256,
        encoder_version=encoder_version,
        tile_um=encoder.tile_um,
        folds=len(ensemble.networks),
        cohort=cohort_digest,
        patients=len(targets),
        median=float(np.median(_shown(ensemble.comparable.as_ensemble, calibration))),
        calibration=calibration,
        tiling=replace(tiling, tile_um=encoder.tile_um),
        definition=endpoint.definition,
        guess=guess_of(targets),
        shares=shares_of(targets),
        runtimes=tuple(sorted(runtimes)),
        pixel_versions=tuple(sorted(pixel_versions)),
    )
    first = ensemble.networks[0]
    generator = torch.Generator().manual_seed(0)
    # A sample within one block would have the exporter take their number for fixed.
    rows, cols = (side + first.block_cells - 1 for side in SAMPLE_CELLS)
    codes = torch.randn(1, rows, cols, encoder.code_size, generator=generator) * first.deviation + first.mean
    valid = (torch.rand(1, 1, rows, cols, generator=generator) < 0.7).float()
    places = {2: "rows", 3: "cols"}
    return export_graph(
        _Ensemble(ensemble.networks),
        {"codes": codes.permute(0, 3, 1, 2) * valid, "valid": valid},
        ["score_maps"],
        {"codes": places, "valid": places},
        {METADATA: spec.to_json()},
        path,
    )


def _shown(scores: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """One score a patient, [N]: of several classes, [N, C], that of the most probable."""
    if not isinstance(calibration, SoftmaxProbabilities):
        return scores
    return scores_of_classes(scores, most_probable(calibration.probabilities(scores)))
