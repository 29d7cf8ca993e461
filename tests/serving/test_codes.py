"""An image in a request is decoded like the same image in a folder of tiles."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from nic.errors import UnreadableSlide
from nic.serving.codes import decoded


def sent(values: np.ndarray) -> str:
    content = io.BytesIO()
    Image.fromarray(values).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def test_transparent_pixels_are_white() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (8, 8, 4)).astype(np.uint8)
    rgba[:, :4, 3], rgba[:, 4:, 3] = 255, 0
    image = decoded(sent(rgba), 1000)
    np.testing.assert_array_equal(image[:, :4], rgba[:, :4, :3])
    assert (image[:, 4:] == 255).all()


def test_twelve_bits_in_sixteen_are_refused() -> None:
    with pytest.raises(UnreadableSlide):
        decoded(sent(np.full((8, 8), 4000, np.uint16)), 1000)
