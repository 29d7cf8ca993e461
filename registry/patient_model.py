"""The registered patient model: rows with `slide`, `features` or `image` to one answer a patient.

Two ONNX graphs and numpy: neither torch nor a pickle is needed to serve it. A model of another tool's codes has no
encoder, and takes files of codes alone.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException

from nic.errors import RequestRefused
from nic.serving.cache import CodesCache
from nic.serving.elsewhere import Elsewhere
from nic.serving.limits import Limits
from nic.serving.served_model import ServedModel, Wishes
from nic.serving.smoke import check_reference

MB = 1 << 20


class SlidesToAnswer(mlflow.pyfunc.PythonModel):
    """Compresses the slides of a request and answers for their patients; safe to call from several threads."""

    def load_context(self, context: Any) -> None:
        """Not ready before it has answered its reference: a server that loads it does not come up else."""
        files = {name: Path(path) for name, path in context.artifacts.items()}
        config = context.model_config or {}
        confined = config.get("confined", True)
        limits = Limits.from_environment() if confined else Limits.none(config["at_once"])
        self.folder = tempfile.TemporaryDirectory(prefix="nic-codes-")  # readable by its owner alone; gone at exit
        folder = Path(os.environ.get("NIC_CACHE_DIR", self.folder.name))
        cache = CodesCache(folder, int(os.environ.get("NIC_CACHE_MB", 1024)) * MB)
        staged = Path(self.folder.name) / "staged"
        elsewhere = Elsewhere.from_environment(staged) if confined else Elsewhere.anywhere(staged)
        name, version = _registered_version(files["patient"].parents[1])
        self.model = ServedModel.load(files, cache, limits, name, version, elsewhere)
        self.proven = "reference" in files
        if self.proven:
            check_reference(self.model, files["reference"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        try:
            return self.model.answer(model_input, Wishes(**(params or {})))
        except RequestRefused as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None


def _registered_version(model_folder: Path) -> tuple[str, str]:
    """Name and version as MLflow notes them beside a model that comes from the registry."""
    note = model_folder / "registered_model_meta"
    if not note.is_file():
        return "unregistered", "unregistered"
    found = yaml.safe_load(note.read_text())
    return str(found["model_name"]), str(found["model_version"])


mlflow.models.set_model(SlidesToAnswer())
