"""What a row names to its codes: a slide, a file of codes, or an image, within limits and compressed once."""

import base64
import binascii
import hashlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import CodesError, MissingResolution, NicError, OverLimit, RequestRefused, UnreadableSlide
from nic.serving.cache import CodesCache
from nic.serving.codes_file import check_numbers
from nic.serving.confined import Roots, path_of
from nic.serving.effort import Effort
from nic.serving.elsewhere import Elsewhere
from nic.serving.limits import Limits
from nic.serving.memory import Footprint, Memory
from nic.serving.reading import RowReading
from nic.serving.requests import Source
from nic.slides.plain_rgb import plain_rgb
from nic.slides.slide import SlideSource, is_address

Read = Callable[[Path], CompressedSlide]
REGION_FORMATS = ("PNG", "JPEG")
LONGEST_NAME = 255


class Codes:
    """Reads or makes the codes of rows; threads may share it.

    elsewhere: None when no address is opened.
    """

    def __init__(
        self, reading: RowReading, cache: CodesCache, limits: Limits, elsewhere: Elsewhere | None = None
    ) -> None:
        self.reading, self.cache, self.limits, self.elsewhere = reading, cache, limits, elsewhere
        self.memory = Memory(limits.memory_bytes)

    @contextmanager
    def of(self, source: Source, label: str, effort: Effort) -> Iterator[CompressedSlide]:
        """Codes of a row, under the name `label`; the memory to answer from them is the caller's while the context
        lasts. Raises NicError, whose message names neither file nor folder."""
        with ExitStack() as held:
            with _named(source.content, label):
                effort.check_time()
                if source.fault:
                    raise RequestRefused(source.fault)
                read = partial(self._loaded, held, effort)
                match source.kind:
                    case "features":
                        slide = self._from_file(source, label, effort, read)
                    case "image":
                        slide = self._from_image(source, effort, read)
                    case "slide" if self.elsewhere and is_address(source.content):
                        slide = self._from_elsewhere(self.elsewhere, source, label, effort, read)
                    case "slide":
                        place = SlideSource(label, path_of(source.content), source.mpp)
                        slide = self._from_slide(place, self.limits.roots, effort, read)
            yield replace(slide, slide_id=label)

    def _loaded(self, held: ExitStack, effort: Effort, file: Path) -> CompressedSlide:
        """A file that `reading` left or looked at, once there is memory for it."""
        try:
            with h5py.File(file, "r", locking=False) as content:
                footprint = Footprint.of(content)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise CodesError(f"{file.name}: not a compressed slide of nic; compress the slide again") from error
        if footprint.codes > effort.tiles:
            raise OverLimit(f"{footprint.codes} tiles of tissue, wanted at most {effort.tiles}")
        with ExitStack() as taken:
            taken.enter_context(self.memory.held(footprint, effort.deadline_s))
            slide = CompressedSlide.load(file)
            check_numbers(slide)
            held.push(taken.pop_all())
        return slide

    def _from_file(self, source: Source, label: str, effort: Effort, read: Read) -> CompressedSlide:
        place = SlideSource(label, path_of(source.content), source.mpp)
        with tempfile.TemporaryDirectory(prefix="nic-features-") as folder:
            into = Path(folder) / "codes.h5"
            return read(self.reading.features(place, self.limits.roots, self._soon(effort), into))

    def _from_image(self, source: Source, effort: Effort, read: Read) -> CompressedSlide:
        """An image is a slide of one level: the same pixels give the same answer, whichever way they come."""
        pixels = decoded(source.content, self.limits.region_px)
        with tempfile.TemporaryDirectory(prefix="nic-image-") as folder:
            path = Path(folder).resolve() / "image.tif"
            tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), metadata=None)
            content = f"{pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}"
            return self._from_slide(SlideSource("image", path, source.mpp), (path.parent,), effort, read, content)

    def _from_slide(
        self, source: SlideSource, roots: Roots, effort: Effort, read: Read, content: str = ""
    ) -> CompressedSlide:
        """content: digest of all pixels, where it is known; else the slide's fingerprint."""
        maker = self._maker()
        fingerprint = self._looked(source, roots, effort)
        pixels = f"{content or fingerprint} {source.mpp} {maker}"
        return self._kept(pixels, partial(self.reading.compress, source, roots, effort), effort, read)

    def _from_elsewhere(
        self, elsewhere: Elsewhere, source: Source, label: str, effort: Effort, read: Read
    ) -> CompressedSlide:
        """A slide of whose version codes are kept is not brought here."""
        maker = self._maker()
        slide = elsewhere.source(source.content, label, source.mpp)
        told = elsewhere.told(slide, effort.deadline_s)

        def make(into: Path) -> None:
            with elsewhere.local(slide, told, effort.deadline_s) as local:
                roots = (local.path.resolve().parent,)
                self._looked(local, roots, effort)
                self.reading.compress(local, roots, effort, into)

        with _named(slide.path.name, label):
            return self._kept(f"{slide.uri} {told.version} {slide.mpp} {maker}", make, effort, read)

    def _maker(self) -> str:
        """What codes of pixels are made by. Raises ForeignCodes where none can be."""
        return f"{self.reading.spec.sha256} {self.reading.tiling}"

    def _looked(self, source: SlideSource, roots: Roots, effort: Effort) -> str:
        """What its codes are made of."""
        look = self.reading.look(source, roots, self._soon(effort).deadline_s)
        if look.px > self.limits.slide_px:
            raise OverLimit(f"{look.px} px, wanted at most {self.limits.slide_px}")
        return look.made_of

    def _soon(self, effort: Effort) -> Effort:
        """For what takes a share that answers a moment."""
        return replace(effort, deadline_s=min(effort.deadline_s, time.monotonic() + self.limits.look_seconds))

    def _kept(self, made_of: str, make: Callable[[Path], None], effort: Effort, read: Read) -> CompressedSlide:
        """made_of: equal for the same pixels at the same um/px, by the same maker."""
        return self.cache.take(hashlib.sha256(made_of.encode()).hexdigest(), make, read, effort.left_s)


def decoded(text: str, most_px: int) -> NDArray[np.uint8]:
    """Base64 of a PNG or JPEG to pixels [h, w, 3], white where it is transparent.

    Raises OverLimit before decoding, UnreadableSlide.
    """
    if len(text) > 8 * most_px:
        raise OverLimit(f"base64 of {len(text)} characters, wanted at most {8 * most_px}")
    try:
        content = base64.b64decode(text, validate=True)
        with Image.open(io.BytesIO(content), formats=REGION_FORMATS) as image:
            if image.width * image.height > most_px:
                raise OverLimit(f"image of {image.width} x {image.height} px, wanted at most {most_px} in all")
            return plain_rgb(image, content)
    except (binascii.Error, UnidentifiedImageError) as error:
        raise UnreadableSlide(f"no base64 of a {' or '.join(REGION_FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableSlide("the image cannot be decoded, perhaps truncated") from error


@contextmanager
def _named(content: str, label: str) -> Iterator[None]:
    """Messages say `label` in place of the file's name, which often is a patient's, and what a row can do about it."""
    try:
        yield
    except MissingResolution:
        raise MissingResolution(f"{label}: no resolution in the file; give its um/px as mpp in the row") from None
    except NicError as error:
        name = Path(content[-LONGEST_NAME:]).name
        message = str(error).replace(name, label) if name else str(error)
        message = message.replace("pass the true one as mpp=", "give the true one as mpp in the row")
        raise type(error)(message if label in message else f"{label}: {message}") from None
