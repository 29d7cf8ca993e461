"""Step 2: compress slides with a registered encoder into one .h5 each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from entrypoints.cli import launch
from nic.encoder.spec import Runtime


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
    """Cores of the cluster that a slide takes, or with `gpus` two; each has a process that reads."""
    gpus: float = 0.0
    """Share of a GPU of the cluster for a process that encodes two slides at a time and keeps its session; 0.5 lets two
    such processes share one. 0: slides are encoded on CPUs, and no GPU is seen."""
    staged: Path = Path("work/staged")
    """Folder of each machine that slides which lie elsewhere are brought to."""
    staged_gb: float = 200.0
    """Most that folder may hold; the least recently used slides make room."""
    runtime: Runtime = "onnx"
    """onnx runs on GPUs and CPUs; onnx-f16 is faster on GPUs, openvino, in bf16, on CPUs that have it (pip install
    openvino==2026.4.1). The first codes of the faster ones are held against those of onnx."""
    device: str = "auto"
    """What the encoder runs on: cpu, cuda, or cuda:N, which must be there; auto takes the first GPU where that works,
    else the CPU, and says why. cuda:all, or several with commas between, as cuda:0,cuda:1: a process encodes on each;
    not with engine=ray, where each process sees its own GPU."""
    batch_tiles: int = 0
    """Tiles encoded at a time; 0 takes as many as suit the memory of the device."""
    readers: int = 0
    """Processes that read slides; 0 takes the number of cores. With engine=ray `cpus` says it."""
    patience_s: float = 300.0
    """Seconds without a word, after which a process that reads is taken to hang; it is ended, and its slide refused."""
    strict: bool = False
    """Exit with code 1 when a slide is in quarantine, as it does in any case when one could not be reached."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages import compress

    return compress.inputs(config.slides, config.columns, config.encoder, config.tissue)


def run(config: Config) -> dict[str, Any]:
    """Compress every slide; a bad one is recorded with its reason and does not stop the others.

    Raises UnreachedSlides in the end when a slide could not be had; the run is not reused then, its codes are.
    """
    from nic.stages import compress
    from nic.stages.selection import selected_slides
    from nic.tracking.runs import stage_run

    with stage_run("compress", config, inputs(config)) as stage:
        how = compress.how(
            min_tissue=config.min_tissue,
            overlap_px=config.overlap_px,
            variants=config.variants,
            exclude=config.exclude,
            tissue=config.tissue,
            mask_bounds=config.mask_bounds,
            runtime=config.runtime,
            accept=config.accept,
            staged=config.staged,
            staged_gb=config.staged_gb,
            batch_tiles=config.batch_tiles,
            patience_s=config.patience_s,
        )
        work = selected_slides(config.slides, config.columns), config.encoder, config.out, how, config.device
        if config.engine == "ray":
            report = compress.compress_on_cluster(*work, config.address, config.cpus, config.gpus)
        else:
            report = compress.compress_locally(*work, config.readers, stage)
        stage.result.update(compress.report_compression(report, config.out, config.strict, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
