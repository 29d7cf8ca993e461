"""The data of a study, piece by piece: what is there, what is missing, and where it is to be had."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nic.cohort_entry import CohortEntry
from nic.errors import SlideError, TaskError
from nic.patients.cohort import Cohort
from nic.slides.search import find_slides
from nic.stages.slide_sample import missing_files
from nic.stages.study_problems import Problem
from nic.stages.study_tables import StudyTable
from nic.study import Study
from nic.tasks.annotations import SUFFIXES as OUTLINES
from nic.tasks.entries import About, FolderEntry, Hdf5Entry, MarksEntry, Pattern, SlidesEntry, TileTaskEntry
from nic.tasks.image_folder import images_in
from nic.tasks.marked_images import files_of_marks, marked_images
from nic.tasks.masked_cells import masks_of

COLUMNS = ("data", "piece", "what is there", "where it is looked for", "where to get it")
ELSEWHERE = "a path relative to the root of the study, or an absolute one"
SAME = "the same"
UNKNOWN = "not known before its table is read"


@dataclass(frozen=True)
class Piece:
    """A part of the data of a tile task or a cohort, both `data`.

    count: how many files are there; None where it cannot be known yet. expected: how many the whole has; 0 where that
    is not known. fault: why there is none. about: where the data come from.
    """

    data: str
    what: str
    place: Path
    count: int | None
    expected: int = 0
    fault: str = ""
    about: About | None = None

    @property
    def is_missing(self) -> bool:
        return self.count == 0

    @property
    def is_whole(self) -> bool:
        return self.count is not None and self.count >= max(1, self.expected)

    @property
    def there(self) -> str:
        if self.count is None:
            return UNKNOWN
        if self.is_missing:
            return f"missing: {self.fault}" if self.fault else "missing"
        return f"{self.count} {self.what}" if self.is_whole else f"{self.count} of {self.expected} {self.what}"

    @property
    def source(self) -> str:
        """Where to get it; empty where it is whole."""
        return "" if self.is_whole else str(self.about or ELSEWHERE)


def problems_with(pieces: Sequence[Piece], file: str, key: str) -> Iterator[Problem]:
    """A row for the missing pieces of some data, and a warning for those of which a part is there.

    file, key: of the study.
    """
    missing = [piece.what for piece in pieces if piece.is_missing]
    parts = [piece.there for piece in pieces if piece.count and not piece.is_whole]
    if missing:
        yield Problem(file, "", key, f"missing: {', '.join(missing)}", _remedy(pieces))
    if parts:
        yield Problem(file, "", key, f"only {', '.join(parts)}", _remedy(pieces), stops=False)


def _remedy(pieces: Sequence[Piece]) -> str:
    piece = next(piece for piece in pieces if not piece.is_whole)
    return f"get it from {piece.about}" if piece.about else ELSEWHERE


def table_of(pieces: Sequence[Piece], root: Path) -> StudyTable:
    """A row for each piece. root: below which places are named relative to it."""
    rows, before = list[tuple[str, ...]](), ("", "")
    for piece in pieces:
        repeated = piece.source and (piece.data, piece.source) == before
        source = SAME if repeated else piece.source
        before = (piece.data, piece.source) if piece.source else before
        rows.append((piece.data, piece.what, piece.there, _below(piece.place, root), source))
    return StudyTable(f"Data of the study, below {root}", COLUMNS, rows)


def _below(place: Path, root: Path) -> str:
    return str(place.relative_to(root) if place.is_relative_to(root) else place)


def pieces_of(study: Study, cohorts: Mapping[str, Cohort]) -> list[Piece]:
    """Of the tile tasks that the study needs, and of its cohorts. cohorts: those that could be read."""
    tasks = () if study.encoder else study.tile_tasks
    of_tasks = [piece for entry in tasks for piece in pieces_of_task(entry)]
    return of_tasks + [p for name, entry in study.cohorts.items() for p in pieces_of_cohort(name, entry, cohorts)]


def pieces_of_task(entry: TileTaskEntry) -> list[Piece]:
    """Images or slides, and what labels them."""
    data, expected, about = f"tile task {entry.name}", (entry.about and entry.about.files) or 0, entry.about

    def piece(what: str, place: Path, files: Callable[[], Collection[object]], expected: int = 0) -> Piece:
        try:
            count, fault = len(files()), ""
        except (TaskError, SlideError) as error:
            reason = str(error).removeprefix(f"{entry.name}: ").removeprefix(f"{place}: ")
            count, fault = 0, reason.partition(";")[0]
        return Piece(data, what, place, count, expected, fault, about)

    match entry:
        case FolderEntry():
            pieces = [piece("images", entry.path, lambda: images_in(entry.path), expected)]
            second = entry.validation
            return [*pieces, *([piece("images of validation", second, lambda: images_in(second))] if second else [])]
        case Hdf5Entry():
            files = {"images": entry.path, "labels": entry.labels, "table of groups": entry.meta}
            return [piece(what, path, partial(_file, path)) for what, path in files.items() if path]
        case MarksEntry():
            images = piece("images", entry.path, lambda: marked_images(entry), expected)
            return [images, piece("files of marks", entry.marks or entry.path, lambda: files_of_marks(entry))]
        case SlidesEntry():
            pieces = [piece("slides", entry.path, lambda: find_slides(entry.path), expected)]
            if pattern := entry.background_from:
                pieces += [
                    piece("slides of background", entry.path, lambda: _named(entry.path, pattern, True)),
                    piece("other slides", entry.path, lambda: _named(entry.path, pattern, False)),
                ]
            if entry.mask_suffix is not None:
                return [*pieces, piece("masks", entry.annotations, lambda: masks_of(entry))]
            return [*pieces, piece("files of outlines", entry.annotations, lambda: _outlines(entry.annotations))]
        case _:
            return [piece("table", entry.path, lambda: _file(entry.path))]


def pieces_of_cohort(name: str, entry: CohortEntry, cohorts: Mapping[str, Cohort]) -> Iterator[Piece]:
    """Its tables, slides and masks. cohorts: those that could be read."""
    data, about = f"cohort {name}", entry.about
    yield Piece(data, "table", entry.table, len(_file(entry.table)), about=about)
    if entry.clinical:
        yield Piece(data, "clinical table", entry.clinical.table, len(_file(entry.clinical.table)), about=about)
    if name in cohorts:
        rows = [row for patient in cohorts[name].patients for row in patient.rows]
        place, there = entry.table.parent / (entry.numbered or ""), len(rows) - len(missing_files(rows))
        yield Piece(data, "slides", place, there, len(rows), about=about)
    elif entry.numbered:
        slides = list(entry.table.parent.glob(entry.numbered.replace("#", "[0-9]")))
        expected = (about and about.files) or 0
        yield Piece(data, "slides", entry.table.parent / entry.numbered, len(slides), expected, about=about)
    else:
        yield Piece(data, "slides", entry.table.parent, None, about=about)
    if masks := entry.compress.masks:
        yield Piece(data, "masks", masks, len(list(masks.glob("[!.]*"))), about=about)


def _file(path: Path) -> list[Path]:
    return [path] if path.is_file() else []


def _outlines(folder: Path) -> list[Path]:
    return [path for path in folder.glob("[!.]*") if path.suffix.lower() in OUTLINES]


def _named(place: Path, pattern: Pattern, fits: bool) -> list[str]:
    """Slides whose name fits the pattern, or does not. Raises SlideError where there is no slide at all."""
    slide_ids = [source.slide_id for source in find_slides(place)]
    return [slide_id for slide_id in slide_ids if bool(pattern.search(slide_id)) == fits]
