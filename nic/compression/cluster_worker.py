"""What a process of a cluster keeps from slide to slide: its encoder, and the processes that read for it."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.compression.codes_folder import CodesFolder
from nic.compression.work import How, Outcome, Workers, take
from nic.encoder.spec import Encoder, at_once_of
from nic.slides.slide import SlideSource
from nic.slides.subprocess_reader import SubprocessReader
from nic.threads import SharedThreads

Load = Callable[[Path], Encoder]


@dataclass(frozen=True)
class Work:
    """What all slides of a cohort have in common; it is sent once to each process.

    files: bytes of the encoder's files by name, uint8, the graph first. readers: processes that read. on_gpu: whether
    as many threads encode as the encoder says, or as many as there are readers.
    """

    files: Mapping[str, NDArray[np.uint8]]
    load: Load
    folder: CodesFolder
    how: How
    readers: int
    on_gpu: bool


class ClusterWorker:
    """Compresses slides, several at once where threads ask. Raises EncoderError when the encoder cannot be loaded."""

    def __init__(self, work: Work) -> None:
        self._folder, self._how = work.folder, work.how
        self.encoder = _loaded(work)
        self._held = ExitStack()
        reading = SubprocessReader(work.readers, silent_s=work.how.silent_s, modules=["nic.compression.tile_jobs"])
        encoding = SharedThreads(at_once_of(self.encoder) if work.on_gpu else work.readers)
        self._workers = Workers(self._held.enter_context(reading), self._held.enter_context(encoding))

    def take(self, source: SlideSource, wait: bool) -> Outcome | None:
        """See nic.compression.work."""
        return take(self._folder, source, self.encoder, self._how, self._workers, wait=wait)

    def close(self) -> None:
        """End the processes that read."""
        self._held.close()


def _loaded(work: Work) -> Encoder:
    """From files that are gone again."""
    with tempfile.TemporaryDirectory(prefix="nic-") as folder:
        paths = [Path(folder) / name for name in work.files]
        for path, content in zip(paths, work.files.values(), strict=True):
            content.tofile(path)
        return work.load(paths[0])
