"""What `entrypoints.compress` does."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from entrypoints.compress import Config
from nic.compression.codes_folder import CodesFolder
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.engines import CompressionReport, compress_cohort, tile_readers
from nic.compression.on_ray import Cluster, compress_on_ray
from nic.compression.pictures import contact_sheets
from nic.compression.records import Quarantined, Unreached, check_all_reached
from nic.compression.setting import Setting
from nic.compression.tissue_rule import rule_named
from nic.compression.work import How
from nic.encoder.runtimes import EncoderLoader
from nic.encoder.several import encoder_on
from nic.errors import NoDevice
from nic.onnx.device import Device
from nic.onnx.files import graph_sha256
from nic.slides.quality import reasons_named
from nic.slides.reader import PIXEL_VERSION
from nic.slides.slide import SlideSource
from nic.slides.staging import Staging
from nic.stages.slides_named import slides_named
from nic.tracking.digests import bytes_digest, codes_digest
from nic.tracking.registry import encoder_file
from nic.tracking.runs import StageRun, stage_run
from nic.tracking.slide_digests import slides_digest


def sources(config: Config) -> list[SlideSource]:
    return slides_named(config.slides, config.columns)


def inputs(config: Config) -> dict[str, str]:
    slides = slides_digest(sources(config))
    masks = bytes_digest(Path(config.tissue)) if Path(config.tissue).is_dir() else ""
    return {"slides": slides, "encoder": graph_sha256(encoder_file(config.encoder)), "masks": masks}


def compressed(config: Config, slides: list[SlideSource], stage: StageRun) -> CompressionReport:
    graph = encoder_file(config.encoder)
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
        batch_tiles=config.batch_tiles,
        silent_s=config.patience_s,
    )
    if config.engine == "ray":
        cluster, device = Cluster(config.address, config.cpus, config.gpus), Device.named(config.device)
        if device.kind == "cuda" and not config.gpus:
            raise NoDevice(f"device={device}: on a cluster wanted gpus= too, a process's share of a GPU")
        load = EncoderLoader(config.runtime, str(device))
        return compress_on_ray(slides, graph, load, config.out, how, cluster)
    with (
        tile_readers(how, config.readers or None) as reading,
        encoder_on(graph, config.runtime, config.device) as encoder,
    ):
        print(f"encoder by {config.runtime} on {encoder.device_note}")
        stage.log_text(f"{config.runtime} on {encoder.device_note}\n", "device.txt")
        report = compress_cohort(slides, encoder, config.out, how, readers=reading)
        if encoder.agreement:
            stage.log("agreement_with_f32", encoder.agreement)
            print(f"{config.runtime}: least cosine to the codes in f32 {encoder.agreement:.5f}")
    return report


def made_by_older_pixels(codes: Path, slides: Sequence[str]) -> int:
    """How many slides' files were made by an earlier PIXEL_VERSION than this one."""
    versions = [CompressedSlide.pixel_version_of(codes / f"{slide}.h5") for slide in slides]
    return sum(version < PIXEL_VERSION for version in versions)


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.compress`."""
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
        if report.shared:
            print(f"  {report.shared}")
            stage.log_text(f"{report.shared}\n", "work_shared.txt")
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
        remedy = f"; {record.remedy}" if record.remedy else ""
        print(f"  {record.slide}: {record.reason}: {record.evidence}{remedy}{kept}")


def end(out: Path, report: Report, finished: int, strict: bool) -> None:
    """Fail the stage where slides could not be reached, or where `strict` finds some in quarantine."""
    slides = finished + len(report.quarantined) + len(report.unreached)
    check_all_reached(report.unreached, slides, out / "unreached.csv")
    if strict and report.quarantined:
        sys.exit(1)
