"""The score maps of patients as pictures, for QuPath, and as rasters."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from nic.errors import CodesError, NicError, RequestRefused
from nic.evaluation.map_picture import picture, png
from nic.evaluation.maps import geojson, write_raster
from nic.patients.cohort import Patient
from nic.patients.predictor import PatientModel
from nic.patients.spec import PatientModelSpec
from nic.serving.map_files import file_names
from nic.serving.maps import score_maps
from nic.stages.mapping import compressed, thumbnail_and_origin
from nic.tracking.registry import graph_file
from nic.tracking.runs import StageRun


def draw_maps(patients: Sequence[Patient], model: str, codes: Path, out: Path, stage: StageRun) -> dict[str, Any]:
    """Maps of all patients, and maps.csv, which says why a patient has none; the stage's result.

    Raises RequestRefused where there are no patients.
    """
    if not patients:
        raise RequestRefused(f"{codes}: no compressed slides to draw maps of; compress the slides first")
    pictures = file_names((patient.patient_id,) for patient in patients)
    patient_model = PatientModel(graph_file(model, "patient"))
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for patient in tqdm(patients, desc="maps", unit="patient"):
        try:
            rows += draw(patient, patient_model, codes, out / f"{pictures[patient.patient_id,]}.png")
        except NicError as error:
            rows.append({"patient": patient.patient_id, "status": f"{type(error).__name__}: {error}"})
    table = pd.DataFrame(rows)
    table.to_csv(out / "maps.csv", index=False)
    drawn = int((table["status"] == "ok").sum())
    print(f"{out}: maps of {drawn} slides; {len(table) - drawn} patients without, see maps.csv")
    stage.log("slides", drawn)
    return {"outputs": [str(out)], "slides": drawn}


def draw(patient: Patient, model: PatientModel, codes: Path, drawn: Path) -> Iterator[dict[str, Any]]:
    """Write the maps of one patient: the picture `drawn`, and the files of each slide beside it.

    A row a slide, with the mean of its map. Raises NicError.
    """
    slides = compressed(patient, codes)
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
