"""Layout `marks`: images in which each object of one kind is marked, as in the mitosis set of TUPAC16."""

import logging
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nic.errors import TableError, TaskError
from nic.tables.table import read_table
from nic.tables.text import TextForm
from nic.tasks.entries import MarksEntry
from nic.tasks.image_folder import SUFFIXES
from nic.tasks.image_tiles import ImageTiles
from nic.tasks.tile_source import class_labels, pattern_groups
from nic.tasks.tile_table import numbers
from nic.tasks.tile_task import TileTask

MARKED, OTHER = "marked", "other"
"""Labels of the source: a tile centred on a mark, and one without any mark."""
CLEAR_UM = 80.0
"""Least distance of the drawn place of another tile from all marks, along one axis. No mark is in its field."""
DARK_UM = 16.0
"""Another tile is centred on the darkest spot within this distance of its place: else every dark nucleus in the middle
of a tile would be a marked one."""
BORDER_UM = 48.0
"""Least distance of a drawn place from the image's border: the field of a tile of 64 um stays inside."""
TRIES = 50
"""Places drawn for each of the other tiles, of which the first that is clear counts."""
ROW_COLUMN = ("row", "column")
LOG = logging.getLogger(__name__)
Places = NDArray[np.float64]


def read_marked_images(entry: MarksEntry) -> TileTask:
    """A tile for each mark, and some others from each image; the group is the image's folder.

    Raises TaskError naming the folder without images or marks, or the file of marks and its row.
    """
    images, marks = marked_images(entry), files_of_marks(entry)
    if not images:
        raise TaskError(f"{entry.name}: no images in {entry.path}, wanted one of {', '.join(sorted(SUFFIXES))}")
    if not set(images) & set(marks):
        example = Path(f"{next(iter(images))}.csv")
        raise TaskError(f"{entry.name}: no image has its marks in {entry.marks or entry.path}, wanted {example}")
    if strays := sorted(set(marks) - set(images)):
        LOG.warning("%s: %d files of marks belong to no image, %s first", entry.name, len(strays), marks[strays[0]])
    paths, names, values, groups, places = list[Path](), list[str](), list[str](), list[str](), list[Places]()
    for key, path in images.items():
        marked = read_marks(marks[key], entry) if key in marks else np.empty((0, 2))
        others = other_places(path, marked, entry.mpp, entry.others, [entry.seed, zlib.crc32(key.encode())])
        for label, of_label in ((MARKED, marked), (OTHER, others)):
            paths += [path] * len(of_label)
            names += [f"{key} {label} {number}" for number in range(1, len(of_label) + 1)]
            values += [label] * len(of_label)
            places.append(of_label)
        group = _group(entry, key, path)
        groups += [group] * (len(marked) + len(others))
    classes, labels = class_labels(entry.name, values, entry.classes, entry.ignore)
    kept = np.flatnonzero(labels >= 0)
    xy = np.concatenate(places)[kept]
    source = ImageTiles(
        paths=[paths[i] for i in kept],
        names=[names[i] for i in kept],
        labels=labels[kept],
        groups=np.array(groups)[kept],
        mpps=np.full(len(kept), entry.mpp),
        too_small=entry.too_small,
        boxes=np.concatenate([xy, np.zeros_like(xy)], axis=1),
        dark_um=np.where(np.array(values)[kept] == OTHER, DARK_UM, 0.0),
    )
    return TileTask(entry.name, classes, entry.mpp, source)


def marked_images(entry: MarksEntry) -> dict[str, Path]:
    """The images by `folder/name`, without their suffix, sorted. Raises TaskError for a folder that does not exist."""
    if not entry.path.is_dir():
        raise TaskError(f"{entry.name}: {entry.path}: no such folder of images")
    return _by_key(entry, entry.path, SUFFIXES)


def files_of_marks(entry: MarksEntry) -> dict[str, Path]:
    """The CSVs by `folder/name`, as their images. Raises TaskError for a folder that does not exist."""
    folder = entry.marks or entry.path
    if not folder.is_dir():
        raise TaskError(f"{entry.name}: {folder}: no such folder of marks")
    return _by_key(entry, folder, {".csv"})


def _by_key(entry: MarksEntry, folder: Path, suffixes: set[str]) -> dict[str, Path]:
    """Raises TaskError for two files of one key: folders of several downloads may be below one another."""
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("[!.]*")):
        if path.suffix.lower() not in suffixes:
            continue
        key = f"{path.parent.name}/{path.stem}" if path.parent != folder else path.stem
        if key in files:
            raise TaskError(f"{entry.name}: {files[key]} and {path} are both {key}; keep one of them")
        files[key] = path
    return files


def read_marks(file: Path, entry: MarksEntry) -> Places:
    """The marks of an image, [n, 2] (x, y) px. A file without a row has none. Raises TaskError naming file and row."""
    if not file.read_bytes().strip():
        return np.empty((0, 2))
    try:
        table = read_table(file, ROW_COLUMN, form=TextForm(header=ROW_COLUMN))
    except TableError as error:
        raise TaskError(f"{entry.name}: {file.parent.name}/{error}") from error
    first, second = (numbers(table, column) for column in ROW_COLUMN)
    return np.stack([second, first] if entry.order == "row-column" else [first, second], axis=1)


def other_places(image: Path, marked: Places, mpp: float, most: int, seed: Sequence[int]) -> Places:
    """At most so many places far from all marks, [n, 2] (x, y) px, fewer where marks are dense.

    marked: [m, 2] px. seed: of this image alone, so that other images do not change them.
    """
    with Image.open(image) as opened:
        size = np.array(opened.size, float)
    border = np.minimum(BORDER_UM / mpp, size / 2)
    rng = np.random.default_rng(seed)
    drawn = np.floor(rng.uniform(border, size - border, (most * TRIES, 2)))
    apart = np.abs(drawn[:, None] - marked[None]).max(axis=2)  # [drawn, marked]
    clear = (apart >= CLEAR_UM / mpp).all(axis=1)
    return np.asarray(drawn[clear][:most])


def _group(entry: MarksEntry, key: str, path: Path) -> str:
    if entry.group_pattern is not None:
        return str(pattern_groups(entry.name, [key], entry.group_pattern)[0])
    return path.parent.name if path.parent != entry.path else key
