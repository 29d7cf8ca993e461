"""The codes of a row, which names a slide, an image or a file of codes. Each slide is compressed once."""

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
from nic.slides.source import SlideSource, is_address

Load = Callable[[Path], CompressedSlide]
REGION_FORMATS = ("PNG", "JPEG")
LONGEST_NAME = 255


class RowCodes:
    """Reads or makes the codes of rows; threads may share it. remote: None where no address may be opened."""

    def __init__(
        self, reader: RowReader, cache: CodesCache, limits: Limits, remote: RemoteSlides | None = None
    ) -> None:
        self.reader, self.cache, self.limits, self.remote = reader, cache, limits, remote
        self.memory = Memory(limits.memory_bytes)

    @contextmanager
    def of(self, row: RowSource, label: str, budget: Budget) -> Iterator[CompressedSlide]:
        """The codes of a row, under the name `label`. While the context lasts, the memory to answer from them is kept.

        Raises NicError, whose message names neither file nor folder.
        """
        with ExitStack() as stack:
            with _labelled(row.content, label):
                budget.check_time()
                if row.fault:
                    raise RequestRefused(row.fault)
                load = partial(self._load, stack, budget)
                match row.kind:
                    case "features":
                        slide = self._from_file(row, label, budget, load)
                    case "image":
                        slide = self._from_image(row, budget, load)
                    case "slide" if self.remote and is_address(row.content):
                        slide = self._from_address(self.remote, row, label, budget, load)
                    case "slide":
                        source = SlideSource(label, path_of(row.content), row.mpp)
                        slide = self._from_slide(source, self.limits.roots, budget, load)
            yield replace(slide, slide_id=label)

    def _load(self, stack: ExitStack, budget: Budget, file: Path) -> CompressedSlide:
        """Load a file that is checked, once there is memory for it; `stack` keeps the memory."""
        try:
            with h5py.File(file, "r", locking=False) as content:
                footprint = Footprint.of(content)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise CodesError(f"{file.name}: not a compressed slide of nic; compress the slide again") from error
        if footprint.codes > budget.tiles:
            raise OverLimit(f"{footprint.codes} tiles of tissue, wanted at most {budget.tiles}")
        with ExitStack() as memory:
            memory.enter_context(self.memory.reserve(footprint, budget.deadline_s))
            slide = CompressedSlide.load(file)
            check_numbers(slide)
            stack.push(memory.pop_all())
        return slide

    def _from_file(self, row: RowSource, label: str, budget: Budget, load: Load) -> CompressedSlide:
        source = SlideSource(label, path_of(row.content), row.mpp)
        with tempfile.TemporaryDirectory(prefix="nic-features-") as folder:
            copy = Path(folder) / "codes.h5"
            return load(self.reader.features(source, self.limits.roots, self._to_open(budget), copy))

    def _from_image(self, row: RowSource, budget: Budget, load: Load) -> CompressedSlide:
        """An image is read as a slide of one level: the same pixels give the same answer, sent or on disk."""
        pixels = decoded(row.content, self.limits.region_px)
        with tempfile.TemporaryDirectory(prefix="nic-image-") as folder:
            path = Path(folder).resolve() / "image.tif"
            tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), metadata=None)
            content = f"{pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}"
            return self._from_slide(SlideSource("image", path, row.mpp), (path.parent,), budget, load, content)

    def _from_slide(
        self, source: SlideSource, roots: Roots, budget: Budget, load: Load, content: str = ""
    ) -> CompressedSlide:
        """content: digest of all pixels, where it is known; else the slide's fingerprint stands for them."""
        recipe = self._recipe()
        fingerprint = self._fingerprint(source, roots, budget)
        key = f"{content or fingerprint} {source.mpp} {recipe}"
        return self._cached(key, partial(self.reader.compress, source, roots, budget), budget, load)

    def _from_address(
        self, remote: RemoteSlides, row: RowSource, label: str, budget: Budget, load: Load
    ) -> CompressedSlide:
        """A slide is not fetched if the cache has the codes of its version."""
        recipe = self._recipe()
        source = remote.source(row.content, label, row.mpp)
        file = remote.stat(source, budget.deadline_s)

        def make(into: Path) -> None:
            with remote.lease(source, file, budget.deadline_s) as local:
                roots = (local.path.resolve().parent,)
                self._fingerprint(local, roots, budget)
                self.reader.compress(local, roots, budget, into)

        with _labelled(source.path.name, label):
            return self._cached(f"{source.uri} {file.version} {source.mpp} {recipe}", make, budget, load)

    def _recipe(self) -> str:
        """Encoder and tiling, on which codes depend beside the pixels. Raises ForeignCodes without an encoder."""
        return f"{self.reader.spec.sha256} {self.reader.tiling}"

    def _fingerprint(self, source: SlideSource, roots: Roots, budget: Budget) -> str:
        """Raises OverLimit when the slide is too large."""
        header = self.reader.header(source, roots, self._to_open(budget).deadline_s)
        if header.px > self.limits.slide_px:
            raise OverLimit(f"{header.px} px, wanted at most {self.limits.slide_px}")
        return header.content

    def _to_open(self, budget: Budget) -> Budget:
        """The budget for opening a file, which takes a moment unless a share does not answer."""
        return replace(budget, deadline_s=min(budget.deadline_s, time.monotonic() + self.limits.look_seconds))

    def _cached(self, key: str, make: Callable[[Path], None], budget: Budget, load: Load) -> CompressedSlide:
        """key: equal for the same pixels at the same um/px by the same recipe."""
        return self.cache.take(hashlib.sha256(key.encode()).hexdigest(), make, load, budget.left_s)


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
        raise UnreadableSlide(f"not base64 of an image; wanted a {' or '.join(REGION_FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableSlide("the image cannot be decoded, perhaps truncated") from error


@contextmanager
def _labelled(content: str, label: str) -> Iterator[None]:
    """Messages name the row's label in place of its file, which often bears a patient's name, and a remedy for rows."""
    try:
        yield
    except MissingResolution:
        raise MissingResolution(f"{label}: no resolution in the file; give its um/px as mpp in the row") from None
    except NicError as error:
        name = Path(content[-LONGEST_NAME:]).name
        message = str(error).replace(name, label) if name else str(error)
        message = message.replace("pass the true one as mpp=", "give the true one as mpp in the row")
        raise type(error)(message if label in message else f"{label}: {message}") from None
