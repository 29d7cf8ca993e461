"""What a patient model says of itself. Needs numpy alone."""

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from nic.compression.compatibility import TrainingCodes
from nic.compression.tiling import Tiling
from nic.errors import CodesError
from nic.patients.calibration import (
    Calibration,
    Floats,
    IsotonicProbability,
    PlattProbability,
    calibration_from,
    logistic,
)

METADATA = "nic.patient_model"
"""Key of the spec in the graph's metadata."""


@dataclass(frozen=True)
class PatientModelSpec:
    """Travels in the ONNX metadata of a patient model.

    endpoint, kind, unit: what is answered. classes: (negative, positive) of a classification, else empty.
    encoder_sha256, encoder_version: whose codes it takes. tile_um: side of a tile. tiling: of the training slides;
    a slide is compressed so before it is answered for. folds: score maps in the graph. cohort: digest of the
    training cohort. patients: how many it was trained on. median: of their scores out of fold, where risk groups are
    split. calibration: what a score means; None in models that were registered before there was one. definition: of
    the endpoint, see Endpoint.definition; empty in models that were registered before it was kept.
    guess: the answer for everybody without a model: the median of the training patients' values, or the share of
    positives among them; None of survival, and in models from before it was kept. tiling_recorded: False in models
    from before it was; theirs is the usual one, as far as is known. runtimes, pixel_versions: of the training codes;
    empty in models from before they were kept.
    """

    endpoint: str
    kind: Literal["regression", "classification", "survival"]
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
            case "survival":
                return "log hazard"
            case _:
                return self.unit

    def predictions(self, score: Floats) -> Floats:
        """What a ward reads: the calibrated probability of a class, else the score itself.

        A model from before calibration gives the probability of its log odds, as if half of the cohort were positive.
        """
        if self.kind != "classification":
            return score
        if isinstance(self.calibration, PlattProbability | IsotonicProbability):
            return self.calibration.probability(score)
        return logistic(score)

    def to_json(self) -> str:
        """The tiling stands under the names that older models have."""
        fields = asdict(self)
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
            known = {name: tuple(fields.get(name, ())) for name in ("runtimes", "pixel_versions")}
            return cls(
                **{**fields, **known, "classes": tuple(fields["classes"]), "calibration": calibration},
                tiling=Tiling.from_fields(tiling, tile_um) if tiling else Tiling(tile_um),
                tiling_recorded=recorded,
            )
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise CodesError(f"patient model's spec is not readable: {error}; found {text[:120]!r}") from error
