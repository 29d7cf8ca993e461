"""Tiles from image files: whole images, or points and boxes in larger ones."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.errors import TaskError, UnreadableTile
from nic.tasks.field import TooSmall, cut_field, read_image
from nic.tasks.source import PART_TILES, Cut, Field, Part, Pixels
from nic.threads import done_ahead


@dataclass(frozen=True, eq=False)
class ImageTiles:
    """Tiles of image files, those of one file beside one another.

    paths, names, labels, groups, mpps: [N]. boxes: float [N, 4] (x, y, w, h) in px of the image, a point having no
    width and height; None for whole images. context: whether a tile may show what lies around its box.
    """

    paths: Sequence[Path]
    names: Sequence[str]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    mpps: NDArray[np.float64]
    too_small: TooSmall
    boxes: NDArray[np.float64] | None = None
    context: bool = True

    @cached_property
    def digest(self) -> str:
        """Of each image's bytes, and of all that is known of the tiles."""
        total = hashlib.sha256(f"{self.too_small} {self.context}".encode())
        for values in (self.labels, self.mpps, self.boxes):
            total.update(b"" if values is None else values.tobytes())
        total.update("\n".join([*self.names, *self.groups]).encode())
        paths = [path for path, _ in groupby(self.paths)]
        for content in done_ahead(file_digest, paths):
            total.update(content)
        return total.hexdigest()

    @property
    def origins(self) -> frozenset[str]:
        return frozenset(self.groups.tolist())

    def parts(self, field: Field) -> Iterator[Part]:
        for first in range(0, len(self.paths), PART_TILES):
            span = range(first, min(first + PART_TILES, len(self.paths)))
            stretch = slice(span.start, span.stop)
            cut = partial(self._cut, span, field)
            yield Part(self.names[stretch], self.labels[stretch], self.groups[stretch], cut)

    def _cut(self, members: range, field: Field) -> Iterator[Cut]:
        for path, tiles in groupby(members, key=self.paths.__getitem__):
            yield from self._cut_image(path, list(tiles), field)

    def _cut_image(self, path: Path, members: Sequence[int], field: Field) -> Iterator[Cut]:
        try:
            image = read_image(path)
        except UnreadableTile as error:
            yield from [error] * len(members)
            return
        for i in members:
            yield self._tile(image, i, field)

    def _tile(self, image: Pixels, i: int, field: Field) -> Pixels | None:
        centre = image.shape[1] / 2, image.shape[0] / 2
        if self.boxes is not None:
            image, centre = self._placed(image, self.boxes[i], self.names[i])
        return cut_field(image, centre, self.mpps[i], field, self.too_small, self.names[i])

    def _placed(self, image: Pixels, box: NDArray[np.float64], name: str) -> tuple[Pixels, tuple[float, float]]:
        """What the tile may show of the image, and its centre there. Raises TaskError for a centre outside of it."""
        x, y, w, h = box
        height, width = image.shape[:2]
        centre = x + w / 2, y + h / 2
        if not (0 <= centre[0] < width and 0 <= centre[1] < height):
            raise TaskError(f"{name}: ({centre[0]:g}, {centre[1]:g}) is outside of an image of {width} x {height} px")
        if self.context:
            return image, centre
        left, top = max(0, round(x)), max(0, round(y))
        return image[top : round(y + h), left : round(x + w)], (centre[0] - left, centre[1] - top)


def file_digest(path: Path) -> bytes:
    """Of a file's bytes, without holding them all."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()
