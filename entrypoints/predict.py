"""A registered model's answers for slides, as a table: the same code that serves, without a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from entrypoints.cli import launch
from nic.patients.cohort import read_cohort
from nic.slides.slide import find_slides
from nic.tracking.registry import find_version, load_served
from nic.tracking.runs import stage_run


@dataclass(frozen=True)
class Config:
    model: str
    """Registered model: models:/nic-<endpoint>@champion."""
    slides: str
    """A slide, a folder, a glob in quotes, or a cohort's CSV (slides of one patient are answered together)."""
    out: Path = Path("predictions.csv")
    """Table that receives one row a patient."""


def requests(slides: str) -> list[pd.DataFrame]:
    """One request a patient, with the columns that the served model takes."""
    if slides.endswith(".csv"):
        patients = [(p.patient_id, list(p.slides)) for p in read_cohort(Path(slides)).patients]
    else:
        patients = [(source.slide_id, [source]) for source in find_slides(slides)]
    return [
        pd.DataFrame(
            {"slide": str(s.path), "patient": patient, "mpp": float("nan") if s.mpp is None else s.mpp} for s in sources
        )
        for patient, sources in patients
    ]


def inputs(config: Config) -> dict[str, str]:
    return {"model": find_version(config.model).uri}


def run(config: Config) -> dict[str, Any]:
    """Answer for every patient; a bad slide becomes a row with its reason, and the others are answered."""
    with stage_run("predict", config, inputs(config)) as stage:
        predict = load_served(config.model)
        answers = pd.concat([predict(r) for r in tqdm(requests(config.slides), desc="predict", unit="patient")])
        config.out.parent.mkdir(parents=True, exist_ok=True)
        answers.to_csv(config.out, index=False)
        counts = answers["status"].value_counts().to_dict()
        print(f"{config.out}: {', '.join(f'{n} {status}' for status, n in counts.items())}")
        stage.result.update(outputs=[str(config.out)], **counts)
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
