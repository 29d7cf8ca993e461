"""Step 2 as a stage: slides to compressed slides, by one machine or a Ray cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nic.compression.compress_cohort import CompressionReport, compress_cohort, tile_readers
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.on_ray import compress_on_ray
from nic.compression.pictures import contact_sheets
from nic.compression.ray_workers import Cluster
from nic.compression.slide_of_cohort import CompressionOptions
from nic.encoder.encoder_pool import encoder_on
from nic.encoder.loading import EncoderLoader
from nic.encoder.spec import Runtime
from nic.errors import NoDevice
from nic.graphs.device import Device
from nic.graphs.files import graph_sha256
from nic.slides.reader import PIXEL_VERSION
from nic.slides.slide import SlideSource
from nic.stages.outcome import end_stage, show_outcome
from nic.stages.selection import selected_slides
from nic.tracking.digests import bytes_digest
from nic.tracking.registry import encoder_file
from nic.tracking.runs import StageRun
from nic.tracking.slide_digests import slides_digest


def inputs(slides: str, columns: str, encoder: str, tissue: str) -> dict[str, str]:
    """tissue: a rule, or a folder of masks, which are then an input too."""
    digest = slides_digest(selected_slides(slides, columns))
    made_of = {"slides": digest, "encoder": graph_sha256(encoder_file(encoder)), "masks": ""}
    if Path(tissue).is_dir():  # their digest counts, not the folder's path
        made_of |= {"masks": bytes_digest(Path(tissue)), "tissue": "masks"}
    return made_of


def compress_locally(
    slides: Sequence[SlideSource],
    encoder: str,
    out: Path,
    options: CompressionOptions,
    runtime: Runtime,
    device: str,
    readers: int,
    stage: StageRun,
) -> CompressionReport:
    """Compress on this machine. device: of the encoder, one or several. readers: processes; 0: one for each core."""
    with (
        tile_readers(options, readers or None) as reading,
        encoder_on(encoder_file(encoder), runtime, device) as session,
    ):
        print(f"encoder by {runtime} on {session.device_note}")
        stage.log_text(f"{runtime} on {session.device_note}\n", "device.txt")
        report = compress_cohort(slides, session, out, options, readers=reading)
        if session.agreement:
            stage.log("agreement_with_f32", session.agreement)
            print(f"{runtime}: least cosine to the codes in f32 {session.agreement:.5f}")
    return report


def compress_on_cluster(
    slides: Sequence[SlideSource],
    encoder: str,
    out: Path,
    options: CompressionOptions,
    runtime: Runtime,
    device: str,
    address: str,
    cpus: float,
    gpus: float,
) -> CompressionReport:
    """Compress on a Ray cluster. Raises NoDevice for a GPU as `device` without a share of GPUs for each process."""
    named = Device.named(device)
    if named.kind == "cuda" and not gpus:
        raise NoDevice(f"device={named}: a cluster needs gpus= as well, the share of a GPU for each process")
    load = EncoderLoader(runtime, str(named))
    return compress_on_ray(slides, encoder_file(encoder), load, out, options, Cluster(address, cpus, gpus))


def made_by_older_pixels(codes: Path, slides: Sequence[str]) -> int:
    """Number of slides whose files were made by an earlier PIXEL_VERSION."""
    versions = [CompressedSlide.head(codes / f"{slide}.h5").encoding.pixel_version for slide in slides]
    return sum(version < PIXEL_VERSION for version in versions)


def report_compression(report: CompressionReport, out: Path, strict: bool, stage: StageRun) -> dict[str, Any]:
    """Print and log what became of the slides. strict, result, raises: see `end_stage`."""
    finished = [*report.compressed, *report.reused]
    show_outcome(out, f"{len(report.compressed)} compressed, {len(report.reused)} reused", report)
    if older := made_by_older_pixels(out, report.reused):
        print(
            f"  {older} of the reused files come from an older version of the pixel arithmetic and differ by rounding; "
            "compress into another folder to have all alike"
        )
    if report.readers:
        print(f"  read by {', '.join(f'{way} ({count})' for way, count in report.readers.most_common())}")
    if report.shared:
        print(f"  {report.shared}")
        stage.log_text(f"{report.shared}\n", "work_shared.txt")
    for number, sheet in enumerate(contact_sheets(out, finished), start=1):
        stage.log_image(sheet, f"contact_sheet_{number}.jpg")
    return end_stage(len(finished), report, out, strict, stage)
