"""Writes the phantom study: slides, tile tasks and tables of known truth. A run that was stopped goes on."""

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from nic.child_process import end_with_parent
from nic.errors import StudyError
from nic.phantom.breast import BreastSlide, breast_plan
from nic.phantom.labs import LABS
from nic.phantom.liver import LiverSlide, liver_layout, liver_plan
from nic.phantom.painting import paint
from nic.phantom.plan import Plan
from nic.phantom.pyramid import write_pyramid
from nic.phantom.synthetic_patients import breast_patients, liver_patients
from nic.phantom.tiles import RECIPES, write_tile_task


@dataclass(frozen=True)
class PhantomConfig:
    """How much is drawn: patients of each cohort and split, tiles of each task. The defaults are the embedded study."""

    seed: int = 0
    breast_train: int = 80
    breast_external: int = 64
    liver_train: int = 100
    liver_external: int = 64
    tiles_per_task: int = 1700

    def with_patients(self, train: int, external: int) -> "PhantomConfig":
        """The same with so many patients in each cohort; 0 leaves a number as it is."""
        changed = {"breast_train": train, "liver_train": train, "breast_external": external, "liver_external": external}
        return replace(self, **{name: patients for name, patients in changed.items() if patients})


@dataclass(frozen=True)
class PhantomStudy:
    """A finished phantom. digest: sha256 over its tables, slides and tiles."""

    out: Path
    config: PhantomConfig
    digest: str


def make_phantom(out: Path, config: PhantomConfig, workers: int = 2) -> PhantomStudy:
    """Draw everything under `out`: tiles/, slides/, breast.csv, liver.csv, truth.csv and phantom.json.

    Finished slides and tile tasks are kept; a finished study is returned at once. Where an older version of nic drew
    it, with fewer columns, the tables alone are written anew. Raises StudyError when `out` holds a phantom of another
    config.
    """
    out.mkdir(parents=True, exist_ok=True)
    digest, tables = _begin(out, config), tables_of(config)
    if digest is None or any(_lacks_columns(out / name, text) for name, text in tables.items()):
        _write_record(out, config, None)
        for name, text in tables.items():
            _write_text(out / name, text)
        jobs = [*_tile_jobs(out, config), *_slide_jobs(out, config)]
        _run(jobs, workers)
        digest = _digest(out)
        _write_record(out, config, digest)
    return PhantomStudy(out, config, digest)


def draw_breast(slide: BreastSlide, path: Path, seed: int) -> None:
    """Draw and write the slide. The same slide and seed give the same pixels."""
    rng = np.random.default_rng([seed, 4, *slide.slide_id.encode()])
    _write_slide(breast_plan(slide, rng), slide.site, path, rng)


def draw_liver(slide: LiverSlide, path: Path, seed: int) -> None:
    """Draw and write the slide. The same slide and seed give the same pixels."""
    rng = np.random.default_rng([seed, 5, *slide.slide_id.encode()])
    _write_slide(liver_plan(slide, liver_layout(slide, rng), rng), slide.site, path, rng)


def _write_slide(plan: Plan, site: str, path: Path, rng: np.random.Generator) -> None:
    lab = LABS[site]
    write_pyramid(path, paint(plan, lab, rng), lab.mpp, lab.jpeg)


def _begin(out: Path, config: PhantomConfig) -> str | None:
    """The digest of the study when it is finished already, else None."""
    record = out / "phantom.json"
    if not record.exists():
        _write_record(out, config, None)
        return None
    known = json.loads(record.read_text())
    if known["config"] != asdict(config):
        raise StudyError(
            f"{out}: holds a phantom of {known['config']}, wanted {asdict(config)}; remove the folder or name another"
        )
    digest: str | None = known["digest"]
    return digest


def _write_record(out: Path, config: PhantomConfig, digest: str | None) -> None:
    _write_text(out / "phantom.json", json.dumps({"config": asdict(config), "digest": digest}, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    partial_path = path.with_name(f".{path.name}.partial")
    partial_path.write_text(text)
    partial_path.replace(path)


def _lacks_columns(path: Path, text: str) -> bool:
    """Whether a table on disk has fewer columns than its text now, or is gone."""
    return not path.is_file() or not set(_header(text)) <= set(_header(path.read_text()))


def _header(text: str) -> list[str]:
    return text.partition("\n")[0].split(",")


def tables_of(config: PhantomConfig) -> dict[str, str]:
    """The text of each table by the name of its file. New columns come last: older ones stay as they are."""
    breast, _ = breast_patients(config.seed, config.breast_train, config.breast_external)
    liver, _ = liver_patients(config.seed, config.liver_train, config.liver_external)
    truth = pd.concat([breast.truth, liver.truth], ignore_index=True)
    latents = [c for c in truth.columns if not c.startswith("oracle_")]
    first = ["oracle_proliferation", "oracle_growth_pattern", "oracle_survival"]
    others = [c for c in truth.columns if c not in (*latents, *first)]
    return {
        "breast.csv": breast.labels.to_csv(index=False),
        "liver.csv": liver.labels.to_csv(index=False),
        "truth.csv": truth[latents + first + others].to_csv(index=False, float_format="%.6g"),
    }


def _tile_jobs(out: Path, config: PhantomConfig) -> Iterable[Callable[[], None]]:
    return [partial(write_tile_task, name, out / "tiles", config.tiles_per_task, config.seed) for name in RECIPES]


def _slide_jobs(out: Path, config: PhantomConfig) -> Iterable[Callable[[], None]]:
    _, breast = breast_patients(config.seed, config.breast_train, config.breast_external)
    _, liver = liver_patients(config.seed, config.liver_train, config.liver_external)
    folder = out / "slides"
    for cohort in ("breast", "liver"):
        (folder / cohort).mkdir(parents=True, exist_ok=True)
    jobs: list[tuple[Path, Callable[[], None]]] = []
    for slide in breast:
        path = folder / "breast" / f"{slide.slide_id}.tif"
        jobs.append((path, partial(draw_breast, slide, path, config.seed)))
    for liver_slide in liver:
        path = folder / "liver" / f"{liver_slide.slide_id}.tif"
        jobs.append((path, partial(draw_liver, liver_slide, path, config.seed)))
    return [job for path, job in jobs if not path.exists()]


def _run(jobs: list[Callable[[], None]], workers: int) -> None:
    """Run the jobs in processes, each on one thread."""
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin_process) as pool:
        try:
            for future in tqdm([pool.submit(job) for job in jobs], desc="phantom", unit="job", smoothing=0.05):
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)  # a run that is stopped begins no further job


def _begin_process() -> None:
    end_with_parent()
    cv2.setNumThreads(1)


def _digest(out: Path) -> str:
    """sha256 of the names and contents of all files."""
    total = hashlib.sha256()
    drawn = [*out.glob("*.csv"), *(out / "slides").rglob("*.tif"), *(out / "tiles").rglob("*.*")]
    for path in sorted(path for path in drawn if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(out).as_posix()} {content}\n".encode())
    return total.hexdigest()
