"""Image files of any kind as the pixels of a slide: 8-bit RGB, white where nothing was scanned."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIXTEEN_TO_EIGHT = 257
"""65535 / 255: the whole range of 16 bits is that of 8."""
TWELVE_BITS = 4096
PLAIN, WITH_ALPHA = ("1", "L", "P", "RGB", "YCbCr"), ("LA", "La", "PA", "RGBA", "RGBa")


def plain_rgb(image: Image.Image, content: bytes) -> NDArray[np.uint8]:
    """An opened image as [h, w, 3] RGB of 8 bits. content: the bytes of its file, for pixels of 16 bits.

    Transparent pixels become white, as glass is; 16 bits are scaled by 1/257. An orientation in the metadata is not
    applied: tiles are pixels as they are stored.
    Raises ValueError naming the kind of pixels whose white is not known: floats, 32 bits, CMYK, LAB, and 16 bits that
    may be 12; and whatever Pillow raises for a damaged file.
    """
    stored = getattr(image, "tile", ())  # how the file stores its pixels, which the mode does not always tell
    if image.mode.startswith("I;16") or (stored and ";16" in str(stored[0][3])):
        image.load()  # raises if the file is cut short
        return _of_sixteen_bits(content)
    if image.mode not in (*PLAIN, *WITH_ALPHA):
        raise ValueError(f"pixels are {_kind(image.mode)}, wanted 8-bit RGB; save it as that")
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        return _on_white(image)
    return np.asarray(image.convert("RGB"))


def _kind(mode: str) -> str:
    return {"F": "floats", "I": "32-bit numbers"}.get(mode, mode)


def _on_white(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "La":
        image = image.convert("LA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return np.asarray(white.convert("RGB"))


def _of_sixteen_bits(content: bytes) -> NDArray[np.uint8]:
    """Decoded by OpenCV, because Pillow keeps only the upper 8 bits of colours."""
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise ValueError("pixels of 16 bits that cannot be decoded; save it as 8-bit RGB")
    colours = np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values[..., 2::-1]
    if colours.max() < TWELVE_BITS:
        raise ValueError(f"pixels of 16 bits, none above {colours.max()}: perhaps of 12 bits; save it as 8-bit RGB")
    bright = colours / SIXTEEN_TO_EIGHT
    if values.ndim == 3 and values.shape[2] == 4:
        opaque = values[..., 3:] / 65535
        bright = bright * opaque + 255 * (1 - opaque)
    return np.asarray(bright.round(), np.uint8)
