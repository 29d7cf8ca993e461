"""From a patient's answer to the score maps of his slides, and what they are drawn on: for reports and for viewers."""

from pathlib import Path

from matplotlib.figure import Figure

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


def compressed(patient: Patient, codes: Path) -> dict[SlideSource, CompressedSlide]:
    """The patient's slides that have codes, in the order in which they are answered. Raises CodesError."""
    files = {source: codes / f"{source.slide_id}.h5" for source in patient.slides}
    return {source: CompressedSlide.load(file) for source, file in files.items() if file.is_file()}


def thumbnail_and_origin(source: SlideSource, slide: CompressedSlide) -> tuple[Thumbnail, tuple[int, int]]:
    """The whole slide, and where its bounds begin, in level-0 px: of the slide, or else what its codes carry."""
    try:
        with Slide.open(source) as opened:
            return opened.thumbnail(THUMBNAIL_PX), opened.bounds_l0px[:2]
    except UnreachedSlide:
        return overview(slide.overview, size_l0px(slide)), slide.grid.origin_l0px


def map_of(patient: Patient, answer: PatientPrediction, spec: PatientModelSpec, codes: Path) -> Figure:
    """The patient's largest slides beside their maps."""
    slides = compressed(patient, codes)
    drawn = zip(slides, slides.values(), score_maps(answer, list(slides.values()), spec), strict=True)
    largest = sorted(drawn, key=lambda found: len(found[1].codes), reverse=True)[:MOST_SLIDES]
    thumbnails = [thumbnail_and_origin(source, slide)[0] for source, slide, _ in largest]
    title = f"{MOST_SLIDES} of {len(slides)} slides" if len(slides) > MOST_SLIDES else ""
    return picture([found[2] for found in largest], thumbnails, title)
