"""Labelled tiles: a task as it lies on disk, and its tiles as the encoder takes them."""

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from nic.errors import TaskError

MANIFEST = "manifest.json"
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
GROUP_SEPARATOR = "__"
COARSER = 1.05
"""Images may be this much coarser than the tile, for scanners' odd um/px; beyond it detail would be invented."""


@dataclass(frozen=True)
class TileTask:
    """One task of labelled tiles. classes: in the order of the labels. mpp: um/px of the images."""

    name: str
    classes: tuple[str, ...]
    mpp: float
    source: Path

    @cached_property
    def files(self) -> tuple[tuple[Path, int], ...]:
        """Every image with its label, sorted by name within its class."""
        return tuple((path, label) for label, name in enumerate(self.classes) for path in _images(self.source / name))

    @cached_property
    def digest(self) -> str:
        """Of classes, resolution, and each image's name and bytes."""
        total = hashlib.sha256(json.dumps([self.name, self.classes, self.mpp]).encode())
        for path, label in self.files:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.name} {label} {content}".encode())
        return total.hexdigest()[:16]


@dataclass(frozen=True)
class TileSet:
    """A task's tiles, ready to train on.

    tiles: uint8 [N, tile_px, tile_px, 3] RGB, mapped from disk. labels: int64 [N]. groups: str [N], the slide or
    patient a tile is from, where its file name says so; else every tile is a group of its own.
    """

    task: TileTask
    tiles: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]


def read_image_folder(source: Path, name: str | None = None, mpp: float | None = None) -> TileTask:
    """A folder with a folder a class. Classes and um/px come from manifest.json beside them, or from the arguments.

    Raises TaskError naming the folder: missing, fewer than two classes, a class without images, no resolution.
    """
    if not source.is_dir():
        raise TaskError(f"{source}: no such folder of labelled tiles")
    manifest = _manifest(source / MANIFEST)
    name = name or manifest.get("name", source.name)
    if not re.fullmatch(r"\w[\w -]*", name):
        raise TaskError(f"{source.name}: task name {name!r}, wanted letters, digits, _, - and spaces")
    classes = tuple(manifest.get("classes") or sorted(p.name for p in source.iterdir() if p.is_dir()))
    mpp = mpp or manifest.get("mpp")
    if mpp is None:
        raise TaskError(f"{source.name}: no um/px; give mpp in the study file, or in {MANIFEST}")
    if len(classes) < 2:
        raise TaskError(f"{source.name}: {len(classes)} class folder, wanted at least two")
    if empty := [c for c in classes if not _images(source / c)]:
        raise TaskError(f"{source.name}: class {empty[0]!r} has no images ({', '.join(sorted(SUFFIXES))})")
    return TileTask(name, classes, float(mpp), source)


def _manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise TaskError(f"{path.parent.name}/{path.name}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise TaskError(f"{path.parent.name}/{path.name}: a {type(found).__name__}, wanted name, classes and mpp")
    return found


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)


def load_tiles(task: TileTask, tile_px: int, tile_mpp: float, cache: Path) -> TileSet:
    """Decode every image once, resample it by area to tile_mpp and keep its central tile, in a mapped file.

    Raises TaskError for an image that cannot be read, is coarser than tile_mpp, or whose field is smaller than the
    tile: it is never stretched.
    """
    if task.mpp > tile_mpp * COARSER:
        raise TaskError(f"{task.name}: images at {task.mpp:g} um/px, wanted {tile_mpp:g} or finer")
    path = cache / f"{task.name}-{task.digest}-{tile_px}px-{tile_mpp:g}mpp.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as folder:
            draft = Path(folder) / path.name
            _decode(task, tile_px, tile_mpp, draft)
            draft.replace(path)
    labels = np.array([label for _, label in task.files], np.int64)
    groups = np.array([p.name.split(GROUP_SEPARATOR)[0] for p, _ in task.files])
    return TileSet(task, np.load(path, mmap_mode="r"), labels, groups)


def _decode(task: TileTask, tile_px: int, tile_mpp: float, path: Path) -> None:
    tiles = np.lib.format.open_memmap(path, "w+", np.uint8, (len(task.files), tile_px, tile_px, 3))
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(lambda file: central_tile(file[0], task.mpp, tile_px, tile_mpp), task.files)
        for i, tile in enumerate(tqdm(decoded, total=len(tiles), desc=f"tiles of {task.name}", unit="tile")):
            tiles[i] = tile
    tiles.flush()


def central_tile(path: Path, mpp: float, tile_px: int, tile_mpp: float) -> NDArray[np.uint8]:
    """The central tile of an image, uint8 [tile_px, tile_px, 3] RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise TaskError(f"{path.parent.name}/{path.name}: cannot be read as an image")
    field_px = tile_px * tile_mpp / mpp
    height, width = image.shape[:2]
    if min(height, width) < round(field_px):
        raise TaskError(
            f"{path.parent.name}/{path.name}: {width} x {height} px at {mpp} um/px, wanted a field of at least "
            f"{tile_px * tile_mpp:g} um ({field_px:.0f} px); a tile is never stretched"
        )
    side = round(field_px)
    top, left = (height - side) // 2, (width - side) // 2
    tile = cv2.resize(image[top : top + side, left : left + side], (tile_px, tile_px), interpolation=cv2.INTER_AREA)
    return np.asarray(tile)


def split(tile_set: TileSet, fraction: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices for training and for validation; no group stands in both, and every class stands in each.

    Raises TaskError when a class comes from too few groups for that.
    """
    labels, groups = tile_set.labels, tile_set.groups
    count = min(round(1 / fraction), len(np.unique(groups)), int(np.bincount(labels).max()))
    if count > 1:
        folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        for train, validation in folds.split(labels, labels, groups):
            if set(labels[train]) == set(labels[validation]) == set(labels):
                return np.asarray(train), np.asarray(validation)
    sources = {name: len(np.unique(groups[labels == label])) for label, name in enumerate(tile_set.task.classes)}
    scarce = min(sources, key=sources.__getitem__)
    raise TaskError(
        f"{tile_set.task.name}: class {scarce!r} comes from {sources[scarce]} slides or patients, too few to stand in "
        "training and validation both; add tiles of others"
    )
