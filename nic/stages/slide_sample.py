"""Slides of a cohort before a compression: whether all are there, and whether some, spread over sites, can be used."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from nic.compression.tile_jobs import PlanTiles
from nic.compression.tiling import Tiling
from nic.compression.tissue_rule import MaskFolder, tissue_named
from nic.encoder.spec import EncoderSpec
from nic.errors import SlideError, UnreachedSlide
from nic.patients.cohort import SlideRow
from nic.slides.jobs import TileShape
from nic.slides.qc import qc_tests_named
from nic.slides.search import file_of
from nic.slides.subprocess_reader import ReaderDied, ReaderHung, ReaderLate, ReadersBusy, SubprocessReader
from nic.threads import cores

FILES_AT_ONCE = 32
"""Files that are looked for at the same time. On a network share each look waits for an answer."""
LONGEST_S = 120.0
"""Seconds for one slide to be opened and its tissue found."""


@dataclass(frozen=True)
class OpenedSlide:
    """A slide of the sample. row: of the table. tiles: of tissue; None where it cannot be used. fault: why not."""

    row: SlideRow
    tiles: int | None
    fault: str = ""


def missing_files(rows: Sequence[SlideRow]) -> list[tuple[SlideRow, str]]:
    """Rows whose slide is not on this machine, and why; slides at an address are not looked for."""

    def fault(row: SlideRow) -> str:
        try:
            return "" if file_of(row.slide).exists() else "no such file"
        except UnreachedSlide as error:
            return str(error)

    local = [row for row in rows if not row.slide.uri]
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return [(row, why) for row, why in zip(local, pool.map(fault, local), strict=True) if why]


def spread_rows(rows: Sequence[SlideRow], most: int) -> list[SlideRow]:
    """At most so many rows with a slide on this machine, as evenly over sites and folders as they allow."""
    groups: dict[tuple[str, str], list[SlideRow]] = defaultdict(list)
    for row in rows:
        if not row.slide.uri:
            groups[row.cells.get("site", ""), str(row.slide.path.parent)].append(row)
    spread = [_evenly(group) for group in groups.values()]
    turns = [row for turn in range(max(map(len, spread), default=0)) for row in _turn(spread, turn)]
    return turns[:most]


def _turn(groups: Sequence[Sequence[SlideRow]], turn: int) -> list[SlideRow]:
    return [group[turn] for group in groups if turn < len(group)]


def _evenly(rows: Sequence[SlideRow]) -> list[SlideRow]:
    """The rows in an order whose every beginning is spread over them: the middle, then the middles of both halves."""
    halves = [(0, len(rows))]
    order: list[SlideRow] = []
    for start, stop in halves:
        if start < stop:
            middle = (start + stop) // 2
            order.append(rows[middle])
            halves += [(start, middle), (middle + 1, stop)]
    return order


def opened(rows: Sequence[SlideRow], spec: EncoderSpec, parameters: Mapping[str, Any]) -> list[OpenedSlide]:
    """Open slides in processes of their own, check their um/px, and count the tiles of tissue.

    parameters: of `compress`, as far as they are set. Raises MaskError.
    """
    tiling, masks = tiling_of(parameters)
    shape = TileShape(spec.tile_px, spec.tile_mpp, spec.read_mpp, tiling.overlap_px)
    count = min(cores(), len(rows))
    if not rows:
        return []
    with (
        SubprocessReader(count, modules=["nic.compression.tile_jobs"]) as reading,
        ThreadPoolExecutor(count) as pool,
    ):
        return list(pool.map(lambda row: _opened(row, PlanTiles(row.slide, shape, tiling, masks), reading), rows))


def tiling_of(parameters: Mapping[str, Any]) -> tuple[Tiling, MaskFolder | None]:
    """The tiling that `compress` makes of its parameters, and its masks. Raises MaskError, UnknownQCTest."""
    rule, masks = tissue_named(parameters.get("tissue", "otsu"), parameters.get("mask_bounds", True))
    fields = {name: parameters[name] for name in ("overlap_px", "min_tissue", "exclude") if name in parameters}
    if "exclude" in fields:
        fields["exclude"] = qc_tests_named(fields["exclude"])
    return Tiling(tissue=rule, **fields), masks


def _opened(row: SlideRow, job: PlanTiles, reading: SubprocessReader) -> OpenedSlide:
    try:
        answer = reading.ask(job, time.monotonic() + LONGEST_S)
    except SlideError as error:
        return OpenedSlide(row, None, f"{error}; {error.remedy}")
    except (ReaderDied, ReaderHung, ReaderLate, ReadersBusy) as error:
        return OpenedSlide(row, None, f"{row.slide.slide_id}: {error}; {SlideError.remedy}")
    return OpenedSlide(row, int(np.count_nonzero(answer["tissue"])))
