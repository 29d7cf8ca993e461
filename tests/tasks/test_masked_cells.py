"""Masks of slides: cells have the class of the pixels that lie in them, at any resolution of the mask."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import tissue_image, write_slide
from numpy.typing import NDArray

from nic.errors import TaskError
from nic.slides.grid import TileGrid
from nic.tasks.annotated_slides import read_annotated_slides
from nic.tasks.entries import SlidesEntry
from nic.tasks.masked_cells import masked_cells
from nic.tasks.tile_source import TileField
from nic.tasks.tile_task import TileTask

SIZE = 1024  # px at 0.5 um/px: 8 x 8 tiles of 64 um
GRID = TileGrid(64, 1.0, 0.5, (0, 0), 8, 8)
LABELS = {"1": 0, "2": 1, "0": -1}


def mask(scale: float) -> NDArray[np.uint8]:
    """1 in the left half of tile rows 2 to 5, 2 in their right half, 0 elsewhere. scale: px of it for a slide's px."""
    values = np.zeros((SIZE, SIZE), np.uint8)
    values[256:768, 128:512], values[256:768, 512:896] = 1, 2
    index = (np.arange(int(SIZE * scale)) / scale).astype(int)
    return values[np.ix_(index, index)]


def write_mask(path: Path, levels: list[NDArray[np.uint8]]) -> Path:
    with tifffile.TiffWriter(path) as file:
        file.write(levels[0], tile=(128, 128), subifds=len(levels) - 1, compression="deflate")
        for level in levels[1:]:
            file.write(level, tile=(128, 128), subfiletype=1, compression="deflate")
    return path


@pytest.mark.parametrize("scales", [[1.0], [2.0], [0.125], [2.0, 1.0, 0.5, 0.125], [1.0, 0.01]])
def test_cells_have_the_class_of_their_pixels(tmp_path: Path, scales: list[float]) -> None:
    """A mask may be finer than the slide, as of PESO, or coarser; a level that is too coarse is not used."""
    path = write_mask(tmp_path / "m.tif", [mask(scale) for scale in scales])
    labels = masked_cells(path, (SIZE, SIZE), GRID, LABELS, 0.5)
    expected = np.full((8, 8), -1)
    expected[2:6, 1:4], expected[2:6, 4:7] = 0, 1
    np.testing.assert_array_equal(labels, expected)


def test_a_cell_between_two_classes_needs_its_share(tmp_path: Path) -> None:
    values = np.ones((SIZE, SIZE), np.uint8)
    values[:, 200:] = 2  # 44% of the second column of tiles are of class 2, not its centre
    path = write_mask(tmp_path / "m.tif", [values])
    assert masked_cells(path, (SIZE, SIZE), GRID, LABELS, 0.4)[0, 1] == 0
    assert masked_cells(path, (SIZE, SIZE), GRID, LABELS, 0.6)[0, 1] == -1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((SIZE, SIZE), 7, np.uint8), r"m\.tif: value 7 belongs to no class; name it under a class"),
        (np.zeros((SIZE, SIZE), np.uint16), r"m\.tif: uint16 \[1024, 1024\], wanted a mask of uint8"),
        (np.zeros((SIZE, SIZE, 3), np.uint8), r"m\.tif: uint8 \[1024, 1024, 3\], wanted a mask of uint8"),
        (
            np.zeros((SIZE, SIZE // 2), np.uint8),
            r"m\.tif: 512 x 1024 px, wanted a mask of the whole slide, whose shape",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused(tmp_path: Path, values: NDArray[np.uint8], message: str) -> None:
    tifffile.imwrite(tmp_path / "m.tif", values, photometric="rgb" if values.ndim == 3 else "minisblack")
    with pytest.raises(TaskError, match=message):
        masked_cells(tmp_path / "m.tif", (SIZE, SIZE), GRID, LABELS, 0.5)
    (tmp_path / "m.tif").write_bytes(b"no mask")
    with pytest.raises(TaskError, match=r"m\.tif: cannot be read as a mask"):
        masked_cells(tmp_path / "m.tif", (SIZE, SIZE), GRID, LABELS, 0.5)


def read(folder: Path, **changes: object) -> TileTask:
    fields = {"name": "m", "layout": "slides", "path": folder / "slides", "annotations": folder / "masks"}
    classes = {"other": ["1"], "epithelium": ["2"]}
    suffix = {"mask_suffix": "_HE_mask", "classes": classes, "exclude": ["0"]}
    return read_annotated_slides(SlidesEntry.model_validate(fields | suffix | changes))


def test_a_task_of_slides_with_masks(tmp_path: Path) -> None:
    """As PESO: a mask for some slides, under the slide's name and a suffix."""
    for folder in ("slides", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("pds_1", "pds_2"):
        write_slide(tmp_path / "slides" / f"{name}.tif", tissue_image(SIZE, SIZE))
    write_mask(tmp_path / "masks" / "pds_1_HE_mask.tif", [mask(2.0), mask(1.0)])
    task = read(tmp_path)
    assert task.classes == ("other", "epithelium")
    (part,) = task.source.parts(TileField(64, 1.0))
    assert np.bincount(part.labels).tolist() == [12, 12]
    assert set(part.groups) == {"pds_1"}
    assert len([tile for tile in part.cut() if isinstance(tile, np.ndarray)]) == 24
    before = task.digest
    write_mask(tmp_path / "masks" / "pds_1_HE_mask.tif", [mask(1.0)])
    assert read(tmp_path).digest != before
    with pytest.raises(TaskError, match=r"m: none of 2 slides has its annotations in .*masks, wanted pds_1_mask\.tif"):
        read(tmp_path, mask_suffix="_mask")
    with pytest.raises(TaskError, match="no such folder of annotations"):
        read(tmp_path, annotations=tmp_path / "gone")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"classes": None}, "no classes; name the pixel values"), ({"background": "b"}, "background is for outlines")],
)
def test_keys_of_outlines_are_not_those_of_masks(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, **changes)
