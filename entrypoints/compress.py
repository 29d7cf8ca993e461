"""Step 2: compress slides with a registered encoder into one .h5 each."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from entrypoints.cli import launch
from nic.compression.engines import compress_cohort
from nic.compression.pictures import contact_sheets
from nic.encoder.onnx import OnnxEncoder
from nic.patients.cohort import Columns, read_cohort
from nic.slides.quality import reasons_named
from nic.slides.slide import SlideSource, find_slides
from nic.tracking.digests import digest, file_sha256, folder_digest, output_digest
from nic.tracking.registry import encoder_file
from nic.tracking.runs import stage_run


@dataclass(frozen=True)
class Config:
    slides: str = "data/phantom/breast.csv"
    """A slide, a folder, a glob in quotes, or a cohort's CSV (its `mpp` column is obeyed)."""
    encoder: str = "models:/nic-encoder@champion"
    """Registered encoder, or a path to an .onnx file that nic wrote."""
    out: Path = Path("work/codes")
    """Folder that receives <slide>.h5 and quarantine.csv; finished files are kept, several runs share the work."""
    min_tissue: float = 0.6
    """Least share of tissue in a tile that is encoded."""
    variants: Literal[1, 8] = 1
    """8 encodes each tile in its eight turns too; patient models are then trained on truly turned slides."""
    exclude: str = "pen,dark,blurred"
    """Tests that keep a tile out: ink, darker than tissue, out of focus; separated by commas, or empty for none."""
    accept: str = ""
    """Slides to compress however many of their tiles cannot be decoded: ids separated by commas."""
    columns: str = ""
    """What the cohort's table calls its columns, as patient=case_id,slide=file,split=part; empty where as we do."""
    strict: bool = False
    """Exit with code 1 when a slide is in quarantine."""


def sources(config: Config) -> list[SlideSource]:
    if config.slides.endswith(".csv"):
        cohort = read_cohort(Path(config.slides), columns=Columns.named(config.columns))
        return [slide for patient in cohort.patients for slide in patient.slides]
    return find_slides(config.slides)


def inputs(config: Config) -> dict[str, str]:
    slides = {source.slide_id: [source.mpp, output_digest(source.path)] for source in sources(config)}
    return {"slides": digest(slides), "encoder": file_sha256(encoder_file(config.encoder))}


def run(config: Config) -> dict[str, Any]:
    """Compress every slide; a bad one is recorded with its reason and does not stop the others."""
    with stage_run("compress", config, inputs(config)) as stage:
        encoder = OnnxEncoder(encoder_file(config.encoder))
        accepted = [slide.strip() for slide in config.accept.split(",")]
        chosen = sources(config)
        report = compress_cohort(
            chosen,
            encoder,
            config.out,
            min_tissue=config.min_tissue,
            variants=config.variants,
            exclude=reasons_named(config.exclude),
            accept=accepted,
        )
        done, reused, quarantined = len(report.done), len(report.reused), len(report.quarantined)
        print(f"{config.out}: {done} compressed, {reused} reused, {quarantined} in quarantine")
        for refusal in report.quarantined:
            print(f"  {refusal.slide}: {refusal.reason}: {refusal.evidence}; {refusal.release}")
        for number, sheet in enumerate(contact_sheets(config.out, [*report.done, *report.reused]), start=1):
            stage.log_image(sheet, f"contact_sheet_{number}.jpg")
        stage.log("slides", done + reused)
        stage.log("quarantined", quarantined)
        stage.leave("codes", folder_digest(config.out, "*.h5"))
        stage.result.update(outputs=[str(config.out)], quarantined=[q.slide for q in report.quarantined])
    if config.strict and report.quarantined:
        sys.exit(1)
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
