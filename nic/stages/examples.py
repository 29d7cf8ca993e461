"""An example request for each registered model: it is kept with the version, and needs no slide of the reader's own."""

import base64
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from PIL import Image

from nic.encoder.loading import load_encoder
from nic.serving.cache import CodesCache
from nic.serving.limits import Limits
from nic.serving.served_model import RequestParams, ServedModel
from nic.stages.companions import SLIDE
from nic.tracking.registry import REFERENCE
from nic.tracking.served_example import ServedExample

SIDE_UM = 64.0 * SLIDE.cells
"""Of the drawn reference slide."""
QUALITY = 60
"""Of the JPEG that stands for a slide: small enough to be read in a text."""


def patient_example(files: Mapping[str, Path]) -> ServedExample:
    """files: of the model by name, as they are registered: `patient`, REFERENCE, and `encoder`, `familiarity` if any.

    The request is the reference slide as an image. A model of another tool's codes, or of masks, takes files of codes
    only: its request names the reference's file, and the reader puts a file of his own there.
    """
    [row] = json.loads((files[REFERENCE] / "request.json").read_text())
    reference = files[REFERENCE] / row["slide"]
    with tempfile.TemporaryDirectory(prefix="nic-example-") as folder:
        cache = CodesCache(Path(folder), most_bytes=0)
        model = ServedModel.load(files, cache, Limits.none(), "nic", "0")
        if reference.suffix == ".tif":
            request = pd.DataFrame([{"patient": "example", **_image(reference)}])
            return ServedExample(request, model.answer(request, RequestParams()))
        answer = model.answer(pd.DataFrame([{"patient": "example", "features": str(reference)}]), RequestParams())
    return ServedExample(pd.DataFrame([{"patient": "example", "features": f"/codes/{reference.name}"}]), answer)


def _image(slide: Path) -> dict[str, str | float]:
    """The pixels of a drawn slide as a request has them."""
    pixels = tifffile.imread(slide, level=0)
    return {"image": _base64(Image.fromarray(pixels)), "mpp": SIDE_UM / pixels.shape[1]}


def tile_request(encoder: Path) -> pd.DataFrame:
    """A tile of blurred colours, of the encoder's size. encoder: its graph."""
    side = load_encoder(encoder).spec.tile_px
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    return pd.DataFrame([{"image": _base64(Image.fromarray(colours).resize((side, side)))}])


def _base64(image: Image.Image) -> str:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=QUALITY)
    return base64.b64encode(content.getvalue()).decode()
