"""Which tiles of a slide have a code. A patient model carries it, so that slides are cut for it as in training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Cutting:
    """Equal for slides that one patient model may be asked about.

    overlap_px: pixels of a tile that the next one shows again. min_tissue: least share of tissue in a tile with a code.
    exclude: which of nic.slides.qc.REASONS keep a tile out, sorted. tissue: what counts as tissue, in the words of
    nic.compression.tissue_rule; `given` where each slide had a mask of its own.
    """

    overlap_px: int = 0
    min_tissue: float = 0.6
    exclude: tuple[str, ...] = ("blurred", "dark", "pen")
    tissue: str = "otsu"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Cutting":
        """From JSON. Raises TypeError or KeyError when a field is missing or unknown."""
        return cls(**{**values, "exclude": tuple(values["exclude"])})

    def unlike(self, other: "Cutting") -> tuple[str, ...]:
        """Names of the settings in which two differ."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name))

    def words(self, names: Sequence[str]) -> str:
        """Some of the settings, as `compress` takes them: overlap_px=32, exclude=dark,pen."""
        values = {name: getattr(self, name) for name in names}
        said = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return ", ".join(f"{name}={value if value != '' else 'nothing'}" for name, value in said.items())

    def __str__(self) -> str:
        tests = ", ".join(self.exclude) or "nothing"
        return (
            f"overlap {self.overlap_px} px, at least {self.min_tissue:.0%} of tissue, tissue by {self.tissue}, "
            f"without {tests}"
        )


AS_USUAL = Cutting()
