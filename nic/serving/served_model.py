"""Requests to answers: one row a patient, whatever is wrong with the others."""

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.loading import load_encoder
from nic.errors import CodesError, NicError, RequestRefused, SettingError
from nic.patients.familiarity import Familiarity
from nic.patients.predictor import PatientModel, PatientPrediction, SlideScores, score_map
from nic.serving.answer_maps import MAPS, MapRoom, score_map_of
from nic.serving.cache import CodesCache
from nic.serving.codes import Codes
from nic.serving.effort import Effort
from nic.serving.elsewhere import Elsewhere
from nic.serving.faults import INTERNAL, log_fault
from nic.serving.limits import Limits
from nic.serving.reading import RowReading
from nic.serving.requests import PatientRequest, by_patient

UM2_PER_MM2 = 1e6
MOST_BATCH_TILES = 1024
NOT_KNOWN: Mapping[str, Any] = {"ood_score": None, "ood": None}


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
            raise RequestRefused(f"map: wanted none, {' or '.join(MAPS)}")
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
        patient_model = PatientModel(files["patient"], device=limits.device)
        tiling = patient_model.spec.tiling
        return cls(
            patient_model,
            Codes(_reading(files.get("encoder"), tiling, limits), cache, limits, elsewhere),
            Familiarity.load(files["familiarity"]) if "familiarity" in files else None,
            name,
            version,
        )

    def answer(self, rows: pd.DataFrame, wishes: Wishes) -> pd.DataFrame:
        """One row a patient, in the order of their first rows. Raises RequestRefused when nothing can be read of them,
        or when there are too many."""
        limits = self.codes.limits
        tiles = min(wishes.max_tiles or limits.tiles, limits.tiles)
        effort = Effort(
            tiles, time.monotonic() + limits.seconds, wishes.batch_tiles, limits.features_bytes,
            limits.memory_bytes,
        )  # fmt: skip
        room = MapRoom(limits.maps_bytes)
        answers = [self._answer(request, wishes, effort, room) for request in by_patient(rows, limits.rows)]
        return pd.DataFrame(answers, dtype=object)  # else None becomes NaN, which is no JSON

    def _answer(self, request: PatientRequest, wishes: Wishes, effort: Effort, room: MapRoom) -> dict[str, Any]:
        evidence = Evidence()
        refusals: list[str] = []
        for number, source in enumerate(request.sources, start=1):
            with _refused(refusals), self.codes.of(source, f"slide {number}", effort) as slide:
                self._add(slide, evidence, wishes.map, room, effort)
        prediction, strangeness = None, NOT_KNOWN
        with _refused(refusals):
            prediction, strangeness = self._joined(evidence), self._strangeness(evidence)
        if prediction is None:
            evidence = Evidence()
        spec = self.patient_model.spec
        return {
            "patient": request.patient,
            "score": prediction.score if prediction else None,
            "prediction": prediction.prediction if prediction else None,
            "uncertainty": prediction.uncertainty if prediction else None,
            **{name: prediction.calibrated[name] if prediction else None for name in spec.answers},
            "unit": spec.unit,
            "tiles": prediction.tiles if prediction else 0,
            "failed_tiles": evidence.failed_tiles,
            "tissue_mm2": evidence.tissue_um2 / UM2_PER_MM2,
            "codes_differ": ", ".join(prediction.codes_differ) if prediction else "",
            **strangeness,
            # A patient of whom one slide is bad is answered from the others, and the answer says so.
            "status": "ok" if not refusals else "partial" if prediction else "refused",
            "reason": "; ".join(refusals),
            "model": self.name,
            "model_version": self.version,
            "encoder_version": spec.encoder_version,
            **({"map": evidence.maps} if wishes.map != "none" else {}),
        }

    def _add(self, slide: CompressedSlide, evidence: "Evidence", kind: str, room: MapRoom, effort: Effort) -> None:
        """What is counted of a slide, before it is let go of. kind: of the map that is wanted, or none."""
        differ = self.patient_model.check(slide)
        effort.check_time()
        scores = self.patient_model.scored(slide)
        drawn = []
        if kind != "none":
            effort.check_time()
            shown = score_map_of(slide, score_map(slide, scores), self.patient_model.spec)
            drawn.append(room.take(MAPS[kind](slide, shown)))
        evidence.add(slide, scores, drawn, differ)

    def _joined(self, evidence: "Evidence") -> PatientPrediction | None:
        """None where there is nothing to answer from. Raises NoTissue, EncoderError."""
        if not evidence.scores:
            return None
        prediction = self.patient_model.joined(evidence.scores, codes_differ=evidence.codes_differ)
        numbers = (prediction.prediction, prediction.uncertainty, *prediction.calibrated.values())
        if not all(map(math.isfinite, numbers)):
            raise CodesError("the model's answer is no number; these codes are like none that it learned from")
        return prediction

    def _strangeness(self, evidence: "Evidence") -> Mapping[str, Any]:
        if self.familiarity is None or not evidence.scores:
            return NOT_KNOWN
        score = self.familiarity.distance(evidence.mean_code)
        return {"ood_score": score, "ood": score > 1}


@dataclass
class Evidence:
    """What a patient's answer stands on, added up slide by slide: no two slides are held at a time.

    codes: sum of all codes, [D]. maps: one a slide, in their order, where they are wanted. codes_differ: see
    PatientModel.check.
    """

    scores: list[SlideScores] = field(default_factory=list)
    codes: NDArray[np.float64] | float = 0.0
    failed_tiles: int = 0
    tissue_um2: float = 0.0
    maps: list[str] = field(default_factory=list)
    codes_differ: list[str] = field(default_factory=list)

    def add(self, slide: CompressedSlide, scores: SlideScores, drawn: Sequence[str], differ: Sequence[str]) -> None:
        self.scores.append(scores)
        self.codes = self.codes + slide.codes.sum(0, dtype=np.float64)
        self.failed_tiles += int(slide.failed.sum())
        self.tissue_um2 += int(slide.tissue.sum()) * slide.grid.stride_um**2
        self.maps += drawn
        self.codes_differ += differ

    @property
    def mean_code(self) -> NDArray[np.float64]:
        return np.asarray(self.codes / sum(len(scores.cells) for scores in self.scores))


@contextmanager
def _refused(refusals: list[str]) -> Iterator[None]:
    """What goes wrong with a row is a reason among the refusals, and nobody else's fault."""
    try:
        yield
    except NicError as error:
        refusals.append(f"{type(error).__name__}: {error}")
    except Exception as error:  # the boundary of a row: a full disk, memory, a library's own kinds
        log_fault("a row was refused", error)
        refusals.append(INTERNAL)


def _reading(graph: Path | None, tiling: Tiling, limits: Limits) -> RowReading:
    if limits.apart and os.name != "posix":
        raise SettingError("slides are read in processes that only POSIX can bound; serve on Linux or macOS")
    return RowReading.within(limits, load_encoder(graph, device=limits.device) if graph else None, tiling)
