"""Requests to answers: one row a patient, whatever is wrong with the others."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nic.compression.compress import BATCH_TILES, threads_for
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.cutting import Cutting
from nic.encoder.onnx import OnnxEncoder
from nic.errors import NicError, RequestRefused
from nic.patients.familiarity import Familiarity
from nic.patients.predictor import PatientModel, PatientPrediction
from nic.serving.apart import Apart
from nic.serving.cache import CodesCache
from nic.serving.codes import Codes
from nic.serving.elsewhere import Elsewhere
from nic.serving.limits import Limits
from nic.serving.maps import MAPS, score_maps
from nic.serving.reading import Effort, Here, Reading
from nic.serving.requests import PatientRequest, by_patient

UM2_PER_MM2 = 1e6
MOST_BATCH_TILES = 1024


@dataclass(frozen=True)
class Wishes:
    """Parameters of a request; 0 leaves a number to the server.

    map: none, or of MAPS. max_tiles: of a slide. batch_tiles: encoded at a time, memory against speed.
    """

    map: str = "none"
    max_tiles: int = 0
    batch_tiles: int = 0

    def __post_init__(self) -> None:
        if self.map not in ("none", *MAPS):
            raise RequestRefused(f"map={self.map[:20]!r}; wanted none, {', '.join(MAPS)}")
        if self.max_tiles < 0:
            raise RequestRefused(f"max_tiles={self.max_tiles}; wanted 0 up")
        if not 0 <= self.batch_tiles <= MOST_BATCH_TILES:
            raise RequestRefused(f"batch_tiles={self.batch_tiles}; wanted 0 to {MOST_BATCH_TILES}")


@dataclass(frozen=True)
class ServedModel:
    """A registered patient model; threads may share it. familiarity: None in models registered before there was one."""

    patient_model: PatientModel
    codes: Codes
    familiarity: Familiarity | None
    name: str
    version: str

    @classmethod
    def load(
        cls,
        files: Mapping[str, Path],
        cache: CodesCache,
        limits: Limits,
        name: str,
        version: str,
        elsewhere: Elsewhere | None = None,
    ) -> "ServedModel":
        """files: `patient`, and where there are such `encoder` and `familiarity`. elsewhere: None: no addresses."""
        patient_model = PatientModel(files["patient"])
        cutting = patient_model.spec.cutting
        reading = _reading(files["encoder"], cutting, limits) if "encoder" in files else None
        return cls(
            patient_model,
            Codes(reading, cache, limits, elsewhere),
            Familiarity.load(files["familiarity"]) if "familiarity" in files else None,
            name,
            version,
        )

    def answer(self, rows: pd.DataFrame, wishes: Wishes) -> pd.DataFrame:
        """One row a patient, in the order of their first rows. Raises RequestRefused when there are too many."""
        limits = self.codes.limits
        deadline_s = time.monotonic() + limits.seconds
        requests = by_patient(rows, limits.rows)
        answers = [self._answer(request, wishes, deadline_s) for request in requests]
        return pd.DataFrame(answers, dtype=object)  # else None becomes NaN, which is no JSON

    def _answer(self, request: PatientRequest, wishes: Wishes, deadline_s: float) -> dict[str, Any]:
        slides, refusals = self._slides(request, wishes, deadline_s)
        prediction = None
        if slides:
            try:
                prediction = self.patient_model.predict(slides)
            except NicError as error:
                slides, refusals = [], [*refusals, f"{type(error).__name__}: {error}"]
        spec = self.patient_model.spec
        return {
            "patient": request.patient,
            "score": prediction.score if prediction else None,
            "prediction": prediction.prediction if prediction else None,
            "uncertainty": prediction.uncertainty if prediction else None,
            **{name: prediction.calibrated[name] if prediction else None for name in spec.answers},
            "unit": spec.unit,
            "tiles": prediction.tiles if prediction else 0,
            "failed_tiles": sum(int(slide.failed.sum()) for slide in slides),
            "tissue_mm2": sum(int(slide.tissue.sum()) * slide.grid.stride_um**2 for slide in slides) / UM2_PER_MM2,
            **self._strangeness(slides),
            # A patient of whom one slide is bad is answered from the others, and the answer says so.
            "status": "ok" if not refusals else "partial" if slides else "refused",
            "reason": "; ".join(refusals),
            "model": self.name,
            "model_version": self.version,
            "encoder_version": spec.encoder_version,
            **({"map": self._maps(slides, prediction, wishes.map)} if wishes.map != "none" else {}),
        }

    def _slides(
        self, request: PatientRequest, wishes: Wishes, deadline_s: float
    ) -> tuple[list[CompressedSlide], list[str]]:
        """The slides that can be used, and why the others cannot."""
        slides: list[CompressedSlide] = []
        refusals: list[str] = []
        tiles = min(wishes.max_tiles or self.codes.limits.tiles, self.codes.limits.tiles)
        effort = Effort(tiles, deadline_s, wishes.batch_tiles or BATCH_TILES)
        for number, source in enumerate(request.sources, start=1):
            try:
                slide = self.codes.of(source, f"slide {number}", effort)
                self.patient_model.check(slide)
                slides.append(slide)
            except NicError as error:
                refusals.append(f"{type(error).__name__}: {error}")
        return slides, refusals

    def _strangeness(self, slides: Sequence[CompressedSlide]) -> dict[str, Any]:
        score = self.familiarity.score(slides) if self.familiarity and slides else None
        return {"ood_score": score, "ood": None if score is None else score > 1}

    def _maps(self, slides: Sequence[CompressedSlide], prediction: PatientPrediction | None, kind: str) -> list[str]:
        """One a slide that was used, in their order."""
        drawn = score_maps(prediction, slides, self.patient_model.spec) if prediction else []
        return [MAPS[kind](slide, score_map) for slide, score_map in zip(slides, drawn, strict=True)]


def _reading(graph: Path, cutting: Cutting, limits: Limits) -> Reading:
    encoder = OnnxEncoder(graph)
    if not limits.apart:
        return Here(encoder, cutting, threads_for(limits.at_once))
    return Apart(graph, encoder.spec, cutting, limits.at_once, limits.reader_mb)
