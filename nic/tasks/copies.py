"""Tiles that stand twice: on both sides of a split they would be trained on and validated with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def find_copies(contents: Sequence[bytes], tiles: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """(copy, first of its content) of tiles [N, px, px, 3] by digests of their pixels [N].

    Tiles of one single colour are no copies: glass is glass, whatever slide it is from.
    """
    first: dict[bytes, int] = {}
    pairs = [(i, first.setdefault(content, i)) for i, content in enumerate(contents)]
    return [(i, j) for i, j in pairs if i != j and (tiles[i] != tiles[i, 0, 0]).any()]


def joined_groups(groups: NDArray[np.str_], copies: Sequence[tuple[int, int]]) -> NDArray[np.str_]:
    """Groups [N], those that share a tile made one, under the name of the first of them."""
    if not copies:
        return groups
    names, ids = np.unique(groups, return_inverse=True)
    one, other = ids[np.array(copies)].T
    links = coo_array((np.ones(len(copies)), (one, other)), shape=(len(names), len(names)))
    component = connected_components(links, directed=False)[1]
    eldest = np.unique(component, return_index=True)[1]
    joined: NDArray[np.str_] = names[eldest[component[ids]]]
    return joined
