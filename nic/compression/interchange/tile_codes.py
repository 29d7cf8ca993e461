"""Codes of tiles as another tool wrote them, before they are put on a grid, and the checks of them."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from nic.encoder.spec import IMPORTED, EncoderSpec
from nic.errors import ImplausibleResolution, InterchangeError, MissingResolution, NoTissue
from nic.slides.grid import TileGrid
from nic.slides.resolution import PLAUSIBLE_MPP

PLAUSIBLE_STRETCH = (0.55, 1.5)
"""Of a tile's um/px over the nominal: TRIDENT calls 0.3 to 0.6 um/px 20x, but a factor of 2 is a wrong um/px."""
ENOUGH_TILES = 10
"""Fewer tiles may lie apart for other reasons than a wrong unit."""


@dataclass(frozen=True)
class Hints:
    """What a user says of features, because their file does not.

    mpp, size_l0px, fingerprint: of the slide. encoder: its name, where neither file nor folder states it. patches: the
    folder of CLAM's coordinates. tile_um: side of a tile, for files that do not state it.
    """

    mpp: float | None = None
    size_l0px: tuple[int, int] | None = None
    fingerprint: str = ""
    encoder: str = ""
    patches: str = ""
    tile_um: float | None = None

    def slide_mpp(self, file: str) -> float:
        """um/px at level 0. Raises MissingResolution, ImplausibleResolution."""
        if self.mpp is None:
            raise MissingResolution(f"{file}: does not state the slide's um/px; give slides= or mpp=")
        low, high = PLAUSIBLE_MPP
        if not low <= self.mpp <= high:
            raise ImplausibleResolution(f"{file}: mpp={self.mpp} was given, wanted {low} to {high} um/px at level 0")
        return self.mpp

    def encoder_name(self, file: str, named: str | None) -> str:
        """The hint, else the name in the file or its folder. Raises InterchangeError when there is neither."""
        if name := self.encoder or named:
            return name
        raise InterchangeError(f"{file}: does not name the encoder of its features; give encoder=")


@dataclass(frozen=True)
class TileCodes:
    """Codes of a slide's tiles and where they were cut.

    codes: [N, D]. corner_l0px: float64 [N, 2], (x, y) of the top-left. tile_px, tile_mpp: a tile as the encoder took
    it; tile_mpp exactly, so that a tile's side in level-0 px is the tool's. overlap_px: of its tile_px, that the next
    tile shows again; exactly too, so that the step is the tool's. encoder: as imported_encoder names it.
    grid: where the file was written by nic and says it.
    """

    slide_id: str
    codes: NDArray[Any]
    corner_l0px: NDArray[np.float64]
    tile_px: int
    tile_mpp: float
    slide_mpp: float
    encoder: EncoderSpec
    tool: str
    size_l0px: tuple[int, int] | None = None
    fingerprint: str = ""
    overlap_px: float = 0
    grid: TileGrid | None = None

    @property
    def side_l0px(self) -> float:
        return self.tile_px * self.tile_mpp / self.slide_mpp

    @property
    def stride_l0px(self) -> float:
        return (self.tile_px - self.overlap_px) * self.tile_mpp / self.slide_mpp

    def check(self) -> None:
        """Raises NoTissue, ImplausibleResolution or InterchangeError naming what does not fit."""
        count = len(self.codes)
        if not count:
            raise NoTissue(f"{self.slide_id}: {self.tool} found no tile")
        if len(self.corner_l0px) != count:
            raise InterchangeError(
                f"{self.slide_id}: {count} codes and {len(self.corner_l0px)} coordinates; they are of two runs, "
                "extract the features again"
            )
        largest = float(np.finfo(np.float16).max)
        if (bad := ~(np.abs(self.codes) <= largest).all(axis=1)).any():
            raise InterchangeError(
                f"{self.slide_id}: {bad.sum()} of {count} codes are not finite, or beyond {largest:.0f}, the first in "
                f"row {bad.argmax()}; extract the features again"
            )
        self._check_resolution()
        self._check_places()

    def _check_resolution(self) -> None:
        stretch = self.tile_mpp / self.encoder.tile_mpp
        if not PLAUSIBLE_STRETCH[0] <= stretch <= PLAUSIBLE_STRETCH[1]:
            raise ImplausibleResolution(
                f"{self.slide_id}: at {self.slide_mpp:.4g} um/px on level 0 its tiles would have {self.tile_mpp:.4g} "
                f"um/px, {self.tool} says about {self.encoder.tile_mpp:.4g}; give the slide's true mpp"
            )

    def _check_places(self) -> None:
        low, high = self.corner_l0px.min(axis=0), self.corner_l0px.max(axis=0)
        if self.size_l0px and ((high >= self.size_l0px).any() or (low < -self.side_l0px).any()):
            x, y = high
            raise InterchangeError(
                f"{self.slide_id}: tiles up to ({x:.0f}, {y:.0f}) on a slide of {self.size_l0px[0]} x "
                f"{self.size_l0px[1]} px; coordinates in another unit, or of another slide"
            )
        if len(self.codes) < ENOUGH_TILES:
            return
        distance = np.asarray(KDTree(self.corner_l0px).query(self.corner_l0px, k=2, p=np.inf)[0])[:, 1]
        if np.median(distance) < 0.9 * self.stride_l0px or distance.min() > 1.5 * self.stride_l0px:
            raise InterchangeError(
                f"{self.slide_id}: tiles lie {np.median(distance):.6g} px apart, wanted {self.stride_l0px:.6g}: they "
                f"are {self.side_l0px:.6g} px wide, with a stated overlap of {self.overlap_px:g} of {self.tile_px} px; "
                "coordinates in another unit, a wrong mpp, or another overlap: extract side by side"
            )


def imported_encoder(name: str, tool: str, code_size: int, tile_px: int, tile_mpp: float) -> EncoderSpec:
    """An encoder that nic has no graph of. tile_mpp: nominal, the same for all slides.

    Its digest is of all that is known of it, so that a patient model refuses the codes of another one.
    """
    spec = EncoderSpec(code_size, tile_px, tile_mpp, tile_mpp, IMPORTED, (name, tool))
    return spec.with_sha256(hashlib.sha256(spec.to_json().encode()).hexdigest())
