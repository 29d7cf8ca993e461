"""Answers for a cohort by a registered model, several patients at a time, without a server."""

import base64
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from nic.errors import NotStaged, UnreachedSlide
from nic.patients.cohort import Patient
from nic.serving.map_files import ROW, file_names, mapped_slides, of_slide
from nic.slides.search import file_of
from nic.slides.source import SlideSource, is_address
from nic.slides.staging import version_of

Ask = Callable[[pd.DataFrame, dict[str, Any]], pd.DataFrame]
"""Rows and parameters of a request to one answer a patient."""
Names = Mapping[tuple[str, ...], str]
"""A file's name, without its suffix, by patient and slide."""
BETWEEN = ";"
"""Separates the paths of a patient's maps in the table."""


@dataclass(frozen=True)
class BatchPredictor:
    """Asks a model for the answers of a cohort.

    ask: the model. model: its URI with the version. codes: folder; a <slide>.h5 in it is used in place of the slide.
    maps: folder for the maps of `kind`, geojson or png; None for none. workers: patients at a time.
    """

    ask: Ask
    model: str
    codes: Path | None
    maps: Path | None
    kind: str
    workers: int

    def answers(self, patients: Sequence[Patient], journal: Path) -> list[dict[str, Any]]:
        """In the order of the patients. A full answer in the journal is used again, unless its question has changed."""
        known = Journal(journal)
        keys = [self._key(patient) for patient in patients]
        names = file_names((p.patient_id, slide.slide_id) for p in patients for slide in p.slides)
        full = {key for key, answer in known.answers.items() if answer["status"] == "ok" and _maps_exist(answer)}
        left = [(key, patient) for key, patient in zip(keys, patients, strict=True) if key not in full]
        bar = tqdm(total=len(patients), initial=len(patients) - len(left), desc="predict", unit="patient")

        def answer(question: tuple[str, Patient]) -> None:
            key, patient = question
            known.keep(key, self._answer(patient, names))
            bar.update()

        pool = ThreadPoolExecutor(self.workers)
        try:
            list(pool.map(answer, left))
        finally:
            pool.shutdown(cancel_futures=True)
            bar.close()
            known.close()
        return [known.answers[key] for key in keys]

    def _answer(self, patient: Patient, names: Names) -> dict[str, Any]:
        """The model's answer with the slides' names in place of row numbers, and the paths of the maps."""
        rows = pd.DataFrame([self._row(patient, source) for source in patient.slides])
        [answer] = self.ask(rows, {"map": self.kind if self.maps else "none"}).to_dict("records")
        maps = answer.pop("map", [])
        named = {str(name): value for name, value in answer.items()}
        named["reason"] = ROW.sub(lambda match: patient.slides[int(match[1]) - 1].slide_id, str(answer["reason"]))
        if self.maps:
            named["maps"] = BETWEEN.join(self._write_maps(self.maps, patient, maps, names))
        return named

    def _row(self, patient: Patient, source: SlideSource) -> dict[str, Any]:
        mpp = float("nan") if source.mpp is None else source.mpp
        return {"slide": self._place(source), "patient": patient.patient_id, "mpp": mpp}

    def _place(self, source: SlideSource) -> str:
        """The file of its codes if there is one; else the slide's own file or address."""
        codes = self.codes / f"{source.slide_id}.h5" if self.codes else None
        return str(codes if codes and codes.is_file() else source.uri or _file(source))

    def _key(self, patient: Patient) -> str:
        """Key of an answer in the journal. Another model, file, um/px or kind of map gives another key."""
        places = [self._place(source) for source in patient.slides]
        states = [_state(place) for place in places]
        question = [self.model, patient.patient_id, [s.mpp for s in patient.slides], places, states]
        maps = [str(self.maps), self.kind] if self.maps else []
        return sha256(json.dumps([*question, *maps]).encode()).hexdigest()[:20]

    def _write_maps(self, folder: Path, patient: Patient, answered: Sequence[str], names: Names) -> Iterator[str]:
        """Write the maps; yields the path of each."""
        folder.mkdir(parents=True, exist_ok=True)
        slides = [source.slide_id for source in patient.slides]
        maps = [base64.b64decode(content) if self.kind == "png" else content.encode() for content in answered]
        for slide, content in zip(mapped_slides(maps, slides, self.kind), maps, strict=True):
            key = patient.patient_id, slide
            file = folder / f"{names.get(key) or file_names([key])[key]}.{self.kind}"
            draft = file.with_name(f".{file.name}.{os.getpid()}")
            draft.write_bytes(of_slide(content, slide, self.kind))
            draft.replace(file)
            yield str(file)


def _maps_exist(answer: Mapping[str, Any]) -> bool:
    return all(Path(file).is_file() for file in str(answer.get("maps", "")).split(BETWEEN) if file)


def _file(source: SlideSource) -> Path:
    """The file that a table means. If its folder cannot be read, the path as written, which is refused when opened."""
    try:
        return file_of(source)
    except UnreachedSlide:
        return source.path


def _state(place: str) -> tuple[str, ...]:
    """What changes when the slide does; empty if the slide cannot be reached."""
    if is_address(place):
        try:
            return (version_of(SlideSource.remote(place)),)
        except NotStaged:
            return ()
    file = Path(place)
    return (str(file.stat().st_size), str(file.stat().st_mtime_ns)) if file.exists() else ()


class Journal:
    """A file of JSON lines with the answers so far, by the key of the question, so that a batch that died goes on.

    Threads may share it. A line that a dying process left half written is skipped, and its question asked again.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.answers = _read(file)
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if file.stat().st_size:
            os.write(self._file, b"\n")  # ends a line that was cut

    def keep(self, key: str, answer: Mapping[str, Any]) -> None:
        os.write(self._file, (json.dumps([key, answer]) + "\n").encode())
        self.answers[key] = dict(answer)

    def close(self) -> None:
        os.close(self._file)


def _read(file: Path) -> dict[str, dict[str, Any]]:
    answers: dict[str, dict[str, Any]] = {}
    for line in file.read_text(errors="replace").splitlines() if file.is_file() else []:
        try:
            key, answer = json.loads(line)
        except ValueError:
            continue
        answers[key] = answer
    return answers
