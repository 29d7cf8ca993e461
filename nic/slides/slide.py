"""A slide: opening it, its resolution, its pixels. The only importer of openslide."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import openslide
from numpy.typing import NDArray

from nic.errors import ImplausibleResolution, MissingResolution, UnreadableSlide

SUFFIXES = {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".dcm"}
PLAUSIBLE_MPP = (0.05, 40.0)


@dataclass(frozen=True)
class SlideSource:
    """What to open. mpp: um/px at level 0, where the file does not say it or says it wrong."""

    slide_id: str
    path: Path
    mpp: float | None = None


def find_slides(where: str | Path) -> list[SlideSource]:
    """Slides of a file, a folder or a glob, sorted by id; a folder of .dcm files is one slide, named by the folder.

    Raises UnreadableSlide when there is none, or when two would have one id.
    """
    place = Path(where)
    if place.is_dir():
        paths = [p for p in sorted(place.iterdir()) if p.suffix.lower() in SUFFIXES or _is_dicom_folder(p)]
        paths = paths if not _is_dicom_folder(place) or any(p.is_dir() for p in paths) else [place]
    else:
        paths = sorted(_glob(place))
    if not paths:
        raise UnreadableSlide(
            f"{where}: no slides there; wanted a slide, a folder or a glob of {', '.join(sorted(SUFFIXES))}"
        )
    found: dict[str, Path] = {}
    for path in paths:
        slide_id = path.name if path.is_dir() else path.stem
        if slide_id in found:
            raise UnreadableSlide(
                f"{slide_id}: two slides have this id, {found[slide_id].name} and {path.name}; rename one"
            )
        found[slide_id] = path
    return [SlideSource(slide_id, path) for slide_id, path in found.items()]


def _glob(pattern: Path) -> Iterable[Path]:
    """A path with or without wildcards."""
    return Path(pattern.anchor or ".").glob(str(pattern.relative_to(pattern.anchor)))


def _is_dicom_folder(path: Path) -> bool:
    return path.is_dir() and any(f.suffix.lower() == ".dcm" for f in path.iterdir())


@dataclass(frozen=True)
class Slide:
    """An open slide. Sizes and bounds (x, y, width, height) in level-0 px; mpp in um/px at level 0."""

    slide_id: str
    path: Path
    mpp: float
    size_l0px: tuple[int, int]
    bounds_l0px: tuple[int, int, int, int]
    level_downsamples: tuple[float, ...]
    level_sizes_px: tuple[tuple[int, int], ...]
    fingerprint: str
    _handle: openslide.OpenSlide

    @classmethod
    def open(cls, source: SlideSource) -> "Slide":
        """Raises UnreadableSlide, MissingResolution or ImplausibleResolution, each naming the slide."""
        handle = _open(source)
        size = handle.dimensions
        return cls(
            source.slide_id,
            source.path,
            _resolution(source, handle.properties),
            size,
            _bounds(handle.properties, size),
            tuple(handle.level_downsamples),
            tuple(handle.level_dimensions),
            _fingerprint(source.path),
            handle,
        )

    def __enter__(self) -> "Slide":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()

    def read_region(self, x_l0px: int, y_l0px: int, level: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Pixels [height_px, width_px, 3] RGB; white where the slide has none. Raises UnreadableSlide."""
        try:
            region = self._handle.read_region((x_l0px, y_l0px), level, (width_px, height_px))
        except openslide.OpenSlideError as error:
            raise UnreadableSlide(f"{self.slide_id}: cannot decode at ({x_l0px}, {y_l0px}): {error}") from error
        return _on_white(np.asarray(region))

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """The whole slide, its longer side at most `max_px`: [h, w, 3] RGB."""
        return np.asarray(self._handle.get_thumbnail((max_px, max_px)).convert("RGB"))


def _open(source: SlideSource) -> openslide.OpenSlide:
    path = source.path
    if path.is_dir():
        path = min(path.glob("*.dcm"), default=path)
    name = source.path.name
    if not path.exists():
        raise UnreadableSlide(f"{name}: no such file")
    if path.stat().st_size == 0:
        raise UnreadableSlide(f"{name}: the file is empty")
    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise UnreadableSlide(f"{name}: not a slide that OpenSlide knows") from error
    except openslide.OpenSlideError as error:
        raise UnreadableSlide(f"{name}: cannot be opened, perhaps truncated: {error}") from error


def _resolution(source: SlideSource, properties: Mapping[str, str]) -> float:
    """um/px at level 0: given, or from the file."""
    if source.mpp is not None:
        return source.mpp
    name = source.path.name
    stated = [properties.get(openslide.PROPERTY_NAME_MPP_X), properties.get(openslide.PROPERTY_NAME_MPP_Y)]
    if None in stated:
        raise MissingResolution(f"{name}: no resolution in the file; pass mpp=, or an mpp column in the cohort's table")
    mpp_x, mpp_y = (float(value) for value in stated if value is not None)
    low, high = PLAUSIBLE_MPP
    if not low <= mpp_x <= high or abs(mpp_x - mpp_y) > 0.01 * mpp_x:
        raise ImplausibleResolution(
            f"{name}: {mpp_x} x {mpp_y} um/px, wanted square pixels of {low} to {high}; if it is wrong, pass mpp="
        )
    return (mpp_x + mpp_y) / 2


def _bounds(properties: Mapping[str, str], size: tuple[int, int]) -> tuple[int, int, int, int]:
    x = int(properties.get(openslide.PROPERTY_NAME_BOUNDS_X, 0))
    y = int(properties.get(openslide.PROPERTY_NAME_BOUNDS_Y, 0))
    width = int(properties.get(openslide.PROPERTY_NAME_BOUNDS_WIDTH, size[0] - x))
    height = int(properties.get(openslide.PROPERTY_NAME_BOUNDS_HEIGHT, size[1] - y))
    return x, y, width, height


def _fingerprint(path: Path, edge_bytes: int = 1 << 20) -> str:
    """Digest of a slide's size and of both ends of its files: the same for copies, and fast for gigabytes."""
    total = hashlib.sha256()
    for file in sorted(path.glob("*.dcm")) if path.is_dir() else [path]:
        size = file.stat().st_size
        total.update(str(size).encode())
        with file.open("rb") as content:
            total.update(content.read(edge_bytes))
            content.seek(max(0, size - edge_bytes))
            total.update(content.read(edge_bytes))
    return total.hexdigest()


def _on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Drop alpha; where a slide has no pixels there is glass."""
    rgb = np.ascontiguousarray(rgba[..., :3])
    rgb[rgba[..., 3] == 0] = 255
    return rgb
