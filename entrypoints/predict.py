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
    """A slide, a folder, a glob in quotes, or a cohort's CSV (slides of one patient are answered together); empty takes
    all files of `codes`."""
    codes: str = ""
    """Folder of compressed slides, made by the model's own encoder; a slide that is not among them is compressed."""
    out: Path = Path("predictions.csv")
    """Table that receives one row a patient, .csv or .parquet. Beside it lies a journal: a run that died goes on, and
    what is answered is not asked again."""
    maps: str = ""
    """Folder that receives the score maps, <patient>.<slide>.geojson, which the table lists; empty for none."""
    map: Literal["geojson", "png"] = "geojson"
    """geojson for QuPath, png to look at."""
    workers: int = 0
    """Patients at a time; 0 takes the number of cores."""
    engine: Literal["local", "ray"] = "local"
    """local takes the cores of this machine; ray first compresses, on the CPUs of a cluster, the slides that have no
    file in `codes`, a folder that its nodes share."""
    address: str = "auto"
    """Of the Ray cluster: host:port, auto for the one this machine belongs to, or empty to start one here."""
    columns: str = ""
    """What the cohort's table calls its columns, as patient=case_id,slide=file; empty where as we do."""
    device: str = "auto"
    """What the networks run on here: cpu, cuda, or cuda:N, which must be there; auto takes the first GPU that works."""
    strict: bool = False
    """Exit with code 1 when a patient was not answered, or not from all slides."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages import predict

    return predict.inputs(config.model, folder(config.codes), config.slides)


def run(config: Config) -> dict[str, Any]:
    """Answer for every patient; a bad slide becomes a row with its reason, and the others are answered."""
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
