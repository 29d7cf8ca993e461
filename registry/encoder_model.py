"""The registered encoder: from rows with `image` (a tile, PNG or JPEG, base64) to `code` (a JSON list of D numbers)."""

import json
import os
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel

from nic.encoder.loading import load_encoder
from nic.errors import NicError
from nic.serving.codes import decoded
from nic.serving.limits import device_from


class EncoderModel(PythonModel):
    """Answers with the codes of single tiles, to try an encoder by hand. The entry point `compress` encodes slides."""

    def load_context(self, context: Any) -> None:
        self.encoder = load_encoder(Path(context.artifacts["encoder"]), device=device_from(os.environ))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        tiles = np.stack([self._tile(row, text) for row, text in enumerate(model_input["image"])])
        return pd.DataFrame({"code": [json.dumps(code.tolist()) for code in self.encoder.encode(tiles)]})

    def _tile(self, row: int, text: str) -> np.ndarray:
        spec = self.encoder.spec
        try:
            image = decoded(text, spec.tile_px**2)
            fault = "" if image.shape[:2] == (spec.tile_px,) * 2 else f"{image.shape[1]} x {image.shape[0]} px"
        except NicError as error:
            fault = str(error)
        if fault:
            raise MlflowException(
                f"row {row}: {fault}; wanted a PNG or JPEG of {spec.tile_px} px at {spec.tile_mpp} um/px in base64",
                error_code=INVALID_PARAMETER_VALUE,
            )
        return image


mlflow.models.set_model(EncoderModel())
