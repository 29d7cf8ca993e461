"""A study of real small slides whose colour is the label, and what is done with it beside the entry points."""

import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pandas as pd
import yaml
from conftest import tissue_image, write_slide

from nic.tracking.gates import Gate
from nic.tracking.promotion import promote

PATIENTS, SIDE_PX = 36, 1000


def write_study(folder: Path) -> None:
    """study.yaml, and wrong.yaml, in which the same endpoint has labels that are noise."""
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
        "noise": rng.permutation(scores),
    }
    pd.DataFrame(cohort).to_csv(folder / "cohort.csv", index=False)
    for file, column in (("study.yaml", "score"), ("wrong.yaml", "noise")):
        study = {
            "name": "small",
            "tile_tasks": [{"name": "yes-no", "path": "tiles", "mpp": 1.0}],
            "cohorts": {"c": "cohort.csv"},
            "endpoints": [{"name": "score", "cohort": "c", "kind": "regression", "column": column}],
        }
        (folder / file).write_text(yaml.safe_dump(study))


def promoted_at(moment: float, tracking_uri: str, model: str, gates: Mapping[str, Gate]) -> bool:
    """Promote at a moment, for a race of processes."""
    mlflow.set_tracking_uri(tracking_uri)
    time.sleep(max(0.0, moment - time.time()))
    return promote(model, gates).promoted
