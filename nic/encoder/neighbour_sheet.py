"""What an encoder holds to be alike: tiles beside their nearest neighbours from other slides, as a picture."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nic.encoder.certificate import Codes, Tiles, neighbours
from nic.tasks.contact_sheet import BAD, GOOD, Caption, Row, contact_sheet

MOST_ROWS, COLUMNS = 20, 8


@dataclass(frozen=True)
class NamedTiles:
    """Tiles of several tasks. tiles: uint8 [N, px, px, 3]. task, name, groups: str [N]; name: of the tile's class."""

    tiles: Tiles
    task: NDArray[np.str_]
    name: NDArray[np.str_]
    groups: NDArray[np.str_]


def neighbour_sheet(found: NamedTiles, codes: Codes, seed: int) -> Figure:
    """One tile of each class of each task, and the tiles of which the codes [N, D] lie nearest, among all tasks.

    Captions are green where the neighbour is of the same class, red where the task tells it apart, and grey where it
    is of another task: what one calls tumour another may rightly call other.
    """
    full = np.char.add(np.char.add(found.task, "\n"), found.name)
    rng = np.random.default_rng(seed)
    queries = np.array([rng.choice(np.flatnonzero(full == name)) for name in dict.fromkeys(full)][:MOST_ROWS])
    rows = []
    for query, near in zip(queries, neighbours(codes, found.groups, queries, COLUMNS), strict=True):
        captions = (Caption("asked"), *(_caption(found, query, i) for i in near))
        rows.append(Row(full[query], found.tiles[[query, *near]], captions))
    return contact_sheet(rows, "Nearest codes from other slides, of held-out tiles of all tasks")


def _caption(found: NamedTiles, query: int, near: int) -> Caption:
    if found.task[near] != found.task[query]:
        return Caption(f"{found.task[near]}:\n{found.name[near]}")
    return Caption(found.name[near], GOOD if found.name[near] == found.name[query] else BAD)
