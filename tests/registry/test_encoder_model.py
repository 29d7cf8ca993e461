"""The registered encoder, asked by hand: tiles to codes, and what is no tile is refused by its row."""

import base64
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from served_files import write_plain_graphs

from registry.encoder_model import EncoderModel


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EncoderModel:
    folder: Path = tmp_path_factory.mktemp("encoder")
    write_plain_graphs(folder)
    model = EncoderModel()
    model.load_context(SimpleNamespace(artifacts={"encoder": str(folder / "encoder.onnx")}))
    return model


def png(height: int, width: int, value: int) -> str:
    return base64.b64encode(cv2.imencode(".png", np.full((height, width, 3), value, np.uint8))[1].tobytes()).decode()


def test_a_tile_is_answered_with_its_code(model: EncoderModel) -> None:
    answer = model.predict(None, pd.DataFrame({"image": [png(64, 64, 51), png(64, 64, 255)]}))
    assert [json.loads(code) for code in answer["code"]] == [pytest.approx([0.2] * 4), pytest.approx([1.0] * 4)]


@pytest.mark.parametrize("image", ["jane", png(32, 64, 0), png(128, 128, 0), png(64, 65, 0)])
def test_what_is_no_tile_is_the_clients_fault_and_named_by_its_row(model: EncoderModel, image: str) -> None:
    with pytest.raises(MlflowException, match=r"row 1: .*wanted a PNG or JPEG of 64 px at 1\.0 um/px") as refused:
        model.predict(None, pd.DataFrame({"image": [png(64, 64, 51), image]}))
    assert refused.value.get_http_status_code() == 400
