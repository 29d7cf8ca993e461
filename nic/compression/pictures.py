"""Pictures that show what of a slide was encoded, and what was not and why: one a slide, and one sheet a cohort."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.compression.codes_folder import CodesFolder
from nic.compression.compressed_slide import CompressedSlide
from nic.shared_files import drafted
from nic.slides.qc import QC_TESTS

Image = NDArray[np.uint8]
ENCODED, FAILED, INK = (46, 140, 90), (230, 30, 140), (34, 49, 63)
COLOURS = {"pen": (240, 160, 0), "dark": (0, 0, 0), "blurred": (40, 110, 220), "failed": FAILED}
"""RGB of cells without a code, by reason."""
OPACITY, CAPTION_PX, PER_SHEET, FONT = 0.55, 40, 120, cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Counts:
    """Cells of a slide with a code, and those without one by reason, where there are any."""

    slide_id: str
    encoded: int
    without: dict[str, int]

    @classmethod
    def of(cls, slide: CompressedSlide) -> "Counts":
        without = {reason: int(cells.sum()) for reason, cells in _without_code(slide).items()}
        return cls(slide.slide_id, len(slide.codes), {reason: n for reason, n in without.items() if n})

    def __str__(self) -> str:
        return ", ".join([f"{self.encoded} encoded", *(f"{n} {reason}" for reason, n in self.without.items())])


def contact_picture(slide: CompressedSlide, width_px: int = 320) -> Image:
    """The slide, and beside it the same outlined where it was encoded and tinted where not: [h, 2 * width_px, 3] RGB.

    Below stand its name and the counts, in the colours of the tints. On white where the file has no picture.
    """
    plain, size_l0px = _overview(slide, width_px)
    tinted = plain.copy()
    for reason, cells in _without_code(slide).items():
        inside = _on_picture(cells, slide, size_l0px, plain.shape)
        mixed = (1 - OPACITY) * plain[inside] + OPACITY * np.array(COLOURS[reason])
        tinted[inside] = mixed.astype(np.uint8)
    encoded = _on_picture(slide.valid, slide, size_l0px, plain.shape)
    outlines, _ = cv2.findContours(encoded.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tinted, outlines, -1, ENCODED, 1)
    return np.concatenate([np.concatenate([plain, tinted], axis=1), _caption(Counts.of(slide), 2 * width_px)])


def _overview(slide: CompressedSlide, width_px: int) -> tuple[Image, tuple[int, int]]:
    """The slide's picture [h, width_px, 3] and the size that it shows, in level-0 px."""
    size_l0px = slide.size_l0px or slide.grid.cell_origin_l0px(slide.grid.rows, slide.grid.cols)
    shape = (max(1, round(size_l0px[1] * width_px / size_l0px[0])), width_px)
    if slide.overview is None:
        return np.full((*shape, 3), 255, np.uint8), size_l0px
    image = cv2.imdecode(slide.overview, cv2.IMREAD_COLOR_RGB)
    return np.asarray(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA), np.uint8), size_l0px


def contact_sheet(pictures: Sequence[Image], columns: int = 3, gap_px: int = 12) -> Image:
    """Pictures of a cohort in rows, each row as high as its highest, on white: [h, w, 3] RGB."""
    columns = min(columns, len(pictures))
    wide = max(picture.shape[1] for picture in pictures) + gap_px
    rows = []
    for first in range(0, len(pictures), columns):
        row = pictures[first : first + columns]
        tall = max(picture.shape[0] for picture in row) + gap_px
        sheet = np.full((tall, columns * wide, 3), 255, np.uint8)
        for place, picture in enumerate(row):
            sheet[: picture.shape[0], place * wide : place * wide + picture.shape[1]] = picture
        rows.append(sheet)
    return np.concatenate(rows)


def contact_sheets(codes: Path, slides: Sequence[str]) -> Iterator[Image]:
    """Sheets of slides by id, of up to PER_SHEET; each one's own picture is kept as codes/pictures/<id>.jpg.

    Raises CodesError, UnwritableFolder.
    """
    for first in range(0, len(slides), PER_SHEET):
        yield contact_sheet([_kept_picture(codes, slide) for slide in sorted(slides)[first : first + PER_SHEET]])


def _kept_picture(codes: Path, slide_id: str) -> Image:
    """The picture that is there already, or a new one where the codes are younger, or it is damaged."""
    file, picture = codes / f"{slide_id}.h5", codes / "pictures" / f"{slide_id}.jpg"
    if picture.is_file() and picture.stat().st_mtime >= file.stat().st_mtime:
        kept = cv2.imread(str(picture), cv2.IMREAD_COLOR_RGB)
        if kept is not None:
            return np.asarray(kept, np.uint8)
    content = cv2.imencode(".jpg", contact_picture(CompressedSlide.load_cells(file))[..., ::-1])[1]
    with CodesFolder(codes).writing(), drafted(picture) as draft:
        draft.write_bytes(content.tobytes())
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR_RGB), np.uint8)


def _without_code(slide: CompressedSlide) -> dict[str, NDArray[np.bool_]]:
    """Cells [rows, cols] by reason."""
    excluded = slide.excluded if slide.excluded is not None else np.zeros(slide.failed.shape, np.uint8)
    return {reason: excluded == number for number, reason in enumerate(QC_TESTS) if reason} | {"failed": slide.failed}


def _on_picture(
    cells: NDArray[np.bool_], slide: CompressedSlide, size_l0px: tuple[int, int], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Which pixels of a picture of the whole slide lie in these cells, [h, w]."""
    axes, first = [], slide.grid.cell_origin_l0px(0, 0)
    for axis, pixels, count in ((1, shape[0], slide.grid.rows), (0, shape[1], slide.grid.cols)):
        middle_l0px = (np.arange(pixels) + 0.5) * size_l0px[axis] / pixels - first[axis]
        axes.append((np.floor(middle_l0px / slide.grid.stride_l0px).astype(int), count))
    (row, rows), (col, cols) = axes
    inside = ((row >= 0) & (row < rows))[:, None] & ((col >= 0) & (col < cols))
    return np.asarray(cells[row.clip(0, rows - 1)[:, None], col.clip(0, cols - 1)] & inside)


def _caption(counts: Counts, width_px: int) -> Image:
    paper = np.full((CAPTION_PX, width_px, 3), 255, np.uint8)
    cv2.putText(paper, counts.slide_id, (4, 16), FONT, 0.48, INK, 1, cv2.LINE_AA)
    x = 4
    words = [
        (f"{counts.encoded} encoded", ENCODED),
        *((f"{n} {why}", COLOURS[why]) for why, n in counts.without.items()),
    ]
    for text, colour in words:
        cv2.putText(paper, text, (x, 34), FONT, 0.42, colour, 1, cv2.LINE_AA)
        x += math.ceil(cv2.getTextSize(text, FONT, 0.42, 1)[0][0]) + 14
    return paper
