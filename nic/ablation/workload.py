"""How long an ablation takes: what is expected of each part before it begins, and what is left while it runs."""

from collections.abc import Mapping
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
    """expected: seconds of each part of the work, by name. spent: of those that are finished.

    What is left follows the parts that this run has worked on; parts of an earlier run took it no time.
    """

    expected: Mapping[str, float] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)

    def finish(self, part: str, seconds: float) -> None:
        """seconds: that this run worked on the part, 0 where an earlier run did."""
        self.spent[part] = seconds

    @property
    def hours_left(self) -> float:
        worked = {part: seconds for part, seconds in self.spent.items() if seconds and self.expected.get(part)}
        pace = sum(worked.values()) / sum(self.expected[part] for part in worked) if worked else 1.0
        return pace * sum(seconds for part, seconds in self.expected.items() if part not in self.spent) / 3600

    def __str__(self) -> str:
        finished = sum(part in self.spent for part in self.expected)
        return f"{finished} of {len(self.expected)} parts are finished; about {self.hours_left:.1f} hours are left"
