"""Layout `slides`: tiles of slides, with classes drawn as outlines."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nic.errors import TaskError, UnreadableTile
from nic.slides.grid import TileGrid
from nic.slides.reader import TileReader
from nic.slides.slide import Slide, SlideSource, find_slides
from nic.slides.source import SUFFIXES as SLIDES
from nic.slides.tissue import overview_px, tissue_fraction, tissue_mask
from nic.tasks.annotations import FOREIGN, REMEDY, SUFFIXES, read_annotations
from nic.tasks.areas import Area, annotated_cells
from nic.tasks.entries import SlidesEntry
from nic.tasks.image_tiles import file_digest
from nic.tasks.masked_cells import masked_cells, masks_of
from nic.tasks.tile_source import PART_TILES, Cut, TileField, TilePart, class_map, pattern_groups
from nic.tasks.tile_task import TileTask

BACKGROUND_TISSUE = 0.6
"""Least share of tissue in a tile of the background class; the same as for compression."""
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class AnnotatedSlide:
    """A slide with its outlines or its mask. group: its patient, or itself. annotation: what the digest is made of.

    has_background: whether it has tiles of that class.
    """

    source: SlideSource
    mpp: float
    fingerprint: str
    annotation: bytes
    areas: tuple[Area, ...]
    group: str
    has_background: bool
    mask: Path | None = None


@dataclass(frozen=True, eq=False)
class AnnotatedSlides:
    """Slides and the rules for their tiles. label_of: a class number for each annotation label."""

    slides: Sequence[AnnotatedSlide]
    label_of: Mapping[str, int]
    background: int | None
    entry: SlidesEntry

    @cached_property
    def digest(self) -> str:
        """Of slides, annotations and rules."""
        entry = self.entry
        rules = sorted(self.label_of.items()), self.background, entry.exclude, entry.least_share, entry.most, entry.seed
        total = hashlib.sha256(repr(rules).encode())
        for slide in self.slides:
            total.update(f"{slide.source.slide_id} {slide.mpp} {slide.fingerprint} {slide.group}".encode())
            total.update(slide.annotation)
        if not entry.bounds:
            total.update(b"GeoJSON counts from the slide's corner")
        if entry.background_from is not None:
            total.update(f"background from {[slide.has_background for slide in self.slides]}".encode())
        return total.hexdigest()

    @property
    def origins(self) -> frozenset[str]:
        return frozenset(name for s in self.slides for name in (s.source.slide_id, s.fingerprint, s.group))

    def parts(self, field: TileField) -> Iterator[TilePart]:
        for slide in tqdm(self.slides, desc=f"annotations of {self.entry.name}", unit="slide"):
            with Slide.open(slide.source) as opened:
                grid = _whole_cells(opened, field)
                labels = self._labels(opened, slide, grid)
            row, col = self._drawn(labels, slide.fingerprint)
            for first in range(0, len(row), PART_TILES):
                rows, cols = row[first : first + PART_TILES], col[first : first + PART_TILES]
                names = [f"{slide.source.slide_id} tile ({r}, {c})" for r, c in zip(rows, cols, strict=True)]
                cut = partial(_cut, slide.source, grid, field.read_mpp or field.tile_mpp / 2, rows, cols, names)
                yield TilePart(names, labels[rows, cols], np.full(len(rows), slide.group), cut)

    def _labels(self, slide: Slide, annotated: AnnotatedSlide, grid: TileGrid) -> NDArray[np.int64]:
        """The label of each cell [rows, cols], below 0 where it has none."""
        if annotated.mask is not None:
            return masked_cells(annotated.mask, slide.size_l0px, grid, self.label_of, self.entry.least_share)
        labelled = [area for area in annotated.areas if area.label not in self.entry.exclude]
        excluded = [area for area in annotated.areas if area.label in self.entry.exclude]
        label_of = [self.label_of[area.label] for area in labelled]
        labels, free = annotated_cells(labelled, label_of, excluded, grid, self.entry.least_share)
        if self.background is not None and annotated.has_background:
            mask = tissue_mask(slide.thumbnail(overview_px(slide.size_l0px, slide.mpp)))
            tissue = tissue_fraction(mask, slide.size_l0px, grid) >= BACKGROUND_TISSUE
            labels[free & tissue] = self.background
        return labels

    def _drawn(self, labels: NDArray[np.int64], fingerprint: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of at most `most` cells of each class, sorted; independent of the other slides."""
        rng = np.random.default_rng([self.entry.seed, int(fingerprint[:16], 16)])
        chosen = []
        for label in np.unique(labels[labels >= 0]):
            cells = np.flatnonzero(labels == label)
            chosen.append(rng.choice(cells, min(self.entry.most, len(cells)), replace=False))
        row, col = np.unravel_index(np.sort(np.concatenate(chosen or [np.empty(0, np.intp)])), labels.shape)
        return row, col


def read_annotated_slides(entry: SlidesEntry) -> TileTask:
    """The tile task of slides with a file of annotations and of those of `background_from`.

    The others are left out, with a warning. Raises TaskError naming the annotation at fault, or SlideError naming the
    slide.
    """
    slides_there = find_slides(entry.path)
    slide_ids = {source.slide_id for source in slides_there}
    files = _outlines(entry, slide_ids) if entry.mask_suffix is None else masks_of(entry)
    background_slides = _background_slides(entry, [source.slide_id for source in slides_there])
    sources = [source for source in slides_there if source.slide_id in {*files, *background_slides}]
    if not set(files) & {source.slide_id for source in sources}:
        unlike = [source.slide_id for source in slides_there if source.slide_id not in background_slides]
        ends = ".xml or .geojson" if entry.mask_suffix is None else f"{entry.mask_suffix}.tif"
        raise TaskError(
            f"{entry.name}: none of {len(slides_there)} slides has its annotations in {entry.annotations}, wanted "
            f"{(unlike or ['<slide>'])[0]}{ends}"
        )
    if without := len(slides_there) - len(sources):
        LOG.warning("%s: %d of %d slides have no annotations", entry.name, without, len(slides_there))
    if strays := sorted(set(files) - {source.slide_id for source in sources}):
        LOG.warning("%s: %d annotations belong to no slide, %s first", entry.name, len(strays), files[strays[0]].name)
    slides = [_annotated_slide(source, files.get(source.slide_id), entry) for source in sources]
    values = {area.label for slide in slides for area in slide.areas} - set(entry.exclude)
    left_out = entry.ignore if entry.mask_suffix is None else (*entry.ignore, *entry.exclude)
    names, label_of = class_map(entry.name, sorted(values), entry.classes, left_out)
    if entry.background is not None and entry.background not in names:
        names = (*names, entry.background)
    if len(names) < 2:
        raise TaskError(f"{entry.name}: one class is annotated ({', '.join(names)}), wanted two; name a background")
    background = None if entry.background is None else names.index(entry.background)
    source = AnnotatedSlides(slides, label_of, background, entry)
    return TileTask(entry.name, names, max(slide.mpp for slide in slides), source)


def _background_slides(entry: SlidesEntry, slide_ids: Sequence[str]) -> set[str]:
    """The slides of `background_from`; none without it. Raises TaskError where it fits no slide."""
    if entry.background_from is None:
        return set()
    background_slides = set(filter(entry.background_from.search, slide_ids))
    if not background_slides:
        raise TaskError(
            f"{entry.name}: background_from {entry.background_from.pattern!r} fits none of {len(slide_ids)} slides, "
            f"such as {slide_ids[0]}; add the slides that give the background"
        )
    return background_slides


def _outlines(entry: SlidesEntry, slide_ids: Set[str]) -> dict[str, Path]:
    """Files of outlines by slide, `s.geojson` or `s.svs.geojson`; files of no slide by their own name.

    Raises TaskError for two files of one slide, and for a format that is not read.
    """
    if not entry.annotations.is_dir():
        raise TaskError(f"{entry.name}: {entry.annotations}: no such folder of annotations")
    files: dict[str, Path] = {}
    for path in sorted(entry.annotations.glob("[!.]*")):
        stem = Path(path.stem)
        slide_id = stem.stem if str(stem) not in slide_ids and stem.suffix.lower() in SLIDES else str(stem)
        if slide_id in slide_ids and path.suffix.lower() in FOREIGN:
            raise TaskError(f"{entry.name}: {path.name}: {FOREIGN[path.suffix.lower()]}, not read; {REMEDY}")
        if path.suffix.lower() not in SUFFIXES:
            continue
        if slide_id in files and slide_id in slide_ids:
            raise TaskError(
                f"{entry.name}: slide {slide_id} has two files of annotations, {files[slide_id].name} and {path.name}; "
                "wanted one: merge them, or take one out of the folder"
            )
        files[slide_id] = path
    return files


def _annotated_slide(source: SlideSource, annotations: Path | None, entry: SlidesEntry) -> AnnotatedSlide:
    has_background = entry.background_from is None or bool(entry.background_from.search(source.slide_id))
    source = SlideSource(source.slide_id, source.path, entry.mpp)
    group = source.slide_id
    if entry.group_pattern is not None:
        group = str(pattern_groups(entry.name, [source.slide_id], entry.group_pattern)[0])
    with Slide.open(source) as slide:
        if annotations and entry.mask_suffix is not None:
            content = file_digest(annotations)
            return AnnotatedSlide(source, slide.mpp, slide.fingerprint, content, (), group, False, annotations)
        bounds = slide.bounds_l0px if entry.bounds else (0, 0, *slide.size_l0px)
        areas = read_annotations(annotations, bounds) if annotations else ()
        content = annotations.read_bytes() if annotations else b""
        return AnnotatedSlide(source, slide.mpp, slide.fingerprint, content, areas, group, has_background)


def _whole_cells(slide: Slide, field: TileField) -> TileGrid:
    """The slide's grid without cells that reach over its edge: no pixel of a tile is invented."""
    x, y, width, height = slide.bounds_l0px
    side = field.side_px(slide.mpp)
    return TileGrid(field.tile_px, field.tile_mpp, slide.mpp, (x, y), int(height / side), int(width / side))


def _cut(
    source: SlideSource,
    grid: TileGrid,
    read_mpp: float,
    rows: NDArray[np.intp],
    cols: NDArray[np.intp],
    names: Sequence[str],
) -> Iterator[Cut]:
    """Tiles in the order of their cells, read at read_mpp as in compression, or coarser if the slide is."""
    tiles: dict[tuple[int, int], Cut] = {}
    with (
        Slide.open(source) as slide,
        TileReader(slide, grid, max(read_mpp, slide.mpp)) as reader,
    ):
        for batch in reader.batches(rows, cols):
            for tile, row, col, failed in zip(batch.tiles, batch.row, batch.col, batch.failed, strict=True):
                tiles[int(row), int(col)] = None if failed else tile
    for row, col, name in zip(rows, cols, names, strict=True):
        tile = tiles[int(row), int(col)]
        yield UnreadableTile(f"{name}: cannot be decoded") if tile is None else tile
