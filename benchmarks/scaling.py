"""How reading and compression grow with the cores of this machine, in one run.

    python -m benchmarks.scaling [--cores 1 2] [--slides 2] [--side 18432] [--rounds 5]
    python -m benchmarks.scaling --ray [--workers 1 2 4] [--slides 12]

Each count of cores has a process of its own, bound to so many (sched_setaffinity), with a pool of reading processes
that have started and read a slide before anything is measured. Rounds take them in turns; figures are medians.

    reading       all tiles of the slides are read by the pool and thrown away
    compression   the cohort as `compress` does it: reading, encoding, files of codes
    one slide     compression of one slide by the whole pool
    free encoder  compression with an encoder that costs nothing: what the main process spends on a tile

`had` is the share of the cores' time that this benchmark had while it ran; a core that works for others is no core.
us/core: processor time of all processes together for a tile, and of the main process alone for the free encoder.
Efficiency is against the fewest cores: of wall time, and of processor time, which others on the machine disturb less.
--ray compares counts of workers of a Ray cluster instead, each with as many cores, while there are such.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.made_slide import made_slide
from benchmarks.pool import COHORT, FREE, ONE, READING, Figure, Pool
from nic.compression.slide_of_cohort import CompressionOptions
from nic.encoder.loading import EncoderLoader, load_encoder
from nic.slides.slide import SlideSource

if TYPE_CHECKING:
    from nic.compression.ray_workers import Cluster

_pool: Pool | None = None


def _start(cores: Sequence[int], sources: Sequence[SlideSource], graph: Path) -> None:
    global _pool  # of the process that ProcessPoolExecutor starts
    _pool = Pool(cores, sources, load_encoder(graph))


def _measured(what: str) -> Figure:
    assert _pool
    return _pool.measured(what)


def _stop() -> None:
    assert _pool
    _pool.close()


def scaled(
    sources: Sequence[SlideSource], graph: Path, counts: Sequence[int], rounds: int, kinds: Sequence[str]
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")
    pools = {
        count: ProcessPoolExecutor(1, spawn, initializer=_start, initargs=(cores[:count], sources, graph))
        for count in counts
    }
    try:
        figures: dict[tuple[str, int], list[Figure]] = {(kind, count): [] for kind in kinds for count in counts}
        for count in counts:  # one after the other: all start and read a slide here
            pools[count].submit(time.monotonic).result()
        load = os.getloadavg()[0]
        for _ in range(rounds):
            for kind in kinds:
                for count in counts:
                    figures[kind, count].append(pools[count].submit(_measured, kind).result())
        print(
            f"{len(sources)} slides, {rounds} rounds, {len(cores)} cores; "
            f"load {load:.1f} before, {os.getloadavg()[0]:.1f} after"
        )
        table(figures, kinds, counts)
        for pool in pools.values():
            pool.submit(_stop).result()
    finally:
        for pool in pools.values():
            pool.shutdown()


def table(figures: dict[tuple[str, int], list[Figure]], kinds: Sequence[str], counts: Sequence[int]) -> None:
    median, first = statistics.median, counts[0]
    for kind in kinds:
        print(kind)
        for count in counts:
            of = figures[kind, count]
            main = (
                f"  main process {median(f.main_s / f.tiles for f in of) * 1e6:5.1f} us a tile" if kind == FREE else ""
            )
            print(
                f"  {count:3} cores {median(f.tiles / f.wall_s for f in of):8.0f} tiles/s"
                f"  {median(f.cpu_s / f.tiles for f in of) * 1e6:6.0f} us/core"
                f"  had {median(f.cpu_s / f.wall_s / count for f in of):.2f}{main}"
            )
    print(f"efficiency against {first}: of wall time, of processor time")
    for kind in kinds:
        for count in counts[1:]:
            pairs = list(zip(figures[kind, first], figures[kind, count], strict=True))
            wall = median((few.wall_s * first / few.tiles) / (many.wall_s * count / many.tiles) for few, many in pairs)
            cpu = median((few.cpu_s / few.tiles) / (many.cpu_s / many.tiles) for few, many in pairs)
            gain = median((few.wall_s / few.tiles) / (many.wall_s / many.tiles) for few, many in pairs)
            print(f"  {kind:12} {count:3} cores {gain:5.2f} times as fast, {wall:.2f}, {cpu:.2f}")


def on_ray(sources: list[SlideSource], graph: Path, workers: int, cluster: "Cluster") -> float:
    """Seconds of the cohort, the workers started and the encoder loaded before."""
    import ray

    import nic
    from nic.compression.on_ray import compress_on_ray

    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:workers])
    code = {"py_modules": [str(Path(nic.__file__).parent)]}
    ray.init(num_cpus=workers, log_to_driver=False, runtime_env=code)
    try:
        taken = 0.0
        for part in (sources[: 2 * workers], sources):
            with tempfile.TemporaryDirectory(dir=graph.parent) as out:
                start = time.monotonic()
                compress_on_ray(part, graph, EncoderLoader(), Path(out), CompressionOptions(), cluster)
                taken = time.monotonic() - start
        return taken
    finally:
        ray.shutdown()
        os.sched_setaffinity(0, cores)


def by_ray(sources: list[SlideSource], graph: Path, counts: Sequence[int]) -> None:
    from nic.compression.compress_cohort import compress_cohort
    from nic.compression.ray_workers import Cluster  # ray is an extra

    taken = {workers: on_ray(sources, graph, workers, Cluster()) for workers in counts}
    with tempfile.TemporaryDirectory(dir=graph.parent) as out:
        encoder, start = load_encoder(graph), time.monotonic()
        compress_cohort(sources, encoder, Path(out))
        local = time.monotonic() - start
    print(f"{len(sources)} slides, {os.cpu_count()} cores")
    first = counts[0]
    for workers, seconds in taken.items():
        share = taken[first] * first / (seconds * workers)
        print(f"  {workers} workers {len(sources) / seconds:6.2f} slides/s, efficiency against {first}: {share:.2f}")
    print(f"  without Ray {len(sources) / local:5.2f} slides/s, its processes started within")


def doubled(most: int) -> list[int]:
    """1, 2, 4 ... and `most`."""
    return sorted({min(most, 1 << power) for power in range(most.bit_length() + 1)})


def main() -> None:
    from benchmarks.encoding import exported  # torch: not in the processes that are measured

    here = len(os.sched_getaffinity(0))
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cores", type=int, nargs="+", default=doubled(here), help="counts of cores")
    arguments.add_argument("--slides", type=int, help="copies of one slide; 1 a core unless said otherwise, 12 for Ray")
    arguments.add_argument("--side", type=int, default=18_432, help="px of its square, all tissue: 5,184 tiles")
    arguments.add_argument("--factor", type=int, default=4, help="by which its levels shrink: 4 as Aperio's, or 2")
    arguments.add_argument("--mpp", type=float, default=0.25, help="of it; 0.2425 puts tiles off whole pixels")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument(
        "--only", nargs="+", choices=(READING, COHORT, ONE, FREE), default=(READING, COHORT, ONE, FREE)
    )
    arguments.add_argument("--ray", action="store_true", help="workers of a Ray cluster instead")
    arguments.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="of Ray")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = made_slide(folder / "made.tif", given.side, given.factor, mpp=given.mpp)
        count = given.slides or (12 if given.ray else max(given.cores))
        sources, graph = [SlideSource(f"s{n:03}", path) for n in range(count)], exported(folder)
        if given.ray:
            by_ray(sources, graph, given.workers)
        else:
            scaled(sources, graph, sorted(given.cores), given.rounds, given.only)


if __name__ == "__main__":
    main()
