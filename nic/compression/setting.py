"""How a slide is compressed, and what its file is made of."""

from dataclasses import dataclass, field

from nic.compression.cutting import Cutting
from nic.compression.tissue_rule import Otsu, TissueRule, rule_said
from nic.encoder.spec import Encoder, Runtime, runtime_of
from nic.errors import EncoderError
from nic.slides.qc import QC_TESTS

ALL_TESTS = tuple(sorted(QC_TESTS[1:]))


@dataclass(frozen=True)
class MadeOf:
    """What the head of a file says; equal for two files of the same codes."""

    encoder_sha256: str
    fingerprint: str
    slide_mpp: float
    overlap_px: float
    min_tissue: float
    variants: int
    exclude: tuple[str, ...]
    tissue: str
    runtime: str


@dataclass(frozen=True)
class Setting:
    """How slides are compressed.

    min_tissue: least share of tissue in a tile that is encoded. overlap_px: pixels of a tile, as the encoder takes it,
    that the next one shows again: half of its side makes four times as many tiles. variants: 8 encodes every tile in
    its eight turns too, read once: an encoder knows up from down, so that the codes of a turned slide are not those of
    the slide, turned. exclude: which of nic.slides.qc.QC_TESTS keep a tile out. tissue: what counts as such.
    runtime: what runs the encoder's graph; it stands in the file, and `check` refuses an encoder of another.
    """

    min_tissue: float = 0.6
    overlap_px: int = 0
    variants: int = 1
    exclude: tuple[str, ...] = ALL_TESTS
    tissue: TissueRule = field(default_factory=Otsu)
    runtime: Runtime = "onnx"

    @classmethod
    def like(cls, cutting: Cutting) -> "Setting":
        """One whose slides may stand beside those that were cut so. Raises MaskError where each had its own mask."""
        return cls(
            min_tissue=cutting.min_tissue,
            overlap_px=cutting.overlap_px,
            exclude=cutting.exclude,
            tissue=rule_said(cutting.tissue),
        )

    def check(self, encoder: Encoder) -> None:
        """Raises EncoderError when the encoder runs by something else, or its tiles cannot overlap so."""
        spec, runtime = encoder.spec, runtime_of(encoder)
        if runtime != self.runtime:
            raise EncoderError(f"runtime={self.runtime}: the encoder runs by {runtime}; wanted one and the same")
        if not 0 <= self.overlap_px < spec.tile_px:
            raise EncoderError(
                f"overlap_px={self.overlap_px}: the encoder's tiles are {spec.tile_px} px wide, wanted 0 to "
                f"{spec.tile_px - 1}"
            )

    def made_of(self, encoder_sha256: str, fingerprint: str, slide_mpp: float, slide_id: str) -> MadeOf:
        """Of a slide compressed so. Raises MaskError."""
        return MadeOf(
            encoder_sha256=encoder_sha256,
            fingerprint=fingerprint,
            slide_mpp=slide_mpp,
            overlap_px=self.overlap_px,
            min_tissue=self.min_tissue,
            variants=self.variants,
            exclude=tuple(sorted(self.exclude)),
            tissue=self.tissue.said(slide_id),
            runtime=self.runtime,
        )
