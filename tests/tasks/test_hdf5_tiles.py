"""Layout `hdf5`: the files of PatchCamelyon, made small."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from nic.errors import TaskError
from nic.tasks.entries import Hdf5Entry
from nic.tasks.hdf5_tiles import read_hdf5_tiles
from nic.tasks.tile_task import TileTask, load_tiles

COUNT = 600


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 24, 24, 3)).astype(np.uint8)


@pytest.fixture
def pcam(tmp_path: Path, images: NDArray[np.uint8]) -> Path:
    """Names and shapes as released: x and y in two files, and a table."""
    with h5py.File(tmp_path / "train_x.h5", "w") as file:
        file.create_dataset("x", data=images, chunks=(64, 24, 24, 3), compression="gzip", compression_opts=1)
    with h5py.File(tmp_path / "train_y.h5", "w") as file:
        file["y"] = (np.arange(COUNT) % 3 == 0).astype(np.uint8).reshape(COUNT, 1, 1, 1)
    lines = [f"{i},camelyon16_train_{i // 50}" for i in range(COUNT)]
    (tmp_path / "train_meta.csv").write_text("\n".join(["coord_x,wsi", *lines]))
    return tmp_path / "train_x.h5"


def read(path: Path, **changes: object) -> TileTask:
    fields = {"name": "m", "layout": "hdf5", "path": path, "labels": path.with_name("train_y.h5"), "mpp": 1.0}
    return read_hdf5_tiles(Hdf5Entry.model_validate(fields | changes))


def test_the_released_files_are_read(pcam: Path, images: NDArray[np.uint8]) -> None:
    task = read(
        pcam,
        mpp=0.5,
        classes={"normal": [0], "tumour": [1]},
        meta=pcam.with_name("train_meta.csv"),
        group_column="wsi",
    )
    tile_set = load_tiles(task, 8, 1.0, pcam.parent / "cache")
    assert task.classes == ("normal", "tumour")
    assert (tile_set.labels == (np.arange(COUNT) % 3 == 0)).all()
    assert tile_set.groups[[0, 49, 50]].tolist() == ["camelyon16_train_0"] * 2 + ["camelyon16_train_1"]
    expected = images[:, 4:20, 4:20].reshape(COUNT, 8, 2, 8, 2, 3).mean((2, 4))
    assert np.abs(tile_set.tiles - expected).max() <= 0.5


def test_both_data_sets_may_lie_in_one_file(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["images"], file["classes"] = images, np.arange(COUNT) % 9
    task = read(tmp_path / "all.h5", labels=None, x="images", y="classes", ignore=[0, 8])
    tile_set = load_tiles(task, 24, 1.0, tmp_path / "cache")
    kept = [i for i in range(COUNT) if i % 9 not in (0, 8)]
    assert task.classes == tuple("1234567")
    assert (tile_set.tiles == images[kept]).all()
    assert len(set(tile_set.groups)) == len(kept)


def test_the_digest_follows_pixels_and_labels(pcam: Path) -> None:
    digests = {read(pcam).digest, read(pcam, classes={"a": [1], "b": [0]}).digest}
    with h5py.File(pcam, "r+") as file:
        file["x"][7] = 0
    assert len(digests | {read(pcam).digest}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": "z"}, r"train_x\.h5: no data set 'z'; it has x"),
        ({"labels": None}, r"train_x\.h5: no data set 'y'; it has x"),
        ({"path": "gone.h5"}, r"gone\.h5: no such file"),
        ({"path": "train_y.h5", "x": "y"}, r"train_y\.h5: y is uint8 \[600, 1, 1, 1\], wanted uint8 \[N, h, w, 3\]"),
        ({"labels": "train_x.h5", "y": "x"}, r"train_x\.h5: x is uint8 \[600, 24, 24, 3\], wanted 600 whole numbers"),
        ({"labels": "train_meta.csv"}, r"train_meta\.csv: not HDF5"),
        ({"classes": {"normal": [0], "other": [2]}}, r"label '1' belongs to no class"),
        ({"meta": "train_meta.csv", "group_column": "slide"}, r"train_meta\.csv: no column 'slide'"),
        ({"meta": "short.csv", "group_column": "wsi"}, r"short\.csv: 1 rows for 600 tiles of train_x\.h5"),
    ],
)
def test_faults_are_named(pcam: Path, changes: dict[str, object], message: str) -> None:
    pcam.with_name("short.csv").write_text("wsi\n1")
    places = {key: pcam.with_name(str(changes[key])) for key in ("path", "labels", "meta") if changes.get(key)}
    with pytest.raises(TaskError, match=message):
        read(**({"path": pcam} | changes | places))


def test_a_file_cut_short_is_refused(pcam: Path) -> None:
    pcam.write_bytes(pcam.read_bytes()[: pcam.stat().st_size // 2])
    with pytest.raises(TaskError, match=r"train_x\.h5: not HDF5, or cut short"):
        read(pcam)


def test_broken_rows_are_counted(pcam: Path) -> None:
    with h5py.File(pcam) as file:
        stored = file["x"].id.get_chunk_info(3)
    content = bytearray(pcam.read_bytes())
    content[stored.byte_offset : stored.byte_offset + stored.size] = bytes(stored.size)
    pcam.write_bytes(content)
    with pytest.raises(TaskError, match=r"of 600 tiles cannot be read, wanted at most 1%: train_x\.h5 row 0"):
        load_tiles(read(pcam), 8, 1.0, pcam.parent / "cache")
