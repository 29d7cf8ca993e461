"""A registered model's answers for patients, as a table."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from nic.compression.compatibility import counted
from nic.compression.on_ray import compress_on_ray
from nic.compression.ray_workers import Cluster
from nic.compression.slide_of_cohort import CompressionOptions
from nic.encoder.loading import EncoderLoader
from nic.errors import RequestRefused
from nic.graphs.device import Device
from nic.patients.cohort import Patient
from nic.patients.predictor import PatientModel
from nic.serving.batch import BatchPredictor
from nic.stages.selection import selection_digest
from nic.threads import cores
from nic.tracking.digests import codes_digest
from nic.tracking.registry import find_version, graph_file, load_served
from nic.tracking.runs import StageRun


def inputs(model: str, codes: Path | None, slides: str) -> dict[str, str]:
    digest = codes_digest(codes) if codes else ""
    return {"model": find_version(model).uri, "codes": digest, "slides": selection_digest(slides)}


def check(out: Path, codes: Path | None, device: str, engine: Literal["local", "ray"]) -> None:
    """Raises RequestRefused for parameters that do not go together, NoDevice when the device is not there."""
    if out.suffix not in (".csv", ".parquet"):
        raise RequestRefused(f"out={out}: wanted a .csv or a .parquet file")
    if codes and engine == "local" and not codes.is_dir():
        raise RequestRefused(f"codes={codes}: no such folder")
    Device.named(device)  # raises
    if engine == "ray" and not codes:
        raise RequestRefused("engine=ray without codes=; give a folder that all nodes share")


def batch(
    model: str,
    patients: Sequence[Patient],
    codes: Path | None,
    maps: Path | None,
    map_format: Literal["geojson", "png"],
    workers: int,
    device: str,
) -> BatchPredictor:
    """The model as it is served. workers: patients that are answered at a time; 0: as many as there are cores."""
    if not patients:
        raise RequestRefused("no patients; give slides=, or codes= with compressed slides")
    at_once = min(workers or cores(), len(patients))
    return BatchPredictor(
        load_served(model, at_once, device), find_version(model).uri, codes, maps, map_format, at_once
    )


def answer(batch: BatchPredictor, patients: Sequence[Patient], out: Path, stage: StageRun) -> dict[str, int]:
    """Write the table of answers; the number of answers by status."""
    answers = pd.DataFrame(batch.answers(patients, out.with_suffix(".answers.jsonl")))
    write(answers, out)
    counts = {str(status): int(count) for status, count in answers["status"].value_counts().items()}
    print(f"{out}: {', '.join(f'{n} {status}' for status, n in counts.items())}")
    if differ := differing(answers):
        print(differ)
    for status, n in counts.items():
        stage.log(status, n)
    return counts


def compress_first(model: str, patients: Sequence[Patient], codes: Path, address: str) -> None:
    """Compress on a Ray cluster, with the tiling of the training. A slide that fails here is refused by the answer."""
    slides = [slide for patient in patients for slide in patient.slides]
    options = CompressionOptions(PatientModel(graph_file(model, "patient")).spec.tiling)
    graph, cluster = graph_file(model, "encoder"), Cluster(address)
    compress_on_ray(slides, graph, EncoderLoader(device="cpu"), codes, options, cluster)


def differing(answers: pd.DataFrame) -> str:
    """How many patients have codes that differ from those of the training, in words. Older models do not say so."""
    texts: Iterable[object] = answers.get("codes_differ", [])
    return counted(text.split(", ") for text in texts if isinstance(text, str) and text)


def write(answers: pd.DataFrame, out: Path) -> None:
    """Write under another name, then rename: nobody reads half a table."""
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    if out.suffix == ".csv":
        answers.to_csv(draft, index=False)
    else:
        answers.convert_dtypes().to_parquet(draft, index=False)
    draft.replace(out)
