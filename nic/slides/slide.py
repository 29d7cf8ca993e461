"""A slide: opening it, its resolution, its pixels. The only importer of openslide."""

import hashlib
import math
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from urllib.parse import urlsplit

import cv2
import numpy as np
import openslide
from numpy.typing import NDArray

from nic.errors import UnreachedSlide, UnreadableSlide
from nic.files import reason
from nic.slides.resolution import resolution

SUFFIXES = {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".dcm"}
BLOCK_PX = 2048
"""Side of the pieces in which an overview is read, so that a slide without a pyramid needs no more memory."""

OTHER_COLOUR = 30.0
"""Of 255: two levels of one slide differ by less in the mean of some hundred pixels."""


@dataclass(frozen=True)
class SlideSource:
    """What to open. mpp: um/px at level 0, where the file does not say it or says it wrong.

    uri: where it lies if not on this machine; nic.slides.staging brings it here, `path` is then its name alone.
    """

    slide_id: str
    path: Path
    mpp: float | None = None
    uri: str = ""

    @classmethod
    def elsewhere(cls, uri: str, mpp: float | None = None) -> "SlideSource":
        """The slide at an address; its id is the file's name without suffix."""
        name = PurePosixPath(urlsplit(uri).path).name
        return cls(Path(name).stem, Path(name), mpp, uri)


def is_address(place: str) -> bool:
    """Whether it names something that lies elsewhere: s3://, https://, ..."""
    return "://" in place


def find_slides(where: str | Path) -> list[SlideSource]:
    """Slides of a file, a folder or a glob, sorted by id; a folder that holds one DICOM series is one slide.

    Raises UnreadableSlide when there is none, or when two would have one id.
    """
    place = Path(where)
    if place.is_file():
        found = [(place.stem, place)]
    elif place.is_dir():
        found = list(_in_folder(place))
    else:
        matches = sorted(Path(place.anchor or ".").glob(str(place.relative_to(place.anchor))))
        found = [slide for match in matches for slide in _matched(match)]
    if not found:
        raise UnreadableSlide(f"{where}: no slides there; wanted a slide, a folder or a glob of {_suffixes()}")
    sources: dict[str, SlideSource] = {}
    for slide_id, path in sorted(found):
        if slide_id in sources:
            raise UnreadableSlide(
                f"{slide_id}: two slides have this id, {_in_its_folder(sources[slide_id].path)} and "
                f"{_in_its_folder(path)}; rename one"
            )
        sources[slide_id] = SlideSource(slide_id, path)
    return list(sources.values())


def _suffixes() -> str:
    return ", ".join(sorted(SUFFIXES))


def _in_its_folder(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _in_folder(folder: Path) -> Iterator[tuple[str, Path]]:
    """(id, path) of the slides in a folder, and of the DICOM series in the folders right below it."""
    found = [slide for path in folder.iterdir() if path.suffix.lower() != ".dcm" for slide in _matched(path)]
    yield from found
    yield from _dicom_slides(folder, sorted(folder.glob("*.dcm")), whole_folder=not found)


def _matched(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        yield from _dicom_slides(path, sorted(path.glob("*.dcm")), whole_folder=True)
    elif path.suffix.lower() in SUFFIXES:
        yield path.stem, path


def _dicom_slides(folder: Path, files: list[Path], whole_folder: bool) -> Iterator[tuple[str, Path]]:
    """A series that has its folder to itself is named by the folder, any other by its first file."""
    first_of_series: dict[bytes, Path] = {}
    for file in files:
        first_of_series.setdefault(_series(file), file)
    if whole_folder and len(first_of_series) == 1:
        yield folder.name, folder
    else:
        yield from ((path.stem, path) for path in first_of_series.values())


def _series(file: Path, header_bytes: int = 1 << 16) -> bytes:
    """SeriesInstanceUID, (0020,000E) of a DICOM header; the file's own name where there is none."""
    with file.open("rb") as content:
        _, tag, value = content.read(header_bytes).partition(b"\x20\x00\x0e\x00UI")
    return value[2 : 2 + int.from_bytes(value[:2], "little")] if tag else file.name.encode()


@dataclass(frozen=True)
class Slide:
    """An open slide; threads may share it. Sizes and bounds (x, y, width, height) in level-0 px; mpp at level 0."""

    slide_id: str
    path: Path
    mpp: float
    size_l0px: tuple[int, int]
    bounds_l0px: tuple[int, int, int, int]
    level_downsamples: tuple[float, ...]
    level_sizes_px: tuple[tuple[int, int], ...]
    fingerprint: str
    _handle: "_Handle"

    @classmethod
    def open(cls, source: SlideSource) -> "Slide":
        """Raises UnreachedSlide, UnreadableSlide, MissingResolution or ImplausibleResolution, each naming the slide."""
        handle = _Handle(source.path)
        properties, size = handle.openslide.properties, handle.openslide.dimensions
        return cls(
            source.slide_id,
            source.path,
            resolution(source.path.name, source.mpp, properties),
            size,
            _bounds(properties, size),
            tuple(handle.openslide.level_downsamples),
            tuple(handle.openslide.level_dimensions),
            _fingerprint(source.path, properties),
            handle,
        )

    def __enter__(self) -> "Slide":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.openslide.close()

    def read_region(self, x_l0px: int, y_l0px: int, level: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Pixels [height_px, width_px, 3] RGB; white where the slide has none. Raises UnreadableSlide."""
        try:
            return self._handle.read(x_l0px, y_l0px, level, width_px, height_px)
        except openslide.OpenSlideError as error:
            raise UnreadableSlide(f"{self.slide_id}: cannot decode at ({x_l0px}, {y_l0px}): {error}") from error

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """The whole slide, its longer side at most `max_px`: [h, w, 3] RGB, black where it cannot be decoded."""
        return self.overview(max_px)[0]

    def overview(self, max_px: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """A thumbnail, and which of its pixels [h, w] cannot be decoded."""
        scale = max(1.0, max(self.size_l0px) / max_px)
        fitting = (i for i, d in enumerate(self.level_downsamples) if i > 0 and d <= scale * 1.01)
        level = next((i for i in sorted(fitting, reverse=True) if self._shows_level_0(i)), 0)
        block = max(1, int(BLOCK_PX * self.level_downsamples[level] / scale))
        width, height = (math.ceil(side / scale) for side in self.size_l0px)
        rgb, unreadable = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), bool)
        for y in range(0, height, block):
            for x in range(0, width, block):
                window = np.s_[y : min(y + block, height), x : min(x + block, width)]
                self._paint(rgb[window], unreadable[window], x * scale, y * scale, level, scale)
        return rgb, unreadable

    def _shows_level_0(self, level: int, side_px: int = 16) -> bool:
        """Whether a level has level 0's colours at nine places: there are files whose lower levels are spoilt."""
        side_l0px = round(side_px * self.level_downsamples[level])
        for x in (self.size_l0px[0] * i // 4 for i in (1, 2, 3)):
            for y in (self.size_l0px[1] * i // 4 for i in (1, 2, 3)):
                try:
                    coarse = self.read_region(x, y, level, side_px, side_px).mean((0, 1))
                except UnreadableSlide:
                    return False
                try:
                    fine = self.read_region(x, y, 0, side_l0px, side_l0px).mean((0, 1))
                except UnreadableSlide:
                    continue
                if np.abs(coarse - fine).max() > OTHER_COLOUR:
                    return False
        return True

    def _paint(
        self, rgb: NDArray[np.uint8], unreadable: NDArray[np.bool_], x: float, y: float, level: int, scale: float
    ) -> None:
        """Fill views of an overview that begin at (x, y) l0px; where decoding fails, quarter by quarter."""
        height, width = unreadable.shape
        ratio = scale / self.level_downsamples[level]
        size_px = max(1, round(width * ratio)), max(1, round(height * ratio))
        try:
            source = self.read_region(round(x), round(y), level, *size_px)
            rgb[:] = cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA)
        except UnreadableSlide:
            if max(size_px) <= BLOCK_PX / 16 or min(height, width) == 1:
                unreadable[:] = True
                return
            for rows in (np.s_[: height // 2], np.s_[height // 2 :]):
                for cols in (np.s_[: width // 2], np.s_[width // 2 :]):
                    start_x, start_y = x + (cols.start or 0) * scale, y + (rows.start or 0) * scale
                    self._paint(rgb[rows, cols], unreadable[rows, cols], start_x, start_y, level, scale)


class _Handle:
    """OpenSlide's handle, opened anew after an error: one bad tile would poison it for good."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.openslide = _open(path)

    def read(self, x_l0px: int, y_l0px: int, level: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Raises OpenSlideError when the place itself cannot be decoded, not when another thread's could not."""
        where = (x_l0px, y_l0px), level, (width_px, height_px)
        try:
            return _on_white(np.asarray(self.openslide.read_region(*where)))
        except openslide.OpenSlideError:
            fresh = _open(self.path)
            try:
                region = fresh.read_region(*where)
            except openslide.OpenSlideError:
                fresh = _open(self.path)
                raise
            finally:
                self.openslide = fresh  # the old one closes when the last thread lets go of it
            return _on_white(np.asarray(region))


def check_reach(path: Path) -> None:
    """Raises UnreachedSlide when the file, or a file of a slide's folder, is not there or cannot be read now."""
    try:
        series = stat.S_ISDIR(path.stat().st_mode)
        for file in [f for f in path.iterdir() if f.suffix == ".dcm"] if series else [path]:
            if not stat.S_ISREG((status := file.stat()).st_mode):  # a pipe would wait for ever
                continue
            with file.open("rb") as content:
                content.read(1)
                content.seek(max(0, status.st_size - 1))
                content.read(1)
    except FileNotFoundError as error:
        raise UnreachedSlide(f"{path.name}: no such file") from error
    except OSError as error:
        raise UnreachedSlide(f"{path.name}: cannot be read now: {reason(error)}") from error


def _open(path: Path) -> openslide.OpenSlide:
    name = path.name
    check_reach(path)
    if path.is_dir():
        path = min(path.glob("*.dcm"), default=path)
    if path.stat().st_size == 0:
        raise UnreadableSlide(f"{name}: the file is empty")
    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise UnreadableSlide(f"{name}: not a slide that OpenSlide knows") from error
    except openslide.OpenSlideError as error:
        reason = str(error).replace(f"{path.parent}/", "")
        raise UnreadableSlide(f"{name}: cannot be opened, perhaps truncated: {reason}") from error


def _bounds(properties: Mapping[str, str], size: tuple[int, int]) -> tuple[int, int, int, int]:
    x = int(properties.get(openslide.PROPERTY_NAME_BOUNDS_X, 0))
    y = int(properties.get(openslide.PROPERTY_NAME_BOUNDS_Y, 0))
    width = int(properties.get(openslide.PROPERTY_NAME_BOUNDS_WIDTH, size[0] - x))
    height = int(properties.get(openslide.PROPERTY_NAME_BOUNDS_HEIGHT, size[1] - y))
    return x, y, width, height


def _fingerprint(path: Path, properties: Mapping[str, str], edge_bytes: int = 1 << 20) -> str:
    """Digest of OpenSlide's hash, and of size and both ends of each file: the same for copies, fast for gigabytes."""
    total = hashlib.sha256(properties.get(openslide.PROPERTY_NAME_QUICKHASH1, "").encode())
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
