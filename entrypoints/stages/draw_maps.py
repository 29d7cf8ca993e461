"""What `entrypoints.draw_maps` does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from entrypoints.draw_maps import Config
from nic.errors import CodesError, NicError, RequestRefused
from nic.patients.cohort import Columns, Patient, Row, read_cohort
from nic.patients.predictor import PatientModel
from nic.patients.spec import PatientModelSpec
from nic.serving.map_files import file_names
from nic.slides.slide import SlideSource
from nic.slides.staging import find_sources
from nic.tables.table import is_table
from nic.tracking.digests import codes_digest, file_sha256
from nic.tracking.registry import find_version, graph_file
from nic.tracking.runs import stage_run
from nic.tracking.slide_digests import slides_digest


def inputs(config: Config) -> dict[str, str]:
    codes, model = codes_digest(config.codes), find_version(config.model).uri
    return {"codes": codes, "model": model, "slides": slides_read(config.slides)}


def slides_read(slides: str) -> str:
    """Digest of a cohort's table, or of the slides themselves; empty where none are named."""
    if is_table(slides):
        return file_sha256(Path(slides))
    return slides_digest(find_sources(slides)) if slides else ""


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.draw_maps`."""
    patients = patients_of(config.slides, config.codes, config.columns)
    if not patients:
        raise RequestRefused(f"{config.codes}: no compressed slides to draw maps of; compress the slides first")
    pictures = file_names((patient.patient_id,) for patient in patients)
    with stage_run("draw_maps", config, inputs(config)) as stage:
        model = PatientModel(graph_file(config.model, "patient"))
        config.out.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = []
        for patient in tqdm(patients, desc="maps", unit="patient"):
            try:
                rows += draw(patient, model, config.codes, config.out / f"{pictures[patient.patient_id,]}.png")
            except NicError as error:
                rows.append({"patient": patient.patient_id, "status": f"{type(error).__name__}: {error}"})
        table = pd.DataFrame(rows)
        table.to_csv(config.out / "maps.csv", index=False)
        drawn = int((table["status"] == "ok").sum())
        print(f"{config.out}: maps of {drawn} slides; {len(table) - drawn} patients without, see maps.csv")
        stage.log("slides", drawn)
        stage.result.update(outputs=[str(config.out)], slides=drawn)
    return stage.result


def patients_of(slides: str, codes: Path, columns: str = "") -> tuple[Patient, ...]:
    """A cohort's patients, whatever part they are in, or each slide as its own. columns: see `Columns.named`."""
    if is_table(slides):
        return read_cohort(Path(slides), columns=Columns.named(columns).without_split).patients
    kept = (SlideSource(file.stem, Path(file.stem)) for file in sorted(codes.glob("*.h5")))
    return tuple(Patient(s.slide_id, "external", (Row(0, s, {}),)) for s in (find_sources(slides) if slides else kept))


def draw(patient: Patient, model: PatientModel, codes: Path, drawn: Path) -> Iterator[dict[str, Any]]:
    """Write the maps of one patient: the picture `drawn`, and the files of each slide beside it.

    A row a slide, with the mean of its map. Raises NicError.
    """
    # Here: the run is open, or refused, before the seconds that these take to import.
    from nic.evaluation.map_picture import picture, png
    from nic.evaluation.score_map import geojson, write_raster
    from nic.serving.answer_maps import score_maps
    from nic.stages.patient_maps import compressed_slides, thumbnail_and_origin

    slides = compressed_slides(patient, codes)
    if not slides:
        raise CodesError(f"{patient.patient_id}: no codes in {codes}; compress the slides first")
    answer = model.predict(list(slides.values()))
    maps = score_maps(answer, list(slides.values()), model.spec)
    found = [thumbnail_and_origin(source, slide) for source, slide in slides.items()]
    title = f"{patient.patient_id}: {in_words(answer.prediction, model.spec)}"
    out = drawn.parent
    drawn.write_bytes(png(picture(maps, [thumbnail for thumbnail, _ in found], title)))
    for score_map, (_, bounds) in zip(maps, found, strict=True):
        (out / f"{score_map.slide_id}.geojson").write_text(geojson(score_map))
        if bounds != (0, 0):  # QuPath counts from there
            (out / f"{score_map.slide_id}.qupath.geojson").write_text(geojson(score_map, bounds))
        write_raster(score_map, out / f"{score_map.slide_id}.tif")
        yield {
            "patient": patient.patient_id,
            "slide": score_map.slide_id,
            "score": answer.score,
            "prediction": answer.prediction,
            "mean_score": float(np.nanmean(score_map.scores, dtype=np.float64)),
            "tiles": int(np.isfinite(score_map.scores).sum()),
            "codes_differ": ", ".join(answer.codes_differ),
            "status": "ok",
        }


def in_words(prediction: float, spec: PatientModelSpec) -> str:
    """The prediction with what it is of: `score 3.1 points`, `pattern: b with probability 0.2`."""
    if spec.kind == "classification":
        return f"{spec.endpoint}: {spec.classes[1]} with probability {prediction:.2g}"
    return f"{spec.endpoint} {prediction:.3g} {spec.unit}".rstrip()
