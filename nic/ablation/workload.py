"""How long an ablation takes: what is expected of each part before it begins, and what is left while it runs."""

import math
from dataclasses import dataclass, field

READING = 0.45
"""Share of reading in the time of a compression by one encoder."""
ENCODINGS_A_TILE = {"multitask": 5.5, "vae": 14.0, "contrastive": 12.0, "bigan": 28.0}
"""Time of a tile of an epoch in an encoder's training, by its objective. The unit is the encoding of a tile, which is
measured on each machine."""
ENCODINGS_A_CELL = 0.0025
"""Time of a grid's cell of an epoch in a patient network's training, in the same unit."""
ENCODINGS_A_STREAMED_CELL = 0.9
"""Time of a grid's cell of an epoch in the training of the streaming CNN, in the same unit."""
OVERLAPPING_COMPRESSION = 3.0
"""Time of a compression with tiles that overlap by half, in compressions without overlap."""


@dataclass
class Workload:
    """expected: seconds of each part of the work, by name. finished: share of each part that is finished, 0 to 1.

    What is left follows the pace of what this run has worked on; what an earlier run finished says nothing of it.
    """

    expected: dict[str, float] = field(default_factory=dict)
    finished: dict[str, float] = field(default_factory=dict)
    _worked_s: float = field(default=0.0, init=False)
    _expected_s: float = field(default=0.0, init=False)

    def finish(self, part: str, seconds: float, share: float = 1.0, new: float = 1.0) -> None:
        """share: of the part that is finished now. new: the share of that which this run did, in these seconds."""
        self.finished[part] = self.finished.get(part, 0.0) + share
        if new and self.expected.get(part):
            self._worked_s += seconds
            self._expected_s += self.expected[part] * share * new

    def replace(self, part: str, other: str) -> None:
        """Another part takes the place of an expected one, with the same seconds."""
        self.expected[other] = self.expected.pop(part, 0.0)

    @property
    def hours_left(self) -> float:
        pace = self._worked_s / self._expected_s if self._expected_s else 1.0
        return pace * sum(seconds * self._left(part) for part, seconds in self.expected.items()) / 3600

    def _left(self, part: str) -> float:
        return max(0.0, 1.0 - self.finished.get(part, 0.0))

    def __str__(self) -> str:
        finished = sum(math.isclose(self._left(part), 0.0, abs_tol=1e-9) for part in self.expected)
        return f"{finished} of {len(self.expected)} parts are finished; about {self.hours_left:.1f} hours are left"
