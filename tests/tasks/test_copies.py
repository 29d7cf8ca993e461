"""Groups that share a tile become one; held against repeated merging by hand."""

import numpy as np
import pytest

from nic.tasks.copies import find_copies, joined_groups


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_joined_as_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.array([f"g{i}" for i in rng.integers(0, 15, 40)])
    copies = [(int(i), int(j)) for i, j in rng.integers(0, 40, (int(rng.integers(0, 12)), 2))]
    merged = [{group} for group in set(groups)]
    for i, j in copies:
        one, other = (next(m for m in merged if groups[k] in m) for k in (i, j))
        if one is not other:
            merged.remove(other)
            one |= other
    expected = [min(next(m for m in merged if group in m)) for group in groups]
    found = joined_groups(groups, copies)
    assert [(a == b) for a in found for b in found] == [(a == b) for a in expected for b in expected]
    assert set(found) <= set(groups)


def test_copies_point_to_the_first_and_glass_is_none() -> None:
    tiles = np.zeros((6, 2, 2, 3), np.uint8)
    tiles[[1, 3, 5], 0, 0, 2] = 7  # 1, 3 and 5 alike, the others of one colour
    assert find_copies([tile.tobytes() for tile in tiles], tiles) == [(3, 1), (5, 1)]
