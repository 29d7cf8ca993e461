"""Answers for a cohort by a registered model, several patients at a time: the code that serves, without a server."""

import base64
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from nic.errors import NotStaged
from nic.patients.cohort import Patient
from nic.serving.journal import Journal
from nic.slides.slide import SlideSource, is_address
from nic.slides.staging import version_of

Ask = Callable[[pd.DataFrame, dict[str, Any]], pd.DataFrame]
"""Rows and parameters of a request to one answer a patient."""


@dataclass(frozen=True)
class Batch:
    """How a cohort is asked for.

    ask: the model. model: its URI with the version. codes: folder whose <slide>.h5 is taken where it is there, in place
    of the slide. maps: folder for the maps of `kind`, geojson or png; None for none. workers: patients at a time.
    """

    ask: Ask
    model: str
    codes: Path | None
    maps: Path | None
    kind: str
    workers: int

    def answers(self, patients: Sequence[Patient], journal: Path) -> list[dict[str, Any]]:
        """In the order of the patients. What the journal answers in full is not asked again, unless it has changed."""
        known = Journal(journal)
        keys = [self._key(patient) for patient in patients]
        done = {key for key, answer in known.answers.items() if answer["status"] == "ok"}
        left = [(key, patient) for key, patient in zip(keys, patients, strict=True) if key not in done]
        bar = tqdm(total=len(patients), initial=len(patients) - len(left), desc="predict", unit="patient")

        def answer(asked: tuple[str, Patient]) -> None:
            key, patient = asked
            known.keep(key, self._answered(patient))
            bar.update()

        pool = ThreadPoolExecutor(self.workers)
        try:
            list(pool.map(answer, left))
        finally:
            pool.shutdown(cancel_futures=True)
            bar.close()
            known.close()
        return [known.answers[key] for key in keys]

    def _answered(self, patient: Patient) -> dict[str, Any]:
        rows = pd.DataFrame([self._row(patient, source) for source in patient.slides])
        [answer] = self.ask(rows, {"map": self.kind if self.maps else "none"}).to_dict("records")
        drawn = answer.pop("map", [])
        if self.maps:
            self._write_maps(self.maps, patient.patient_id, drawn)
        return {str(name): value for name, value in answer.items()}

    def _row(self, patient: Patient, source: SlideSource) -> dict[str, Any]:
        mpp = float("nan") if source.mpp is None else source.mpp
        return {"slide": self._place(source), "patient": patient.patient_id, "mpp": mpp}

    def _place(self, source: SlideSource) -> str:
        """The file of its codes, where there is one; else its own, or its address."""
        codes = self.codes / f"{source.slide_id}.h5" if self.codes else source.path
        return str(codes if codes.is_file() else source.uri or source.path)

    def _key(self, patient: Patient) -> str:
        """What is asked: another model, file or um/px, or maps that are wanted now, is another question."""
        places = [self._place(source) for source in patient.slides]
        states = [_state(place) for place in places]
        asked = [self.model, patient.patient_id, [s.mpp for s in patient.slides], places, states]
        wanted = [str(self.maps), self.kind] if self.maps else []
        return sha256(json.dumps([*asked, *wanted]).encode()).hexdigest()[:20]

    def _write_maps(self, folder: Path, patient: str, drawn: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]", "_", patient)
        for number, content in enumerate(drawn, start=1):
            file = folder / f"{name}.{number}.{self.kind}"
            file.write_bytes(base64.b64decode(content) if self.kind == "png" else content.encode())


def _state(place: str) -> tuple[str, ...]:
    """What changes when the slide does; nothing of one that cannot be had."""
    if is_address(place):
        try:
            return (version_of(SlideSource.elsewhere(place)),)
        except NotStaged:
            return ()
    file = Path(place)
    return (str(file.stat().st_size), str(file.stat().st_mtime_ns)) if file.exists() else ()
