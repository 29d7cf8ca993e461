"""Decoded tiles on disk: written once and whole, mapped when read, so that RAM does not grow with tiles."""

import csv
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from nic.errors import TaskError, UnreadableTile
from nic.tasks.tile_source import Cut, Pixels, TileField, TilePart, TileSource, check_classes
from nic.threads import map_ahead

MOST_UNREADABLE = 0.01
"""Share of all tiles. Some files of a large collection are always broken; with more, something else is wrong."""
LEFT_OUT, COPIES = "left_out.csv", "copies.csv"
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedTiles:
    """tiles: uint8 [N, tile_px, tile_px, 3], mapped. labels: int64 [N]. groups: str [N]; copies share one."""

    tiles: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]


def cached_tiles(name: str, classes: Sequence[str], source: TileSource, shown: TileField, folder: Path) -> CachedTiles:
    """The tiles in a folder, decoded into it when they are not there. Warns of omitted tiles and of copies.

    Beside the tiles lie left_out.csv (tile, reason) and copies.csv (tile, copy_of, same_label).
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as place:
            draft = Path(place) / folder.name
            draft.mkdir()
            _decode(name, classes, source, shown, draft)
            _publish(draft, folder)
    _warn(name, folder)
    tiles = np.load(folder / "tiles.npy", mmap_mode="r")
    return CachedTiles(tiles, np.load(folder / "labels.npy"), np.load(folder / "groups.npy"))


def _publish(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, and its tiles are the same
            raise


def _decode(name: str, classes: Sequence[str], source: TileSource, shown: TileField, folder: Path) -> None:
    parts = list(source.parts(shown))
    ledger = _Ledger(name, sum(len(part.names) for part in parts))
    with (folder / "tiles.npy").open("wb") as file, tqdm(total=ledger.total, desc=f"tiles of {name}") as bar:
        _write_header(file, ledger.total, shown)
        for part, cuts in zip(parts, map_ahead(lambda part: list(part.cut()), parts), strict=True):
            for tile in ledger.take(part, cuts):
                file.write(tile.tobytes())
            bar.update(len(cuts))
        file.seek(0)
        _write_header(file, len(ledger.names), shown)
    ledger.close(classes, folder)


def _write_header(file: BinaryIO, count: int, shown: TileField) -> None:
    """NumPy's header. Its length does not depend on the count, which is known only at the end."""
    shape = (count, shown.tile_px, shown.tile_px, 3)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


@dataclass
class _Ledger:
    """Collects what is known of the tiles of a task while they are decoded."""

    task: str
    total: int
    names: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    unreadable: int = 0

    def take(self, part: TilePart, cuts: Sequence[Cut]) -> list[Pixels]:
        """Record the tiles of a part; returns those that are kept. Raises TaskError beyond MOST_UNREADABLE."""
        kept = []
        for cut, name, label, group in zip(cuts, part.names, part.labels, part.groups, strict=True):
            if isinstance(cut, np.ndarray):
                kept.append(cut)
                self.names.append(name)
                self.labels.append(int(label))
                self.groups.append(str(group))
                self.contents.append(hashlib.blake2b(cut.tobytes(), digest_size=16).digest())
            else:
                self.left_out.append((name, str(cut) if cut else "its field leaves the image"))
                self.unreadable += isinstance(cut, UnreadableTile)
        if self.unreadable > MOST_UNREADABLE * self.total:
            first = "; ".join(reason for _, reason in self.left_out[:3])
            raise TaskError(
                f"{self.task}: at least {self.unreadable} of {self.total} tiles cannot be read, wanted at most "
                f"{MOST_UNREADABLE:.0%}: {first}"
            )
        return kept

    def close(self, classes: Sequence[str], folder: Path) -> None:
        """Write labels, groups and tables beside the tiles. Raises TaskError where a class has no tile."""
        labels, groups = np.array(self.labels, np.int64), np.array(self.groups, np.str_)
        check_classes(self.task, classes, labels)
        copies = find_copies(self.contents, np.load(folder / "tiles.npy", mmap_mode="r"))
        np.save(folder / "labels.npy", labels)
        np.save(folder / "groups.npy", joined_groups(groups, copies))
        _write_table(folder / LEFT_OUT, ("tile", "reason"), self.left_out)
        rows = [(self.names[i], self.names[j], str(labels[i] == labels[j])) for i, j in copies]
        _write_table(folder / COPIES, ("tile", "copy_of", "same_label"), rows)


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def _warn(name: str, folder: Path) -> None:
    """Warn of omitted tiles and of copies: nobody looks into the tables unasked."""
    left_out, copies = _rows(folder / LEFT_OUT), _rows(folder / COPIES)
    if left_out:
        LOG.warning("%s: %d tiles left out, see %s: %s", name, len(left_out), folder / LEFT_OUT, left_out[0][1])
    if copies:
        contradicting = sum(row[2] == "False" for row in copies)
        LOG.warning(
            "%s: %d tiles are copies of others, %d of them with another label, see %s; copies share a group, so that "
            "none is in both training and validation",
            *(name, len(copies), contradicting, folder / COPIES),
        )


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def find_copies(contents: Sequence[bytes], tiles: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """(copy, first of its content) of tiles [N, px, px, 3] by digests of their pixels [N].

    Tiles of one single colour are no copies: glass looks the same on every slide.
    """
    first: dict[bytes, int] = {}
    pairs = [(i, first.setdefault(content, i)) for i, content in enumerate(contents)]
    return [(i, j) for i, j in pairs if i != j and (tiles[i] != tiles[i, 0, 0]).any()]


def joined_groups(groups: NDArray[np.str_], copies: Sequence[tuple[int, int]]) -> NDArray[np.str_]:
    """Groups [N]; groups that share a tile are joined under the name of the first."""
    if not copies:
        return groups
    names, ids = np.unique(groups, return_inverse=True)
    one, other = ids[np.array(copies)].T
    links = coo_array((np.ones(len(copies)), (one, other)), shape=(len(names), len(names)))
    component = connected_components(links, directed=False)[1]
    eldest = np.unique(component, return_index=True)[1]
    joined: NDArray[np.str_] = names[eldest[component[ids]]]
    return joined
