"""The entries of a study file for tile tasks, one type for each `layout`. Nothing is opened here."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

Pattern = re.Pattern[str]
Words = Annotated[
    tuple[str, ...],
    BeforeValidator(
        lambda written: written if _is_several(written) else (written,), json_schema_input_type=str | tuple[str, ...]
    ),
]
"""One or several: `Tumor` as well as `[Tumor, Necrosis]`."""


def _is_several(written: Any) -> bool:
    return not isinstance(written, str | int | float)


class About(BaseModel):
    """Where a set of data comes from: `check_study` shows it, and nothing else reads it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, coerce_numbers_to_str=True)

    url: str
    """Where it is downloaded."""
    size: str = ""
    """How much is downloaded, such as 490 GB."""
    licence: str = ""
    """Its licence, such as CC0."""
    files: int | None = Field(default=None, gt=0)
    """How many images or slides the whole set has; fewer are reported."""
    note: str = ""
    """What else must be known to have it, such as how to unpack it."""

    def __str__(self) -> str:
        return "; ".join([", ".join(filter(None, (self.url, self.size, self.licence))), *filter(None, [self.note])])


class _Entry(BaseModel):
    """Common to all layouts.

    mpp: um/px of the images. classes: name of a class -> one or several labels of the source; without it each label is
    a class of its own. ignore: labels whose tiles are left out. about: where the images come from.
    """

    # An unknown key is a typing error, and typing errors must not pass in silence.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    name: str = Field(pattern=r"^\w[\w -]*$")
    path: Path
    mpp: float | None = Field(default=None, gt=0)
    classes: dict[str, Words] | None = Field(default=None, min_length=1)
    ignore: Words = ()
    about: About | None = None

    @model_validator(mode="after")
    def _one_rule_for_groups(self) -> "_Entry":
        if getattr(self, "group_column", None) and getattr(self, "group_pattern", None):
            raise ValueError("both group_column and group_pattern are set, wanted one")
        return self

    def under(self, root: Path) -> Self:
        """The same with its paths under a root."""
        return self.model_copy(update={key: root / value for key, value in self if isinstance(value, Path)})


class FolderEntry(_Entry):
    """A folder with one folder for each class. group_pattern: regular expression on `class/file` for its group.

    validation: a second such folder, of other patients: its tiles are the validation, those of the first are not.
    """

    layout: Literal["folder"] = "folder"
    validation: Path | None = None
    too_small: Literal["refuse", "pad"] = "refuse"
    group_pattern: Pattern | None = None


class Hdf5Entry(_Entry):
    """HDF5 in the layout of PatchCamelyon. labels: the file of the labels, if another; x, y: names of the data sets.

    meta: a CSV of the same rows; group_column: its column of slides or patients.
    """

    layout: Literal["hdf5"]
    mpp: float = Field(gt=0)
    too_small: Literal["refuse", "pad"] = "refuse"
    labels: Path | None = None
    x: str = "x"
    y: str = "y"
    meta: Path | None = None
    group_column: str | None = None

    @model_validator(mode="after")
    def _groups_come_from_a_table(self) -> "Hdf5Entry":
        if (self.meta is None) != (self.group_column is None):
            raise ValueError("wanted both meta and group_column, or neither")
        return self


class _TableEntry(_Entry):
    file_column: str = "file"
    label_column: str = "label"
    group_column: str | None = None
    group_pattern: Pattern | None = None
    mpp_column: str | None = None

    @model_validator(mode="after")
    def _one_resolution(self) -> "_TableEntry":
        if (self.mpp is None) == (self.mpp_column is None):
            raise ValueError("wanted the um/px of the images: mpp where all share it, else mpp_column")
        return self


class TableEntry(_TableEntry):
    """A CSV of image files and labels; files are relative to it. mpp_column: where resolutions differ."""

    layout: Literal["table"]
    too_small: Literal["refuse", "pad"] = "refuse"


class PlacesEntry(_TableEntry):
    """Common to points and boxes. Without a column or pattern of groups, each image is a group."""

    too_small: Literal["refuse", "pad", "drop"] = "refuse"
    x_column: str = "x"
    y_column: str = "y"


class PointsEntry(PlacesEntry):
    """A CSV of points in larger images: tiles are centred on them."""

    layout: Literal["points"]


class BoxesEntry(PlacesEntry):
    """A CSV of boxes (x, y: top left) in larger images: tiles are centred on them.

    context: whether a tile may show the surroundings of its box; else the box is treated as the whole image.
    """

    layout: Literal["boxes"]
    w_column: str = "w"
    h_column: str = "h"
    context: bool = True


class MarksEntry(_Entry):
    """Images in which each object of one kind is marked: a CSV of points for an image, without a header.

    path: a folder of images, in folders below it. marks: the folder of the CSVs, under the names of the images; without
    it they lie beside the images. An image without a CSV has no mark. order: of the two coordinates, px. Labels of the
    source are `marked`, of tiles centred on a mark, and `other`, of tiles far from all marks. others: of these, tiles
    from one image, drawn by seed. group_pattern: regular expression on `folder/image` for its group; without it the
    folder is the group.
    """

    layout: Literal["marks"]
    mpp: float = Field(gt=0)
    too_small: Literal["refuse", "pad", "drop"] = "refuse"
    marks: Path | None = None
    order: Literal["row-column", "x-y"] = "row-column"
    others: int = Field(default=10, gt=0)
    seed: int = 0
    group_pattern: Pattern | None = None


class SlidesEntry(_Entry):
    """Annotated slides: a file, a folder or a glob. annotations: the folder of <slide>.xml or <slide>.geojson.

    mask_suffix: with it, annotations are masks instead, <slide><mask_suffix>.tif, whose pixel values are labels.
    bounds: whether GeoJSON counts from the corner of the slide's bounds, as QuPath does, or from that of the slide.
    background: name of the class of tissue outside all annotations; without it there is no such class. background_from:
    regular expression on a slide's name; the background is that of these slides alone, which need no annotations.
    exclude: labels of annotations that belong to no class. least_share: of a tile's area, within its class. most: tiles
    of each class from one slide, drawn by seed. group_pattern: regular expression on a slide's name for its patient.
    """

    layout: Literal["slides"]
    annotations: Path
    mask_suffix: str | None = None
    bounds: bool = True
    background: str | None = None
    background_from: Pattern | None = None
    exclude: Words = ("_2", "Exclusion", "Ignore*")
    least_share: float = Field(default=0.5, gt=0, le=1)
    most: int = Field(default=200, gt=0)
    seed: int = 0
    group_pattern: Pattern | None = None

    @model_validator(mode="after")
    def _background_has_a_name(self) -> "SlidesEntry":
        if self.background_from is not None and self.background is None:
            raise ValueError("background_from is set, and no background; name the class of the tissue of these slides")
        return self

    @model_validator(mode="after")
    def _values_of_masks_are_named(self) -> "SlidesEntry":
        if self.mask_suffix is None:
            return self
        if self.classes is None:
            raise ValueError("mask_suffix is set, and no classes; name the pixel values of each: {epithelium: [2]}")
        if self.background is not None:
            raise ValueError("background is for outlines; a mask has a value for it: name it under classes")
        return self


ENTRIES: dict[str, type[_Entry]] = {
    "folder": FolderEntry,
    "hdf5": Hdf5Entry,
    "table": TableEntry,
    "points": PointsEntry,
    "boxes": BoxesEntry,
    "marks": MarksEntry,
    "slides": SlidesEntry,
}
"""By their layout."""


def _layout(entry: Any) -> Any:
    return entry.get("layout", "folder") if isinstance(entry, dict) else getattr(entry, "layout", None)


TileTaskEntry = Annotated[
    Annotated[FolderEntry, Tag("folder")]
    | Annotated[Hdf5Entry, Tag("hdf5")]
    | Annotated[TableEntry, Tag("table")]
    | Annotated[PointsEntry, Tag("points")]
    | Annotated[BoxesEntry, Tag("boxes")]
    | Annotated[MarksEntry, Tag("marks")]
    | Annotated[SlidesEntry, Tag("slides")],
    Discriminator(_layout),
]
