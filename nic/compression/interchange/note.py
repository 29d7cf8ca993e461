"""The note of nic in the files it exports, so that they come back as they were; other tools ignore it.

The grid stands with the coordinates, the encoder with the codes: a tool that encodes our coordinates anew leaves the
grid in the file, and not our encoder.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.interchange.tile_codes import Hints, TileCodes, imported_encoder
from nic.encoder.spec import EncoderSpec
from nic.errors import EncoderError, ImplausibleResolution, InterchangeError
from nic.slides.grid import TileGrid

GRID, ENCODER = "nic_grid", "nic_encoder"


def grid_note(slide: CompressedSlide) -> dict[str, str]:
    return {GRID: json.dumps(asdict(slide.grid))}


def encoder_note(slide: CompressedSlide) -> dict[str, str]:
    return {ENCODER: slide.encoder.to_json()}


@dataclass(frozen=True)
class Note:
    """encoder: None where another tool's encoder was run on our coordinates."""

    grid: TileGrid
    encoder: EncoderSpec | None

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], file: str) -> "Note | None":
        """None where another tool tiled the slide. Raises InterchangeError when the note is damaged."""
        if GRID not in fields:
            return None
        try:
            encoder = EncoderSpec.from_json(str(fields[ENCODER])) if ENCODER in fields else None
            return cls(_grid(json.loads(str(fields[GRID]))), encoder)
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, EncoderError) as error:
            raise InterchangeError(f"{file}: nic's note in it is damaged: {error}; export it again") from error

    def tiles(
        self,
        slide_id: str,
        codes: NDArray[Any],
        corner_l0px: NDArray[np.float64],
        tool: str,
        hints: Hints,
        encoder_name: str | None = None,
    ) -> TileCodes:
        """The codes on the noted grid. encoder_name: where it is not ours, and the file or folder tells.

        Raises ImplausibleResolution when another um/px is given than the slide had, InterchangeError without a name.
        """
        grid, encoder = self.grid, self.encoder
        if hints.mpp is not None and abs(hints.mpp / grid.slide_mpp - 1) > 0.01:
            raise ImplausibleResolution(
                f"{slide_id}: exported from a slide of {grid.slide_mpp:.6g} um/px, now {hints.mpp:.6g}; "
                "is it the same slide?"
            )
        if encoder is None:
            name = hints.encoder_name(slide_id, encoder_name)
            encoder = imported_encoder(name, tool, codes.shape[1], grid.tile_px, grid.tile_mpp)
        return TileCodes(
            slide_id=slide_id,
            codes=codes,
            corner_l0px=corner_l0px,
            tile_px=grid.tile_px,
            tile_mpp=grid.tile_mpp,
            slide_mpp=grid.slide_mpp,
            encoder=encoder,
            tool=tool,
            size_l0px=hints.size_l0px,
            fingerprint=hints.fingerprint,
            overlap_px=grid.overlap_px,
            grid=grid,
        )


def _grid(note: Mapping[str, Any]) -> TileGrid:
    x, y = note["origin_l0px"]
    return TileGrid(
        tile_px=int(note["tile_px"]),
        tile_mpp=float(note["tile_mpp"]),
        slide_mpp=float(note["slide_mpp"]),
        origin_l0px=(int(x), int(y)),
        rows=int(note["rows"]),
        cols=int(note["cols"]),
        overlap_px=float(note.get("overlap_px", 0)),  # older notes have none
    )
