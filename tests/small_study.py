"""A study of small real slides whose colour is the label, and the steps that tests run on it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
import yaml
from conftest import tissue_image, write_slide

from entrypoints import compress, evaluate, promote, train_encoder, train_patients
from nic.patients.choices import NetworkName
from nic.tracking import promotion
from nic.tracking.gates import Gate

PATIENTS, SIDE_PX = 36, 1000
PUBLISHED = {"method": "Earlier", "value": 0.5, "n": 100, "part": "cross_validated"}


def write_study(folder: Path) -> None:
    """Write study.yaml; wrong.yaml, with reversed labels; another.yaml, whose endpoint has another column."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, PATIENTS)
    (folder / "slides").mkdir(parents=True)
    for number, score in enumerate(scores):
        image = tissue_image(SIDE_PX, SIDE_PX, seed=number)
        for x, y in rng.integers(0, SIDE_PX, (4, 2)):  # holes, or all slides would be one picture to the audit
            image[y : y + 260, x : x + 260] = 242
        tissue = image.min(2) < 235
        image[tissue] = (image[tissue] * [1 - 0.2 * score, 1, 1 - 0.2 * (1 - score)]).astype(np.uint8)
        write_slide(folder / "slides" / f"s{number}.tif", image)
    for name in ("no", "yes"):
        tiles = folder / "tiles" / name
        tiles.mkdir(parents=True)
        for number in range(12):
            cv2.imwrite(str(tiles / f"g{number}_{number}.png"), rng.integers(60, 200, (64, 64, 3)).astype(np.uint8))
    numbers = np.arange(PATIENTS)
    cohort = {
        "patient": [f"P{n}" for n in numbers],
        "slide": [f"slides/s{n}.tif" for n in numbers],
        "split": np.where(numbers < PATIENTS // 2, "train", "external"),
        "site": np.where(numbers % 2, "elm", "oak"),
        "score": scores,
        "sex": np.where(numbers % 3 == 0, "", np.where(numbers % 3 == 1, "f", "m")),
        "easy": scores.round(1),
    }
    pd.DataFrame(cohort).to_csv(folder / "cohort.csv", index=False)
    pd.DataFrame({**cohort, "score": 1 - scores}).to_csv(folder / "wrong.csv", index=False)
    studies = {"study": ("cohort.csv", "score"), "wrong": ("wrong.csv", "score"), "another": ("cohort.csv", "easy")}
    for file, (table, column) in studies.items():
        study = {
            "name": "small",
            "tile_tasks": [{"name": "yes-no", "path": "tiles", "mpp": 1.0}],
            "cohorts": {"c": table},
            "endpoints": [
                {"name": "score", "cohort": "c", "kind": "regression", "column": column, "published": [PUBLISHED]}
            ],
        }
        (folder / f"{file}.yaml").write_text(yaml.safe_dump(study))


@dataclass(frozen=True)
class Place:
    """A study, and its active store."""

    folder: Path
    gates: Path
    uri: str

    @property
    def codes(self) -> Path:
        return self.folder / "codes"

    def train(self, study: str, epochs: int, register_as: str = "", network: NetworkName = "grid-cnn") -> str:
        """Train a version of the endpoint's model and evaluate it on the true labels."""
        config = train_patients.Config(
            self.folder / study,
            "score",
            self.codes,
            "models:/nic-encoder/1",
            network=network,
            folds=2,
            epochs=epochs,
            register_as=register_as,
        )
        model = str(train_patients.run(config)["version"])
        self.evaluate(model)
        return model

    def evaluate(self, model: str, **changes: Any) -> None:
        config = evaluate.Config(self.folder / "study.yaml", "score", self.codes, model)
        evaluate.run(replace(config, **changes))

    def promote(self, model: str) -> dict[str, Any]:
        return promote.run(promote.Config(model, self.gates))


def place_in(folder: Path, uri: str, location: str | None, gates: Mapping[str, Any]) -> Place:
    """Make a store with the small study, compressed by an encoder that is registered there."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("story", artifact_location=location))
    write_study(folder)
    (folder / "gates.yaml").write_text(yaml.safe_dump(dict(gates)))
    train_encoder.run(train_encoder.Config(folder / "study.yaml", folder / "work", objective="mean-rgb"))
    compress.run(compress.Config(str(folder / "cohort.csv"), "models:/nic-encoder/1", folder / "codes"))
    return Place(folder, folder / "gates.yaml", uri)


def promoted_at(moment: float, tracking_uri: str, model: str, gates: Mapping[str, Gate]) -> bool:
    """Promote at a certain time, for a race of processes."""
    mlflow.set_tracking_uri(tracking_uri)
    time.sleep(max(0.0, moment - time.time()))
    return promotion.promote(model, gates).promoted
