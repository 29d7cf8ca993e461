"""Leaks that would make a held-out figure a lie: one patient, slide or picture in two parts. Needs no torch."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import LeakFound
from nic.patients.cohort import Patient
from nic.slides.d4 import D4_VARIANTS, d4_variant

EXTERNAL = "external"
TRAINING = "the model's training"
PICTURE_PX = 32
COMPARED_AT_ONCE = 128
"""Pictures that are compared with all others at a time: with 5,000 slides, 3 MB for each D4 variant."""
SAME_PICTURE = 0.97
"""Correlation of two small pictures from which on they are held to show one slide; different phantom slides reach 0.82,
one slide scanned or saved again 0.99."""


@dataclass(frozen=True)
class AuditedSlide:
    """A slide and where it stands.

    part: a fold's name, TRAINING or EXTERNAL. fingerprint: empty where the slide has no codes. picture: [32, 32] grey,
    None where there is none, or one of a single colour.
    """

    slide_id: str
    patient_id: str
    part: str
    fingerprint: str
    picture: NDArray[np.uint8] | None

    def __str__(self) -> str:
        return f"{self.slide_id} of patient {self.patient_id} in {self.part}"


def slides_to_audit(patients: Sequence[Patient], parts: Sequence[str], codes: Path) -> list[AuditedSlide]:
    """All slides of the patients; what is in `codes`/<slide_id>.h5 of those that have codes. parts: of each patient."""
    slides = []
    for patient, part in zip(tqdm(patients, desc="audit", leave=False, delay=2), parts, strict=True):
        for source in patient.slides:
            fingerprint, picture = _identity(codes / f"{source.slide_id}.h5")
            slides.append(AuditedSlide(source.slide_id, patient.patient_id, part, fingerprint, picture))
    return slides


def same_patients(some: Iterable[str], others: Iterable[str]) -> list[str]:
    """Names among `some` that are in `others`, however they are spelt."""
    plain = {_plain(name) for name in others}
    return [name for name in some if _plain(name) in plain]


def check_leaks(slides: Sequence[AuditedSlide], tile_origins: Mapping[str, frozenset[str]]) -> None:
    """tile_origins: of each tile task that taught the encoder, the slides or patients its tiles are from.

    Raises LeakFound with every leak in words.
    """
    leaks = [
        *_shared(slides, "patient name", lambda slide: _plain(slide.patient_id)),
        *_shared(slides, "slide file", lambda slide: slide.fingerprint),
        *_pictures_in_two_parts(slides),
        *_seen_by_the_encoder(slides, tile_origins),
    ]
    if leaks:
        raise LeakFound(
            f"{len(leaks)} leaks between parts: {'; '.join(leaks)}; give both to one part, or take one of them out "
            "(two people of one name need different names, such as with the hospital in front)"
        )


def _shared(slides: Iterable[AuditedSlide], what: str, key: Callable[[AuditedSlide], str]) -> list[str]:
    """Pairs of one key in two parts; of each key the first of every part."""
    by_key: dict[str, dict[str, AuditedSlide]] = defaultdict(dict)
    for slide in slides:
        if key(slide):
            by_key[key(slide)].setdefault(slide.part, slide)
    return [
        f"one {what}: {' and '.join(map(str, members.values()))}" for members in by_key.values() if len(members) > 1
    ]


def _pictures_in_two_parts(slides: Sequence[AuditedSlide]) -> list[str]:
    """Slides of one picture, in any D4 variant, with two fingerprints."""
    shown = [slide for slide in slides if slide.picture is not None]
    return [
        f"one picture: {shown[i]} and {shown[j]}"
        for i, j in _alike([slide.picture for slide in shown if slide.picture is not None])
        if shown[i].part != shown[j].part and shown[i].fingerprint != shown[j].fingerprint
    ]


def _alike(pictures: Sequence[NDArray[np.uint8]]) -> Iterator[tuple[int, int]]:
    """Places i < j of pictures that show the same, by their correlation in the best of eight D4 variants."""
    if len(pictures) < 2:
        return
    grey = np.stack(pictures).astype(np.float32)
    grey -= grey.mean((1, 2), keepdims=True)
    grey /= grey.std((1, 2), keepdims=True)
    flat = grey.reshape(len(grey), -1)
    for start in range(0, len(grey), COMPARED_AT_ONCE):
        some = grey[start : start + COMPARED_AT_ONCE]
        best = np.full((len(some), len(grey) - start), -np.inf, np.float32)
        for number in range(D4_VARIANTS):
            np.maximum(best, d4_variant(some, number).reshape(len(some), -1) @ flat[start:].T, out=best)
        for i, j in zip(*np.nonzero(np.triu(best / flat.shape[1] > SAME_PICTURE, 1)), strict=True):
            yield start + int(i), start + int(j)


def _seen_by_the_encoder(slides: Iterable[AuditedSlide], tile_origins: Mapping[str, frozenset[str]]) -> list[str]:
    return [
        f"tiles of task {task} are from {slide}"
        for slide in slides
        for task, origins in tile_origins.items()
        if slide.part == EXTERNAL and origins & ({slide.slide_id, slide.patient_id, slide.fingerprint} - {""})
    ]


def _plain(name: str) -> str:
    """A name without what people spell differently: case, spaces, dashes, dots, leading zeros."""
    parts = re.findall(r"\d+|[^\W\d_]+", name.casefold())
    return "-".join(part.lstrip("0") or "0" for part in parts) or name


def _identity(path: Path) -> tuple[str, NDArray[np.uint8] | None]:
    """Fingerprint and small picture of the slide behind a file of codes; of a file that is not there, nothing."""
    if not path.is_file():
        return "", None
    fingerprint, overview = CompressedSlide.identity(path)
    return fingerprint, None if overview is None else _small(overview)


def _small(overview: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """None for a picture of one colour: all such are alike."""
    grey = cv2.imdecode(overview, cv2.IMREAD_GRAYSCALE)
    small = cv2.resize(grey, (PICTURE_PX, PICTURE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8) if small.std() > 1 else None
