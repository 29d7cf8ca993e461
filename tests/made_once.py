"""What the tests of a run share on disk: it is made once, by the first of pytest's workers that needs it."""

from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from filelock import FileLock

_RUN: list[Path] = []


def begin_run(folder: Path) -> None:
    """folder: of this run of pytest, one for all workers."""
    _RUN[:] = [folder]


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of this name, which `make` fills: `made_once("empty-store", make)`. Tests read it and copy it."""
    folder = _RUN[0] / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            draft = Path(mkdtemp(dir=_RUN[0]))
            make(draft)
            draft.rename(folder)
    return folder
