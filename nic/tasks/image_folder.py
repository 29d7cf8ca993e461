"""Layout `folder`: a folder for the task with one folder for each class, as NCT-CRC-HE-100K is unpacked."""

from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from nic.errors import TaskError
from nic.tasks.entries import FolderEntry
from nic.tasks.image_tiles import ImageTiles
from nic.tasks.tile_source import check_classes, class_labels, pattern_groups
from nic.tasks.tile_task import TileTask

MANIFEST = "manifest.json"
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
GROUP_SEPARATOR = "__"


class Manifest(BaseModel):
    """The manifest of a folder: um/px of its images, and its classes in the order of their labels."""

    mpp: float | None = Field(default=None, gt=0)
    classes: tuple[str, ...] = ()


def read_image_folder(entry: FolderEntry) -> TileTask:
    """Classes and um/px come from the study file, else from manifest.json in the folder; classes else from its folders.

    Raises TaskError naming the folder: missing, no resolution, fewer than two classes, a class without images.
    """
    folder, second = entry.path, entry.validation
    for wanted in (folder, second):
        if wanted is not None and not wanted.is_dir():
            raise TaskError(f"{wanted}: no such folder of labelled tiles")
    manifest = read_manifest(folder / MANIFEST)
    mpp = entry.mpp or manifest.mpp
    if mpp is None:
        raise TaskError(f"{entry.name}: no um/px in {folder.name}; give mpp in the study file, or in {MANIFEST}")
    stated = {name: (name,) for name in manifest.classes or _folders(folder) if name not in entry.ignore}
    paths = [*images_in(folder), *(images_in(second) if second else ())]
    values = [path.parent.name for path in paths]
    names, labels = class_labels(entry.name, values, entry.classes or stated, entry.ignore)
    order = np.flatnonzero(labels >= 0)[np.argsort(labels[labels >= 0], kind="stable")]
    chosen = [paths[i] for i in order]
    files = [f"{path.parent.name}/{path.name}" for path in chosen]
    pattern = entry.group_pattern
    groups = pattern_groups(entry.name, files, pattern) if pattern else np.array([_own_group(file) for file in files])
    mpps = np.full(len(chosen), mpp)
    if second is None:
        return TileTask(entry.name, names, mpp, ImageTiles(chosen, files, labels[order], groups, mpps, entry.too_small))
    in_second = np.array([path.parent.parent == second for path in chosen])
    files = [f"{second.name}/{file}" if held else file for file, held in zip(files, in_second, strict=True)]
    groups = np.where(in_second, np.char.add(f"{second.name}/", groups), groups)
    check_classes(f"{entry.name}, {second.name}", names, labels[order][in_second])
    source = ImageTiles(chosen, files, labels[order], groups, mpps, entry.too_small)
    return TileTask(entry.name, names, mpp, source, frozenset(groups[in_second].tolist()))


def images_in(folder: Path) -> list[Path]:
    """The images of a folder with a folder for each class, sorted; none where it does not exist."""
    return sorted(path for path in folder.glob("[!.]*/[!.]*") if path.suffix.lower() in SUFFIXES)


def _folders(folder: Path) -> tuple[str, ...]:
    return tuple(path.name for path in sorted(folder.glob("[!.]*")) if path.is_dir())


def _own_group(file: str) -> str:
    """The slide or patient, where the name begins with it and `__`; else the tile is its own group."""
    group, separator, _ = file.rpartition("/")[2].partition(GROUP_SEPARATOR)
    return group if separator else file


def read_manifest(path: Path) -> Manifest:
    """The manifest of a tile task; an empty one where the file does not exist. Raises TaskError."""
    if not path.is_file():
        return Manifest()
    try:
        return Manifest.model_validate_json(path.read_text())
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}".lstrip(": ") for e in error.errors())
        raise TaskError(f"{path.parent.name}/{path.name}: {faults}") from error
