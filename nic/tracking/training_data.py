"""The data that a registered model was trained on: patients and slides, and the slides behind its encoder's tiles.

The runs that made the model and the encoder keep them as artifacts.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO

import numpy as np
import pandas as pd

from nic.errors import RegistryError, UnknownModel
from nic.graphs.files import graph_sha256
from nic.patients.audit import PICTURE_PX, TRAINING, AuditedSlide
from nic.tasks.tile_task import TileTask
from nic.tracking.recorded_estimates import artifact_text
from nic.tracking.registry import RegisteredVersion, encoder_file, find_version

PATIENTS_FILE, SLIDES_FILE, ORIGINS_FILE = "split.csv", "training_slides.csv", "tile_origins.json"
TileOrigins = Mapping[str, frozenset[str]]
"""By tile task, the slides or patients that its tiles come from, by name or fingerprint."""


@dataclass(frozen=True)
class TrainingPatients:
    """Patients and slides that a model was trained on. slides: None in older models, which did not keep them."""

    patients: tuple[str, ...]
    slides: tuple[AuditedSlide, ...] | None

    @property
    def known(self) -> list[AuditedSlide]:
        """What other patients are compared with: the slides and the patients' names."""
        of_names = [AuditedSlide("a slide", patient, TRAINING, "", None) for patient in self.patients]
        return [*(self.slides or ()), *of_names]


def training_of(version: RegisteredVersion) -> TrainingPatients | None:
    """None when the run that trained the version, or its list of patients, is gone."""
    patients = artifact_text(version.run_id, PATIENTS_FILE)
    if patients is None:
        return None
    slides = artifact_text(version.run_id, SLIDES_FILE)
    return TrainingPatients(tuple(_rows(patients)["patient"]), None if slides is None else slides_from(slides))


def sites_of_training(version: RegisteredVersion) -> dict[str, int]:
    """How many training patients each site has; empty when the run that trained the version is gone."""
    text = artifact_text(version.run_id, PATIENTS_FILE)
    sites = _rows(text).get("site") if text is not None else None
    return {} if sites is None else {str(site): int(count) for site, count in sites.value_counts().items()}


def slides_table(slides: Sequence[AuditedSlide]) -> pd.DataFrame:
    """The slides as a table: names, fingerprint, and the small grey picture [32, 32] in base64."""
    rows = [
        {
            "patient": slide.patient_id,
            "slide": slide.slide_id,
            "fingerprint": slide.fingerprint,
            "picture": "" if slide.picture is None else base64.b64encode(slide.picture.tobytes()).decode(),
        }
        for slide in slides
    ]
    return pd.DataFrame(rows, columns=["patient", "slide", "fingerprint", "picture"])


def slides_from(text: str) -> tuple[AuditedSlide, ...]:
    """The slides from the text of `slides_table`."""
    return tuple(
        AuditedSlide(
            row["slide"],
            row["patient"],
            TRAINING,
            row["fingerprint"],
            np.frombuffer(base64.b64decode(row["picture"]), np.uint8).reshape(PICTURE_PX, PICTURE_PX)
            if row["picture"]
            else None,
        )
        for row in _rows(text).to_dict("records")
    )


def origins_of(tasks: Sequence[TileTask]) -> TileOrigins:
    """The slides or patients that the tiles of these tasks come from."""
    return {task.name: task.source.origins for task in tasks}


def origins_text(origins: TileOrigins) -> str:
    """The JSON text that `train_encoder` keeps."""
    return json.dumps({name: sorted(slides) for name, slides in origins.items()}, indent=1)


def origins_of_encoder(encoder: str, sha256: str) -> TileOrigins | None:
    """Tile origins of an encoder; None where they are not known: it was made elsewhere, or before they were kept.

    encoder: name/version. sha256: of its graph; the version must have the same.
    """
    try:
        version = find_version(f"models:/{encoder}")
        same_graph = graph_sha256(encoder_file(version.uri)) == sha256
    except UnknownModel:
        return None
    text = artifact_text(version.run_id, ORIGINS_FILE)
    if text is None or not same_graph:
        return None
    try:
        return {name: frozenset(slides) for name, slides in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise RegistryError(f"{version.uri}: {ORIGINS_FILE} of its run cannot be read: {error}") from error


def _rows(text: str) -> pd.DataFrame:
    """All cells as text; an empty cell is an empty text."""
    return pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
