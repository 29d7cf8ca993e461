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
from nic.serving.limits import Budget, Limits
from nic.serving.memory import Footprint, Memory
from nic.serving.remote_slides import RemoteSlides
from nic.serving.requests import RowSource
from nic.serving.roots import Roots, path_of
from nic.serving.row_reader import RowReader
from nic.serving.untrusted_codes import check_numbers
from nic.slides.plain_rgb import plain_rgb
from nic.slides.slide import SlideSource, is_address

Read = Callable[[Path], CompressedSlide]
REGION_FORMATS = ("PNG", "JPEG")
LONGEST_NAME = 255


class RowCodes:
    """Reads or makes the codes of rows; threads may share it.

    elsewhere: None when no address is opened.
    """

    def __init__(
        self, reading: RowReader, cache: CodesCache, limits: Limits, elsewhere: RemoteSlides | None = None
    ) -> None:
        self.reading, self.cache, self.limits, self.elsewhere = reading, cache, limits, elsewhere
        self.memory = Memory(limits.memory_bytes)

    @contextmanager
    def of(self, source: RowSource, label: str, budget: Budget) -> Iterator[CompressedSlide]:
        """Codes of a row, under the name `label`; the memory to answer from them is the caller's while the context
        lasts. Raises NicError, whose message names neither file nor folder."""
        with ExitStack() as held:
            with _named(source.content, label):
                budget.check_time()
                if source.fault:
                    raise RequestRefused(source.fault)
                read = partial(self._loaded, held, budget)
                match source.kind:
                    case "features":
                        slide = self._from_file(source, label, budget, read)
                    case "image":
                        slide = self._from_image(source, budget, read)
                    case "slide" if self.elsewhere and is_address(source.content):
                        slide = self._from_elsewhere(self.elsewhere, source, label, budget, read)
                    case "slide":
                        place = SlideSource(label, path_of(source.content), source.mpp)
                        slide = self._from_slide(place, self.limits.roots, budget, read)
            yield replace(slide, slide_id=label)

    def _loaded(self, held: ExitStack, budget: Budget, file: Path) -> CompressedSlide:
        """A file that `reading` left or looked at, once there is memory for it."""
        try:
            with h5py.File(file, "r", locking=False) as content:
                footprint = Footprint.of(content)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise CodesError(f"{file.name}: not a compressed slide of nic; compress the slide again") from error
        if footprint.codes > budget.tiles:
            raise OverLimit(f"{footprint.codes} tiles of tissue, wanted at most {budget.tiles}")
        with ExitStack() as taken:
            taken.enter_context(self.memory.held(footprint, budget.deadline_s))
            slide = CompressedSlide.load(file)
            check_numbers(slide)
            held.push(taken.pop_all())
        return slide

    def _from_file(self, source: RowSource, label: str, budget: Budget, read: Read) -> CompressedSlide:
        place = SlideSource(label, path_of(source.content), source.mpp)
        with tempfile.TemporaryDirectory(prefix="nic-features-") as folder:
            into = Path(folder) / "codes.h5"
            return read(self.reading.features(place, self.limits.roots, self._soon(budget), into))

    def _from_image(self, source: RowSource, budget: Budget, read: Read) -> CompressedSlide:
        """An image is a slide of one level: the same pixels give the same answer, whichever way they come."""
        pixels = decoded(source.content, self.limits.region_px)
        with tempfile.TemporaryDirectory(prefix="nic-image-") as folder:
            path = Path(folder).resolve() / "image.tif"
            tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), metadata=None)
            content = f"{pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}"
            return self._from_slide(SlideSource("image", path, source.mpp), (path.parent,), budget, read, content)

    def _from_slide(
        self, source: SlideSource, roots: Roots, budget: Budget, read: Read, content: str = ""
    ) -> CompressedSlide:
        """content: digest of all pixels, where it is known; else the slide's fingerprint."""
        maker = self._maker()
        fingerprint = self._looked(source, roots, budget)
        pixels = f"{content or fingerprint} {source.mpp} {maker}"
        return self._kept(pixels, partial(self.reading.compress, source, roots, budget), budget, read)

    def _from_elsewhere(
        self, elsewhere: RemoteSlides, source: RowSource, label: str, budget: Budget, read: Read
    ) -> CompressedSlide:
        """A slide of whose version codes are kept is not brought here."""
        maker = self._maker()
        slide = elsewhere.source(source.content, label, source.mpp)
        told = elsewhere.told(slide, budget.deadline_s)

        def make(into: Path) -> None:
            with elsewhere.local(slide, told, budget.deadline_s) as local:
                roots = (local.path.resolve().parent,)
                self._looked(local, roots, budget)
                self.reading.compress(local, roots, budget, into)

        with _named(slide.path.name, label):
            return self._kept(f"{slide.uri} {told.version} {slide.mpp} {maker}", make, budget, read)

    def _maker(self) -> str:
        """What codes of pixels are made by. Raises ForeignCodes where none can be."""
        return f"{self.reading.spec.sha256} {self.reading.cutting}"

    def _looked(self, source: SlideSource, roots: Roots, budget: Budget) -> str:
        """What its codes are made of."""
        look = self.reading.look(source, roots, self._soon(budget).deadline_s)
        if look.px > self.limits.slide_px:
            raise OverLimit(f"{look.px} px, wanted at most {self.limits.slide_px}")
        return look.made_of

    def _soon(self, budget: Budget) -> Budget:
        """For what takes a share that answers a moment."""
        return replace(budget, deadline_s=min(budget.deadline_s, time.monotonic() + self.limits.look_seconds))

    def _kept(self, made_of: str, make: Callable[[Path], None], budget: Budget, read: Read) -> CompressedSlide:
        """made_of: equal for the same pixels at the same um/px, by the same maker."""
        return self.cache.take(hashlib.sha256(made_of.encode()).hexdigest(), make, read, budget.left_s)


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
