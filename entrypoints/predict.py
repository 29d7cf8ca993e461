"""A registered model's answers for slides, as a table: the same code that serves, without a server."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    model: str
    """Registered model: models:/nic-<endpoint>@champion."""
    slides: str = ""
    """A slide, a folder, a glob in quotes, or a cohort's CSV (slides of a patient get one answer); empty: all files of
    `codes`."""
    codes: str = ""
    """Folder of compressed slides, made by the model's own encoder. A slide without a file there is compressed."""
    out: Path = Path("predictions.csv")
    """Table of answers, .csv or .parquet, with a row for each patient. A run that was killed continues from the journal
    beside it."""
    maps: str = ""
    """Folder for the score maps, <patient>.<slide>.geojson, which the table lists; empty: no maps."""
    map: Literal["geojson", "png"] = "geojson"
    """Format of the score maps: geojson for QuPath, or png."""
    workers: int = 0
    """Patients that are answered at a time; 0: as many as there are cores."""
    engine: Literal["local", "ray"] = "local"
    """local works on this machine. ray first compresses the slides without a file in `codes` on the CPUs of a Ray
    cluster, whose nodes share that folder."""
    address: str = "auto"
    """Address of the Ray cluster: host:port, auto for the one this machine belongs to, or empty to start one here."""
    columns: str = ""
    """The table's names of the columns patient and slide, as patient=case_id,slide=file; empty: patient and slide."""
    device: str = "auto"
    """Device of the networks: cpu, cuda or cuda:N, which must be there; auto: a GPU that works, else the CPU."""
    strict: bool = False
    """Exit with code 1 when a patient has no answer, or one that lacks some of the slides."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages import predict

    return predict.inputs(config.model, folder(config.codes), config.slides)


def run(config: Config) -> dict[str, Any]:
    """Answer for every patient. Where a slide cannot be used, the patient's row says why."""
    from nic.stages import predict
    from nic.stages.selection import selected_patients
    from nic.tracking.runs import stage_run

    codes = folder(config.codes)
    predict.check(config.out, codes, config.device, config.engine)
    with stage_run("predict", config, inputs(config)) as stage:
        patients = selected_patients(config.slides, Path(config.codes), config.columns)
        batch = predict.batch(
            config.model, patients, codes, folder(config.maps), config.map, config.workers, config.device
        )
        if config.engine == "ray":
            predict.compress_first(config.model, patients, Path(config.codes), config.address)
        counts = predict.answer(batch, patients, config.out, stage)
        stage.result.update(outputs=[str(config.out)], **counts)
    if config.strict and set(counts) - {"ok"}:
        sys.exit(1)
    return stage.result


def folder(name: str) -> Path | None:
    return Path(name) if name else None


if __name__ == "__main__":
    launch(run, Config)
