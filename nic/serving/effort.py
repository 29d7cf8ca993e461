"""What one slide may cost a request."""

import time
from dataclasses import dataclass

from nic.errors import OverLimit
from nic.serving.limits import NO_LIMIT


@dataclass(frozen=True)
class Effort:
    """tiles: of tissue, at most. deadline_s: of the monotonic clock. batch_tiles: encoded at a time; 0: as many as suit
    the encoder. features_bytes: of the arrays of a file of codes. memory_bytes: to answer from codes, see
    nic.serving.memory."""

    tiles: int
    deadline_s: float
    batch_tiles: int = 0
    features_bytes: int = NO_LIMIT
    memory_bytes: int = NO_LIMIT

    @property
    def left_s(self) -> float:
        return max(0.0, self.deadline_s - time.monotonic())

    def check_time(self) -> None:
        """Raises OverLimit past the deadline."""
        if time.monotonic() > self.deadline_s:
            raise OverLimit("not done in time; compress it, and give the file of its codes")
