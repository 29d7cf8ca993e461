"""Which tiles of a slide have a code. A patient model carries it, so that slides are cut for it as in training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cutting:
    """Equal for slides that one patient model may be asked about.

    overlap_px: pixels of a tile that the next one shows again. min_tissue: least share of tissue in a tile with a code.
    exclude: which of nic.slides.quality.REASONS keep a tile out, sorted. tissue: what counts as tissue, in the words of
    nic.compression.tissue_rule; `given` where each slide had a mask of its own.
    """

    overlap_px: int = 0
    min_tissue: float = 0.6
    exclude: tuple[str, ...] = ("blurred", "dark", "pen")
    tissue: str = "otsu"

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Cutting":
        """From JSON. Raises TypeError or KeyError when a field is missing or unknown."""
        return cls(**{**fields, "exclude": tuple(fields["exclude"])})

    def __str__(self) -> str:
        tests = ", ".join(self.exclude) or "nothing"
        return (
            f"overlap {self.overlap_px} px, at least {self.min_tissue:.0%} of tissue, tissue by {self.tissue}, "
            f"without {tests}"
        )


AS_USUAL = Cutting()
