"""The entry of a study file that says how a cohort's slides are compressed. Nothing is opened here."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from nic.slides.qc import qc_tests_named
from nic.tasks.entries import Words


def _whole_number(value: Any) -> Any:
    """The number that a text stands for: pydantic does not convert text where it expects one of several numbers."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class CompressEntry(BaseModel):
    """How a cohort's slides are compressed: parameters of `compress` that differ from its defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    min_tissue: float | None = Field(default=None, gt=0, le=1)
    """Least share of tissue in a tile."""
    overlap_px: int | None = Field(default=None, ge=0, lt=64)  # our encoders' tiles are 64 px wide
    """Overlap of neighbouring tiles, px of a tile."""
    variants: Annotated[Literal[1, 8] | None, BeforeValidator(_whole_number)] = None
    """8 encodes each tile turned and mirrored, too."""
    exclude: Words | None = None
    """QC tests; a tile that fails one has no code: pen, dark, blurred."""
    tissue: Literal["otsu", "all"] | Annotated[float, Field(ge=0, lt=255)] | None = None
    """What counts as tissue: otsu, all, or a saturation."""
    masks: Path | None = None
    """A folder of tissue masks, in place of `tissue`."""
    mask_bounds: bool | None = None
    """Whether coordinates of GeoJSON masks begin at the corner of the slide's bounds."""

    @field_validator("exclude")
    @classmethod
    def _tests_are_known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return qc_tests_named(",".join(names)) if names else names

    @model_validator(mode="after")
    def _one_rule_for_tissue(self) -> "CompressEntry":
        if self.tissue is not None and self.masks:
            raise ValueError("both tissue and masks; leave one of them out")
        return self

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that differ from the defaults, as `compress` takes them."""
        parameters = self.model_dump(exclude_none=True)
        if self.exclude is not None:
            parameters["exclude"] = ",".join(self.exclude)
        tissue = parameters.pop("masks", parameters.get("tissue"))
        return parameters if tissue is None else parameters | {"tissue": str(tissue)}
