"""The slides and patients that a user names: a slide, a folder, a glob, an address, or a cohort's table."""

from pathlib import Path

from nic.patients.cohort import Patient, SlideRow
from nic.patients.cohort_table import Columns, read_cohort
from nic.slides.source import SlideSource
from nic.slides.staging import find_sources
from nic.tables.table import is_table
from nic.tracking.digests import file_sha256
from nic.tracking.slide_digests import slides_digest


def selected_slides(where: str, columns: str = "") -> list[SlideSource]:
    """The slides of a place, or of all patients of a table. columns: see `Columns.named`."""
    if is_table(where):
        return [slide for patient in _patients_of(Path(where), columns) for slide in patient.slides]
    return find_sources(where)


def selected_patients(where: str, codes: Path, columns: str = "") -> tuple[Patient, ...]:
    """The patients of a table, whatever part they are in. Without a table each slide, or each file of codes, is one."""
    if is_table(where):
        return _patients_of(Path(where), columns)
    compressed = (SlideSource(file.stem, Path(file.stem)) for file in sorted(codes.glob("*.h5")))
    slides = find_sources(where) if where else compressed
    return tuple(Patient(slide.slide_id, "external", (SlideRow(0, slide, {}),)) for slide in slides)


def selection_digest(where: str) -> str:
    """Digest of a cohort's table, or of the slides themselves; empty where nothing is named."""
    if is_table(where):
        return file_sha256(Path(where))
    return slides_digest(find_sources(where)) if where else ""


def _patients_of(table: Path, columns: str) -> tuple[Patient, ...]:
    return read_cohort(table, columns=Columns.named(columns).without_split).patients
