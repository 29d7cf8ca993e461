"""Which slides a file, a folder or a glob holds, and which file a table means."""

import os
from pathlib import Path, PureWindowsPath

from nic.errors import UnreachedSlide, UnreadableSlide
from nic.slides.opening import dicom_files, is_dicom, knows, reaching
from nic.slides.source import (
    FEATURES,
    FOREIGN,
    SUFFIXES,
    SlideSource,
    is_address,
    is_hidden,
    is_slide_name,
    printable,
    same_name,
    slide_id,
    suffix,
)

NO_SLIDES = FEATURES | {
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".svg", ".pdf", ".xml", ".json", ".geojson", ".qpdata", ".qpproj"),
    *(".csv", ".tsv", ".xls", ".xlsx", ".ods", ".txt", ".md", ".html", ".yaml", ".yml", ".ini", ".log", ".db"),
    *(".opt", ".dat", ".npy", ".npz", ".pkl", ".pth", ".onnx", ".parquet", ".hdf5", ".zip", ".gz", ".tar", ".7z"),
    *(".py", ".part", ".tmp", ".lock", ".bak", ".md5", ".sha256"),
}
"""Suffixes of what often lies beside slides; files of other suffixes that are unknown are shown to OpenSlide."""


def find_slides(where: str | Path) -> list[SlideSource]:
    """Slides of a file, of a folder and those below it, or of a glob, sorted by id. Hidden files are passed over.

    A folder that holds one DICOM series is one slide. A slide is known by its suffix, or by what is in it.
    Raises UnreadableSlide when there is none, or when two would have one id; UnreachedSlide when the place, or a folder
    below it, is missing or cannot be listed.
    """
    place = Path(where)
    with reaching(printable(str(where))):
        slides = _slides_of(place)
    if not slides:
        wanted = ", ".join(sorted(SUFFIXES))
        raise UnreadableSlide(
            f"{printable(str(where))}: no slides there; wanted a slide, a folder or a glob of {wanted}"
        )
    sources: dict[str, SlideSource] = {}
    for name, path in sorted(slides):
        if name in sources:
            raise UnreadableSlide(
                f"{name}: two slides have this id, {_in_its_folder(sources[name].path)} and {_in_its_folder(path)}; "
                "rename one, or name those that you want by a glob"
            )
        sources[name] = SlideSource(name, path)
    return list(sources.values())


def in_table(cell: str, folder: Path, mpp: float | None = None) -> SlideSource:
    """The slide that a cell of a table names: an address, or a path, relative to the table's folder.

    Its file may be called a little otherwise, see `file_of`; whether it is there is not asked here.
    """
    if is_address(cell):
        return SlideSource.remote(cell, mpp)
    return SlideSource(slide_id(cell), folder / cell, mpp, as_written=True)


def file_of(source: SlideSource) -> Path:
    """The file of a slide of this machine: its path; of one in a table that is not there, the one that is meant.

    That is the only file beside it whose name differs in the way in which Unicode is composed (a Mac writes `ü` as two
    characters), in the case of its suffix, or in having one; or the parts of a Windows path are its folders.
    Raises UnreachedSlide when several could be meant, or its folder cannot be read.
    """
    name = printable(source.path.name)
    with reaching(name):
        if not source.as_written or source.path.exists():
            return source.path
        path = source.path.parent.joinpath(*PureWindowsPath(source.path.name).parts)
        meant = _meant(path, source.slide_id)
    if len(meant) > 1:
        several = " and ".join(sorted(printable(other.name) for other in meant))
        raise UnreachedSlide(f"{name}: no such file, but {several}; write which of them it is")
    return meant[0] if meant else source.path


def _meant(path: Path, wanted_id: str) -> list[Path]:
    """Files beside a path that is not there which it may mean."""
    folder = _as_composed(path.parent)
    files = [file for file in folder.iterdir() if not is_hidden(file.name)] if folder.is_dir() else []
    if same := [file for file in files if same_name(file.name, path.name)]:
        return same
    return [file for file in files if slide_id(file) == wanted_id and _is_meant(file.name, path.name)]


def _is_meant(name: str, written: str) -> bool:
    """Whether the file of a name may be what is written: without suffix, or with it in another case."""
    return is_slide_name(name) and (suffix(written) not in SUFFIXES | FOREIGN or suffix(written) == suffix(name))


def _as_composed(folder: Path) -> Path:
    """The folder itself, or where it is not there the one that differs in the way in which Unicode is composed."""
    if folder.exists() or folder == folder.parent:
        return folder
    above = _as_composed(folder.parent)
    there = above.iterdir() if above.is_dir() else iter(())
    return next((other for other in there if same_name(other.name, folder.name)), above / folder.name)


def _slides_of(place: Path) -> list[tuple[str, Path]]:
    """(id, path) of the slides at a place. Raises OSError."""
    if place.is_dir():
        return _in_folder(place, frozenset())
    if place.exists():
        return [(slide_id(place), place)]
    start, pattern = _literal_part(place)
    if not pattern:
        raise FileNotFoundError(place)
    try:
        matches = sorted(start.glob(pattern))
    except ValueError as error:
        raise UnreadableSlide(f"{printable(str(place))}: no glob: {error}") from error
    visible = [match for match in matches if not any(map(is_hidden, match.relative_to(start).parts))]
    return [slide for match in visible for slide in _matched(match)]


def _literal_part(place: Path) -> tuple[Path, str]:
    """The folder that is there as it is written, brackets and all, and the pattern below it; empty without one."""
    start = Path(place.anchor or ".")
    parts = place.relative_to(place.anchor).parts
    for depth, part in enumerate(parts):
        if not (start / part).exists():
            pattern = "/".join(parts[depth:])
            return start, pattern if any(sign in pattern for sign in "*?[") else ""
        start /= part
    return start, ""


def _matched(path: Path) -> list[tuple[str, Path]]:
    """The slides of a glob's match: a file, or a folder of DICOM files."""
    if path.is_dir():
        return _series_in(path, dicom_files(path), whole_folder=True)
    return [(slide_id(path), path)] if _is_slide(path) else []


def _in_folder(folder: Path, above: frozenset[str]) -> list[tuple[str, Path]]:
    """Slides of a folder and of those below it. above: real paths of the folders that hold it: a link may lead back."""
    real = os.path.realpath(folder)
    if real in above:
        return []
    slides: list[tuple[str, Path]] = []
    dicoms: list[Path] = []
    parts = {path.with_suffix("") for path in folder.iterdir() if suffix(path.name) == ".mrxs"}
    for path in sorted(folder.iterdir()):
        if is_hidden(path.name) or path in parts:
            continue
        if path.is_dir():
            slides += _in_folder(path, above | {real})
        elif is_dicom(path):
            dicoms.append(path)
        elif _is_slide(path):
            slides.append((slide_id(path), path))
    return [*slides, *_series_in(folder, dicoms, whole_folder=not slides)]


def _is_slide(file: Path) -> bool:
    return is_slide_name(file.name) or (suffix(file.name) not in NO_SLIDES and not is_hidden(file.name) and knows(file))


def _series_in(folder: Path, files: list[Path], whole_folder: bool) -> list[tuple[str, Path]]:
    """A series that has its folder to itself is named by the folder, any other by its first file."""
    first_of_series: dict[bytes, Path] = {}
    for file in files:
        first_of_series.setdefault(_series(file), file)
    if whole_folder and len(first_of_series) == 1:
        return [(slide_id(Path(folder.absolute().name)), folder)]
    return [(slide_id(path), path) for path in first_of_series.values()]


def _series(file: Path, header_bytes: int = 1 << 16) -> bytes:
    """SeriesInstanceUID, (0020,000E) of a DICOM header; the file's own name where there is none, or no permission."""
    try:
        with file.open("rb") as content:
            _, tag, value = content.read(header_bytes).partition(b"\x20\x00\x0e\x00UI")
    except OSError:  # it is a slide of its own then, and whoever opens it hears why
        tag, value = b"", b""
    return value[2 : 2 + int.from_bytes(value[:2], "little")] if tag else os.fsencode(file.name)


def _in_its_folder(path: Path) -> str:
    return printable(f"{path.parent.name}/{path.name}")
