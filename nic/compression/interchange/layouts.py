"""The layouts by name, and whole folders of features in and out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from nic.compression.codes_folder import CodesFolder
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.interchange import clam, nic_npy, slideflow, stamp, trident
from nic.compression.interchange.snapping import Snapping, snapped
from nic.compression.interchange.tile_codes import Hints, TileCodes
from nic.compression.left_out import Quarantined, Streak, Unreached
from nic.errors import CodesError, InterchangeError, SlideError, UnwritableFolder
from nic.slides.slide import Slide, SlideSource


@dataclass(frozen=True)
class Layout:
    """How a tool lays out its files. find: features by slide id below a folder; read and write: those of one slide."""

    find: Callable[[Path], dict[str, Path]]
    read: Callable[[Path, Hints], TileCodes]
    write: Callable[[CompressedSlide, Path], None]


LAYOUTS = {
    "trident": Layout(trident.find, trident.read, trident.write),
    "clam": Layout(clam.find, clam.read, clam.write),
    "stamp": Layout(stamp.find, stamp.read, stamp.write),
    "slideflow": Layout(slideflow.find, slideflow.read, slideflow.write),
    "nic-npy": Layout(nic_npy.find, nic_npy.read, nic_npy.write),
}


@dataclass
class ImportReport:
    """What became of a folder of features. quarantined: refused. unreached: they or their slide cannot be read now."""

    imported: list[Snapping] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    unreached: list[Unreached] = field(default_factory=list)


def import_folder(
    features: Path,
    layout: str,
    out: Path,
    hints: Hints,
    sources: Mapping[str, SlideSource],
    most_collisions: float = 0.0,
) -> ImportReport:
    """Every slide's features to out/<slide>.h5; one that cannot be imported goes into quarantine, out/quarantine.csv.

    What cannot be read now stands in out/unreached.csv. A file of an earlier import stays in both cases.
    sources: slides by id, asked for um/px and size; hints.mpp overrules them. most_collisions: as in `snapped`.
    Raises InterchangeError when the folder holds no features of that layout, UnreachedCodes when it cannot be read
    now, UnreachedSlides when many in a row cannot, UnwritableFolder.
    """
    chosen, folder, report, streak = _layout(layout), CodesFolder(out), ImportReport(), Streak()
    files = chosen.find(features)
    if not files:
        raise InterchangeError(f"{features.name}: no features laid out as {layout}; see docs/interchange.md for each")
    folder.sweep()
    try:
        for slide_id, path in tqdm(files.items(), desc="import", unit="slide"):
            outcome = _import_slide(folder, slide_id, chosen, path, sources.get(slide_id), hints, most_collisions)
            streak.note(None if isinstance(outcome, Snapping) else outcome)
            match outcome:
                case Snapping():
                    report.imported.append(outcome)
                case Quarantined():
                    report.quarantined.append(outcome)
                case Unreached():
                    report.unreached.append(outcome)
    finally:
        folder.write_tables()
    return report


def _import_slide(
    folder: CodesFolder,
    slide_id: str,
    layout: Layout,
    path: Path,
    source: SlideSource | None,
    hints: Hints,
    most_collisions: float,
) -> Snapping | Quarantined | Unreached:
    """Import a slide: how far its tiles were moved, or why it is left out."""
    try:
        slide, snapping = snapped(layout.read(path, _with_slide(hints, source)), most_collisions)
        folder.save(slide)
    except UnwritableFolder:
        raise
    except (SlideError, CodesError, OSError, MemoryError) as error:
        return folder.leave_out(slide_id, error)
    folder.release(slide_id)
    return snapping


def export_folder(codes: Path, layout: str, out: Path) -> list[str]:
    """Every compressed slide of a folder to the files of a layout below `out`; the slides' ids.

    Raises CodesError when the folder holds none, or one is damaged, UnwritableFolder.
    """
    chosen, files = _layout(layout), sorted(codes.glob("[!.]*.h5"))
    if not files:
        raise CodesError(f"{codes.name}: no compressed slide; run `compress` first")
    for file in tqdm(files, desc="export", unit="slide"):
        slide = CompressedSlide.load(file)
        with CodesFolder(out).writing():
            chosen.write(slide, out)
    return [file.stem for file in files]


def _layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise InterchangeError(f"{name!r} is no layout; known are {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def _with_slide(hints: Hints, source: SlideSource | None) -> Hints:
    """The hints, and what the slide itself says where there is one. Raises SlideError."""
    if source is None:
        return hints
    with Slide.open(replace(source, mpp=hints.mpp or source.mpp)) as slide:
        return replace(hints, mpp=slide.mpp, size_l0px=slide.size_l0px, fingerprint=slide.fingerprint)
