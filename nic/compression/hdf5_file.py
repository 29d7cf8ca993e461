"""An HDF5 file that is written whole or not at all, also on a disk that is full."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import h5py

from nic.files import drafted


@contextmanager
def written(path: Path) -> Iterator[h5py.File]:
    """A file to fill, that gets its name when it is whole. Raises OSError.

    It is made in memory: HDF5 that meets a full disk cannot close its file, and says so later, from anywhere.
    """
    content = BytesIO()
    with h5py.File(content, "w") as file:
        yield file
    with drafted(path) as draft:
        draft.write_bytes(content.getbuffer())
