"""Compression by two commits of nic, in turns: same slides, same encoder, whole processes.

    python -m benchmarks.compare_commits OLD [NEW] [--rounds 3] [--slides 1 4] [--side 12288]

OLD, NEW: names of commits; NEW is the one that is checked out unless it is given. Each is laid out in a worktree of its
own, which is removed again, and run by this Python. `whole` is a process from its start to its end; `less start-up` is
that, less a process that finds all slides done: it imports, loads the encoder and starts readers too. Processor time
is of all processes together; others on the machine disturb it least. `cores had` is processor time by wall time of the
whole: where others leave one core, wall time cannot show what a second one gains. Slides are of two kinds, all tissue:
levels x2 as generic TIFFs have them, and x4 as Aperio's. OLD / NEW above 1 says that NEW is faster.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.encoding import exported
from benchmarks.made_slide import made_slide

COMPRESS = """
import sys
from pathlib import Path
import nic
from nic.slides.slide import SlideSource
try:
    from nic.compression.compress_cohort import compress_cohort
    from nic.encoder.loading import load_encoder
except ImportError:  # an older commit
    from nic.compression.engines import compress_cohort
    from nic.encoder.onnx import OnnxEncoder as load_encoder

if __name__ == "__main__":
    slide, graph, out, count, tree = sys.argv[1:]
    assert Path(nic.__file__).is_relative_to(tree), f"{nic.__file__} is not of {tree}"
    sources = [SlideSource(f"s{n}", Path(slide)) for n in range(int(count))]
    report = compress_cohort(sources, load_encoder(Path(graph)), Path(out))
    assert len(list(Path(out).glob("*.h5"))) == int(count), report
"""


def run(tree: Path, slide: Path, graph: Path, out: Path, count: int) -> tuple[float, float]:
    """Wall and processor seconds of one process and its children."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_WAIT_POLICY": "PASSIVE"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-c", COMPRESS, str(slide), str(graph), str(out), str(count), str(tree)]
    subprocess.run(command, env=environment, cwd=tree, check=True, stderr=subprocess.DEVNULL)
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def whole_and_finished(tree: Path, slide: Path, graph: Path, out: Path, count: int) -> NDArray[np.float64]:
    """[whole, less start-up] x [wall, processor], seconds."""
    whole = np.array(run(tree, slide, graph, out, count))
    return np.stack([whole, whole - run(tree, slide, graph, out, count)])


def difference(old: Path, new: Path) -> str:
    """Of the codes of a slide. Cells that have a code are to be the same."""
    with h5py.File(old) as a, h5py.File(new) as b:
        if not np.array_equal(a["coords"][:], b["coords"][:]):
            return "other cells have a code"
        before, after = a["features"][:].astype(np.float64), b["features"][:].astype(np.float64)
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosine = (before * after).sum(1) / norms
    same = (before == after).all(axis=1).mean()
    return (
        f"codes: {same:.1%} equal, greatest difference {np.abs(before - after).max():.2g} "
        f"of {np.abs(before).max():.2g}, least cosine {cosine.min():.6f}"
    )


def compare(trees: tuple[Path, Path], slide: Path, graph: Path, count: int, rounds: int) -> None:
    taken = np.empty((rounds, 2, 2, 2))  # commit, whole or less start-up, wall or processor
    for turn in range(rounds):
        for place in (0, 1) if turn % 2 == 0 else (1, 0):
            with tempfile.TemporaryDirectory(dir=slide.parent) as out:
                codes = Path(out)
                taken[turn, place] = whole_and_finished(trees[place], slide, graph, codes, count)
                (codes / "s0.h5").rename(slide.parent / f"{place}.h5")
    print(
        f"{slide.stem}, {count} {'slide' if count == 1 else 'slides'}, {rounds} rounds, load {os.getloadavg()[0]:.1f}"
    )
    medians = np.median(taken, 0)
    had = np.median(taken[:, :, 0, 1] / taken[:, :, 0, 0], 0)
    print(f"  cores had, of {len(os.sched_getaffinity(0))}: old {had[0]:.2f}, new {had[1]:.2f}")
    for row, name in enumerate(("whole", "less start-up")):
        for column, kind in enumerate(("wall", "processor")):
            old, new = medians[:, row, column]
            ratio = np.median(taken[:, 0, row, column] / taken[:, 1, row, column])
            print(f"  {name:14} {kind:9} old {old:7.2f} s  new {new:7.2f} s  old / new {ratio:.2f}")
    print(f"  {difference(slide.parent / '0.h5', slide.parent / '1.h5')}", flush=True)


def laid_out(commit: str, folder: Path) -> Path:
    subprocess.run(["git", "worktree", "add", "--detach", "--quiet", str(folder), commit], check=True)
    return folder


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("old")
    arguments.add_argument("new", nargs="?", default="HEAD")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--slides", type=int, nargs="+", default=[1, 4])
    arguments.add_argument("--side", type=int, default=12_288, help="px of the squares")
    arguments.add_argument("--factors", type=int, nargs="+", default=[2, 4], help="by which levels shrink")
    arguments.add_argument("--mpp", type=float, default=0.25, help="of the squares")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        trees: list[Path] = []
        try:
            for name, commit in (("old", given.old), ("new", given.new)):
                trees.append(laid_out(commit, folder / name))
            graph = exported(folder)
            for factor in given.factors:
                slide = made_slide(folder / f"levels-x{factor}.tif", given.side, factor, mpp=given.mpp)
                for count in given.slides:
                    compare((trees[0], trees[1]), slide, graph, count, given.rounds)
        finally:
            for tree in trees:
                subprocess.run(["git", "worktree", "remove", "--force", str(tree)], check=True)


if __name__ == "__main__":
    main()
