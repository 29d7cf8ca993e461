"""The score maps of patients as pictures, for QuPath, and as rasters; and the maps that a report shows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Plot
from tqdm import tqdm

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import CodesError, NicError, RequestRefused, UnreachedSlide
from nic.evaluation.map_picture import Thumbnail, overview, picture, png
from nic.evaluation.score_map import ScoreMap, geojson, write_raster
from nic.patients.calibration import probability_names
from nic.patients.cohort import Patient
from nic.patients.model_spec import PatientModelSpec
from nic.patients.predictor import PatientModel, PatientPrediction
from nic.serving.answer_maps import score_maps, size_l0px
from nic.serving.map_files import file_names
from nic.slides.slide import Slide, SlideSource
from nic.tracking.registry import graph_file
from nic.tracking.runs import StageRun

THUMBNAIL_PX = 1600
REPORT_THUMBNAIL_PX = 1000
"""A report shows maps small."""
MOST_SLIDES = 3
"""Slides of a patient in one picture of a report."""


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
    drawn = len({row["slide"] for row in rows if row["status"] == "ok"})  # several classes have a row each
    without = int((table["status"] != "ok").sum())
    print(f"{out}: maps of {drawn} slides; {without} patients without, see maps.csv")
    stage.log("slides", drawn)
    return {"outputs": [str(out)], "slides": drawn}


def draw(patient: Patient, model: PatientModel, codes: Path, png_file: Path) -> Iterator[dict[str, Any]]:
    """Write the maps of one patient: the picture `png_file`, and beside it the files of each slide. Of several classes
    each has its own picture and files; their names end in the class.

    Yields one row a slide and map, with the mean of the map. Raises NicError.
    """
    slides = compressed_slides(patient, codes)
    if not slides:
        raise CodesError(f"{patient.patient_id}: no codes in {codes}; compress the slides first")
    answer = model.predict(list(slides.values()))
    opened = [thumbnail_and_origin(source, slide) for source, slide in slides.items()]
    for shown in model.spec.map_classes or ("",):
        maps = score_maps(answer, list(slides.values()), model.spec, shown)
        title = f"{patient.patient_id}: {in_words(answer, model.spec, shown)}"
        content = png(picture(maps, [thumbnail for thumbnail, _ in opened], title))
        png_file.with_name(f"{_of_class(png_file.stem, shown)}.png").write_bytes(content)
        for score_map, (_, bounds) in zip(maps, opened, strict=True):
            _write_files(score_map, bounds, png_file.parent, _of_class(score_map.slide_id, shown))
            yield {
                "patient": patient.patient_id,
                "slide": score_map.slide_id,
                "score": answer.score,
                "prediction": answer.prediction,
                **({"class": answer.class_name} if answer.class_name else {}),
                **({"map_class": shown} if shown else {}),
                "mean_score": float(np.nanmean(score_map.scores, dtype=np.float64)),
                "tiles": int(np.isfinite(score_map.scores).sum()),
                "codes_differ": ", ".join(answer.codes_differ),
                "status": "ok",
            }


def _of_class(stem: str, shown: str) -> str:
    """The name of a file, without suffix, of a class's map; without a class the stem itself."""
    return file_names([(stem, shown)])[stem, shown] if shown else stem


def _write_files(score_map: ScoreMap, bounds_l0px: tuple[int, int], out: Path, stem: str) -> None:
    (out / f"{stem}.geojson").write_text(geojson(score_map))
    if bounds_l0px != (0, 0):  # QuPath's pixels begin there
        (out / f"{stem}.qupath.geojson").write_text(geojson(score_map, bounds_l0px))
    write_raster(score_map, out / f"{stem}.tif")


def in_words(answer: PatientPrediction, spec: PatientModelSpec, shown: str = "") -> str:
    """The endpoint and its prediction: `score 3.1 points`, `pattern: b with probability 0.2`, `grade: 2, expected 2.3`.

    shown: of several classes, the one whose probability is stated.
    """
    match spec.kind:
        case "classification":
            return f"{spec.endpoint}: {spec.classes[1]} with probability {answer.prediction:.2g}"
        case "multiclass":
            probability = answer.calibrated[probability_names((shown,))[0]]
            return f"{spec.endpoint}: {shown} with probability {probability:.2g}"
        case "ordinal":
            return f"{spec.endpoint}: {answer.class_name}, expected {answer.prediction:.3g}"
    return f"{spec.endpoint} {answer.prediction:.3g} {spec.unit}".rstrip()


def compressed_slides(patient: Patient, codes: Path) -> dict[SlideSource, CompressedSlide]:
    """The patient's slides that have codes, in the order in which they are answered. Raises CodesError."""
    files = {source: codes / f"{source.slide_id}.h5" for source in patient.slides}
    return {source: CompressedSlide.load(file) for source, file in files.items() if file.is_file()}


def thumbnail_and_origin(
    source: SlideSource, slide: CompressedSlide, max_px: int = THUMBNAIL_PX
) -> tuple[Thumbnail, tuple[int, int]]:
    """The whole slide, at most max_px wide or high, and the corner of its bounds in level-0 px; by what the codes carry
    when the slide is gone."""
    try:
        with Slide.open(source) as opened:
            return opened.thumbnail(max_px), opened.bounds_l0px[:2]
    except UnreachedSlide:
        return overview(slide.overview, size_l0px(slide)), slide.grid.origin_l0px


def map_of(patient: Patient, answer: PatientPrediction, spec: PatientModelSpec, codes: Path) -> Plot:
    """The patient's largest slides beside their maps."""
    slides = compressed_slides(patient, codes)
    mapped = zip(slides, slides.values(), score_maps(answer, list(slides.values()), spec), strict=True)
    largest = sorted(mapped, key=lambda of_slide: len(of_slide[1].codes), reverse=True)[:MOST_SLIDES]
    thumbnails = [thumbnail_and_origin(source, slide, REPORT_THUMBNAIL_PX)[0] for source, slide, _ in largest]
    title = f"{MOST_SLIDES} of {len(slides)} slides" if len(slides) > MOST_SLIDES else ""
    return picture([score_map for _, _, score_map in largest], thumbnails, title)
