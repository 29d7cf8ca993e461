"""What `entrypoints.predict` does."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from entrypoints.predict import Config
from entrypoints.stages.draw_maps import patients_of, slides_read
from nic.compression.compatibility import counted
from nic.compression.on_ray import Cluster, compress_on_ray
from nic.compression.setting import Setting
from nic.compression.work import How
from nic.encoder.loading import EncoderLoader
from nic.errors import RequestRefused
from nic.graphs.device import Device
from nic.patients.cohort import Patient
from nic.patients.predictor import PatientModel
from nic.serving.batch import Batch
from nic.threads import cores
from nic.tracking.digests import codes_digest
from nic.tracking.registry import find_version, graph_file, load_served
from nic.tracking.runs import stage_run


def inputs(config: Config) -> dict[str, str]:
    codes = codes_digest(Path(config.codes)) if config.codes else ""
    return {"model": find_version(config.model).uri, "codes": codes, "slides": slides_read(config.slides)}


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.predict`."""
    if config.out.suffix not in (".csv", ".parquet"):
        raise RequestRefused(f"out={config.out}: wanted a .csv or a .parquet")
    if config.codes and config.engine == "local" and not Path(config.codes).is_dir():
        raise RequestRefused(f"codes={config.codes}: no such folder")
    Device.named(config.device)  # of which it takes one
    if config.engine == "ray" and not config.codes:
        raise RequestRefused("engine=ray wants codes=, a folder that all nodes share")
    with stage_run("predict", config, inputs(config)) as stage:
        patients = patients_of(config.slides, Path(config.codes), config.columns)
        if not patients:
            raise RequestRefused("nothing to answer for: wanted slides=, or codes= with compressed slides in it")
        workers = min(config.workers or cores(), len(patients))
        batch = Batch(
            load_served(config.model, workers, config.device),
            find_version(config.model).uri,
            Path(config.codes) if config.codes else None,
            Path(config.maps) if config.maps else None,
            config.map,
            workers,
        )
        if config.engine == "ray":
            compress_first(config, patients)
        answers = pd.DataFrame(batch.answers(patients, config.out.with_suffix(".answers.jsonl")))
        write(answers, config.out)
        counts = answers["status"].value_counts().to_dict()
        print(f"{config.out}: {', '.join(f'{n} {status}' for status, n in counts.items())}")
        if differ := differing(answers):
            print(differ)
        for status, n in counts.items():
            stage.log(str(status), n)
        stage.result.update(outputs=[str(config.out)], **counts)
    if config.strict and set(counts) - {"ok"}:
        sys.exit(1)
    return stage.result


def compress_first(config: Config, patients: Sequence[Patient]) -> None:
    """On the cluster, cut as the model learned it; what cannot be compressed is refused when it is asked for."""
    slides = [slide for patient in patients for slide in patient.slides]
    how = How(Setting.like(PatientModel(graph_file(config.model, "patient")).spec.cutting))
    graph, cluster = graph_file(config.model, "encoder"), Cluster(config.address)
    compress_on_ray(slides, graph, EncoderLoader(device="cpu"), Path(config.codes), how, cluster)


def differing(answers: pd.DataFrame) -> str:
    """How many patients' codes differ from the training's; models registered before that was answered do not say."""
    texts = answers.get("codes_differ", [])
    return counted(text.split(", ") for text in texts if isinstance(text, str) and text)


def write(answers: pd.DataFrame, out: Path) -> None:
    """Under another name and renamed: whoever reads the table finds a whole one."""
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    if out.suffix == ".csv":
        answers.to_csv(draft, index=False)
    else:
        answers.convert_dtypes().to_parquet(draft, index=False)
    draft.replace(out)
