"""The registered patient model: rows with `slide` (and `patient`, `mpp`) to one answer a patient.

`slide` is a slide, or a file of its codes (.h5). Two ONNX graphs and numpy: neither torch nor a pickle is needed to
serve it. A model of another tool's codes has no encoder, and takes files of codes alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import yaml

from nic.compression.compress import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.encoder.onnx import OnnxEncoder
from nic.errors import ForeignCodes, NicError
from nic.patients.predictor import PatientModel
from nic.slides.slide import SlideSource


class SlidesToAnswer(mlflow.pyfunc.PythonModel):
    """Compresses the slides of a request and answers for their patients; safe to call from several threads."""

    def load_context(self, context: Any) -> None:
        graphs = {name: Path(path) for name, path in context.artifacts.items()}
        self.encoder = OnnxEncoder(graphs["encoder"]) if "encoder" in graphs else None
        self.patient_model = PatientModel(graphs["patient"])
        self.name, self.version = _registered_version(graphs["patient"].parents[1])

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        answers = [self._answer(patient, sources) for patient, sources in _by_patient(model_input)]
        return pd.DataFrame(answers, dtype=object)  # else None becomes NaN, which is no JSON

    def _answer(self, patient: str, sources: list[SlideSource]) -> dict[str, Any]:
        slides: list[CompressedSlide] = []
        refusals: list[str] = []
        for source in sources:
            try:
                slides.append(self._compressed(source))
            except NicError as error:
                refusals.append(f"{type(error).__name__}: {error}")
        prediction = self.patient_model.predict(slides) if slides else None
        spec = self.patient_model.spec
        return {
            "patient": patient,
            "prediction": prediction.prediction if prediction else None,
            "uncertainty": prediction.uncertainty if prediction else None,
            **{name: prediction.calibrated[name] if prediction else None for name in spec.answers},
            "unit": spec.unit,
            "tiles": prediction.tiles if prediction else 0,
            # A patient of whom one slide is bad is answered from the others, and the answer says so.
            "status": "ok" if not refusals else "partial" if slides else "refused",
            "reason": "; ".join(refusals),
            "model": self.name,
            "model_version": self.version,
            "encoder_version": spec.encoder_version,
        }

    def _compressed(self, source: SlideSource) -> CompressedSlide:
        if source.path.suffix == ".h5":
            slide = CompressedSlide.load(source.path)
            self.patient_model.check_encoder(slide)
            return slide
        if self.encoder is None:
            raise ForeignCodes(
                f"{source.slide_id}: a slide, and the encoder, {self.patient_model.spec.encoder_version}, is not here; "
                "extract its features with that one, import_features, and give the .h5"
            )
        return compress_slide(source, self.encoder)


def _by_patient(rows: pd.DataFrame) -> Iterator[tuple[str, list[SlideSource]]]:
    """Patients in the order of their first row; a row without a patient is its own, named by its slide."""
    patients: dict[str, list[SlideSource]] = {}
    for row in rows.to_dict("records"):
        path = Path(str(row["slide"]))
        patient, mpp = row.get("patient"), row.get("mpp")
        source = SlideSource(path.stem, path, None if pd.isna(mpp) else float(mpp))
        patients.setdefault(path.stem if pd.isna(patient) else str(patient), []).append(source)
    yield from patients.items()


def _registered_version(model_folder: Path) -> tuple[str, str]:
    """Name and version as MLflow notes them beside a model that comes from the registry."""
    note = model_folder / "registered_model_meta"
    if not note.is_file():
        return "unregistered", "unregistered"
    found = yaml.safe_load(note.read_text())
    return str(found["model_name"]), str(found["model_version"])


mlflow.models.set_model(SlidesToAnswer())
