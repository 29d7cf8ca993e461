"""Features of another tool imported as compressed slides."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from nic.compression.interchange.layouts import ImportReport
from nic.stages.outcome import end_stage, show_outcome
from nic.stages.selection import selected_slides
from nic.tracking.digests import bytes_digest, digest
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
    """Print and log what was imported, and how far tiles were moved. strict, result, raises: see `end_stage`."""
    show_outcome(out, f"{len(report.imported)} imported", report)
    for snapping in report.imported:
        print(f"  {snapping}")
    stage.log_table(pd.DataFrame([asdict(s) for s in report.imported]), "snapping.csv")
    return end_stage(len(report.imported), report, out, strict, stage)
