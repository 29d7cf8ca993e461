"""Which tiles of a slide have a code. A patient model carries it, so that slides are cut for it as in training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cutting:
    """Equal for slides that one patient model may be asked about.

    overlap_px: pixels of a tile that the next one shows again. min_tissue: least share of tissue in a tile with a code.
    exclude: which of nic.slides.quality.REASONS keep a tile out, sorted. tissue: what counts as tissue, in the words of
    nic.compression.tissue_rule; `given` where each slide had a mask of its own.
    """

    overlap_px: float = 0
    min_tissue: float = 0.6
    exclude: tuple[str, ...] = ("blurred", "dark", "pen")
    tissue: str = "otsu"

    def __str__(self) -> str:
        tests = ", ".join(self.exclude) or "nothing"
        return (
            f"overlap {self.overlap_px:g} px, at least {self.min_tissue:.0%} of tissue, tissue by {self.tissue}, "
            f"without {tests}"
        )
