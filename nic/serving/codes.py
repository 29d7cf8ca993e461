"""What a row names to its codes: a slide, a file of codes, or an image, within limits and compressed once."""

import base64
import binascii
import hashlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import CodesError, ForeignCodes, NicError, OverLimit, RequestRefused, UnreadableSlide
from nic.serving.cache import CodesCache
from nic.serving.elsewhere import Elsewhere
from nic.serving.limits import Limits
from nic.serving.reading import Effort, Reading
from nic.serving.requests import Source
from nic.slides.slide import SlideSource, is_address

REGION_FORMATS = ("PNG", "JPEG")
LONGEST_NAME = 255


class Codes:
    """Reads or makes the codes of rows; threads may share it.

    reading: None when the codes are of another tool. elsewhere: None when no address is opened.
    """

    def __init__(
        self, reading: Reading | None, cache: CodesCache, limits: Limits, elsewhere: Elsewhere | None = None
    ) -> None:
        self.reading, self.cache, self.limits, self.elsewhere = reading, cache, limits, elsewhere

    def of(self, source: Source, label: str, effort: Effort) -> CompressedSlide:
        """Codes of a row, under the name `label`. Raises NicError, whose message names neither file nor folder."""
        with _named(source.content, label):
            if source.fault:
                raise RequestRefused(source.fault)
            match source.kind:
                case "features":
                    slide = self._from_file(self.limits.opened(source.content), effort.tiles)
                case "image":
                    slide = self._from_image(source, effort)
                case "slide" if self.elsewhere and is_address(source.content):
                    slide = self._from_elsewhere(self.elsewhere, source, label, effort)
                case "slide":
                    path = self.limits.opened(source.content)
                    slide = self._from_slide(SlideSource(label, path, source.mpp), effort)
            return replace(slide, slide_id=label)

    def _from_file(self, path: Path, tiles: int) -> CompressedSlide:
        if (found := CompressedSlide.count(path)) > tiles:
            raise OverLimit(f"{found} codes, wanted at most {tiles}")
        if (size := _bytes_of_arrays(path)) > self.limits.features_bytes:
            raise OverLimit(f"arrays of {size} bytes, wanted at most {self.limits.features_bytes}")
        return CompressedSlide.load(path)

    def _from_image(self, source: Source, effort: Effort) -> CompressedSlide:
        """An image is a slide of one level: the same pixels give the same answer, whichever way they come."""
        pixels = decoded(source.content, self.limits.region_px)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "image.tif"
            tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), metadata=None)
            content = f"{pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}"
            return self._from_slide(SlideSource("image", path, source.mpp), effort, content)

    def _from_slide(self, source: SlideSource, effort: Effort, content: str = "") -> CompressedSlide:
        """content: digest of all pixels, where it is known; else the slide's fingerprint."""
        reading = self._of_slides()
        fingerprint = self._looked(reading, source, effort)
        pixels = f"{content or fingerprint} {source.mpp}"
        return self._kept(reading, pixels, lambda: reading.compress(source, effort), effort)

    def _from_elsewhere(self, elsewhere: Elsewhere, source: Source, label: str, effort: Effort) -> CompressedSlide:
        """A slide of whose version codes are kept is not brought here."""
        reading, slide = self._of_slides(), elsewhere.source(source.content, label, source.mpp)
        told = elsewhere.told(slide, effort.deadline_s)

        def make() -> CompressedSlide:
            with elsewhere.local(slide, told, effort.deadline_s) as local:
                self._looked(reading, local, effort)
                return reading.compress(local, effort)

        with _named(slide.path.name, label):
            return self._kept(reading, f"{slide.uri} {told.version} {slide.mpp}", make, effort)

    def _of_slides(self) -> Reading:
        if self.reading is None:
            raise ForeignCodes("pixels, and the encoder is of another tool; give a file of its codes as features")
        return self.reading

    def _looked(self, reading: Reading, source: SlideSource, effort: Effort) -> str:
        """What its codes are made of."""
        look = reading.look(source, effort.deadline_s)
        if look.px > self.limits.slide_px:
            raise OverLimit(f"{look.px} px, wanted at most {self.limits.slide_px}")
        return look.made_of

    def _kept(
        self, reading: Reading, pixels: str, make: Callable[[], CompressedSlide], effort: Effort
    ) -> CompressedSlide:
        """pixels: equal for the same ones at the same um/px."""
        key = hashlib.sha256(f"{pixels} {reading.spec.sha256} {reading.cutting}".encode()).hexdigest()
        patience_s = max(0.0, effort.deadline_s - time.monotonic())
        found = self.cache.take(key, make, patience_s)
        if len(found.codes) > effort.tiles:
            raise OverLimit(f"{len(found.codes)} tiles of tissue, wanted at most {effort.tiles}")
        return found


def decoded(text: str, most_px: int) -> NDArray[np.uint8]:
    """Base64 of a PNG or JPEG to pixels [h, w, 3]. Raises OverLimit before decoding, UnreadableSlide."""
    if len(text) > 8 * most_px:
        raise OverLimit(f"base64 of {len(text)} characters, wanted at most {8 * most_px}")
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=REGION_FORMATS) as image:
            if image.width * image.height > most_px:
                raise OverLimit(f"image of {image.width} x {image.height} px, wanted at most {most_px} in all")
            return np.asarray(image.convert("RGB"))
    except (binascii.Error, UnidentifiedImageError) as error:
        raise UnreadableSlide(f"no base64 of a {' or '.join(REGION_FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableSlide("the image cannot be decoded, perhaps truncated") from error


def _bytes_of_arrays(path: Path) -> int:
    """What the arrays of a file take in memory, as it declares them; a small file may declare terabytes."""
    sizes: list[int] = []
    try:
        with h5py.File(path, locking=False) as file:
            file.visititems(lambda _, found: sizes.append(found.nbytes) if isinstance(found, h5py.Dataset) else None)
    except (OSError, RuntimeError) as error:
        raise CodesError(f"{path.name}: not a compressed slide of nic; compress the slide again") from error
    return sum(sizes)


@contextmanager
def _named(content: str, label: str) -> Iterator[None]:
    """Messages say `label` in place of the file's name, which often is a patient's."""
    try:
        yield
    except NicError as error:
        name = Path(content[-LONGEST_NAME:]).name
        message = str(error).replace(name, label) if name else str(error)
        raise type(error)(message if label in message else f"{label}: {message}") from None
