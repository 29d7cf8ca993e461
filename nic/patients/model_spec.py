"""What a patient model says of itself. Needs numpy alone."""

import json
from dataclasses import asdict, dataclass, field

import numpy as np

from nic.compression.compatibility import TrainingCodes
from nic.compression.tiling import Tiling
from nic.errors import CodesError
from nic.patients.calibration import (
    Calibration,
    Floats,
    GradeProbabilities,
    IsotonicProbability,
    PlattProbability,
    SoftmaxProbabilities,
    calibration_from,
    grade_values,
    logistic,
    most_probable,
)
from nic.patients.choices import Kind

METADATA = "nic.patient_model"
"""Key of the spec in the graph's metadata."""


@dataclass(frozen=True)
class PatientModelSpec:
    """Travels in the ONNX metadata of a patient model.

    endpoint, kind, unit: what is answered. classes: (negative, positive) of a classification; all of several, grades
    from the lowest on; else empty.
    encoder_sha256, encoder_version: whose codes it takes. tile_um: side of a tile. tiling: of the training slides;
    a slide is compressed so before it is answered for. folds: score maps in the graph. cohort: digest of the
    training cohort. patients: how many it was trained on. median: of their scores out of fold, where risk groups are
    split. calibration: what a score means; None in models that were registered before there was one. definition: of
    the endpoint, see Endpoint.definition; empty in models that were registered before it was kept.
    guess: the answer for everybody without a model: the median of the training patients' values, or the share of
    positives among them; None of other kinds, and in models from before it was kept. shares: of the training patients,
    of each of several classes; empty of other kinds. tiling_recorded: False in models
    from before it was; theirs is the usual one, as far as is known. runtimes, pixel_versions: of the training codes;
    empty in models from before they were kept.
    """

    endpoint: str
    kind: Kind
    unit: str
    classes: tuple[str, ...]
    encoder_sha256: str
    encoder_version: str
    tile_um: float
    folds: int
    cohort: str
    patients: int
    median: float
    calibration: Calibration | None = None
    tiling: Tiling = field(default_factory=Tiling)
    definition: str = ""
    guess: float | None = None
    tiling_recorded: bool = True
    runtimes: tuple[str, ...] = ()
    pixel_versions: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for several classes without the probabilities that their scores mean."""
        calibration_type = {"multiclass": SoftmaxProbabilities, "ordinal": GradeProbabilities}.get(self.kind)
        if calibration_type and not isinstance(self.calibration, calibration_type):
            raise ValueError(f"a model of {self.kind} is always calibrated by {calibration_type.__name__}")

    @property
    def outputs(self) -> int:
        """C, how many score maps each network has: one for each of several classes without an order, else one."""
        return len(self.classes) if self.kind == "multiclass" else 1

    @property
    def map_classes(self) -> tuple[str, ...]:
        """The classes that have a map of their own; empty where there is one map."""
        return self.classes if self.outputs > 1 else ()

    @property
    def has_class(self) -> bool:
        """Whether an answer names the most probable of several classes or grades."""
        return self.kind in ("multiclass", "ordinal")

    @property
    def training_codes(self) -> TrainingCodes:
        """For nic.compression.compatibility, which decides what codes the model takes."""
        return TrainingCodes(
            f"the training slides of the model ({self.encoder_version})",
            self.encoder_sha256,
            self.tiling,
            self.runtimes,
            self.pixel_versions,
            self.tiling_recorded,
        )

    @property
    def answers(self) -> tuple[str, ...]:
        """Names of what a calibrated answer says beside score and prediction."""
        return self.calibration.names if self.calibration else ()

    @property
    def prediction_unit(self) -> str:
        """What the number of a prediction is, in words: `points`, `probability of yes`, `log hazard`."""
        match self.kind:
            case "classification":
                return f"probability of {self.classes[-1]}" if self.classes else "probability"
            case "multiclass":
                return "probability of the class"
            case "ordinal":
                values = grade_values(self.classes)
                lowest, highest = (_grade(self.classes[place], values[place]) for place in (0, -1))
                return f"expected grade, {lowest} to {highest}"
            case "survival":
                return "log hazard"
            case "regression":
                return self.unit

    def predictions(self, score: Floats) -> Floats:
        """What a ward reads, [...] of scores [...]: the calibrated probability of a class, the expected grade, else the
        score itself. Of several classes, the probability of the most probable one, of scores [..., C].

        A model from before calibration gives the probability of its log odds, as if half of the cohort were positive.
        """
        match self.calibration:
            case SoftmaxProbabilities():
                return np.asarray(self.calibration.probabilities(score).max(-1))
            case GradeProbabilities():
                return self.calibration.expected(score)
            case PlattProbability() | IsotonicProbability():
                return self.calibration.probability(score)
        return logistic(score) if self.kind == "classification" else score

    def deviation(self, scores: Floats) -> float:
        """Standard deviation of the predictions of several networks, [K] or [K, C].

        Of several classes, of the probability of the class that is the most probable by the mean of the scores.
        """
        if isinstance(self.calibration, SoftmaxProbabilities):
            answered = most_probable(self.calibration.probabilities(scores.mean(0)))
            return float(self.calibration.probabilities(scores)[:, answered].std())
        return float(self.predictions(scores).std())

    def probabilities(self, score: Floats) -> Floats | None:
        """Of several classes or grades, [..., C] of scores [..., C] or [...]; None of other kinds."""
        if isinstance(self.calibration, SoftmaxProbabilities | GradeProbabilities):
            return self.calibration.probabilities(score)
        return None

    def meaning(self, score: Floats) -> dict[str, float]:
        """What a calibrated answer says beside score and prediction, by `answers`, of one patient's score."""
        match self.calibration:
            case None:
                return {}
            case SoftmaxProbabilities():
                return self.calibration.of(score)
        return self.calibration.of(float(score))

    def class_of(self, score: Floats) -> int | None:
        """Place of the most probable of several classes or grades, of one patient's score; None of other kinds."""
        probabilities = self.probabilities(score)
        return None if probabilities is None else int(most_probable(probabilities))

    def to_json(self) -> str:
        """The tiling stands under the names that older models have; what these do not know is left out where it is
        empty."""
        fields = asdict(self)
        if not self.shares:
            del fields["shares"]
        older = {"cutting": fields.pop("tiling"), "cutting_recorded": fields.pop("tiling_recorded")}
        return json.dumps(fields | older, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "PatientModelSpec":
        """Raises CodesError when a field is missing or unknown."""
        try:
            fields = json.loads(text)
            calibration = calibration_from(fields["calibration"]) if fields.get("calibration") else None
            tile_um, tiling = fields["tile_um"], fields.pop("cutting", None)
            recorded = fields.pop("cutting_recorded", tiling is not None)
            known = {name: tuple(fields.get(name, ())) for name in ("runtimes", "pixel_versions", "shares")}
            return cls(
                **{**fields, **known, "classes": tuple(fields["classes"]), "calibration": calibration},
                tiling=Tiling.from_fields(tiling, tile_um) if tiling else Tiling(tile_um),
                tiling_recorded=recorded,
            )
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise CodesError(f"patient model's spec is not readable: {error}; found {text[:120]!r}") from error


def _grade(name: str, value: float) -> str:
    """The number of a grade, with its name where that is no number: `3`, `3 (high)`."""
    number = f"{value:g}"
    return number if name == number else f"{number} ({name})"
