"""Opening a slide's file: by OpenSlide, or by a second reader where that refuses. The only importer of openslide."""

import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import openslide
from numpy.typing import NDArray

from nic.errors import NicError, UnreachedSlide, UnreadableSlide, UnsupportedSlide
from nic.slides import tiff
from nic.slides.source import FOREIGN, SUFFIXES, is_hidden, printable, suffix

OPENSLIDE, TIFFFILE = "openslide", "tifffile"
"""What opens a slide."""
GENERIC = "generic-tiff"
"""OpenSlide's vendor of a TIFF that no scanner's maker is known for."""
HEAD_BYTES = 1 << 16
DICOM, DICOM_AT = b"DICM", 128
PICTURES = {b"\x89PNG": "a PNG", b"\xff\xd8\xff": "a JPEG", b"BM": "a BMP", b"GIF8": "a GIF", b"%PDF": "a PDF"}
"""Files that begin so are pictures or documents, not slides."""
_CODEC = re.compile(r"TIFF compression: (\d+)")

UNDECODABLE = (openslide.OpenSlideError, tiff.CannotDecode)
"""Raised when pixels at some place cannot be decoded."""


class Image(Protocol):
    """What reads a slide's pixels: an OpenSlide, or a tiff.TiffSlide."""

    @property
    def properties(self) -> Mapping[str, str]: ...

    @property
    def dimensions(self) -> tuple[int, int]: ...

    @property
    def level_downsamples(self) -> Sequence[float]: ...

    @property
    def level_dimensions(self) -> Sequence[tuple[int, int]]: ...

    def read_region(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> Any: ...

    def close(self) -> None: ...


class Handle:
    """An open image that is opened again after an error, because one bad tile disables an OpenSlide for good.

    by: what opened it, OPENSLIDE or TIFFFILE.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.image, self.by = open_image(path)
        self._cache_bytes = 0

    def keep_decoded(self, cache_bytes: int) -> None:
        """Let OpenSlide cache so many bytes of decoded tiles; its default is 32 MB."""
        self._cache_bytes = cache_bytes
        if isinstance(self.image, openslide.OpenSlide) and cache_bytes:
            self.image.set_cache(openslide.OpenSlideCache(cache_bytes))

    def read(self, x_l0px: int, y_l0px: int, level: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """RGB [height_px, width_px, 3], white where the slide has no pixels.

        Raises one of UNDECODABLE when this place cannot be decoded, not when another thread's place could not;
        UnreachedSlide when the file is gone.
        """
        where = (x_l0px, y_l0px), level, (width_px, height_px)
        try:
            return _on_white(np.asarray(self.image.read_region(*where)))
        except UNDECODABLE:
            fresh, _ = open_image(self.path)
            try:
                region = fresh.read_region(*where)
            except UNDECODABLE:
                fresh, _ = open_image(self.path)
                raise
            finally:
                self.image = fresh  # the old one closes when the last thread drops it
                self.keep_decoded(self._cache_bytes)
            return _on_white(np.asarray(region))


@contextmanager
def reaching(name: str) -> Iterator[None]:
    """Errors of the system while a file is searched and read become UnreachedSlide: nothing is known of the slide."""
    try:
        yield
    except NicError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise UnreachedSlide(f"{name}: no such file") from None
    except OSError as error:
        raise UnreachedSlide(f"{name}: cannot be read now: {error.strerror or type(error).__name__}") from error


def check_reach(path: Path) -> None:
    """Read both ends of a slide's file, or of each DICOM file of its folder. Raises UnreachedSlide when that fails."""
    with reaching(printable(path.name)):
        for file in dicom_files(path) if stat.S_ISDIR(path.stat().st_mode) else [path]:
            status = file.stat()
            if stat.S_ISREG(status.st_mode):  # a pipe would wait for ever
                with file.open("rb") as content:
                    content.read(1)
                    content.seek(max(0, status.st_size - 1))
                    content.read(1)


def open_image(path: Path) -> tuple[Image, str]:
    """Open a slide's file, or a folder of one DICOM series. Second: what opened it, OPENSLIDE or TIFFFILE.

    Raises UnreachedSlide when the file is missing or cannot be read, UnsupportedSlide when it is whole but of a kind
    that nic does not read, UnreadableSlide when it is empty or damaged.
    """
    name = printable(path.name)
    with reaching(name):
        file, head = _readable(path, name)
    try:
        image = openslide.OpenSlide(file)
    except openslide.OpenSlideUnsupportedFormatError as error:
        return _by_tifffile(file, _unknown(file, head, name), error), TIFFFILE
    except openslide.OpenSlideError as error:
        check_reach(path)  # OpenSlide does not say whether the disk or the content failed
        return _by_tifffile(file, _refused(file, head, name, error), error), TIFFFILE
    if image.properties.get(openslide.PROPERTY_NAME_VENDOR) == GENERIC:
        return _check_generic(image, file, name)
    return image, OPENSLIDE


def knows(file: Path) -> bool:
    """Whether the installed OpenSlide recognises a file as a slide, by its content."""
    return openslide.OpenSlide.detect_format(file) is not None


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder, sorted. Their suffix shows it, or else their content.

    Raises OSError when the folder cannot be listed.
    """
    return [file for file in sorted(folder.iterdir()) if not is_hidden(file.name) and is_dicom(file)]


def is_dicom(file: Path) -> bool:
    """Whether a file is a DICOM image; not a DICOMDIR, which lists files. False if it cannot be read."""
    if suffix(file.name) == ".dcm":
        return True
    if suffix(file.name) in SUFFIXES | FOREIGN or file.name.upper() == "DICOMDIR":
        return False
    try:
        with file.open("rb") as content:
            content.seek(DICOM_AT)
            return content.read(len(DICOM)) == DICOM
    except OSError:  # opening it as a slide reports why
        return False


def _readable(path: Path, name: str) -> tuple[Path, bytes]:
    """The file to open, and its first bytes. Raises OSError, UnreadableSlide."""
    file = path
    if stat.S_ISDIR(path.stat().st_mode):
        series = dicom_files(path)
        if not series:
            raise UnreadableSlide(f"{name}: a folder without DICOM files, wanted a slide")
        file = series[0]
    if not stat.S_ISREG(file.stat().st_mode):  # a pipe would wait for ever
        raise UnreadableSlide(f"{name}: not a regular file, wanted a slide")
    with file.open("rb") as content:
        head = content.read(HEAD_BYTES)
    if not head:
        raise UnreadableSlide(f"{name}: the file is empty")
    return file, head


def _unknown(file: Path, head: bytes, name: str) -> UnreadableSlide:
    """Why OpenSlide does not recognise a file."""
    for signature, kind in PICTURES.items():
        if head.startswith(signature) and suffix(file.name) != ".mrxs":
            return UnsupportedSlide(f"{name}: {kind} picture, wanted a slide in tiles")
    if suffix(file.name) == ".mrxs":
        folder = file.with_suffix("")
        if not (folder / "Slidedat.ini").is_file():
            return UnreadableSlide(f"{name}: its folder {printable(folder.name)}/ with Slidedat.ini is not beside it")
    if head.startswith(tiff.SIGNATURES):
        return _refused(file, head, name, None)
    if suffix(file.name) in FOREIGN:
        return UnsupportedSlide(f"{name}: OpenSlide {openslide.__library_version__} does not read {suffix(file.name)}")
    return UnreadableSlide(f"{name}: not a slide that OpenSlide {openslide.__library_version__} reads")


def _refused(file: Path, head: bytes, name: str, error: openslide.OpenSlideError | None) -> UnreadableSlide:
    """Why OpenSlide cannot open a file: what is wrong with the TIFF, or else its own words."""
    if codec := _CODEC.search(str(error)):
        return UnsupportedSlide(f"{name}: its tiles are in {tiff.codec_name(int(codec[1]))}, which nic does not decode")
    reason = str(error).replace(f"{file.parent}/", "") if error else "not a TIFF that OpenSlide reads"
    try:
        fault = tiff.fault(file)
    except (OSError, *tiff.FAULTS):
        fault = ""
    if not fault and head.startswith(b"MM"):
        fault = "a big-endian TIFF, which OpenSlide does not read"
    if fault:
        return UnsupportedSlide(f"{name}: {fault}")
    return UnreadableSlide(f"{name}: cannot be opened, perhaps truncated: {printable(reason)}")


def _by_tifffile(file: Path, refusal: UnreadableSlide, error: Exception) -> tiff.TiffSlide:
    """The slide by the second reader. Raises the refusal if that cannot read it either."""
    try:
        return tiff.TiffSlide(file)
    except (OSError, *UNDECODABLE, *tiff.FAULTS):
        raise refusal from error


def _check_generic(image: openslide.OpenSlide, file: Path, name: str) -> tuple[Image, str]:
    """A TIFF of no known scanner. OpenSlide opens some whose pixels it cannot read, or reads wrong."""
    try:
        fault, odd = tiff.fault(file), tiff.has_odd_tiles(file)
    except (OSError, *tiff.FAULTS):  # OpenSlide reads it
        return image, OPENSLIDE
    if fault:
        image.close()
        raise UnsupportedSlide(f"{name}: {fault}")
    if odd:
        refusal = UnsupportedSlide(f"{name}: the sides of its tiles are not multiples of {tiff.SIDE_STEP} px")
        image.close()
        return _by_tifffile(file, refusal, refusal), TIFFFILE
    return image, OPENSLIDE


def _on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Drop alpha; where a slide has no pixels, it is white as glass."""
    rgb = np.ascontiguousarray(rgba[..., :3])
    rgb[rgba[..., 3] == 0] = 255
    return rgb
