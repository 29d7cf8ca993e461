"""How long each entry point takes to start, beside `import mlflow` with one logged parameter, in one run.

    python -m benchmarks.startup [--repeats 3] [--project <another checkout>] [stage ...]

A small study is made first, all of it by `main`. Then every entry point is started as a process of its own, in turns.
Its start is over when all that its run is opened with is logged: config, inputs, digests of code, and last its source.
The entry points that open no run, and `compress`, are measured whole. Beside them: MLflow alone with one parameter in
the same store, MLflow alone with one parameter in a fresh store, and `--help`.

Wall time suffers from what else the machine does; the processor time of a start is given beside it. Ratios are of
medians, to MLflow in the same store.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import tifffile
import yaml
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parents[1]
PATIENTS, SIDE_PX = 16, 1000
EXPERIMENT = "startup"
MODEL, ENCODER = "models:/nic-proliferation/1", "models:/nic-encoder/1"
POLL_S = 0.01
LONGEST_S = 600
ONE_PARAMETER = """
import mlflow
with mlflow.start_run():
    mlflow.log_param("a", 1)
"""
TICKS_S = os.sysconf("SC_CLK_TCK")
NEED_TORCH = ("train_encoder", "import_encoder", "train_patients", "compare_networks")


@dataclass
class Taken:
    """Seconds of the starts of one process: on the clock, and of processors."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def add(self, seconds: tuple[float, float]) -> None:
        self.wall.append(seconds[0])
        self.processor.append(seconds[1])


@dataclass(frozen=True)
class Study:
    """A folder with a study that is finished, and the checkout whose entry points are started."""

    folder: Path
    project: Path

    @property
    def codes(self) -> Path:
        return next((self.folder / "work" / "codes").glob("c-*"))

    @property
    def environment(self) -> dict[str, str]:
        """The python of this process comes first: MLflow starts stages by that name."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        store = f"sqlite:///{self.folder / 'mlflow.db'}"
        ours = {"PATH": path, "MLFLOW_TRACKING_URI": store, "MLFLOW_EXPERIMENT_NAME": EXPERIMENT}
        return {**os.environ, **ours, "MLFLOW_DISABLE_TELEMETRY": "true"}

    def make(self) -> None:
        """Slides whose colour is the label, and all that `main` makes of them."""
        rng = np.random.default_rng(0)
        (self.folder / "slides").mkdir(parents=True)
        labels = rng.uniform(0, 1, PATIENTS)
        for number, label in enumerate(labels):
            write_slide(self.folder / "slides" / f"s{number}.tif", float(label), rng)
        for name in ("no", "yes"):
            tiles = self.folder / "tiles" / name
            tiles.mkdir(parents=True)
            for number in range(12):
                cv2.imwrite(str(tiles / f"g{number}_{number}.png"), rng.integers(60, 200, (64, 64, 3)).astype(np.uint8))
        numbers = np.arange(PATIENTS)
        table = {
            "patient": [f"P{n}" for n in numbers],
            "slide": [f"slides/s{n}.tif" for n in numbers],
            "split": np.where(numbers < PATIENTS // 2, "train", "external"),
            "site": np.where(numbers % 2, "elm", "oak"),
            "label": labels,
        }
        pd.DataFrame(table).to_csv(self.folder / "cohort.csv", index=False)
        endpoint = {"name": "proliferation", "cohort": "c", "kind": "regression", "column": "label"}
        study = {
            "name": "small",
            "tile_tasks": [{"name": "yes-no", "path": "tiles", "mpp": 1.0}],
            "cohorts": {"c": "cohort.csv"},
            "endpoints": [endpoint],
        }
        (self.folder / "study.yaml").write_text(yaml.safe_dump(study))
        MlflowClient(self.environment["MLFLOW_TRACKING_URI"]).create_experiment(
            EXPERIMENT, artifact_location=str(self.folder / "artifacts")
        )
        self.whole("main", self.options["main"])
        for name in ("export_features", "predict"):
            self.whole(name, self.options[name])

    @property
    def options(self) -> Mapping[str, Sequence[str]]:
        """What each entry point is started with."""
        study, work = ["--study", str(self.folder / "study.yaml")], ["--work", str(self.folder / "work")]
        answers = str(self.folder / "answers.csv")
        codes = ["--codes", str(self.codes)] if (self.folder / "work" / "codes").is_dir() else []
        endpoint, model = [*study, "--endpoint", "proliferation", *codes], ["--model", MODEL]
        epochs = ["--trials", "0", "--encoder-epochs", "1", "--patient-epochs", "1"]
        encoder = next(iter(sorted(self.folder.glob("artifacts/**/encoder.onnx"))), "none")
        exported = str(self.folder / "exported")
        slide = str(self.folder / "slides" / "s0.tif")
        return {
            "main": [*study, *work, *epochs],
            "make_phantom": ["--out", str(self.folder / "phantom")],
            "train_encoder": [*study, *work, "--objective", "mean-rgb"],
            "import_encoder": ["--source", str(encoder), *work],
            "probe_encoder": ["--encoders", ENCODER, *study, *work],
            "compress": ["--slides", slide, "--encoder", ENCODER, "--out", str(self.folder / "one")],
            "status": ["--slides", slide, "--out", str(self.folder / "one")],
            "export_features": ["--layout", "trident", *codes, "--out", exported],
            "import_features": ["--features", exported, "--layout", "trident", "--out", str(self.folder / "imported")],
            "train_patients": [*endpoint, "--encoder", ENCODER, "--folds", "2", "--epochs", "1"],
            "compare_networks": [*study, "--codes", str(self.folder / "work" / "codes")],
            "evaluate": [*endpoint, *model],
            "compare": [*endpoint, *model, "--other", MODEL],
            "promote": model,
            "rollback": ["--name", "nic-proliferation"],
            "lineage": ["--of", MODEL],
            "predict": [*model, *codes, "--out", answers],
            "draw_maps": [*model, *codes, "--out", str(self.folder / "maps")],
            "monitor": [*model, "--answers", answers, "--out", str(self.folder / "monitor.html")],
        }

    def process(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / "last.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, *words],
                cwd=self.project,
                env=environment or self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def whole(
        self, name: str, options: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> tuple[float, float]:
        """Seconds of a whole process; name: of an entry point, or `-c` for a text of Python."""
        words = ["-m", f"entrypoints.{name}"] if name != "-c" else ["-c"]
        start = time.perf_counter()
        process = self.process([*words, *options], environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{name}: {(self.folder / 'last.log').read_text()[-2000:]}")
        return wall, usage.ru_utime + usage.ru_stime

    def opened(self, name: str) -> tuple[float, float]:
        """Seconds until the source of an entry point is logged with its run; it is ended then."""
        before, start = self._sources(), time.perf_counter()
        process = self.process(["-m", f"entrypoints.{name}", *self.options[name]])
        while not self._sources() - before:
            if process.poll() is not None or time.perf_counter() - start > LONGEST_S:
                raise RuntimeError(f"{name}: {(self.folder / 'last.log').read_text()[-2000:]}")
            time.sleep(POLL_S)
        taken = time.perf_counter() - start, processor_s(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return taken

    def _sources(self) -> set[Path]:
        return set(self.folder.glob("artifacts/*/artifacts/source.zip"))

    def compressed_anew(self) -> tuple[float, float]:
        """The whole of `compress` on one slide that has no codes yet."""
        shutil.rmtree(self.folder / "one", ignore_errors=True)
        return self.whole("compress", self.options["compress"])

    def mlflow_alone(self, fresh: bool) -> tuple[float, float]:
        """The whole of a process that logs one parameter: in the study's store, or one that is made for it."""
        with tempfile.TemporaryDirectory() as folder:
            store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"} if fresh else {}
            return self.whole("-c", [ONE_PARAMETER], {**self.environment, **store})


def write_slide(path: Path, label: float, rng: np.random.Generator) -> None:
    """Grainy tissue with holes on glass, its colour after the label, at 0.5 um/px."""
    coarse = rng.uniform(size=(16, 16, 1)).astype(np.float32)
    field_of = cv2.resize(coarse, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)[..., None].clip(0, 1)
    image = (1 - field_of) * np.array([225, 150, 190]) + field_of * np.array([120, 60, 150])
    image *= [1 - 0.2 * label, 1, 1 - 0.2 * (1 - label)]
    image += cv2.GaussianBlur(rng.normal(0, 30, (SIDE_PX, SIDE_PX)).astype(np.float32), (0, 0), 1.0)[..., None]
    for x, y in rng.integers(0, SIDE_PX, (4, 2)):
        image[y : y + 260, x : x + 260] = 242
    pixels: NDArray[np.uint8] = image.clip(0, 255).round().astype(np.uint8)
    with tifffile.TiffWriter(path) as file:
        file.write(
            pixels,
            tile=(256, 256),
            photometric="rgb",
            compression="jpeg",
            resolution=(2e4, 2e4),
            resolutionunit="CENTIMETER",
        )


def processor_s(pid: int) -> float:
    """Processor seconds of a process that runs, of all its threads."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS_S


def started(study: Study, stages: Sequence[str]) -> dict[str, Callable[[], tuple[float, float]]]:
    """What is measured, by its title."""
    ends = {"compress": "compress, whole, all reused", "status": "status, whole", "lineage": "lineage, whole"}
    works: dict[str, Callable[[], tuple[float, float]]] = {
        "mlflow alone": lambda: study.mlflow_alone(False),
        "mlflow alone, fresh store": lambda: study.mlflow_alone(True),
        "compress --help": lambda: study.whole("compress", ["--help"]),
        "compress, whole, one slide": study.compressed_anew,
    }
    for stage in stages:
        works[stage] = lambda stage=stage: study.opened(stage)
        if stage in ends:
            works[ends[stage]] = lambda stage=stage: study.whole(stage, study.options[stage])
    for stage in ("status", "lineage"):  # they open no run
        works.pop(stage, None)
    return works


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", help="entry points; all where none is named")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--project", type=Path, default=HERE, help="the checkout that is measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nic-startup-") as folder:
        study = Study(Path(folder) / "study", arguments.project.resolve())
        print("making a small study ...", flush=True)
        study.make()
        works = started(study, arguments.stages or list(study.options))
        taken = {title: Taken() for title in works}
        for _ in range(arguments.repeats):
            for title, work in works.items():
                taken[title].add(work())
        start = time.perf_counter()
        study.whole("main", study.options["main"])
        print(f"main, whole, all reused: {time.perf_counter() - start:.1f} s")
    alone = taken["mlflow alone"]
    print(f"{'median of ' + str(arguments.repeats):32}{'s':>8}{'cpu s':>8}{'ratio':>8}{'of cpu':>8}")
    for title, of in taken.items():
        wall, processor = np.median(of.wall), np.median(of.processor)
        ratios = wall / np.median(alone.wall), processor / np.median(alone.processor)
        torch = "  needs torch" if title in NEED_TORCH else ""
        print(f"{title:32}{wall:8.2f}{processor:8.2f}{ratios[0]:8.2f}{ratios[1]:8.2f}{torch}")


if __name__ == "__main__":
    main()
