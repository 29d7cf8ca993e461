"""Augmentation changes what it should and leaves what it must; each piece against a slow way of doing the same."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy import ndimage
from scipy.spatial.transform import Rotation

from nic.errors import TaskError
from nic.tasks.augment import (
    BLUR_RADIUS,
    CONTROL,
    HED,
    STRENGTHS,
    SYMMETRIES,
    augment,
    d4_mixed,
    gaussian_blurred,
    hue_turn,
    restained,
    toned,
    warped,
)


def tiles(count: int = 16, px: int = 16) -> torch.Tensor:
    return 0.3 + 0.4 * torch.rand(count, 3, px, px, generator=torch.Generator().manual_seed(0))


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def straight(count: int) -> torch.Tensor:
    return torch.zeros(count, 2, CONTROL, CONTROL)


def test_none_changes_nothing() -> None:
    assert torch.equal(augment(tiles(), "none", random()), tiles())


@pytest.mark.parametrize("strength", ["light", "heavy"])
def test_shape_and_range_hold_and_the_seed_decides(strength: str) -> None:
    first, second, other = (augment(tiles(), strength, random(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.shape == (16, 3, 16, 16)
    assert first.min() >= 0
    assert first.max() <= 1


@pytest.mark.parametrize("strength", ["light", "heavy"])
def test_the_tiles_that_came_in_stay_as_they_were(strength: str) -> None:
    before = tiles()
    augment(before, strength, random())
    assert torch.equal(before, tiles())


def test_an_unknown_strength_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TaskError, match="none, light, heavy"):
        augment(tiles(), "extreme", random())


def test_heavy_is_heavier_than_light_in_everything() -> None:
    light, heavy = STRENGTHS["light"], STRENGTHS["heavy"]
    assert all(getattr(heavy, name) > getattr(light, name) > 0 for name in vars(light))


def test_copies_of_a_tile_are_changed_each_in_its_own_way() -> None:
    changed = augment(tiles(1).expand(8, -1, -1, -1).contiguous(), "heavy", random())
    assert all(not torch.equal(changed[i], changed[j]) for i in range(8) for j in range(i))


def test_colours_are_computed_in_full_precision_where_training_is_not() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        inside = augment(tiles(), "heavy", random())
    assert torch.equal(inside, augment(tiles(), "heavy", random()))


def test_the_eight_symmetries_are_exact_and_all_different() -> None:
    tile = tiles(1)[0]
    expected = [torch.rot90(t, k, (1, 2)) for t in (tile, tile.flip(2)) for k in range(4)]
    for first in range(SYMMETRIES):
        changed = d4_mixed(tile.expand(SYMMETRIES, -1, -1, -1), first)
        matches = [[k for k, e in enumerate(expected) if torch.equal(f, e)] for f in changed]
        assert sorted(match for (match,) in matches) == list(range(SYMMETRIES))
        assert matches[-first % SYMMETRIES] == [0]


def test_few_tiles_become_d4_variants_too() -> None:
    few = tiles(3)
    assert d4_mixed(few, 0).shape == few.shape
    assert len({tuple(d4_mixed(few, first)[0].flatten().tolist()) for first in range(SYMMETRIES)}) == SYMMETRIES


def test_zoom_enlarges_about_the_centre_and_a_bend_fetches_from_elsewhere() -> None:
    """Pixel by pixel with scipy's linear interpolation."""
    before, zoom = tiles(2), torch.tensor([1.25, 0.9])
    by_px = torch.tensor([[0.0, 0.0], [-0.7, 1.5]])  # x, y
    changed = warped(before, zoom, straight(2) + by_px[..., None, None])
    for i, (x, y) in enumerate(by_px.tolist()):
        place = [7.5 + (axis - 7.5) / zoom[i].item() + d for axis, d in zip(np.mgrid[:16, :16], (y, x), strict=True)]
        for channel in range(3):
            expected = ndimage.map_coordinates(before[i, channel].numpy(), place, order=1, mode="reflect")
            assert np.abs(changed[i, channel].numpy() - expected).max() < 1e-4


def test_the_bend_is_bicubic_between_its_points() -> None:
    ramp = torch.arange(32.0).expand(1, 1, 32, 32).contiguous()  # each pixel's value is its column
    bend_px = torch.randn(1, 2, CONTROL, CONTROL, generator=random())
    bend_px[:, 1] = 0
    changed = warped(ramp, torch.ones(1), bend_px) - ramp
    expected = torch.nn.functional.interpolate(bend_px[:, :1], (32, 32), mode="bicubic", align_corners=True)
    assert torch.allclose(changed[..., 3:-3], expected[..., 3:-3], atol=1e-4)


def test_stains_are_jittered_in_optical_density_and_glass_is_not() -> None:
    scale, shift = torch.full((4, 3), 1.4), torch.full((4, 3), 0.04)
    glass = torch.full((4, 3, 8, 8), 0.95)
    assert torch.allclose(restained(glass, scale, shift), glass, atol=1e-6)
    assert (restained(tiles(4), scale, shift) - tiles(4)).abs().mean() > 0.01
    assert torch.allclose(restained(tiles(4), torch.ones(4, 3), torch.zeros(4, 3)), tiles(4), atol=1e-6)


def test_stains_change_as_the_formula_says() -> None:
    """v * (1 + s) + b per stain, worked out tile by tile with the separation written as a linear system."""
    s, b = 0.6 * torch.rand(4, 3, generator=random(1)) - 0.3, 0.06 * torch.rand(4, 3, generator=random(2)) - 0.03
    changed = restained(tiles(4), 1 + s, b).numpy()
    for i, tile in enumerate(tiles(4).numpy()):
        density = -np.log(tile).reshape(3, -1)
        stains = np.linalg.solve(HED.numpy().T, density)
        expected = np.exp(-HED.numpy().T @ (stains * (1 + s[i, :, None].numpy()) + b[i, :, None].numpy()))
        assert np.abs(changed[i].reshape(3, -1) - expected).max() < 1e-5


def test_hue_turns_about_the_axis_of_greys() -> None:
    angles = torch.tensor([0.0, 0.1, -2.0])
    axis = np.ones(3) / np.sqrt(3)
    assert np.allclose(hue_turn(angles), Rotation.from_rotvec(angles.numpy()[:, None] * axis).as_matrix(), atol=1e-6)
    red = torch.tensor([1.0, 0.0, 0.0])
    for thirds in (1, 2):
        turned_red = (hue_turn(torch.tensor([thirds * 2 * np.pi / 3]))[0] @ red).clamp(0, 1).tolist()
        assert colorsys.rgb_to_hsv(*turned_red)[0] == pytest.approx(thirds / 3, abs=1e-6)


def tone(changed: str, value: float, tile: torch.Tensor) -> torch.Tensor:
    neutral = {"hue": 0.0, "saturation": 1.0, "contrast": 1.0, "brightness": 0.0} | {changed: value}
    return toned(tile, **{name: torch.tensor([x]) for name, x in neutral.items()})


def test_tones_change_one_at_a_time() -> None:
    tile = tiles(1)
    pixels = tile[0].permute(1, 2, 0).numpy()
    image = Image.fromarray((255 * pixels).round().astype(np.uint8))
    saturated = np.asarray(ImageEnhance.Color(image).enhance(1.3)) / 255
    assert np.abs(tone("saturation", 1.3, tile)[0].permute(1, 2, 0).numpy() - saturated).max() < 2 / 255
    mean = pixels.mean((0, 1))
    assert np.allclose(tone("contrast", 1.3, tile)[0].permute(1, 2, 0), mean + 1.3 * (pixels - mean), atol=1e-6)
    assert torch.allclose(tone("brightness", 0.1, tile), tile + 0.1)
    assert torch.allclose(tone("brightness", 0.0, tile), tile)
    grey = tile.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    for change, value in (("hue", 1.0), ("saturation", 2.0)):
        assert torch.allclose(tone(change, value, grey), grey, atol=1e-6)


def test_tones_changed_together_are_colour_first_then_contrast() -> None:
    tile = tiles(1)
    together = toned(tile, *(torch.tensor([x]) for x in (0.2, 1.2, 0.8, 0.05)))
    steps = tone("saturation", 1.2, tone("hue", 0.2, tile))
    assert torch.allclose(together, tone("brightness", 0.05, tone("contrast", 0.8, steps)), atol=1e-6)


def test_each_tile_is_blurred_by_its_own_gaussian() -> None:
    sigmas = [0.1, 0.5, 1.0, 2.0]
    changed = gaussian_blurred(tiles(4), torch.tensor(sigmas)).numpy()
    for tile, blur, sigma in zip(tiles(4).numpy(), changed, sigmas, strict=True):
        expected = ndimage.gaussian_filter(tile, sigma, mode="reflect", radius=BLUR_RADIUS, axes=(1, 2))
        assert np.abs(blur - expected).max() < 1e-5


def test_a_dark_figure_in_the_centre_outlives_heavy_augmentation() -> None:
    """A mitosis is some 8 um across: 8 px. It stays much darker than what is round it, whatever is drawn."""
    tile = torch.full((1, 3, 64, 64), 0.75)
    tile[..., 28:36, 29:35] = 0.25
    changed = augment(tile.repeat(256, 1, 1, 1), "heavy", random()).mean(1).flatten(1)
    darkest, common = changed.topk(20, largest=False).values.mean(1), changed.median(1).values
    assert (common - darkest).min() > 0.15
