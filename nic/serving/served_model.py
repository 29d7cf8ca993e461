"""A registered patient model as it answers requests: one answer a patient, whatever is wrong with other rows."""

import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.loading import load_encoder
from nic.errors import CodesError, NicError, RequestRefused, SettingError, SmokeFailed
from nic.patients.familiarity import Familiarity
from nic.patients.predictor import PatientModel, PatientPrediction, SlideScores, score_map
from nic.serving.answer_maps import MAPS, MapsBudget, check_map_class, score_map_of
from nic.serving.cache import CodesCache
from nic.serving.codes import RowCodes
from nic.serving.limits import Budget, Limits
from nic.serving.operator_log import INTERNAL, log_fault
from nic.serving.remote_slides import RemoteSlides
from nic.serving.requests import PatientRequest, by_patient
from nic.serving.row_reader import RowReader

UM2_PER_MM2 = 1e6
MOST_BATCH_TILES = 1024
REFERENCE_TOLERANCE = 1e-3
"""Of the answer, or of 1 if that is larger: other processors and GPUs round differently; a wrong graph is far off."""
OOD_NOT_KNOWN: Mapping[str, Any] = {"ood_score": None, "ood": None}


@dataclass(frozen=True)
class RequestParams:
    """Parameters of a request; a 0 leaves the number to the server.

    map: none, or one of MAPS. map_class: of several classes, whose map it is; empty for the class that is answered.
    max_tiles: of a slide. batch_tiles: encoded at a time; more need more memory.
    """

    map: str = "none"
    map_class: str = ""
    max_tiles: int = 0
    batch_tiles: int = 0

    def __post_init__(self) -> None:
        if self.map not in ("none", *MAPS):
            raise RequestRefused(f"map: wanted none, {' or '.join(MAPS)}")
        if self.max_tiles < 0:
            raise RequestRefused(f"max_tiles={self.max_tiles}; wanted 0 or more")
        if not 0 <= self.batch_tiles <= MOST_BATCH_TILES:
            raise RequestRefused(f"batch_tiles={self.batch_tiles}; wanted 0 to {MOST_BATCH_TILES}")


@dataclass(frozen=True)
class ServedModel:
    """A registered patient model; threads may share it. familiarity: None in versions from before it existed."""

    patient_model: PatientModel
    codes: RowCodes
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
        remote: RemoteSlides | None = None,
    ) -> "ServedModel":
        """files: `patient`, and `encoder` and `familiarity` where the model has them. remote: None: no addresses."""
        patient_model = PatientModel(files["patient"], device=limits.device)
        reader = _row_reader(files.get("encoder"), patient_model.spec.tiling, limits)
        return cls(
            patient_model,
            RowCodes(reader, cache, limits, remote),
            Familiarity.load(files["familiarity"]) if "familiarity" in files else None,
            name,
            version,
        )

    def check_reference(self, folder: Path) -> None:
        """Answer request.json of a folder. Raises SmokeFailed unless answers.json, of registration, says the same."""
        rows = pd.DataFrame(json.loads((folder / "request.json").read_text()))
        rows["slide"] = [str(folder / name) for name in rows["slide"]]
        [registered] = (row["prediction"] for row in json.loads((folder / "answers.json").read_text()))
        with tempfile.TemporaryDirectory() as empty:  # not the server's cache: the answer is computed each time
            codes = RowCodes(self.codes.reader, CodesCache(Path(empty), most_bytes=0), Limits.none())
            [answer] = replace(self, codes=codes).answer(rows, RequestParams()).to_dict("records")
        if answer["status"] != "ok":
            raise SmokeFailed(f"the reference was not answered: {answer['reason']}")
        prediction = float(answer["prediction"])
        if not abs(prediction - registered) <= REFERENCE_TOLERANCE * max(1.0, abs(registered)):
            raise SmokeFailed(
                f"the reference's answer is {prediction:.6g}, at registration it was {registered:.6g}; not served"
            )

    def answer(self, rows: pd.DataFrame, params: RequestParams) -> pd.DataFrame:
        """One row a patient, in the order of their first rows; docs/serving.md explains the fields.

        Raises RequestRefused when no row can be read, a column is unknown, there are too many rows, or a map is asked
        for of a class that has none.
        """
        check_map_class(params.map_class, self.patient_model.spec.map_classes)
        limits = self.codes.limits
        tiles = min(params.max_tiles or limits.tiles, limits.tiles)
        budget = Budget(
            tiles, time.monotonic() + limits.seconds, params.batch_tiles, limits.features_bytes,
            limits.memory_bytes,
        )  # fmt: skip
        maps_budget = MapsBudget(limits.maps_bytes)
        answers = [self._answer(request, params, budget, maps_budget) for request in by_patient(rows, limits.rows)]
        return pd.DataFrame(answers, dtype=object)  # else None becomes NaN, which is no JSON

    def _answer(
        self, request: PatientRequest, params: RequestParams, budget: Budget, maps_budget: MapsBudget
    ) -> dict[str, Any]:
        sums = PatientSums()
        refusals: list[str] = []
        for number, source in enumerate(request.sources, start=1):
            with _refused(refusals), self.codes.of(source, f"slide {number}", budget) as slide:
                self._add(slide, sums, params, maps_budget, budget)
        prediction, ood = None, OOD_NOT_KNOWN
        with _refused(refusals):
            prediction, ood = self._prediction(sums), self._ood(sums)
        if prediction is None:
            sums = PatientSums()
        spec = self.patient_model.spec
        answered = prediction.class_name if prediction else ""
        return {
            "patient": request.patient,
            "prediction": prediction.prediction if prediction else None,
            "unit": spec.prediction_unit,
            **({"class": answered or None} if spec.has_class else {}),
            **{name: prediction.calibrated[name] if prediction else None for name in spec.answers},
            "uncertainty": prediction.uncertainty if prediction else None,
            "score": prediction.score if prediction else None,
            "tiles": prediction.tiles if prediction else 0,
            "failed_tiles": sums.failed_tiles,
            "tissue_mm2": sums.tissue_um2 / UM2_PER_MM2,
            "codes_differ": ", ".join(prediction.codes_differ) if prediction else "",
            **ood,
            # A patient with a bad slide is answered from the others, with the status partial.
            "status": "ok" if not refusals else "partial" if prediction else "refused",
            "reason": "; ".join(refusals),
            "model": self.name,
            "model_version": self.version,
            "encoder_version": spec.encoder_version,
            **({"map": sums.maps_of(params.map_class or answered)} if params.map != "none" else {}),
        }

    def _add(
        self,
        slide: CompressedSlide,
        sums: "PatientSums",
        params: RequestParams,
        maps_budget: MapsBudget,
        budget: Budget,
    ) -> None:
        """Score a slide and add it to the sums, after which it may leave memory.

        Which of several classes is answered is known after the last slide: until then each has its map.
        """
        differ = self.patient_model.check(slide)
        budget.check_time()
        scores, maps = self.patient_model.scored(slide), {}
        if params.map != "none":
            budget.check_time()
            spec, shown = self.patient_model.spec, score_map(slide, scores)
            for name in (params.map_class,) if params.map_class else spec.map_classes or ("",):
                maps[name] = MAPS[params.map](slide, score_map_of(slide, shown, spec, name))
            maps_budget.take(max(map(len, maps.values())))
        sums.add(slide, scores, maps, differ)

    def _prediction(self, sums: "PatientSums") -> PatientPrediction | None:
        """None without slides. Raises NoTissue, EncoderError."""
        if not sums.scores:
            return None
        prediction = self.patient_model.joined(sums.scores, codes_differ=sums.codes_differ)
        numbers = (prediction.prediction, prediction.uncertainty, *prediction.calibrated.values())
        if not all(map(math.isfinite, numbers)):
            raise CodesError("the model's answer is no number; its training had no codes like these")
        return prediction

    def _ood(self, sums: "PatientSums") -> Mapping[str, Any]:
        if self.familiarity is None or not sums.scores:
            return OOD_NOT_KNOWN
        score = self.familiarity.distance(sums.mean_code)
        return {"ood_score": score, "ood": score > 1}


@dataclass
class PatientSums:
    """What a patient's answer is computed from, added up slide by slide: one slide at a time is in memory.

    codes: sum of all codes, [D]. maps: one a slide, in their order, if asked for; of several classes each by its name,
    else by an empty one. codes_differ: see PatientModel.check.
    """

    scores: list[SlideScores] = field(default_factory=list)
    codes: NDArray[np.float64] | float = 0.0
    failed_tiles: int = 0
    tissue_um2: float = 0.0
    maps: list[Mapping[str, str]] = field(default_factory=list)
    codes_differ: list[str] = field(default_factory=list)

    def add(self, slide: CompressedSlide, scores: SlideScores, maps: Mapping[str, str], differ: Sequence[str]) -> None:
        self.scores.append(scores)
        self.codes = self.codes + slide.codes.sum(0, dtype=np.float64)
        self.failed_tiles += int(slide.failed.sum())
        self.tissue_um2 += int(slide.tissue.sum()) * slide.grid.stride_um**2
        if maps:
            self.maps.append(maps)
        self.codes_differ += differ

    def maps_of(self, class_name: str) -> list[str]:
        """One a slide. class_name: of several classes, whose map it is."""
        return [maps[class_name if class_name in maps else ""] for maps in self.maps]

    @property
    def mean_code(self) -> NDArray[np.float64]:
        return np.asarray(self.codes / sum(scores.tiles for scores in self.scores))


@contextmanager
def _refused(refusals: list[str]) -> Iterator[None]:
    """An error of a row becomes a reason among the refusals; other rows do not notice."""
    try:
        yield
    except NicError as error:
        refusals.append(f"{type(error).__name__}: {error}")
    except Exception as error:  # a full disk, no memory, a library's own kinds
        log_fault("a row was refused", error)
        refusals.append(INTERNAL)


def _row_reader(graph: Path | None, tiling: Tiling, limits: Limits) -> RowReader:
    if limits.untrusted and os.name != "posix":
        raise SettingError("only POSIX can bound the processes that read slides; serve on Linux or macOS")
    return RowReader.within(limits, load_encoder(graph, device=limits.device) if graph else None, tiling)
