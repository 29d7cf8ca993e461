"""Step 2: compress each slide with a registered encoder into a file of codes, <slide>.h5."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from entrypoints.cli import launch, names_in
from nic.encoder.spec import Runtime

if TYPE_CHECKING:
    from nic.compression.slide_of_cohort import CompressionOptions


@dataclass(frozen=True)
class Config:
    slides: str = "data/phantom/breast.csv"
    """A slide, a folder, a glob in quotes, or a cohort's CSV (its column mpp overrules the slides); also s3://,
    https://."""
    encoder: str = "models:/nic-encoder@champion"
    """Registered encoder, or the path of an .onnx file written by nic."""
    out: Path = Path("work/codes")
    """Folder for <slide>.h5, quarantine.csv and unreached.csv. Finished files are kept, and several runs can share the
    work."""
    min_tissue: float = 0.6
    """Least share of tissue in a tile that is encoded, 0 to 1."""
    tissue: str = "otsu"
    """What counts as tissue: otsu, by Otsu's threshold of saturation; a number, by that saturation, 0 to 255; all; or a
    folder of masks that are named as the slides: images, or outlines of QuPath or ASAP."""
    mask_bounds: bool = True
    """Whether GeoJSON masks count from the corner of the slide's bounds, as QuPath's do; false for TRIDENT's, which
    count from the corner of the slide."""
    overlap_px: int = 0
    """Overlap of neighbouring tiles, in px of a tile; 32 of 64 px makes four times as many tiles."""
    variants: Literal[1, 8] = 1
    """8 encodes each tile in its eight D4 variants, turned and mirrored, for the training of patient models; 1 encodes
    it as it is."""
    exclude: str = "pen,dark,blurred"
    """QC tests, with commas between; a tile that fails one is not encoded: pen (ink), dark (darker than tissue) and
    blurred (out of focus). Empty: none."""
    accept: str = ""
    """Ids of slides, with commas between, that are compressed however many of their tiles cannot be decoded."""
    columns: str = ""
    """The table's names of the columns patient and slide, as patient=case_id,slide=file; empty: patient and slide."""
    engine: Literal["local", "ray"] = "local"
    """local works on this machine; ray works on a Ray cluster, whose nodes share `out` and the folder of the slides."""
    address: str = "auto"
    """Address of the Ray cluster: host:port, auto for the one this machine belongs to, or empty to start one here."""
    cpus: float = 1.0
    """Cores of the cluster for each slide, or for two slides with `gpus`. Each core has a process that reads."""
    gpus: float = 0.0
    """Share of a GPU of the cluster for each process that encodes, two slides at a time; with 0.5 two processes share a
    GPU. 0: slides are encoded on CPUs."""
    staged: Path = Path("work/staged")
    """Folder on each machine for copies of slides from s3:// or https://."""
    staged_gb: float = 200.0
    """Most that this folder may hold, in GB; the least recently used slides are deleted."""
    runtime: Runtime = "onnx"
    """What runs the encoder. onnx computes in f32, on GPUs and CPUs; onnx-f16 is faster on GPUs; openvino, in bf16, is
    faster on CPUs that have it (pip install openvino==2026.4.1). Their first codes are compared with those of onnx."""
    device: str = "auto"
    """Device of the encoder: cpu, cuda or cuda:N, which must be there; auto: a GPU that works, else the CPU.
    cuda:all, or several with commas between: a process encodes on each; not with engine=ray, where each process has a
    GPU of its own."""
    batch_tiles: int = 0
    """Tiles that are encoded at a time; 0: as many as suit the memory of the device."""
    readers: int = 0
    """Processes that read slides; 0: as many as there are cores. With engine=ray `cpus` decides."""
    patience_s: float = 300.0
    """Seconds after which a reading process that gives no sign is ended; its slide goes into quarantine."""
    strict: bool = False
    """Exit with code 1 when a slide is in quarantine. When one could not be read, the exit code is 1 in any case."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages import compress

    return compress.inputs(config.slides, config.columns, config.encoder, config.tissue)


def options(config: Config) -> "CompressionOptions":
    from nic.compression.slide_of_cohort import CompressionOptions
    from nic.compression.tiling import Tiling
    from nic.compression.tissue_rule import tissue_named
    from nic.slides.qc import qc_tests_named
    from nic.slides.staging import Staging

    tests, (tissue, masks) = qc_tests_named(config.exclude), tissue_named(config.tissue, config.mask_bounds)
    return CompressionOptions(
        Tiling(overlap_px=config.overlap_px, min_tissue=config.min_tissue, exclude=tests, tissue=tissue),
        masks=masks,
        d4_variants=config.variants,
        accept=names_in(config.accept),
        staging=Staging(config.staged.absolute(), int(config.staged_gb * 1e9)),
        batch_tiles=config.batch_tiles,
        silent_s=config.patience_s,
    )


def run(config: Config) -> dict[str, Any]:
    """Compress every slide. A bad slide is recorded with the reason, and the others go on.

    Raises UnreachedSlides in the end when a slide could not be read; the next run then keeps the finished files.
    """
    from nic.stages import compress
    from nic.stages.selection import selected_slides
    from nic.tracking.runs import stage_run

    with stage_run("compress", config, inputs(config)) as stage:
        work = selected_slides(config.slides, config.columns), config.encoder, config.out, options(config)
        device = config.runtime, config.device
        if config.engine == "ray":
            report = compress.compress_on_cluster(*work, *device, config.address, config.cpus, config.gpus)
        else:
            report = compress.compress_locally(*work, *device, config.readers, stage)
        stage.result.update(compress.report_compression(report, config.out, config.strict, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
