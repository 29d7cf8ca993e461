"""Which codes may be used together, and which codes a patient model takes: one rule, wherever codes are loaded.

docs/compatibility.md has the rule as a table, and how far each difference moves codes and answers.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import ANOTHER_TOOL, Tiling
from nic.encoder.spec import Runtime
from nic.errors import ForeignCodes

Fact = Literal["encoder", "tiling", "unknown runtime", "runtime", "pixel version"]
Verdict = Literal["refused", "counted"]

RULE: Mapping[Fact, Verdict] = {
    "encoder": "refused",
    "tiling": "refused",
    "unknown runtime": "refused",
    "runtime": "counted",
    "pixel version": "counted",
}
"""What happens to codes that differ from those of the training in a fact. Counted codes are used and reported."""

RUNTIMES = (*get_args(Runtime), ANOTHER_TOOL)


@dataclass(frozen=True)
class TrainingCodes:
    """The codes of a training; before it, those of its first slide.

    owner: what has such codes, for messages. tiling: of any slide. runtimes, pixel_versions: all that there were; empty
    in models registered before they were recorded, which take any. tiling_recorded: False in models registered before
    it was; of these only the overlap is known, which was 0.
    """

    owner: str
    encoder_sha256: str
    tiling: Tiling
    runtimes: tuple[str, ...] = ()
    pixel_versions: tuple[int, ...] = ()
    tiling_recorded: bool = True

    @classmethod
    def like(cls, slide: CompressedSlide) -> "TrainingCodes":
        """As those of one slide."""
        encoding, tiling = slide.encoding, slide.tiling.of_any_slide
        owner, versions = f"slide {slide.slide_id}", (encoding.pixel_version,)
        return cls(owner, encoding.encoder_sha256, tiling, (encoding.runtime,), versions)


def check_codes(slide: CompressedSlide, training: TrainingCodes) -> tuple[str, ...]:
    """Apply RULE to the codes of a slide.

    Returns the counted differences, as `runtime=openvino`, `pixel_version=1`; empty where there is none. Raises
    ForeignCodes, naming the slide, both values and the remedy, for a difference that is refused.
    """
    differences = _differences(slide, training)
    for fact, message in differences.items():
        if RULE[fact] == "refused":
            raise ForeignCodes(message)
    return tuple(differences.values())


def counted(differences: Iterable[Iterable[str]]) -> str:
    """A sentence of how many patients have each counted difference; empty where nobody has one."""
    counts = Counter(name for of_patient in differences for name in set(of_patient))
    if not counts:
        return ""
    listed = ", ".join(f"{name} ({count} patients)" for name, count in sorted(counts.items()))
    return f"codes unlike those of the training, used all the same (docs/compatibility.md): {listed}"


def _differences(slide: CompressedSlide, training: TrainingCodes) -> dict[Fact, str]:
    """The facts that differ: a refused one with its message, a counted one as name=value."""
    differences: dict[Fact, str] = {}
    slide_id, codes = slide.slide_id, slide.encoding
    if codes.encoder_sha256 != training.encoder_sha256:
        differences["encoder"] = (
            f"{slide_id}: codes of encoder {codes.encoder_sha256[:12]}; wanted codes of "
            f"{training.encoder_sha256[:12]}, as {training.owner}; compress the slide with that encoder"
        )
    if names := _unlike(slide.tiling.of_any_slide, training):
        differences["tiling"] = (
            f"{slide_id}: compressed with {slide.tiling.words(names)}; wanted a slide compressed with "
            f"{training.tiling.words(names)}, as {training.owner}; compress it with these"
        )
    if codes.runtime not in RUNTIMES:
        differences["unknown runtime"] = (
            f"{slide_id}: codes by runtime {codes.runtime[:40]!r}, which this version of nic does not know; compress "
            "the slide with runtime=onnx"
        )
    elif training.runtimes and codes.runtime not in training.runtimes:
        differences["runtime"] = f"runtime={codes.runtime}"
    if training.pixel_versions and codes.pixel_version not in training.pixel_versions:
        differences["pixel version"] = f"pixel_version={codes.pixel_version}"
    return differences


def _unlike(tiling: Tiling, training: TrainingCodes) -> tuple[str, ...]:
    names = tiling.unlike(training.tiling)
    return names if training.tiling_recorded else tuple(name for name in names if name == "overlap_px")
