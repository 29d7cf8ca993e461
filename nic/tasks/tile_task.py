"""Labelled tiles: a task as it lies on disk, and its tiles as the encoder takes them."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from nic.errors import TaskError

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
GROUP_SEPARATOR = "__"


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
        return tuple(
            (path, label)
            for label, name in enumerate(self.classes)
            for path in sorted((self.source / name).iterdir())
            if path.suffix.lower() in SUFFIXES
        )

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
    manifest_file = source / "manifest.json"
    manifest = json.loads(manifest_file.read_text()) if manifest_file.is_file() else {}
    classes = tuple(manifest.get("classes") or sorted(p.name for p in source.iterdir() if p.is_dir()))
    mpp = mpp or manifest.get("mpp")
    if mpp is None:
        raise TaskError(f"{source.name}: no um/px; give mpp in the study file, or in {manifest_file.name}")
    if len(classes) < 2:
        raise TaskError(f"{source.name}: {len(classes)} class folder, wanted at least two")
    task = TileTask(name or manifest.get("name", source.name), classes, float(mpp), source)
    for label, class_name in enumerate(classes):
        if not (source / class_name).is_dir() or label not in {found for _, found in task.files}:
            raise TaskError(f"{source.name}: class {class_name!r} has no images")
    return task


def load_tiles(task: TileTask, tile_px: int, tile_mpp: float, cache: Path) -> TileSet:
    """Decode every image once, resample it by area to tile_mpp and keep its central tile, in a mapped file.

    Raises TaskError for an image that cannot be read or whose field is smaller than the tile: it is never stretched.
    """
    path = cache / f"{task.name}-{task.digest}-{tile_px}px-{tile_mpp:g}mpp.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".partial.npy")
        tiles = np.lib.format.open_memmap(draft, "w+", np.uint8, (len(task.files), tile_px, tile_px, 3))
        with ThreadPoolExecutor() as pool:
            decoded = pool.map(lambda file: central_tile(file[0], task.mpp, tile_px, tile_mpp), task.files)
            for i, tile in enumerate(tqdm(decoded, total=len(tiles), desc=f"tiles of {task.name}", unit="tile")):
                tiles[i] = tile
        tiles.flush()
        draft.replace(path)
    labels = np.array([label for _, label in task.files], np.int64)
    groups = np.array([p.name.split(GROUP_SEPARATOR)[0] for p, _ in task.files])
    return TileSet(task, np.load(path, mmap_mode="r"), labels, groups)


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
    """Indices for training and for validation; no group stands in both, and every class stands in each."""
    folds = StratifiedGroupKFold(round(1 / fraction), shuffle=True, random_state=seed)
    train, validation = next(folds.split(tile_set.labels, tile_set.labels, tile_set.groups))
    return np.asarray(train), np.asarray(validation)
