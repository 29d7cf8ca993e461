"""How a slide is compressed, and what its file is made of."""

from dataclasses import dataclass, field
from typing import Literal

from nic.compression.tissue_rule import Otsu, TissueRule
from nic.slides.quality import REASONS

Runtime = Literal["onnx", "openvino"]
ALL_TESTS = tuple(sorted(REASONS[1:]))


@dataclass(frozen=True)
class MadeOf:
    """What the head of a file says; equal for two files of the same codes."""

    encoder_sha256: str
    fingerprint: str
    slide_mpp: float
    min_tissue: float
    variants: int
    exclude: tuple[str, ...]
    tissue: str
    runtime: str


@dataclass(frozen=True)
class Setting:
    """How slides are compressed.

    min_tissue: least share of tissue in a tile that is encoded. variants: 8 encodes every tile in its eight turns too,
    read once: an encoder knows up from down, so that the codes of a turned slide are not those of the slide, turned.
    exclude: which of nic.slides.quality.REASONS keep a tile out. tissue: what counts as such. runtime: what runs the
    encoder's graph; it is noted in the file, the encoder that is given must be of it.
    """

    min_tissue: float = 0.6
    variants: int = 1
    exclude: tuple[str, ...] = ALL_TESTS
    tissue: TissueRule = field(default_factory=Otsu)
    runtime: Runtime = "onnx"

    def made_of(self, encoder_sha256: str, fingerprint: str, slide_mpp: float, slide_id: str) -> MadeOf:
        """Of a slide compressed so. Raises MaskError."""
        tests = tuple(sorted(self.exclude))
        said = self.tissue.said(slide_id)
        return MadeOf(encoder_sha256, fingerprint, slide_mpp, self.min_tissue, self.variants, tests, said, self.runtime)
