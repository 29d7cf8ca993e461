"""Compressing a cohort on 1, 2 and 4 workers of a Ray cluster, and without Ray, in one run.

    python -m benchmarks.scaling [--slides 12] [--side 16384] [--workers 1 2 4]

Each count of workers has as many cores of this machine to itself, while there are such. More workers than cores
cannot be faster; what they cost is what the figure then tells.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import ray

import nic
from benchmarks.encoding import exported
from benchmarks.made_slide import made_slide
from nic.compression.engines import compress_cohort
from nic.compression.on_ray import Cluster, compress_on_ray
from nic.compression.work import How
from nic.encoder.onnx import OnnxEncoder
from nic.slides.slide import SlideSource


def on_ray(sources: list[SlideSource], graph: Path, workers: int) -> float:
    """Seconds of the cohort, the workers started and the encoder loaded before."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:workers])
    code = {"py_modules": [str(Path(nic.__file__).parent)]}
    ray.init(num_cpus=workers, log_to_driver=False, runtime_env=code)
    try:
        taken = 0.0
        for part in (sources[: 2 * workers], sources):
            with tempfile.TemporaryDirectory(dir=graph.parent) as out:
                start = time.monotonic()
                compress_on_ray(part, graph, OnnxEncoder, Path(out), How(), Cluster())
                taken = time.monotonic() - start
        return taken
    finally:
        ray.shutdown()
        os.sched_setaffinity(0, cores)


def without(sources: list[SlideSource], graph: Path) -> float:
    """Seconds of the cohort on the cores of this machine."""
    encoder = OnnxEncoder(graph)
    with tempfile.TemporaryDirectory(dir=graph.parent) as out:
        start = time.monotonic()
        compress_cohort(sources, encoder, Path(out))
        return time.monotonic() - start


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--slides", type=int, default=12, help="copies of one slide")
    arguments.add_argument("--side", type=int, default=16_384, help="px of its square")
    arguments.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = made_slide(folder / "made.tif", given.side, factor=4, tissue=0.4)
        sources, graph = [SlideSource(f"s{n:03}", path) for n in range(given.slides)], exported(folder)
        taken = {workers: on_ray(sources, graph, workers) for workers in given.workers}
        local = without(sources, graph)
    print(f"{given.slides} slides of {given.side} px, {os.cpu_count()} cores")
    first = given.workers[0]
    for workers, seconds in taken.items():
        share = taken[first] * first / (seconds * workers)
        print(f"  {workers} workers {given.slides / seconds:6.2f} slides/s, efficiency against {first}: {share:.2f}")
    print(f"  without Ray {given.slides / local:5.2f} slides/s")


if __name__ == "__main__":
    main()
