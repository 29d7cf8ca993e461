"""What counts as tissue: what is stained enough, the mask of each slide, or everything."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.errors import MaskError, NoTissue, TaskError, UnreachedSlide
from nic.slides.slide import Slide
from nic.slides.tissue import is_grey, stained, tissue_mask
from nic.tasks.annotations import read_annotations

IMAGES, OUTLINES = (".png", ".tif", ".tiff", ".jpg"), (".geojson", ".json", ".xml")
MOST_STRETCHED = 0.02
"""How far the shape of a mask may be from its slide's: half a pixel of a mask 25 px high."""


@dataclass(frozen=True)
class Otsu:
    """More saturated than Otsu's threshold."""

    rule: Literal["otsu"] = field(default="otsu", init=False)

    def mask(self, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tissue on a thumbnail [h, w, 3] RGB of the whole slide, bool [h, w]. Raises NoTissue."""
        return _coloured(slide, thumbnail, tissue_mask(thumbnail))

    def __str__(self) -> str:
        return self.rule


@dataclass(frozen=True)
class Saturated:
    """More saturated than `above`, of 255."""

    above: float
    rule: Literal["saturation"] = field(default="saturation", init=False)

    def mask(self, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """As Otsu's."""
        return _coloured(slide, thumbnail, stained(thumbnail, self.above))

    def __str__(self) -> str:
        return f"saturation above {self.above:g}"


@dataclass(frozen=True)
class Everything:
    """The whole slide, glass too."""

    rule: Literal["all"] = field(default="all", init=False)

    def mask(self, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """As Otsu's."""
        return np.ones(thumbnail.shape[:2], bool)

    def __str__(self) -> str:
        return self.rule


@dataclass(frozen=True)
class OwnMask:
    """Each slide has a mask of its own: a file of a MaskFolder, or the tiles that another tool cut."""

    rule: Literal["given"] = field(default="given", init=False)

    def mask(self, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Raises MaskError: MaskFolder.mask finds this tissue."""
        raise MaskError(f"{slide.slide_id}: {NO_MASKS}")

    def __str__(self) -> str:
        return self.rule


TissueRule = Otsu | Saturated | Everything | OwnMask
WORDS: Mapping[str, TissueRule] = {"otsu": Otsu(), "all": Everything(), "given": OwnMask()}
NO_MASKS = "each slide had a mask of its own; compress the slide with one, and give the file of its codes"


@dataclass(frozen=True)
class Mask:
    """The mask of one slide. sha256: the first 16 digits of its file's. from_bounds: see MaskFolder."""

    sha256: str
    from_bounds: bool = True


@dataclass(frozen=True)
class MaskFolder:
    """A file a slide, named as the slide: an image of it, not black where tissue is, or outlines (QuPath, ASAP).

    from_bounds: whether GeoJSON counts from the corner of the slide's bounds, as QuPath does, or from the slide's own.
    """

    folder: Path
    from_bounds: bool = True

    def digest(self, slide_id: str) -> Mask:
        """Raises MaskError unless the slide has one file, UnreachedSlide when no slide has any."""
        return Mask(hashlib.sha256(self._file(slide_id).read_bytes()).hexdigest()[:16], self.from_bounds)

    def mask(self, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tissue on a thumbnail [h, w, 3] RGB of the whole slide, bool [h, w]. Raises as `digest`, and MaskError."""
        file = self._file(slide.slide_id)
        if file.suffix in OUTLINES:
            tissue = _drawn(file, slide, thumbnail, self.from_bounds)
        else:
            tissue = _image(file, slide, thumbnail)
        if not tissue.any():
            raise MaskError(f"{slide.slide_id}: {file.name} marks nothing as tissue")
        return tissue

    def _file(self, slide_id: str) -> Path:
        candidates = [self.folder / f"{slide_id}{suffix}" for suffix in (*IMAGES, *OUTLINES)]
        files = [file for file in candidates if file.is_file()]
        if not files and not any(file.suffix in (*IMAGES, *OUTLINES) for file in self.folder.iterdir()):
            raise UnreachedSlide(f"{slide_id}: no mask of any slide in {self.folder.name}; is its share mounted?")
        if len(files) != 1:
            names = " and ".join(file.name for file in files) or "none"
            raise MaskError(f"{slide_id}: {names} in {self.folder.name}, wanted one mask {slide_id}.png or .geojson")
        return files[0]


def tissue_named(text: str, mask_bounds: bool = True) -> tuple[TissueRule, MaskFolder | None]:
    """The rule of a command line, and its masks: otsu, all, a saturation of 255 that is passed, or a folder of masks.

    mask_bounds: whether GeoJSON masks count from the slide's bounds. Raises MaskError.
    """
    if text in ("otsu", "all"):
        return WORDS[text], None
    if Path(text).is_dir():
        return OwnMask(), MaskFolder(Path(text).absolute(), mask_bounds)
    try:
        above = float(text)
    except ValueError:
        above = -1.0
    if not 0 <= above < 255:
        raise MaskError(f"tissue={text}: wanted otsu, all, a saturation from 0 to 255, or a folder of masks")
    return Saturated(above), None


def tissue_from(fields: Mapping[str, Any]) -> TissueRule:
    """What `dataclasses.asdict` made of a rule, also after JSON. Raises KeyError, TypeError."""
    values = dict(fields)
    rule = values.pop("rule")
    return Saturated(**values) if rule == "saturation" else WORDS[rule]


def _coloured(slide: Slide, thumbnail: NDArray[np.uint8], tissue: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The tissue. Raises NoTissue where there is none because the slide has no colour by which to find it."""
    if not tissue.any() and is_grey(thumbnail):
        raise NoTissue(
            f"{slide.slide_id}: its picture has no colour, and tissue is found by its stain. The slide is glass "
            "alone, or grey as in fluorescence; for a grey one pass tissue=all, or tissue=FOLDER of masks"
        )
    return tissue


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


def _drawn(file: Path, slide: Slide, thumbnail: NDArray[np.uint8], from_bounds: bool) -> NDArray[np.bool_]:
    """Each area by itself, so that overlapping ones add up; holes are the rings after its first."""
    try:
        areas = read_annotations(file, slide.bounds_l0px if from_bounds else (0, 0, *slide.size_l0px))
    except TaskError as error:
        raise MaskError(f"{slide.slide_id}: {error}") from error
    scale = np.array(thumbnail.shape[1::-1]) / slide.size_l0px
    tissue = np.zeros(thumbnail.shape[:2], np.uint8)
    for area in areas:
        one = np.zeros_like(tissue)
        cv2.fillPoly(one, [np.round(ring * scale - 0.5).astype(np.int32) for ring in area.rings], 1)
        tissue |= one
    return tissue.astype(bool)
