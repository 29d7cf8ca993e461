"""How a slide is tiled, and how its tiles are encoded: two values, which the file of its codes keeps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nic.compression.tissue_rule import (
    NO_MASKS,
    WORDS,
    Mask,
    MaskFolder,
    Otsu,
    OwnMask,
    Saturated,
    TissueRule,
    tissue_from,
)
from nic.encoder.spec import EXACT, EncoderSpec
from nic.errors import EncoderError, MaskError, NoTissue
from nic.slides.grid import TileGrid
from nic.slides.qc import QC_TESTS, cells_failing_qc, dark_regions, pen_marks
from nic.slides.reader import PIXEL_VERSION
from nic.slides.slide import Slide
from nic.slides.tissue import tissue_fraction

ANOTHER_TOOL = "another tool"
"""Runtime of imported codes. Nothing is known of how they were computed beside their encoder."""


@dataclass(frozen=True)
class Tiling:
    """Which tiles of a slide have a code. A patient model takes slides of one tiling, that of its training.

    tile_um: side of a tile, which the encoder decides; 0 before there is one. overlap_px: pixels of a tile, as the
    encoder takes it, that the next tile shows again; half of its side makes four times as many tiles. min_tissue: least
    share of tissue in a tile. exclude: the QC tests (QC_TESTS of nic.slides.qc) that keep a tile out, sorted.
    tissue: what counts as tissue. mask: of the slide, where `tissue` is OwnMask; None before a slide is chosen, in a
    patient model, and for tiles of another tool.
    """

    tile_um: float = 0.0
    overlap_px: int = 0
    min_tissue: float = 0.6
    exclude: tuple[str, ...] = QC_TESTS[1:]
    tissue: TissueRule = field(default_factory=Otsu)
    mask: Mask | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "exclude", tuple(sorted(self.exclude)))

    def of_slide(self, slide_id: str, encoder: EncoderSpec, masks: MaskFolder | None) -> "Tiling":
        """The same of one slide and encoder. masks: where `tissue` is OwnMask.

        Raises EncoderError when the encoder's tiles cannot overlap so, MaskError, UnreachedSlide.
        """
        if not 0 <= self.overlap_px < encoder.tile_px:
            raise EncoderError(
                f"overlap_px={self.overlap_px}: the encoder's tiles are {encoder.tile_px} px wide, wanted 0 to "
                f"{encoder.tile_px - 1}"
            )
        self.check_masks(masks)
        return replace(self, tile_um=encoder.tile_um, mask=masks.digest(slide_id) if masks else None)

    @property
    def of_any_slide(self) -> "Tiling":
        """The same as a patient model carries it: each slide may have another mask."""
        return replace(self, mask=None)

    def check_masks(self, masks: MaskFolder | None) -> None:
        """Raises MaskError when slides are to have masks, and there is no folder of them."""
        if isinstance(self.tissue, OwnMask) and masks is None:
            raise MaskError(NO_MASKS)

    def cells(
        self,
        slide: Slide,
        grid: TileGrid,
        thumbnail: NDArray[np.uint8],
        unreadable: NDArray[np.bool_],
        masks: MaskFolder | None,
    ) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
        """Cells of the grid whose tiles are to be read, bool [rows, cols], and why others are not, of QC_TESTS.

        thumbnail: [h, w, 3] RGB of the whole slide. unreadable: bool [h, w], where it could not be read: there may be
        tissue; the reader finds out, and counts what failed. Raises MaskError, NoTissue.
        """
        tests = {"pen": pen_marks, "dark": dark_regions}
        spoilt = {name: test(thumbnail) & ~unreadable for name, test in tests.items() if name in self.exclude}
        usable = (masks or self.tissue).mask(slide, thumbnail) | unreadable
        for mask in spoilt.values():
            usable &= ~mask
        share = tissue_fraction(usable, slide.size_l0px, grid)
        shares = {name: tissue_fraction(mask, slide.size_l0px, grid) for name, mask in spoilt.items()}
        tissue, excluded = share >= self.min_tissue, cells_failing_qc(share, shares, self.min_tissue)
        if not tissue.any():
            others = ", ".join(f"{(excluded == n).sum()} are {QC_TESTS[n]}" for n in np.unique(excluded) if n)
            raise NoTissue(
                f"{slide.slide_id}: no tile of {grid.rows} x {grid.cols} holds {self.min_tissue:.0%} of tissue"
                + (f"; {others}" if others else "")
            )
        return tissue, excluded

    def unlike(self, other: "Tiling") -> tuple[str, ...]:
        """Names of the fields in which two differ."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name))

    def words(self, names: Sequence[str]) -> str:
        """Some fields as the parameters of `compress`: overlap_px=32, exclude=dark,pen."""
        values = {name: getattr(self, name) for name in names}
        texts = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return ", ".join(f"{name}={text if text != '' else 'nothing'}" for name, text in texts.items())

    def __str__(self) -> str:
        return (
            f"overlap {self.overlap_px} px, at least {self.min_tissue:.0%} of tissue, tissue by {self.tissue}, "
            f"without {', '.join(self.exclude) or 'nothing'}"
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_fields(cls, values: Mapping[str, Any], tile_um: float) -> "Tiling":
        """What `asdict` made of a tiling, also after JSON. tile_um: where it is not among them, as in older models.

        Raises KeyError, TypeError, ValueError.
        """
        values = {"tile_um": tile_um, **values}
        if isinstance(values["tissue"], str):
            values["tissue"], values["mask"] = _tissue_in_words(values["tissue"])
        else:
            values["tissue"] = tissue_from(values["tissue"])
            values["mask"] = Mask(**values["mask"]) if values["mask"] else None
        return cls(**{**values, "exclude": tuple(values["exclude"])})

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any], tile_um: float) -> "Tiling":
        """Of a file of codes; an older one has an attribute for each field. Raises KeyError, TypeError, ValueError."""
        if "tiling" in attributes:
            return cls.from_fields(json.loads(str(attributes["tiling"])), tile_um)
        older = {
            "overlap_px": round(float(attributes.get("overlap_px", 0))),
            "min_tissue": float(attributes["min_tissue"]),
            "exclude": [name for name in str(attributes.get("exclude", "")).split(",") if name],
            "tissue": str(attributes.get("tissue_rule", "otsu")),
        }
        return cls.from_fields(older, tile_um)


@dataclass(frozen=True)
class Encoding:
    """How the tiles of a slide were encoded.

    runtime: what ran the encoder's graph, of nic.encoder.spec; ANOTHER_TOOL for imported codes. d4_variants: 8 where
    each tile was read once and encoded in its eight D4 variants, else 1. The codes of a turned slide are not the turned
    codes of the slide, because an encoder knows up from down. pixel_version: of the arithmetic that made tiles of
    pixels, see nic.slides.reader; 0 of another tool. It is not compared: a file of an older version is reused.
    """

    encoder_sha256: str
    runtime: str = EXACT
    d4_variants: int = 1
    pixel_version: int = field(default=PIXEL_VERSION, compare=False)


def _tissue_in_words(text: str) -> tuple[TissueRule, Mask | None]:
    """As files and models say it that were written before a rule was data. Raises KeyError, ValueError.

    otsu, all, saturation above 30; of masks `given 0123456789abcdef`, `given by CLAM`, or `given` in a model.
    """
    if text.startswith("saturation above "):
        return Saturated(float(text.removeprefix("saturation above "))), None
    if not text.startswith("given"):
        return WORDS[text], None
    digest, _, origin = text.removeprefix("given").strip().partition(", ")
    return OwnMask(), Mask(digest, from_bounds=not origin) if digest and not digest.startswith("by ") else None
