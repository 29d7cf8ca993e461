"""Tissue is stained; glass, ink and an empty slide are not tissue."""

import numpy as np
import pytest
from conftest import tissue_image
from numpy.typing import NDArray

from nic.slides.grid import TileGrid
from nic.slides.tissue import tissue_fraction, tissue_mask


def test_tissue_in_a_margin_of_glass_is_found() -> None:
    mask = tissue_mask(tissue_image(400, 320))
    assert mask[60:-60, 60:-60].mean() > 0.97
    assert mask[:30].sum() == mask[-30:].sum() == mask[:, :30].sum() == 0


def test_glass_noise_and_a_black_border_are_not_tissue() -> None:
    rng = np.random.default_rng(0)
    glass = rng.normal(240, 3, (300, 300, 3)).clip(0, 255).astype(np.uint8)
    assert not tissue_mask(glass).any()
    glass[:, :40] = 5
    assert tissue_mask(glass).mean() < 0.01


def test_tissue_without_glass_is_tissue_throughout() -> None:
    """Otsu alone would take the paler half for glass."""
    image = tissue_image(900, 900)[150:-150, 150:-150]
    assert tissue_mask(image).all()


def test_dust_is_dropped_and_gaps_in_tissue_are_filled() -> None:
    image = np.full((300, 300, 3), 242, np.uint8)
    image[100:250, 100:250] = (200, 120, 170)
    image[20:26, 20:26] = (200, 120, 170)  # dust
    image[150:160, 150:160] = 242  # a lumen
    image[200:230, 200:230] = 242  # a tear
    mask = tissue_mask(image)
    assert not mask[:60, :60].any()
    assert mask[145:165, 145:165].all()
    assert not mask[205:225, 205:225].any()


def test_a_black_picture_has_no_tissue() -> None:
    assert not tissue_mask(np.zeros((50, 60, 3), np.uint8)).any()
    assert not tissue_mask(np.full((50, 60, 3), 128, np.uint8)).any()


def by_pixel(mask: NDArray[np.bool_], grid: TileGrid, row: int, col: int) -> float:
    """The share of a tile by counting; its side and the stride must be whole numbers of mask pixels."""
    side, stride = round(grid.side_l0px), round(grid.stride_l0px)
    part = mask[row * stride : row * stride + side, col * stride : col * stride + side]
    return float(part.sum()) / side**2


@pytest.mark.parametrize(("overlap_px", "shape"), [(0, (7, 9)), (16, (8, 11)), (60, (85, 115))])
def test_fractions_are_exact_areas_also_beyond_the_edge(overlap_px: int, shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).random((100, 130)) < 0.5
    grid = TileGrid.covering((0, 0, 130, 100), 4.0, 64, 1.0, overlap_px)  # 16 px a tile; some reach over the edge
    fraction = tissue_fraction(mask, (130, 100), grid)
    assert fraction.shape == shape
    for row in range(shape[0]):
        for col in range(shape[1]):
            assert np.isclose(fraction[row, col], by_pixel(mask, grid, row, col))


def test_fractions_of_a_thumbnail_are_those_of_the_slide() -> None:
    mask = np.zeros((100, 100), bool)
    mask[:, :50] = True
    grid = TileGrid(64, 1.0, 0.5, (0, 0), 7, 7)  # 128 px a cell on a slide of 1,000 px
    fraction = tissue_fraction(mask, (1000, 1000), grid)
    assert np.allclose(fraction[:7, 3], (500 - 384) / 128)
    assert np.allclose(fraction[:6, :3], 1)
    assert np.allclose(fraction[:, 4:], 0)
