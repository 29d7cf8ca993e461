"""A made region with a known answer: a model that does not give it when it is loaded is not served."""

import base64
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from nic.encoder.spec import EncoderSpec
from nic.errors import SmokeFailed
from nic.serving.served_model import ServedModel, Wishes

TILES, MARGIN_TILES = 3, 1
TOLERANCE = 1e-3
"""Of the answer, or of 1 where it is smaller: another processor or a GPU rounds otherwise, a wrong graph is far off."""


def smoke_row(spec: EncoderSpec) -> pd.DataFrame:
    """Grainy pink and purple on glass as one row of a request: the same bytes wherever it is made."""
    rng = np.random.default_rng(0)
    side = math.ceil(TILES * spec.tile_um / spec.read_mpp)
    glass = math.ceil(MARGIN_TILES * spec.tile_um / spec.read_mpp)
    shade = np.kron(rng.integers(0, 2, (-(-side // 16), -(-side // 16))), np.ones((16, 16), int))[:side, :side, None]
    pixels = np.where(shade, [225, 150, 190], [120, 60, 150]) + rng.integers(-25, 26, (side, side, 1))
    framed = np.pad(pixels.astype(np.uint8), ((glass, glass), (glass, glass), (0, 0)), constant_values=242)
    content = base64.b64encode(cv2.imencode(".png", framed[..., ::-1])[1].tobytes()).decode()
    return pd.DataFrame({"image": [content], "mpp": [spec.read_mpp]})


def write_smoke(model: ServedModel, path: Path) -> None:
    """Note what the model answers; raises SmokeFailed when it does not."""
    path.write_text(json.dumps({"prediction": _answer(model)}))


def check_smoke(model: ServedModel, path: Path) -> None:
    """Raises SmokeFailed when the model answers otherwise than it did."""
    wanted, found = json.loads(path.read_text())["prediction"], _answer(model)
    if not abs(found - wanted) <= TOLERANCE * max(1.0, abs(wanted)):
        raise SmokeFailed(f"the smoke region's answer is {found:.6g}, at registration it was {wanted:.6g}; not served")


def _answer(model: ServedModel) -> float:
    if model.codes.encoder is None:
        raise SmokeFailed("a model without an encoder has no answer to pixels")
    [answer] = model.answer(smoke_row(model.codes.encoder.spec), Wishes()).to_dict("records")
    if answer["status"] != "ok":
        raise SmokeFailed(f"the smoke region was not answered: {answer['reason']}")
    return float(answer["prediction"])
