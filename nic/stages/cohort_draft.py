"""A cohort from tables and a folder of slides as they are: who has which slide, and what is known of each patient."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nic.errors import CohortError, UnknownColumn, UnreachedSlide
from nic.patients.clinical_table import Clinical, TableRow, joined, read_clinical, unmatched
from nic.patients.cohort import SPLITS, SlideRow
from nic.patients.column_kinds import SITE, Undecided
from nic.patients.identifiers import check_spellings, table_of_patients
from nic.patients.slide_matching import Matching, matched_by_column, matched_by_name, slide_column
from nic.slides.search import find_slides
from nic.slides.source import SlideSource
from nic.tables.cells import NUMBER, is_missing
from nic.tables.table import Table, existing_names
from nic.tables.text import TextForm

PATIENT = (
    *("patient", "patientid", "patientno", "patientnr", "patientnumber", "patientcode"),
    *("case", "caseid", "subject", "subjectid", "participant", "pseudonym", "pid"),
)
"""What a column of patients is called, in small letters without blanks and signs."""
MOST_SITES = 20
OWN = ("patient", "slide", "split", "site", "mpp")
"""Columns that come first, in this order."""


@dataclass(frozen=True)
class Sources:
    """What a cohort is made of. tables: one or two. slides: their folder. patient, slide: columns, empty where they are
    to be detected. site: a column, empty for none. external: the sites whose patients are external."""

    tables: tuple[Path, ...]
    slides: Path
    patient: str
    slide: str
    site: str
    external: tuple[str, ...]
    form: TextForm


@dataclass(frozen=True)
class CohortDraft:
    """rows: one a slide, by column, OWN columns first. slides: their files, by row. notes: what was detected."""

    rows: tuple[dict[str, str], ...]
    slides: tuple[SlideRow, ...]
    notes: tuple[str, ...]
    undecided: tuple[Undecided, ...]


def cohort_draft(sources: Sources, folder: Path) -> CohortDraft:
    """Join tables and slides. folder: of the table that will be written, to which slides' paths are relative.

    Raises UnreadableSlide, UnreachedSlide, CohortError, UnknownColumn.
    """
    if not sources.slides.is_dir():
        raise UnreachedSlide(f"{sources.slides}: no such folder of slides")
    slides = find_slides(sources.slides)
    names = {source.slide_id: os.path.relpath(source.path, sources.slides) for source in slides}
    tables = [_read(path, sources) for path in sources.tables]
    columns = [_slide_column(table, sources, slides) for table in tables]
    with_slides = next((place for place, column in enumerate(columns) if column), None)
    if with_slides is None:
        matching, rows = _by_name(tables[0], slides, names)
        others, first_file = tables, sources.slides.name
    else:
        matching, rows = _by_column(tables[with_slides], str(columns[with_slides]), slides, names)
        others, first_file = (
            [t for place, t in enumerate(tables) if place != with_slides],
            tables[with_slides].table.file,
        )
    if not rows:
        raise CohortError(_nobody(matching, slides, names))
    undecided = [*_ambiguous(tables), *matching.undecided]
    for other in others:
        known = read_clinical(Clinical(other.path, other.patient, other.form))
        if with_slides is not None or other is not others[0]:
            wanted = "the same identifier in both tables, or nothing if it is right so"
            for sentence in unmatched(first_file, rows, other.table.file, known):
                file, _, there = sentence.partition(": ")
                undecided.append(Undecided(file, there, wanted))
        rows = joined(first_file, rows, other.table.file, known, _own_names(list(next(iter(known.values())).cells)))
    by_id = {source.slide_id: source for source in slides}
    parted, of_parts = _parted(rows, sources)
    written = tuple(_written(row, by_id[row.cells["slide"]], folder) for row in parted)
    patients = len({row.cells["patient"] for row in rows})
    notes = (
        *(f"{table.table.file}: {table.table.form}; patients in column {table.patient!r}" for table in tables),
        f"{len(rows)} of {len(slides)} slides belong to {patients} patients: {matching.how}",
    )
    used = tuple(SlideRow(row.number, replace(by_id[row.cells["slide"]], mpp=_mpp(row)), row.cells) for row in parted)
    return CohortDraft(written, used, notes, (*undecided, *of_parts))


@dataclass(frozen=True)
class _PatientTable:
    """A table and its column of patients."""

    path: Path
    table: Table
    patient: str
    form: TextForm


def _read(path: Path, sources: Sources) -> _PatientTable:
    table, form = _in_its_form(path, sources.form)
    if sources.patient in table.columns:
        patient = sources.patient
    else:
        by_name = {re.sub(r"[\W_]", "", column).casefold(): column for column in reversed(table.columns)}
        names = [by_name[name] for name in PATIENT if name in by_name]
        if not names:
            wanted = f"no column {sources.patient!r}; " if sources.patient else "which column holds the patients? "
            there_are = existing_names(sources.patient or "patient", table.columns)
            raise UnknownColumn(f"{path.name}: {wanted}{there_are}; write patient=NAME")
        patient = names[0]
    return _PatientTable(path, table_of_patients(path, patient, (patient,), form), patient, form)


def _in_its_form(path: Path, form: TextForm) -> tuple[Table, TextForm]:
    """The table, and how it is written. A comma that is the decimal sign of one column is that of all."""
    table, with_commas = table_of_patients(path, None, (), form), replace(form, decimal="comma")
    if form.decimal or "decimal comma" not in table.form:
        return table, form
    try:
        return table_of_patients(path, None, (), with_commas), with_commas
    except CohortError:  # another column has points
        return table, form


def _slide_column(table: _PatientTable, sources: Sources, slides: Sequence[SlideSource]) -> str | None:
    if sources.slide in table.table.columns:
        return sources.slide
    cells = {column: texts for column, texts in table.table.cells.items() if column != table.patient}
    return slide_column(cells, slides)


def _by_name(
    table: _PatientTable, slides: Sequence[SlideSource], names: Mapping[str, str]
) -> tuple[Matching, list[TableRow]]:
    patients = _first_rows(table)
    check_spellings(table.table.file, table.patient, patients)
    matching = matched_by_name(list(patients), slides, names)
    of_patients = sorted(matching.patients.items(), key=lambda pair: patients[pair[1]])
    return matching, [TableRow(patients[p], {"patient": p, "slide": slide}) for slide, p in of_patients]


def _first_rows(table: _PatientTable) -> dict[str, int]:
    """The first row of each identifier, in their order."""
    rows: dict[str, int] = {}
    for text, number in zip(table.table.cells[table.patient], table.table.numbers, strict=True):
        if not is_missing(text):
            rows.setdefault(text, number)
    return rows


def _by_column(
    table: _PatientTable, column: str, slides: Sequence[SlideSource], names: Mapping[str, str]
) -> tuple[Matching, list[TableRow]]:
    cells = table.table.cells
    named = list(zip(table.table.numbers, cells[table.patient], cells[column], strict=True))
    matching = matched_by_column(column, named, slides, names)
    slide_of = {number: slide for slide, number in matching.rows.items()}
    check_spellings(table.table.file, table.patient, _first_rows(table))
    own = _own_names([name for name in cells if name not in (table.patient, column)])
    rows = []
    for place, number in enumerate(table.table.numbers):
        if number in slide_of:
            others = {ours: cells[theirs][place] for theirs, ours in own.items()}
            rows.append(TableRow(number, {"patient": cells[table.patient][place], "slide": slide_of[number], **others}))
    return matching, rows


def _own_names(columns: Sequence[str]) -> dict[str, str]:
    """Our names by theirs: `Split`, `MPP` and `Site` as we spell them, where no other column has that name."""
    ours = {column: column.casefold() for column in columns if column.casefold() in OWN[2:]}
    once = {theirs: name for theirs, name in ours.items() if list(ours.values()).count(name) == 1}
    return {column: once.get(column, column) for column in columns}


def _ambiguous(tables: Sequence[_PatientTable]) -> list[Undecided]:
    return [
        Undecided(
            f"{t.table.file}, column {c!r}", "1,234: a decimal comma or thousands?", "decimal=comma or decimal=point"
        )
        for t in tables
        for c in t.table.ambiguous
    ]


def _nobody(matching: Matching, slides: Sequence[SlideSource], names: Mapping[str, str]) -> str:
    return (
        f"no slide belongs to a patient ({matching.how}): {names[slides[0].slide_id]}, for example; write slide=NAME, "
        "the column with the names of files, or patient=NAME, that of the identifiers that stand in the names"
    )


def _parted(rows: Sequence[TableRow], sources: Sources) -> tuple[list[TableRow], list[Undecided]]:
    """The rows with their split: by the named sites, or by a column `split` that the tables have; else without."""
    columns = list(rows[0].cells)
    if sources.site:
        return _by_site(rows, sources)
    if sources.external:
        raise CohortError(f"external={', '.join(sources.external)}: write site=NAME too, the column of sites")
    if "split" in columns:
        return list(rows), [
            Undecided(f"column 'split', patient {row.cells['patient']}", repr(row.cells["split"]), " or ".join(SPLITS))
            for row in rows
            if row.cells["split"] not in SPLITS
        ]
    sites = [column for column in columns if SITE.search(column.replace("_", " "))]
    named = {
        column: sorted({row.cells[column] for row in rows if not is_missing(row.cells[column])}) for column in sites
    }
    return list(rows), [
        Undecided(
            f"column {column!r}",
            f"{', '.join(values)}: no patient is external",
            f"site={column} external=ONE OF THEM, if one is to be",
        )
        for column, values in named.items()
        if 1 < len(values) <= MOST_SITES
    ]


def _by_site(rows: Sequence[TableRow], sources: Sources) -> tuple[list[TableRow], list[Undecided]]:
    column = sources.site if sources.site in rows[0].cells else sources.site.casefold()
    if column not in rows[0].cells:
        raise UnknownColumn(
            f"no column {sources.site!r} for site; {existing_names(sources.site, tuple(rows[0].cells))}"
        )
    values = {row.cells[column] for row in rows if not is_missing(row.cells[column])}
    if unknown := [name for name in sources.external if name not in values]:
        raise CohortError(
            f"external: no patient of site {unknown[0]!r}; column {column!r} has {', '.join(sorted(values))}"
        )
    parted, undecided = [], []
    for row in rows:
        site = row.cells[column]
        cells = {name: text for name, text in row.cells.items() if name not in (column, "split")} | {"site": site}
        if sources.external:
            cells["split"] = "" if is_missing(site) else "external" if site in sources.external else "train"
        if is_missing(site) and sources.external:
            where = f"patient {row.cells['patient']}, column {column!r}"
            undecided.append(Undecided(where, "no site", "`split` in the table: train or external"))
        parted.append(TableRow(row.number, cells, row.places))
    return parted, undecided


def _mpp(row: TableRow) -> float | None:
    """The um/px that the table states; None where it states none, or what is no number, which reading it refuses."""
    text = row.cells.get("mpp", "")
    return float(text) if NUMBER.fullmatch(text) else None


def _written(row: TableRow, source: SlideSource, folder: Path) -> dict[str, str]:
    """A row of the table that is written, OWN columns first. The slide is a path relative to its folder."""
    slide = Path(os.path.relpath(source.path.resolve(), folder.resolve())).as_posix()
    cells = {**row.cells, "slide": slide}
    return {name: cells[name] for name in (*(own for own in OWN if own in cells), *(n for n in cells if n not in OWN))}
