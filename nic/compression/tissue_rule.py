"""What counts as tissue: what is stained enough, what a file outlines, or everything."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.errors import MaskError, TaskError, UnreachedSlide
from nic.slides.slide import Slide
from nic.slides.tissue import stained, tissue_mask
from nic.tasks.annotations import read_annotations

IMAGES, OUTLINES = (".png", ".tif", ".tiff", ".jpg"), (".geojson", ".json", ".xml")
GIVEN, SATURATION = "given", "saturation above "
"""How files of codes name two of the rules."""
MOST_STRETCHED = 0.02
"""How far the shape of a mask may be from its slide's: half a pixel of a mask 25 px high."""


class TissueRule(Protocol):
    """One of the rules below; a value, so that two runs can tell whether they mean the same."""

    def said(self, slide_id: str) -> str:
        """What a file of codes says of it; a slide whose file says otherwise is compressed anew. Raises MaskError."""
        ...

    def mask(self, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tissue on a thumbnail [h, w, 3] RGB of the whole slide, bool [h, w]. Raises MaskError."""
        ...


@dataclass(frozen=True)
class Otsu:
    """More saturated than Otsu's threshold."""

    def said(self, slide_id: str) -> str:
        return "otsu"

    def mask(self, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
        return tissue_mask(thumbnail)


@dataclass(frozen=True)
class Saturated:
    """More saturated than `above`, of 255."""

    above: float

    def said(self, slide_id: str) -> str:
        return f"{SATURATION}{self.above:g}"

    def mask(self, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
        return stained(thumbnail, self.above)


@dataclass(frozen=True)
class Everything:
    """The whole slide, glass too."""

    def said(self, slide_id: str) -> str:
        return "all"

    def mask(self, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
        return np.ones(thumbnail.shape[:2], bool)


@dataclass(frozen=True)
class Given:
    """A file a slide, named as the slide: an image of it, not black where tissue is, or outlines (QuPath, ASAP)."""

    folder: Path

    def said(self, slide_id: str) -> str:
        return f"{GIVEN} {hashlib.sha256(self._file(slide_id).read_bytes()).hexdigest()[:16]}"

    def mask(self, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
        file = self._file(slide.slide_id)
        found = _drawn(file, slide, thumbnail) if file.suffix in OUTLINES else _image(file, slide, thumbnail)
        if not found.any():
            raise MaskError(f"{slide.slide_id}: {file.name} marks nothing as tissue")
        return found

    def _file(self, slide_id: str) -> Path:
        files = [self.folder / f"{slide_id}{suffix}" for suffix in (*IMAGES, *OUTLINES)]
        there = [file for file in files if file.is_file()]
        if not there and not any(file.suffix in (*IMAGES, *OUTLINES) for file in self.folder.iterdir()):
            raise UnreachedSlide(f"{slide_id}: no mask of any slide in {self.folder.name}; is its share mounted?")
        if len(there) != 1:
            found = " and ".join(file.name for file in there) or "none"
            raise MaskError(f"{slide_id}: {found} in {self.folder.name}, wanted one mask {slide_id}.png or .geojson")
        return there[0]


def rule_named(text: str) -> TissueRule:
    """otsu, all, a number (the saturation of 255 that is passed), or a folder of masks. Raises MaskError."""
    if text in ("otsu", "all"):
        return Otsu() if text == "otsu" else Everything()
    if Path(text).is_dir():
        return Given(Path(text).absolute())
    try:
        above = float(text)
    except ValueError:
        above = -1.0
    if not 0 <= above < 255:
        raise MaskError(f"tissue={text}: wanted otsu, all, a saturation from 0 to 255, or a folder of masks")
    return Saturated(above)


def rule_said(text: str) -> TissueRule:
    """The rule that a file of codes names. Raises MaskError for masks, which it does not hold."""
    if text.startswith(GIVEN):
        raise MaskError("each slide had a mask of its own; compress the slide with one, and give the file of its codes")
    return rule_named(text.removeprefix(SATURATION))


def _image(file: Path, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise MaskError(f"{slide.slide_id}: {file.name} cannot be read as an image")
    height, width = image.shape[:2]
    stretched = (width / height) / (slide.size_l0px[0] / slide.size_l0px[1])
    if not 1 - MOST_STRETCHED <= stretched <= 1 + MOST_STRETCHED:
        raise MaskError(
            f"{slide.slide_id}: {file.name} is {width} x {height} px, the slide {slide.size_l0px[0]} x "
            f"{slide.size_l0px[1]}; wanted a mask of the whole slide, of the same shape"
        )
    marked = (image[..., :3].max(axis=2) if image.ndim == 3 else image) > 0
    size = thumbnail.shape[1::-1]
    return np.asarray(cv2.resize(marked.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5)


def _drawn(file: Path, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Each area by itself, so that overlapping ones add up; holes are the rings after its first."""
    try:
        areas = read_annotations(file, slide.bounds_l0px)
    except TaskError as error:
        raise MaskError(f"{slide.slide_id}: {error}") from error
    scale = np.array(thumbnail.shape[1::-1]) / slide.size_l0px
    found = np.zeros(thumbnail.shape[:2], np.uint8)
    for area in areas:
        one = np.zeros_like(found)
        cv2.fillPoly(one, [np.round(ring * scale - 0.5).astype(np.int32) for ring in area.rings], 1)
        found |= one
    return found.astype(bool)
