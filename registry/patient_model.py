"""The registered patient model: takes rows with `slide`, `features` or `image`, gives one answer a patient.

It needs two ONNX graphs and numpy, neither torch nor a pickle. A model of another tool's codes has no encoder: it takes
files of codes alone.
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
from nic.serving.cache import CodesCache
from nic.serving.limits import Limits, number
from nic.serving.operator_log import REASON_PREFIX, AnswersLog, log_fault
from nic.serving.remote_slides import RemoteSlides
from nic.serving.served_model import RequestParams, ServedModel
from nic.threads import cores

MB = 1 << 20


class SlidesToAnswer(PythonModel):
    """Compresses the slides of a request and answers for their patients; safe to call from several threads."""

    def load_context(self, context: Any) -> None:
        """Raises SmokeFailed when the model does not answer its reference as at registration: no server starts then.

        The model itself writes NIC_ANSWERS_LOG, so that every kind of server writes it, and once.
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
        remote = RemoteSlides.from_environment(staged) if confined else RemoteSlides.anywhere(staged)
        name, version = _registered_version(files["patient"].parents[1])
        self.model = ServedModel.load(files, cache, limits, name, version, remote)
        self.proven = "reference" in files
        if self.proven:
            self.model.check_reference(files["reference"])
        self.log = AnswersLog.from_environment() if confined else None

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Raises MlflowException: INVALID_PARAMETER_VALUE (400) with the reason, INTERNAL_ERROR (500) without one."""
        try:
            answers = self.model.answer(model_input, RequestParams(**(params or {})))
            if self.log:
                self.log.keep([{str(k): v for k, v in row.items()} for row in answers.to_dict("records")])
            return answers
        except RequestRefused as error:
            raise MlflowException.invalid_parameter_value(f"{REASON_PREFIX}{error}") from None
        except Exception as error:
            log_fault("a request failed", error)
            raise MlflowException("the server failed", error_code=INTERNAL_ERROR) from None


def _registered_version(model_folder: Path) -> tuple[str, str]:
    """Name and version, which MLflow writes into the folder of a model that comes from the registry."""
    note = model_folder / "registered_model_meta"
    if not note.is_file():
        return "unregistered", "unregistered"
    meta = yaml.safe_load(note.read_text())
    return str(meta["model_name"]), str(meta["model_version"])


mlflow.models.set_model(SlidesToAnswer())
