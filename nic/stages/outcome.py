"""What became of the slides of a compression or an import: it is printed, logged, and decides how the stage ends."""

import sys
from pathlib import Path
from typing import Any, Protocol

from nic.compression.codes_folder import CodesFolder
from nic.compression.left_out import Quarantined, Unreached, check_all_reached
from nic.tracking.digests import codes_digest
from nic.tracking.runs import StageRun


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


def end_stage(finished: int, outcome: Unfinished, out: Path, strict: bool, stage: StageRun) -> dict[str, Any]:
    """Log the numbers of slides and the digest of the codes; the stage's result.

    Raises UnreachedSlides when a slide could not be read. strict: exit when one is in quarantine.
    """
    numbers = {"slides": finished, "quarantined": len(outcome.quarantined), "unreached": len(outcome.unreached)}
    for name, number in numbers.items():
        stage.log(name, number)
    stage.leave("codes", codes_digest(out))
    check_all_reached(outcome.unreached, sum(numbers.values()), out / "unreached.csv")
    if strict and outcome.quarantined:
        sys.exit(1)
    return {"outputs": [str(out)], "quarantined": [record.slide for record in outcome.quarantined]}
