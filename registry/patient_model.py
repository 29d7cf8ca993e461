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
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.pyfunc.model import PythonModel

from nic.errors import RequestRefused
from nic.graphs.device import Device
from nic.serving.answers_log import AnswersLog
from nic.serving.cache import CodesCache
from nic.serving.elsewhere import Elsewhere
from nic.serving.faults import OURS, log_fault
from nic.serving.limits import Limits, number
from nic.serving.served_model import ServedModel, Wishes
from nic.serving.smoke import check_reference
from nic.threads import cores

MB = 1 << 20


class SlidesToAnswer(PythonModel):
    """Compresses the slides of a request and answers for their patients; safe to call from several threads."""

    def load_context(self, context: Any) -> None:
        """Not ready before it has answered its reference: a server that loads it does not come up else.

        NIC_ANSWERS_LOG is kept by the model itself, so that each server which may serve it keeps one, and once.
        """
        files = {name: Path(path) for name, path in context.artifacts.items()}
        config = context.model_config or {}
        confined = config.get("confined", True)
        device = Device.named(config.get("device", "auto"))
        limits = Limits.from_environment() if confined else Limits.none(config["at_once"], cores(), device)
        self.folder = tempfile.TemporaryDirectory(prefix="nic-codes-")  # readable by its owner alone; gone at exit
        folder = Path(os.environ.get("NIC_CACHE_DIR", self.folder.name))
        cache = CodesCache(folder, number(os.environ, "NIC_CACHE_MB", int, 1024) * MB)
        staged = Path(self.folder.name) / "staged"
        elsewhere = Elsewhere.from_environment(staged) if confined else Elsewhere.anywhere(staged)
        name, version = _registered_version(files["patient"].parents[1])
        self.model = ServedModel.load(files, cache, limits, name, version, elsewhere)
        self.proven = "reference" in files
        if self.proven:
            check_reference(self.model, files["reference"])
        self.log = AnswersLog.from_environment() if confined else None

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Raises MlflowException: INVALID_PARAMETER_VALUE (400) in words of ours, INTERNAL_ERROR (500) without any."""
        try:
            answers = self.model.answer(model_input, Wishes(**(params or {})))
            if self.log:
                self.log.keep([{str(k): v for k, v in row.items()} for row in answers.to_dict("records")])
            return answers
        except RequestRefused as error:
            raise MlflowException.invalid_parameter_value(f"{OURS}{error}") from None
        except Exception as error:
            log_fault("a request failed", error)
            raise MlflowException("the server failed", error_code=INTERNAL_ERROR) from None


def _registered_version(model_folder: Path) -> tuple[str, str]:
    """Name and version as MLflow notes them beside a model that comes from the registry."""
    note = model_folder / "registered_model_meta"
    if not note.is_file():
        return "unregistered", "unregistered"
    found = yaml.safe_load(note.read_text())
    return str(found["model_name"]), str(found["model_version"])


mlflow.models.set_model(SlidesToAnswer())
