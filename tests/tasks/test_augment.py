"""Augmentation changes what it should and leaves what it must."""

import numpy as np
import pytest
import torch

from nic.errors import TaskError
from nic.tasks.augment import HED, augment, stain_jittered, turned


def tiles(count: int = 16) -> torch.Tensor:
    return 0.3 + 0.4 * torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_none_changes_nothing() -> None:
    assert augment(tiles(), "none", random()) is not None
    assert torch.equal(augment(tiles(), "none", random()), tiles())


@pytest.mark.parametrize("strength", ["light", "heavy"])
def test_shape_and_range_hold_and_the_seed_decides(strength: str) -> None:
    first, second, other = (augment(tiles(), strength, random(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.shape == (16, 3, 16, 16)
    assert first.min() >= 0
    assert first.max() <= 1


def test_an_unknown_strength_is_refused_with_those_there_are() -> None:
    with pytest.raises(TaskError, match="none, light, heavy"):
        augment(tiles(), "extreme", random())


def test_a_turn_is_one_of_the_eight_symmetries_of_the_tile() -> None:
    before = tiles(64)
    after = turned(before, random())
    for tile, result in zip(before, after, strict=True):
        symmetries = [torch.rot90(t, k, (1, 2)) for t in (tile, tile.flip(2)) for k in range(4)]
        assert any(torch.equal(result, s) for s in symmetries)
    assert not torch.equal(before, after)


def test_stains_are_jittered_in_optical_density_and_glass_is_not() -> None:
    glass = torch.full((4, 3, 8, 8), 0.95)
    assert torch.equal(stain_jittered(glass, 0.4, random()), glass)
    changed = stain_jittered(tiles(), 0.4, random())
    assert (changed - tiles()).abs().mean() > 0.01
    assert torch.allclose(stain_jittered(tiles(), 0.0, random()), tiles(), atol=1e-5)


def test_stains_change_as_the_formula_says() -> None:
    """v * (1 + s) + b per stain, worked out tile by tile with the separation written as a linear system."""
    changed = stain_jittered(tiles(4), 0.3, random(7)).numpy()
    draws = random(7)
    s, b = (0.3 * unit * (2 * torch.rand(4, 1, 3, generator=draws).numpy() - 1) for unit in (1, 0.1))
    for i, tile in enumerate(tiles(4).numpy()):
        density = -np.log(tile).reshape(3, -1)
        stains = np.linalg.solve(HED.numpy().T, density)
        expected = np.exp(-HED.numpy().T @ (stains * (1 + s[i].T) + b[i].T))
        assert np.abs(changed[i].reshape(3, -1) - expected).max() < 1e-5
