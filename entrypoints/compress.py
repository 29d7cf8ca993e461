"""Step 2: compress slides with a registered encoder into one .h5 each."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from entrypoints.cli import launch
from nic.compression.codes_folder import CodesFolder
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.engines import CompressionReport, compress_cohort
from nic.compression.on_ray import Cluster, compress_on_ray
from nic.compression.pictures import contact_sheets
from nic.compression.records import Quarantined, Unreached, check_all_reached
from nic.compression.setting import Setting
from nic.compression.tissue_rule import rule_named
from nic.compression.work import How
from nic.encoder.runtimes import EncoderLoader
from nic.encoder.spec import Runtime
from nic.onnx.files import graph_sha256
from nic.patients.cohort import Columns, read_cohort
from nic.slides.quality import reasons_named
from nic.slides.reader import PIXEL_VERSION
from nic.slides.slide import SlideSource
from nic.slides.staging import Staging, find_sources
from nic.tables.table import is_table
from nic.tracking.digests import bytes_digest, codes_digest, slides_digest
from nic.tracking.registry import encoder_file
from nic.tracking.runs import StageRun, stage_run


@dataclass(frozen=True)
class Config:
    slides: str = "data/phantom/breast.csv"
    """A slide, a folder, a glob in quotes, or a cohort's CSV (its `mpp` column is obeyed); also s3://, https://."""
    encoder: str = "models:/nic-encoder@champion"
    """Registered encoder, or a path to an .onnx file that nic wrote."""
    out: Path = Path("work/codes")
    """Folder that receives <slide>.h5, quarantine.csv and unreached.csv; finished files are kept, several runs share
    the work."""
    min_tissue: float = 0.6
    """Least share of tissue in a tile that is encoded."""
    tissue: str = "otsu"
    """otsu; a number of 0 to 255, the saturation to be passed; all; or a folder of masks named as the slides, as images
    or outlines of QuPath or ASAP."""
    mask_bounds: bool = True
    """Whether GeoJSON masks count from the corner of the slide's bounds, as QuPath's do; TRIDENT's count from the
    slide's own."""
    overlap_px: int = 0
    """Pixels of a tile, as the encoder takes it, that the next one shows again; 32 of 64 makes four times the tiles."""
    variants: Literal[1, 8] = 1
    """8 encodes each tile in its eight turns too; patient models are then trained on truly turned slides."""
    exclude: str = "pen,dark,blurred"
    """Tests that keep a tile out: ink, darker than tissue, out of focus; separated by commas, or empty for none."""
    accept: str = ""
    """Slides to compress however many of their tiles cannot be decoded: ids separated by commas."""
    columns: str = ""
    """What the cohort's table calls its columns, as patient=case_id,slide=file; empty where as we do."""
    engine: Literal["local", "ray"] = "local"
    """local takes the cores of this machine; ray those of a cluster, with `out` and the slides on a shared folder."""
    address: str = "auto"
    """Of the Ray cluster: host:port, auto for the one this machine belongs to, or empty to start one here."""
    cpus: float = 1.0
    """Cores of the cluster that a slide takes, each with a thread that reads and one that encodes."""
    gpus: float = 0.0
    """GPUs of the cluster that a slide takes; 0.25 lets four slides share one."""
    staged: Path = Path("work/staged")
    """Folder of each machine that slides which lie elsewhere are brought to."""
    staged_gb: float = 200.0
    """Most that folder may hold; the least recently used slides make room."""
    runtime: Runtime = "onnx"
    """onnx runs on GPUs and CPUs; onnx-f16 is faster on GPUs, openvino, in bf16, on CPUs that have it (pip install
    openvino==2026.4.1). The first codes of the faster ones are held against those of onnx."""
    device: str = "auto"
    """What the encoder runs on: cpu, cuda, or cuda:N, which must be there; auto takes the first GPU where that works,
    else the CPU, and says why."""
    strict: bool = False
    """Exit with code 1 when a slide is in quarantine, as it does in any case when one could not be reached."""


def sources(config: Config) -> list[SlideSource]:
    if is_table(config.slides):
        cohort = read_cohort(Path(config.slides), columns=Columns.named(config.columns).without_split)
        return [slide for patient in cohort.patients for slide in patient.slides]
    return find_sources(config.slides)


def inputs(config: Config) -> dict[str, str]:
    slides = slides_digest(sources(config))
    masks = bytes_digest(Path(config.tissue)) if Path(config.tissue).is_dir() else ""
    return {"slides": slides, "encoder": graph_sha256(encoder_file(config.encoder)), "masks": masks}


def compressed(config: Config, slides: list[SlideSource], stage: StageRun) -> CompressionReport:
    graph, load = encoder_file(config.encoder), EncoderLoader(config.runtime, config.device)
    how = How(
        Setting(
            min_tissue=config.min_tissue,
            overlap_px=config.overlap_px,
            variants=config.variants,
            exclude=reasons_named(config.exclude),
            tissue=rule_named(config.tissue, config.mask_bounds),
            runtime=config.runtime,
        ),
        accept=[slide.strip() for slide in config.accept.split(",")],
        staging=Staging(config.staged.absolute(), int(config.staged_gb * 1e9)),
    )
    if config.engine == "ray":
        cluster = Cluster(config.address, config.cpus, config.gpus)
        return compress_on_ray(slides, graph, load, config.out, how, cluster)
    encoder = load(graph)
    print(f"encoder by {config.runtime} on {encoder.device_note}")
    stage.log_text(f"{config.runtime} on {encoder.device_note}\n", "device.txt")
    report = compress_cohort(slides, encoder, config.out, how)
    if encoder.agreement:
        stage.log("agreement_with_f32", encoder.agreement)
        print(f"{config.runtime}: least cosine to the codes in f32 {encoder.agreement:.5f}")
    return report


def made_by_older_pixels(codes: Path, slides: Sequence[str]) -> int:
    """How many slides' files were made by an earlier PIXEL_VERSION than this one."""
    versions = [CompressedSlide.pixel_version_of(codes / f"{slide}.h5") for slide in slides]
    return sum(version < PIXEL_VERSION for version in versions)


def run(config: Config) -> dict[str, Any]:
    """Compress every slide; a bad one is recorded with its reason and does not stop the others.

    Raises UnreachedSlides in the end when a slide could not be had; the run is not reused then, its codes are.
    """
    with stage_run("compress", config, inputs(config)) as stage:
        report = compressed(config, sources(config), stage)
        finished = [*report.done, *report.reused]
        show(config.out, f"{len(report.done)} compressed, {len(report.reused)} reused", report)
        if older := made_by_older_pixels(config.out, report.reused):
            print(
                f"  {older} of the reused were made by an older arithmetic of pixels, which differs by rounding; "
                "to have all alike, compress into another folder"
            )
        if report.readers:
            print(f"  read by {', '.join(f'{way} ({count})' for way, count in report.readers.most_common())}")
        for number, sheet in enumerate(contact_sheets(config.out, finished), start=1):
            stage.log_image(sheet, f"contact_sheet_{number}.jpg")
        stage.log("slides", len(finished))
        stage.log("quarantined", len(report.quarantined))
        stage.log("unreached", len(report.unreached))
        stage.leave("codes", codes_digest(config.out))
        stage.result.update(outputs=[str(config.out)], quarantined=[q.slide for q in report.quarantined])
        end(config.out, report, len(finished), config.strict)
    return stage.result


class Report(Protocol):
    """Of a compression or an import."""

    quarantined: list[Quarantined]
    unreached: list[Unreached]


def show(out: Path, finished: str, report: Report) -> None:
    """How many slides are finished, and why the others are not."""
    print(f"{out}: {finished}, {len(report.quarantined)} in quarantine, {len(report.unreached)} unreached")
    for record in (*report.quarantined, *report.unreached):
        kept = "; its older codes stay" if CodesFolder(out).file(record.slide).is_file() else ""
        print(f"  {record.slide}: {record.reason}: {record.evidence}; {record.release}{kept}")


def end(out: Path, report: Report, finished: int, strict: bool) -> None:
    """Fail the stage where slides could not be reached, or where `strict` finds some in quarantine."""
    slides = finished + len(report.quarantined) + len(report.unreached)
    check_all_reached(report.unreached, slides, out / "unreached.csv")
    if strict and report.quarantined:
        sys.exit(1)


if __name__ == "__main__":
    launch(run, Config)
