"""Registered models of a small survival study, measured and compared through the entry points themselves."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from mlflow.tracking import MlflowClient
from stores import new_store

from entrypoints import compare, evaluate
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.spec import EncoderSpec
from nic.errors import EmptyCohort, EndpointError
from nic.evaluation.figure import Estimate
from nic.patients.cohort import Endpoint
from nic.patients.ensemble import Ensemble
from nic.patients.ensemble_graph import export_ensemble
from nic.patients.grid_cnn import GridCNN
from nic.patients.targets import Survival, Targets, Values
from nic.slides.grid import TileGrid
from nic.stages.model_evaluation import evaluate_model
from nic.study import read_study
from nic.tracking.recorded_estimates import FIGURES
from nic.tracking.registry import register_patient_model

ENCODER = EncoderSpec(8, 64, 1.0, 0.5, "multitask", ("mitosis",), sha256="a" * 64)
PATIENTS = 80


def log_hazards() -> np.ndarray:
    return np.random.default_rng(0).normal(size=PATIENTS)


def write_study(folder: Path) -> Survival:
    """Codes whose first number is the log hazard, and a table; the last external patient has no codes."""
    rng = np.random.default_rng(1)
    log_hazard = log_hazards()
    death, censored = rng.exponential(30 * np.exp(-log_hazard)), rng.uniform(10, 90, PATIENTS)
    labels = Survival(np.minimum(death, censored).round(2) + 0.01, death <= censored)
    grid = TileGrid(64, 1.0, 0.5, (0, 0), 3, 4)
    row, col = (a.ravel().astype(np.int32) for a in np.indices((3, 4)))
    for number, value in enumerate(log_hazard[:-1]):
        codes = rng.normal(size=(12, 8)).astype(np.float16)
        codes[:, 0] += value
        empty = np.zeros((3, 4), bool)
        slide = CompressedSlide(
            f"s{number}", codes, row, col, grid, ~empty, empty, ENCODER, f"f{number}", Tiling(ENCODER.tile_um)
        )
        slide.save(folder / "codes" / f"s{number}.h5")
    numbers = np.arange(PATIENTS)
    pd.DataFrame(
        {
            "patient": [f"P{n}" for n in numbers],
            "slide": [f"slides/s{n}.svs" for n in numbers],
            "split": np.where(numbers < PATIENTS // 2, "train", "external"),
            "months": labels.time_months,
            "event": labels.event.astype(int),
            "age": rng.integers(40, 80, PATIENTS),
        }
    ).to_csv(folder / "cohort.csv", index=False)
    study = {
        "name": "small",
        "tile_tasks": [{"name": "none", "path": "none"}],
        "cohorts": {"c": "cohort.csv"},
        "endpoints": [
            {
                "name": "death",
                "cohort": "c",
                "kind": "survival",
                "unit": "log hazard",
                "time": "months",
                "event": "event",
                "covariates": ["age"],
            }
        ],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return labels.take(numbers < PATIENTS // 2)


class FirstNumber(GridCNN):
    """Its score of a cell is a multiple of the code's first number."""

    def __init__(self, weight: float) -> None:
        super().__init__(8)
        self.weight = weight

    def forward(self, codes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        return (self.weight * codes[:, :1] + 0 * codes.sum(1, keepdim=True)) * valid


def register(folder: Path, name: str, weight: float, train: Targets) -> str:
    endpoint = Endpoint("death", "survival", ("months", "event"), "log hazard")
    if isinstance(train, Values):
        endpoint = Endpoint("score", "regression", ("score",))
    graph = folder / name / "patient.onnx"
    graph.parent.mkdir()
    halves = np.arange(len(train)) % 2
    out_of_fold = weight * log_hazards()[: len(train)]
    export_ensemble(
        Ensemble((FirstNumber(weight), FirstNumber(weight)), out_of_fold, halves),
        endpoint,
        train,
        cohort_digest="c0ffee",
        encoder=ENCODER,
        encoder_version="nic-encoder/1",
        path=graph,
    )
    return register_patient_model(f"nic-{name}", None, graph, {"nic.code": "x"}).uri


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("compare")
    (folder / "codes").mkdir()
    train = write_study(folder)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(folder))
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("compare", artifact_location=str(folder / "mlruns")))
    with mlflow.start_run():
        models = {
            "good": register(folder, "good", 1.0, train),
            "turned": register(folder, "turned", -1.0, train),
            "score": register(folder, "score", 1.0, Values(np.arange(float(len(train))))),
        }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nic.stages.evaluation_report.CASES", 1)  # patients of whom a report draws maps
        yield folder, models
    mlflow.set_tracking_uri(before)


def configured(folder: Path, model: str, other: str, **changes: object) -> compare.Config:
    return compare.Config(folder / "study.yaml", "death", folder / "codes", model, other, **changes)


def test_the_better_model_is_better_by_more_than_chance(study: tuple[Path, dict[str, str]]) -> None:
    folder, models = study
    result = compare.run(configured(folder, models["good"], models["turned"]))
    rows = {row["figure"]: row for row in result["comparison"]}
    assert {"c_index", "uno_c", "integrated_brier"} <= set(rows)
    assert rows["c_index"]["low"] > 0
    assert rows["c_index"]["n"] == PATIENTS // 2 - 1
    turned = compare.run(configured(folder, models["turned"], models["good"]))["comparison"]
    assert turned[0]["difference"] == pytest.approx(-rows["c_index"]["difference"])


def test_evaluation_records_every_figure_that_is_defined(study: tuple[Path, dict[str, str]]) -> None:
    folder, models = study
    evaluate.run(evaluate.Config(folder / "study.yaml", "death", folder / "codes", models["good"]))
    tags = MlflowClient().get_model_version("nic-good", models["good"].split("/")[-1]).tags
    figures = {name.removeprefix("external.") for name in json.loads(tags[FIGURES])}
    assert {"c_index", "uno_c", "integrated_brier", "log_rank_z", "hazard_ratio_adjusted"} <= figures
    run = mlflow.search_runs(filter_string="tags.`nic.stage` = 'evaluate'", output_format="list")[0]
    table = pd.read_csv(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/external.csv"))
    assert {"score", "prediction", "percentile", "survival_12m"} <= set(table.columns)
    assert np.corrcoef(table["prediction"], table["survival_12m"])[0, 1] < -0.8


def test_what_cannot_be_compared_is_refused(study: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, models = study
    with pytest.raises(
        EndpointError,
        match=r"nic-score/1 answers another endpoint than death of the study: .*kind 'regression' against 'survival'",
    ):
        compare.run(configured(folder, models["good"], models["score"]))
    with pytest.raises(EmptyCohort, match="no patient of split 'external' has codes for both models"):
        compare.run(configured(folder, models["good"], models["turned"], other_codes=str(tmp_path)))


def test_a_table_of_external_patients_alone_is_measured_alike(
    study: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """A new hospital has nobody of the training: what figures need of it, the model brings."""
    folder, models = study
    table = pd.read_csv(folder / "cohort.csv")
    table[table["split"] == "external"].to_csv(tmp_path / "cohort.csv", index=False)
    (tmp_path / "study.yaml").write_text((folder / "study.yaml").read_text())
    figures = []
    for place in (folder, tmp_path):
        config = evaluate.Config(place / "study.yaml", "death", folder / "codes", models["good"])
        figures.append({e.name: e.value for e in evaluation_of(config)})
        compared = configured(folder, models["good"], models["turned"])
        figures.append(compare.run(replace(compared, study=place / "study.yaml"))["comparison"])
    assert figures[:2] == figures[2:]


def evaluation_of(config: evaluate.Config) -> Sequence[Estimate]:
    study = read_study(config.study)
    return evaluate_model(study, config.endpoint, config.codes, config.model, config.split, config.seed).estimates
