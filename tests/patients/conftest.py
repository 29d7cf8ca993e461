"""Small compressed slides with known content."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.spec import EncoderSpec
from nic.slides.grid import TileGrid

CODE_SIZE = 8
ENCODER = EncoderSpec(CODE_SIZE, 64, 1.0, 0.5, "multitask", ("mitosis",), sha256="a" * 64)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Grids as small as these gain nothing from a second thread, and lose much where the cores are busy."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def slide_of() -> Callable[..., CompressedSlide]:
    """slide_of(kinds, rng, ...): a slide of which each cell's code is its kind's plus noise; kind 0 is glass."""
    centres = np.random.default_rng(99).normal(size=(8, CODE_SIZE))

    def make(
        kinds: NDArray[np.int64],
        rng: np.random.Generator,
        slide_id: str = "s",
        encoder: EncoderSpec = ENCODER,
        noise: float = 0.3,
    ) -> CompressedSlide:
        row, col = (a.astype(np.int32) for a in np.nonzero(kinds))
        codes = centres[kinds[row, col]] + noise * rng.normal(size=(len(row), CODE_SIZE))
        grid = TileGrid(64, 1.0, 0.499, (0, 0), *kinds.shape)
        tissue, failed = kinds > 0, np.zeros(kinds.shape, bool)
        codes16, tiling = codes.astype(np.float16), Tiling(encoder.tile_um)
        return CompressedSlide(slide_id, codes16, row, col, grid, tissue, failed, encoder, "f", tiling)

    return make
