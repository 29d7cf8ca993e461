"""Features of another tool imported as compressed slides."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from nic.compression.interchange.layouts import ImportReport
from nic.stages.outcome import end_stage, show_outcome
from nic.stages.selection import selected_slides
from nic.tracking.digests import bytes_digest, codes_digest, digest
from nic.tracking.runs import StageRun
from nic.tracking.slide_digests import slides_digest


def inputs(features: Path, patches: str, slides: str, columns: str) -> dict[str, str]:
    """The folder's name is an input: it may be the only place that names the encoder."""
    return {
        "features": digest({features.name: bytes_digest(features)}),
        "patches": bytes_digest(Path(patches)) if patches else "",
        "slides": slides_digest(selected_slides(slides, columns)) if slides else "",
    }


def report_import(report: ImportReport, out: Path, strict: bool, stage: StageRun) -> dict[str, Any]:
    """Print and log what was imported and how far tiles were moved; the stage's result.

    Raises UnreachedSlides when a slide could not be read. strict: exit when one is in quarantine.
    """
    show_outcome(out, f"{len(report.imported)} imported", report)
    for snapping in report.imported:
        print(f"  {snapping}")
    stage.log("slides", len(report.imported))
    stage.log("quarantined", len(report.quarantined))
    stage.log("unreached", len(report.unreached))
    stage.log_table(pd.DataFrame([asdict(s) for s in report.imported]), "snapping.csv")
    stage.leave("codes", codes_digest(out))
    end_stage(out, report, len(report.imported), strict)
    return {"outputs": [str(out)], "quarantined": [q.slide for q in report.quarantined]}
