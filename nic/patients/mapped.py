"""Arrays of HDF5 files that the system reads when they are touched, and may drop again."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


def mapped(path: Path, name: str) -> NDArray[Any] | None:
    """Dataset `name` of the file, mapped where it lies in one piece and read where not; None where there is none.

    What is written into the array stays in memory and never reaches the file.
    """
    with h5py.File(path) as file:
        if name not in file:
            return None
        data = file[name]
        offset = data.id.get_offset()
        return data[:] if offset is None else np.memmap(path, data.dtype, "c", offset, data.shape)
