"""What became of the slides of a compression or an import: it is printed, and decides whether the stage fails."""

import sys
from pathlib import Path
from typing import Protocol

from nic.compression.codes_folder import CodesFolder
from nic.compression.left_out import Quarantined, Unreached, check_all_reached


class Unfinished(Protocol):
    """The slides that a compression or an import could not finish."""

    quarantined: list[Quarantined]
    unreached: list[Unreached]


def show_outcome(out: Path, finished: str, outcome: Unfinished) -> None:
    """Print how many slides are finished, and why the others are not. finished: in words."""
    print(f"{out}: {finished}, {len(outcome.quarantined)} in quarantine, {len(outcome.unreached)} unreached")
    for record in (*outcome.quarantined, *outcome.unreached):
        kept = "; its older codes stay" if CodesFolder(out).file(record.slide).is_file() else ""
        remedy = f"; {record.remedy}" if record.remedy else ""
        print(f"  {record.slide}: {record.reason}: {record.evidence}{remedy}{kept}")


def end_stage(out: Path, outcome: Unfinished, finished: int, strict: bool) -> None:
    """Fail the stage when a slide could not be read, or, if strict, when one is in quarantine."""
    slides = finished + len(outcome.quarantined) + len(outcome.unreached)
    check_all_reached(outcome.unreached, slides, out / "unreached.csv")
    if strict and outcome.quarantined:
        sys.exit(1)
