"""The score maps of one patient, and the pictures of the slides that they are drawn on."""

from pathlib import Path

from matplotlib.figure import Figure as Plot

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import UnreachedSlide
from nic.evaluation.map_picture import Thumbnail, overview, picture
from nic.patients.cohort import Patient
from nic.patients.predictor import PatientPrediction
from nic.patients.spec import PatientModelSpec
from nic.serving.answer_maps import score_maps, size_l0px
from nic.slides.slide import Slide, SlideSource

THUMBNAIL_PX = 1600
MOST_SLIDES = 3
"""Slides of a patient in one picture of a report."""


def compressed_slides(patient: Patient, codes: Path) -> dict[SlideSource, CompressedSlide]:
    """The patient's slides that have codes, in the order in which they are answered. Raises CodesError."""
    files = {source: codes / f"{source.slide_id}.h5" for source in patient.slides}
    return {source: CompressedSlide.load(file) for source, file in files.items() if file.is_file()}


def thumbnail_and_origin(source: SlideSource, slide: CompressedSlide) -> tuple[Thumbnail, tuple[int, int]]:
    """The whole slide, and the corner of its bounds in level-0 px; by what the codes carry when the slide is gone."""
    try:
        with Slide.open(source) as opened:
            return opened.thumbnail(THUMBNAIL_PX), opened.bounds_l0px[:2]
    except UnreachedSlide:
        return overview(slide.overview, size_l0px(slide)), slide.grid.origin_l0px


def map_of(patient: Patient, answer: PatientPrediction, spec: PatientModelSpec, codes: Path) -> Plot:
    """The patient's largest slides beside their maps."""
    slides = compressed_slides(patient, codes)
    mapped = zip(slides, slides.values(), score_maps(answer, list(slides.values()), spec), strict=True)
    largest = sorted(mapped, key=lambda of_slide: len(of_slide[1].codes), reverse=True)[:MOST_SLIDES]
    thumbnails = [thumbnail_and_origin(source, slide)[0] for source, slide, _ in largest]
    title = f"{MOST_SLIDES} of {len(slides)} slides" if len(slides) > MOST_SLIDES else ""
    return picture([score_map for _, _, score_map in largest], thumbnails, title)
