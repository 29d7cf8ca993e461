"""The slides that a user names: a slide, a folder, a glob, an address, or a cohort's table."""

from pathlib import Path

from nic.patients.cohort import Columns, read_cohort
from nic.slides.source import SlideSource
from nic.slides.staging import find_sources
from nic.tables.table import is_table


def slides_named(where: str, columns: str = "") -> list[SlideSource]:
    """Those of a place, or of all patients of a table. columns: see `Columns.named`."""
    if is_table(where):
        cohort = read_cohort(Path(where), columns=Columns.named(columns).without_split)
        return [slide for patient in cohort.patients for slide in patient.slides]
    return find_sources(where)
