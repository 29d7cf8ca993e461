"""Checks of a file of codes that anybody may have written: what it declares, before any of its data is read."""

import io
import math
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import CodesError, OverLimit
from nic.serving.limits import Budget
from nic.serving.memory import Footprint

ARRAYS = {"features": "f", "row": "iu", "col": "iu", "tissue": "b", "failed": "b", "excluded": "u", "overview": "u"}
"""Datasets that are read, with the kinds of numbers that each may hold."""
OPTIONAL = ("excluded", "overview")
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
"""The filters within h5py; for any other HDF5 would load a plug-in."""
LAYOUTS = (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED)
ATTRIBUTE_BYTES, ATTRIBUTE_NUMBERS = 64 << 10, 64
OVERVIEW_PX = 4096
"""Longest side of the overview; nic writes 640 px."""


def check_codes(path: Path, budget: Budget) -> None:
    """Check what a file declares, and where its codes lie.

    Raises CodesError when it is not a file of codes of nic, or links to other files; OverLimit when it holds more than
    `budget` allows.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            _check_declared(file, budget)
            Footprint.of(file).check(budget.memory_bytes)
    except (CodesError, OverLimit):
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CodesError(f"{path.name}: not a compressed slide of nic; compress the slide again") from error


def _check_declared(file: h5py.File, budget: Budget) -> None:
    """Links, kinds and sizes, without reading data."""
    _check_attributes(file)
    names = set(file)  # links are listed, and none is followed
    datasets = [_dataset(file, name, kinds) for name, kinds in ARRAYS.items() if name in names]
    if (size := sum(map(_declared_bytes, datasets))) > budget.features_bytes:
        raise OverLimit(f"arrays of {size} bytes, wanted at most {budget.features_bytes}")
    if missing := set(ARRAYS) - set(OPTIONAL) - names:
        raise CodesError(f"the file lacks {', '.join(sorted(missing))}; compress the slide again")
    if "coords" in names:
        _check_attributes(_dataset(file, "coords", "iu"))
    if (codes := len(file["features"])) > budget.tiles:
        raise OverLimit(f"{codes} codes, wanted at most {budget.tiles}")
    if max(len(file["row"]), len(file["col"])) > budget.tiles:
        raise OverLimit(f"more than {budget.tiles} places, wanted one a code")


def _dataset(file: h5py.File, name: str, kinds: str) -> h5py.Dataset:
    """A dataset by name. Raises CodesError when it lies in another file, or is not a plain array of numbers."""
    if file.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise CodesError(f"{name} is a link; wanted the array itself")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in kinds:
        raise CodesError(f"{name} is not an array of numbers as nic writes it")
    layout = dataset.id.get_create_plist()
    if layout.get_layout() not in LAYOUTS or layout.get_external_count():
        raise CodesError(f"{name} lies in other files; wanted the array itself")
    if any(layout.get_filter(number)[0] not in FILTERS for number in range(layout.get_nfilters())):
        raise CodesError(f"{name} is compressed by an unknown filter; wanted deflate, lzf or none")
    return dataset


def _declared_bytes(dataset: h5py.Dataset) -> int:
    """In memory: of the array, or of one chunk where that is larger."""
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    return max(int(dataset.nbytes), int(chunk))


def _check_attributes(holder: h5py.File | h5py.Dataset) -> None:
    for number in range(h5py.h5a.get_num_attrs(holder.id)):
        attribute = h5py.h5a.open(holder.id, index=number)
        text = h5py.check_string_dtype(attribute.dtype) is not None
        if not (text or attribute.dtype.kind in "biufS"):
            raise CodesError("an attribute is neither text nor a number; compress the slide again")
        if attribute.get_storage_size() > ATTRIBUTE_BYTES or math.prod(attribute.shape or ()) > ATTRIBUTE_NUMBERS:
            raise OverLimit(f"an attribute of more than {ATTRIBUTE_BYTES} bytes or {ATTRIBUTE_NUMBERS} numbers")


def check_numbers(slide: CompressedSlide) -> None:
    """Raises CodesError when its numbers make no sense, OverLimit when its overview is large."""
    name, grid = slide.slide_id, slide.grid
    lengths = (grid.tile_px, grid.tile_mpp, grid.slide_mpp, grid.tile_px - grid.overlap_px)
    if not all(math.isfinite(length) and length > 0 for length in lengths) or not grid.overlap_px >= 0:
        raise CodesError(f"{name}: impossible tiles, {grid}; compress the slide again")
    if slide.size_l0px is not None and min(slide.size_l0px) < 1:
        raise CodesError(f"{name}: a slide of {slide.size_l0px} px; compress the slide again")
    if slide.excluded is not None and slide.excluded.shape != slide.tissue.shape:
        raise CodesError(f"{name}: the excluded cells do not fit the grid; compress the slide again")
    if slide.overview is not None:
        _check_overview(name, slide.overview)


def _check_overview(name: str, jpeg: NDArray[np.uint8]) -> None:
    """Its declared size, because a small JPEG may declare billions of pixels."""
    try:
        with Image.open(io.BytesIO(jpeg.tobytes()), formats=["JPEG"]) as image:
            size = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CodesError(f"{name}: its overview is not a JPEG; compress the slide again") from error
    if max(size) > OVERVIEW_PX:
        raise OverLimit(f"{name}: an overview of {size[0]} x {size[1]} px, wanted at most {OVERVIEW_PX} a side")
