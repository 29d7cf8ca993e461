"""The record of answers: what a registered model answered for the patients of one part of a cohort.

`evaluate` writes it once, as two files of its run: <part>.csv with a row for each patient, and <part>.json, which says
what the rows are. The record's digest stands in the tags of the figures that were measured on it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nic.errors import EndpointError, RegistryError
from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import Estimate, Figure, estimate
from nic.patients.choices import Kind
from nic.patients.cohort import Endpoint, Patient
from nic.patients.model_spec import PatientModelSpec
from nic.patients.targets import (
    Categories,
    Classes,
    Grades,
    Survival,
    Targets,
    Values,
    label_columns,
    names_of,
)
from nic.tables.cells import MISSING
from nic.tracking.digests import digest

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
FORMAT = 1
COLUMN = "cohort."
"""Before the name of each column that was copied from the cohort's table, so that none is confused with one of ours."""
NOT_COPIED = ("patient", "slide", "split", "mpp")
"""Columns of a cohort's table by which patients are not grouped."""
BETWEEN_SLIDES = " | "
SCORE_OF = "score_"
"""Before the name of a class, where patients have a score for each."""


@dataclass(frozen=True, eq=False)
class Answers:
    """One record.

    definition: of the endpoint that the labels are of, see Endpoint.definition. model: the version that answered, as
    name/version. graph: SHA-256 of its graph. part: of the cohort, `external` as a rule. cohort: digest of its table.
    seed: of the patient bootstrap. patients: names [N]. slides [N]: names of each one's slides, see `slides_of`.
    labels: [N]. score [N], of several classes [N, K]: what orders patients. prediction [N]: what a ward reads.
    called: [N] names of the called classes or grades; empty for other kinds. calibrated: [N] each, by name. columns:
    cells [N] of every column of the cohort's table, empty where not known. estimates: of all figures, the deciding one
    first. fold: [N] where the patients were answered by different networks, else None.
    """

    definition: str
    model: str
    graph: str
    part: str
    cohort: str
    seed: int
    patients: tuple[str, ...]
    slides: tuple[str, ...]
    labels: Targets
    score: Floats
    prediction: Floats
    called: tuple[str, ...] = ()
    calibrated: Mapping[str, Floats] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    estimates: tuple[Estimate, ...] = ()
    fold: NDArray[np.intp] | None = None

    @property
    def kind(self) -> Kind:
        """Of the endpoint, by its labels."""
        match self.labels:
            case Values():
                return "regression"
            case Classes():
                return "classification"
            case Categories():
                return "multiclass"
            case Grades():
                return "ordinal"
            case Survival():
                return "survival"

    def figure_among(self, members: Bools) -> Figure:
        """The deciding figure of some of the patients. members: [N]."""
        fold = None if self.fold is None else self.fold[members]
        return deciding_figure(self.kind, self.labels.take(members).arrays, self.score[members], fold)

    @property
    def figure(self) -> Figure:
        """The deciding figure of all its patients."""
        return self.figure_among(np.ones(len(self.patients), np.bool_))

    @property
    def data(self) -> str:
        """Digest of who was measured: definition of the endpoint, labels and slides of each patient, in any order."""
        match self.labels:
            case Categories(index, names) | Grades(index, names):
                labels = [(names[place],) for place in index]
            case Values() | Classes() | Survival():
                labels = list(zip(*(array.tolist() for array in self.labels.arrays), strict=True))
        rows = zip(self.patients, labels, self.slides, strict=True)
        known = {patient: [list(of_one), slides] for patient, of_one, slides in rows}
        return digest({"definition": self.definition, "patients": known})

    @property
    def table(self) -> pd.DataFrame:
        """The rows as they are written."""
        return pd.DataFrame(
            {
                "patient": self.patients,
                **label_columns(self.labels),
                **self._scores,
                "prediction": self.prediction,
                **({"class": self.called} if self.called else {}),
                **self.calibrated,
                **({} if self.fold is None else {"fold": self.fold}),
                "slides": self.slides,
                **{f"{COLUMN}{name}": cells for name, cells in self.columns.items()},
            }
        )

    @property
    def _scores(self) -> dict[str, Floats]:
        """The columns of scores: one, or one for each of several classes."""
        if not isinstance(self.labels, Categories):
            return {"score": self.score}
        return {f"{SCORE_OF}{name}": self.score[:, place] for place, name in enumerate(self.labels.names)}

    def texts(self) -> tuple[str, str]:
        """What the files hold: the head as JSON, and the rows as CSV."""
        head = {
            "format": FORMAT,
            **{name: getattr(self, name) for name in ("definition", "model", "graph", "part", "cohort", "seed")},
            "classes": names_of(self.labels),
            "calibrated": list(self.calibrated),
            "columns": list(self.columns),
            "figures": [asdict(estimate) for estimate in self.estimates],
        }
        rows = self.table.to_csv(index=False, na_rep="nan", lineterminator="\n")
        return json.dumps(head, indent=1), rows

    @classmethod
    def from_texts(cls, head: str, rows: str) -> "Answers":
        """Raises RegistryError when the texts are no record."""
        try:
            return _read(json.loads(head), rows)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(f"not a record of answers: {error}; run `evaluate` again") from error

    def deciding(self, name: str) -> Estimate:
        """The estimate of the deciding figure, computed again from labels and scores.

        name: of the gate's figure. Raises RegistryError when another figure decides this kind of endpoint, or it is not
        defined.
        """
        figure = self.figure
        if name != figure.name:
            raise RegistryError(f"figure {name!r} cannot decide a promotion; for this endpoint {figure.name} decides")
        try:
            return estimate(figure, seed=self.seed).required()
        except EndpointError as error:
            raise RegistryError(str(error)) from error


def digest_of(head: str, rows: str) -> str:
    """Digest of a record, of what its files hold, byte for byte."""
    parts = [hashlib.sha256(text.encode()).hexdigest() for text in (head, rows)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _read(head: Mapping[str, Any], rows: str) -> Answers:
    if head["format"] != FORMAT:
        raise ValueError(f"format {head['format']!r}, wanted {FORMAT}")
    table = pd.read_csv(StringIO(rows), dtype=str, keep_default_na=False)
    labels = _labels(head, table)
    scores = [f"{SCORE_OF}{name}" for name in labels.names] if isinstance(labels, Categories) else ["score"]
    score = np.stack([_floats(table[name]) for name in scores], axis=1)
    return Answers(
        **{name: head[name] for name in ("definition", "model", "graph", "part", "cohort", "seed")},
        patients=tuple(table["patient"]),
        slides=tuple(table["slides"]),
        labels=labels,
        score=score if isinstance(labels, Categories) else score[:, 0],
        prediction=_floats(table["prediction"]),
        called=tuple(table["class"]) if "class" in table else (),
        calibrated={name: _floats(table[name]) for name in head["calibrated"]},
        columns={name: tuple(table[f"{COLUMN}{name}"]) for name in head["columns"]},
        estimates=tuple(_estimate(content) for content in head["figures"]),
        fold=np.array([int(cell) for cell in table["fold"]], np.intp) if "fold" in table else None,
    )


def _labels(head: Mapping[str, Any], table: pd.DataFrame) -> Targets:
    names = tuple(head["classes"])
    if "event" in table:
        return Survival(_floats(table["time_months"]), _flags(list(table["event"])))
    match len(names):
        case 0:
            return Values(_floats(table["label"]))
        case 2:
            return Classes(_flags(list(table["label"])), (names[0], names[1]))
    index = np.array([names.index(cell) for cell in table["label"]], np.intp)
    return Grades(index, names) if json.loads(head["definition"])["kind"] == "ordinal" else Categories(index, names)


def _floats(cells: Iterable[str]) -> Floats:
    return np.array([float(cell) for cell in cells])


def _flags(cells: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([{"0": False, "1": True}[cell] for cell in cells], np.bool_)


def _estimate(content: Mapping[str, Any]) -> Estimate:
    """Ignores fields that a later version of nic added to an estimate."""
    known = {each.name for each in fields(Estimate)}
    return Estimate(**{name: value for name, value in content.items() if name in known})


def cells_of(patients: Sequence[Patient]) -> dict[str, tuple[str, ...]]:
    """By column of the cohort's table one cell per patient, see `cell_of`."""
    names = {name: None for patient in patients for row in patient.rows for name in row.cells}
    kept = [name for name in {"site": None, **names} if name not in NOT_COPIED]
    return {name: tuple(cell_of(patient, name) for patient in patients) for name in kept}


def slides_of(patient: Patient) -> str:
    """Names of all slides of a patient, in one cell."""
    return BETWEEN_SLIDES.join(sorted(slide.slide_id for slide in patient.slides))


def cell_of(patient: Patient, column: str) -> str:
    """A patient's cell in a column: "a+b" where the slides differ, empty where it is not known."""
    cells = {" ".join(row.cells.get(column, "").split()) for row in patient.rows}
    return "+".join(sorted(cell for cell in cells if cell.lower() not in MISSING))


def unlike(spec: PatientModelSpec, definition: str, classes: Sequence[str]) -> str:
    """How a model's endpoint differs from one of this definition, in words; empty where they are the same.

    classes: of the labels, see names_of. A model that was registered before
    definitions were kept is compared by name, kind and classes.
    """
    return _differences(_definition_of(spec), {**json.loads(definition), "classes": list(classes)})


def unlike_models(first: PatientModelSpec, second: PatientModelSpec) -> str:
    """How the endpoints of two models differ, in words; empty where they are the same."""
    return _differences(_definition_of(first), _definition_of(second))


def _definition_of(spec: PatientModelSpec) -> dict[str, Any]:
    """The definition of the endpoint that a model answers, as far as it is known, and its classes."""
    definition = json.loads(spec.definition) if spec.definition else {"name": spec.endpoint, "kind": spec.kind}
    return {**definition, "classes": list(spec.classes)}


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Compares the entries that both have."""
    return "; ".join(f"{n} {first[n]!r} against {second[n]!r}" for n in first if n in second and first[n] != second[n])


def check_endpoint(spec: PatientModelSpec, endpoint: Endpoint, labels: Targets, model: str) -> None:
    """Raises EndpointError when the model answers another endpoint than that, or one of another definition."""
    if difference := unlike(spec, endpoint.definition, names_of(labels)):
        raise EndpointError(
            f"{model} answers another endpoint than {endpoint.name} of the study: {difference} (the model's first); "
            "wanted the endpoint that the model was trained for"
        )
