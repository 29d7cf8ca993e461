"""The search for slides: in a folder or by a glob, and for the file that a table means."""

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
"""Suffixes of files that often lie beside slides. Files of other unknown suffixes are shown to OpenSlide."""


def find_slides(where: str | Path) -> list[SlideSource]:
    """The slides of a file, of a folder and those below it, or of a glob, sorted by id. Hidden files are skipped.

    A folder that holds one DICOM series is one slide. A slide is recognised by its suffix or by its content.
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
                "rename one, or choose by a glob"
            )
        sources[name] = SlideSource(name, path)
    return list(sources.values())


def in_table(cell: str, folder: Path, mpp: float | None = None) -> SlideSource:
    """The slide that a cell of a table names: by an address, or by a path relative to the table's folder.

    The file is not looked for here; its name may differ a little, see `file_of`.
    """
    if is_address(cell):
        return SlideSource.remote(cell, mpp)
    return SlideSource(slide_id(cell), folder / cell, mpp, as_written=True)


def file_of(source: SlideSource) -> Path:
    """The file of a slide on this machine. If a table names a missing file, the one that it must mean.

    That is the only file in its folder whose name differs in its Unicode form (a Mac writes `ü` as two characters), in
    the case of its suffix, or in having a suffix; and a Windows path is read as folders.
    Raises UnreachedSlide when it could mean several, or its folder cannot be read.
    """
    name = printable(source.path.name)
    with reaching(name):
        if not source.as_written or source.path.exists():
            return source.path
        path = source.path.parent.joinpath(*PureWindowsPath(source.path.name).parts)
        candidates = _candidates(path, source.slide_id)
    if len(candidates) > 1:
        several = " and ".join(sorted(printable(other.name) for other in candidates))
        raise UnreachedSlide(f"{name}: no such file, but {several}; write one of them")
    return candidates[0] if candidates else source.path


def _candidates(path: Path, wanted_id: str) -> list[Path]:
    """Files beside a missing path that it may mean."""
    folder = _existing_folder(path.parent)
    files = [file for file in folder.iterdir() if not is_hidden(file.name)] if folder.is_dir() else []
    if same := [file for file in files if same_name(file.name, path.name)]:
        return same
    return [file for file in files if slide_id(file) == wanted_id and _may_be(file.name, path.name)]


def _may_be(name: str, written: str) -> bool:
    """Whether a file of this name may be the one written: without a suffix, or with it in another case."""
    return is_slide_name(name) and (suffix(written) not in SUFFIXES | FOREIGN or suffix(written) == suffix(name))


def _existing_folder(folder: Path) -> Path:
    """The folder itself, or if it is missing, the one of the same name in another Unicode form."""
    if folder.exists() or folder == folder.parent:
        return folder
    above = _existing_folder(folder.parent)
    entries = above.iterdir() if above.is_dir() else iter(())
    return next((other for other in entries if same_name(other.name, folder.name)), above / folder.name)


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
    """The longest part that exists as written, brackets included, and the pattern below it, empty if there is none."""
    start = Path(place.anchor or ".")
    parts = place.relative_to(place.anchor).parts
    for depth, part in enumerate(parts):
        if not (start / part).exists():
            pattern = "/".join(parts[depth:])
            return start, pattern if any(sign in pattern for sign in "*?[") else ""
        start /= part
    return start, ""


def _matched(path: Path) -> list[tuple[str, Path]]:
    """The slides of a match of a glob: a file, or a folder of DICOM files."""
    if path.is_dir():
        return _series_in(path, dicom_files(path), whole_folder=True)
    return [(slide_id(path), path)] if _is_slide(path) else []


def _in_folder(folder: Path, above: frozenset[str]) -> list[tuple[str, Path]]:
    """Slides of a folder and of those below it. above: real paths of the folders above; a link may lead back."""
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
    """A series alone in its folder is named by the folder, any other by its first file."""
    first_of_series: dict[bytes, Path] = {}
    for file in files:
        first_of_series.setdefault(_series(file), file)
    if whole_folder and len(first_of_series) == 1:
        return [(slide_id(Path(folder.absolute().name)), folder)]
    return [(slide_id(path), path) for path in first_of_series.values()]


def _series(file: Path, header_bytes: int = 1 << 16) -> bytes:
    """SeriesInstanceUID, (0020,000E), of a DICOM header; the file's name if it has none or cannot be read."""
    try:
        with file.open("rb") as content:
            _, tag, value = content.read(header_bytes).partition(b"\x20\x00\x0e\x00UI")
    except OSError:  # it counts as a slide, and opening it reports why it cannot be read
        tag, value = b"", b""
    return value[2 : 2 + int.from_bytes(value[:2], "little")] if tag else os.fsencode(file.name)


def _in_its_folder(path: Path) -> str:
    return printable(f"{path.parent.name}/{path.name}")
