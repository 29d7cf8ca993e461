"""The entry of a study file for a cohort: its table, how the table is written, and its names of the columns."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from nic.compression.compress_entry import CompressEntry
from nic.errors import TableError
from nic.patients.clinical_table import Clinical
from nic.patients.cohort import Cohort
from nic.patients.cohort_table import Columns, read_cohort
from nic.tables.text import SEPARATOR_NAMES, TextForm
from nic.tasks.entries import About, Words

NO_SIGN = re.compile(r"[^,=|]+")
"""Names that may stand in `Columns.named`: the signs between its parts are not in them."""


def _known_encoding(name: str) -> str:
    """Raises ValueError, which is what pydantic expects."""
    try:
        return TextForm.named({"encoding": name}).encoding or name
    except TableError as error:
        raise ValueError(str(error)) from error


def _plain_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ValueError for a name with a comma, a bar or an equals sign."""
    if signs := [name for name in names if not NO_SIGN.fullmatch(name)]:
        raise ValueError(f"{signs[0]!r}: wanted a name without comma, bar and equals sign")
    return names


def _table_alone(content: Any) -> Any:
    return {"table": content} if isinstance(content, str | Path) else content


class _TableKeys(BaseModel):
    """A table, and how its text is written. The text below a field is its help in an editor."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    table: Path
    """The file: CSV, TSV or Excel."""
    patient: str = "patient"
    """Its column of patients."""
    separator: Literal["comma", "semicolon", "tab", "bar"] | None = None
    """What stands between its cells, where it cannot be detected."""
    decimal: Literal["comma", "point"] | None = None
    """Its decimal sign, where it cannot be detected."""
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = None
    """Its encoding, where it cannot be detected, such as cp1252."""
    header: Annotated[Words, AfterValidator(_plain_names)] = ()
    """Names of its columns, where it has no header; its first row is then data."""

    @property
    def form(self) -> TextForm:
        separator = SEPARATOR_NAMES[self.separator] if self.separator else None
        return TextForm(separator, self.decimal, self.encoding, self.header)


class ClinicalEntry(_TableKeys):
    """A second table of a cohort: one row per patient."""

    @property
    def clinical(self) -> Clinical:
        return Clinical(self.table, self.patient, self.form)


class CohortEntry(_TableKeys):
    """A cohort's table, one row per slide, and its names of the columns that every cohort has."""

    slide: str = "slide"
    """Its column of slides: paths, relative to the table."""
    numbered: Annotated[str, AfterValidator(lambda slide: _plain_names((slide,))[0])] | None = None
    """The slide of each row, where the table names no slides and no patients: slides/T-###.svs is slides/T-007.svs in
    row 7. The patient is the slide."""
    leave_out: Annotated[Words, AfterValidator(_plain_names)] = ()
    """Patients who are left out, for example because their slides are missing or damaged."""
    split: str | None = "split"
    """Its column with train or external. null, or no such column: all patients are for training, and figures are those
    of the cross-validation."""
    clinical: Annotated[
        ClinicalEntry | None, BeforeValidator(_table_alone, json_schema_input_type=str | ClinicalEntry | None)
    ] = None
    """A second table, one row per patient, which is joined by patient."""
    compress: CompressEntry = CompressEntry()
    """Parameters of `compress`, where they differ from its defaults."""
    about: About | None = None
    """Where the data come from; `check_study` shows it where they are missing."""

    @model_validator(mode="after")
    def _numbers_have_a_place(self) -> "CohortEntry":
        if self.numbered is not None and "#" not in self.numbered:
            raise ValueError(f"numbered: {self.numbered!r} has no #, which stands for a digit of the row's number")
        return self

    @property
    def columns(self) -> Columns:
        return Columns(self.patient, self.slide, self.split, self.form, self.numbered or "", self.leave_out)

    def under(self, root: Path) -> "CohortEntry":
        masks = self.compress.masks
        compress = self.compress.model_copy(update={"masks": root / masks if masks else None})
        clinical = self.clinical and self.clinical.model_copy(update={"table": root / self.clinical.table})
        return self.model_copy(update={"table": root / self.table, "compress": compress, "clinical": clinical})

    def read(self) -> Cohort:
        """Raises CohortError and what `read_cohort` raises."""
        clinical = self.clinical.clinical if self.clinical else None
        return read_cohort(self.table, columns=self.columns, clinical=clinical)


CohortOrTable = Annotated[CohortEntry, BeforeValidator(_table_alone, json_schema_input_type=str | CohortEntry)]
"""A cohort, or its table alone."""
