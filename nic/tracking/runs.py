"""One MLflow run a stage: what it was asked, what it read, what it left, and whether it need run again."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Run
from mlflow.exceptions import ExecutionException, MlflowException
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray

from nic.errors import StageFailed
from nic.tracking.digests import digest, output_digest
from nic.tracking.source_digest import PROJECT, keep_source, source_digest
from nic.tracking.store import kept_on_disk, leaves_open

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from matplotlib.figure import Figure

RESULT_FILE, CONFIG_FILE = "result.json", "config.json"
DATA = ("tasks", "cohort", "codes", "other_codes", "slides", "features", "patches", "source")
"""Inputs that are data: they are shown among the datasets of a run. Of several of a kind each is `<kind>.<name>`."""
OUTPUT = "nic.output."
"""Tags with the digest of what a stage leaves, by which those who read it find the run that made it."""
SERVING = "serving"
"""Input of a stage that registers: digest of the code that a version is served with. It changes no network."""
TRAINING = "nic.training"
"""Tag with the key of a stage but for SERVING: equal ones train the same networks."""


@dataclass
class StageRun:
    """A stage while it runs. `result` is what later stages read of it; it is written when the stage ends well.

    key: see `stage_key`. training_key: the same without the code of serving.
    """

    run_id: str
    key: str
    training_key: str
    result: dict[str, Any] = field(default_factory=dict)

    def log(self, name: str, value: float, step: int = 0) -> None:
        """A number, as training goes on."""
        mlflow.log_metric(name, value, step=step, run_id=self.run_id)

    def leave(self, name: str, digest: str) -> None:
        """Say what the stage left, in the words in which a later stage will name it as its input."""
        mlflow.set_tag(f"{OUTPUT}{name}", digest)

    def log_figure(self, figure: "Figure", file: str) -> None:
        """A picture, where the run's artifacts are looked at."""
        mlflow.log_figure(figure, file)

    def log_text(self, text: str, file: str) -> None:
        """A text file among the run's artifacts."""
        mlflow.log_text(text, file)

    def log_image(self, image: NDArray[np.uint8], file: str) -> None:
        """A picture [h, w, 3] RGB among the run's artifacts."""
        mlflow.log_image(image, artifact_file=file)

    def log_png(self, png: bytes, file: str) -> None:
        """A picture as it is among the run's artifacts."""
        with TemporaryDirectory() as folder:
            copy = Path(folder) / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(png)
            mlflow.log_artifacts(folder)

    def log_table(self, table: pd.DataFrame, file: str) -> None:
        """A table as CSV among the run's artifacts."""
        mlflow.log_text(table.to_csv(index=False), file)


@contextmanager
def stage_run(stage: str, config: "DataclassInstance", inputs: Mapping[str, str]) -> Iterator[StageRun]:
    """Run a stage under MLflow: parameters, digests of inputs and code, and in the end its result and outputs.

    inputs: digest of each thing the stage reads, by name. In a run started by `mlflow run` it is that run. The result's
    `outputs` (paths) are digested, so that a later call can tell whether they still stand. Raises StoreUnreached, with
    what stands on disk, when the store fails after the work.
    """
    key, training_key = stage_key(stage, config, inputs), training_key_of(stage, config, inputs)
    with mlflow.start_run(run_name=stage) as run:
        # First of all, so that a store of artifacts that refuses does so before the work.
        mlflow.log_dict({k: str(v) for k, v in asdict(config).items()}, CONFIG_FILE)
        logged = run.data.params
        mlflow.log_params({k: v for k, v in asdict(config).items() if k not in logged})
        mlflow.set_tags(
            {
                "nic.stage": stage,
                "nic.key": key,
                TRAINING: training_key,
                "nic.code": source_digest(stage),
                **{f"nic.input.{name}": value for name, value in inputs.items()},
            }
        )
        for name, value in inputs.items():
            if value and name.partition(".")[0] in DATA:
                _log_dataset(name, value, config)
        keep_source(stage)
        stage_run = StageRun(run.info.run_id, key, training_key)
        yield stage_run
        outputs = {str(path): output_digest(Path(path)) for path in stage_run.result.get("outputs", [])}
        with kept_on_disk(stage, outputs):
            mlflow.set_tag("nic.outputs", json.dumps(outputs))
            mlflow.log_dict(stage_run.result, RESULT_FILE)


def _log_dataset(name: str, digest: str, config: "DataclassInstance") -> None:
    """The digest and the place of what a stage reads; the place is what its config says, or the study file."""
    place = str(getattr(config, name.partition(".")[0], None) or getattr(config, "study", ""))
    source = CodeDatasetSource({"place": place})
    mlflow.log_input(MetaDataset(source, name, digest=digest[:24]), context=name)  # type: ignore[abstract]


def stage_key(stage: str, config: "DataclassInstance", inputs: Mapping[str, str]) -> str:
    """Equal keys mean that the stage would do the same again."""
    parameters = _parameters(config, inputs)
    return digest({"stage": stage, "config": parameters, "inputs": dict(inputs), "code": source_digest(stage)})


def training_key_of(stage: str, config: "DataclassInstance", inputs: Mapping[str, str]) -> str:
    """Equal keys mean that the stage would train the same networks again, whatever code serves them."""
    return stage_key(stage, config, {name: value for name, value in inputs.items() if name != SERVING})


def _parameters(config: "DataclassInstance", inputs: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a config that no input stands for, with absolute paths.

    Where the study file or another thing that is read lies says nothing of what was read there.
    """
    read = {"study", *(name.partition(".")[0] for name in inputs)}
    fields = {name: value for name, value in asdict(config).items() if name not in read}
    return {name: value.resolve() if isinstance(value, Path) else value for name, value in fields.items()}


@dataclass(frozen=True)
class Finished:
    """A stage that ended well, now or earlier."""

    run_id: str
    result: dict[str, Any]
    reused: bool
    seconds: float


def run_or_reuse(stage: str, config: "DataclassInstance", inputs: Mapping[str, str]) -> Finished:
    """The finished run with the same parameters, inputs and code, or else a new child run of the project.

    Raises StageFailed when the child fails; its own message stands above it on the console.
    """
    if finished := find_finished(stage_key(stage, config, inputs)):
        mlflow.set_tag(f"nic.reused.{stage}.{finished.info.run_id}", "true")
        return Finished(finished.info.run_id, result_of(finished), True, 0.0)
    parameters = {name: str(value) for name, value in asdict(config).items()}
    try:
        submitted = mlflow.projects.run(  # type: ignore[no-untyped-call]
            str(PROJECT), entry_point=stage, parameters=parameters, env_manager="local"
        )
    except ExecutionException as error:
        remedy = "mend what is said above and start again; finished stages are kept"
        raise StageFailed(f"{stage}: {error}; {remedy}") from error
    run = MlflowClient().get_run(submitted.run_id)
    seconds = (run.info.end_time - run.info.start_time) / 1000
    return Finished(submitted.run_id, result_of(run), False, seconds)


def artifact_place(run_id: str, file: str) -> str:
    """Where a file of a run is to be opened: a path where artifacts lie on this machine, else a URI."""
    place = f"{MlflowClient().get_run(run_id).info.artifact_uri}/{file}"
    return place.removeprefix("file://")


def find_run(run_id: str | None) -> Run | None:
    """None when it was never noted, is deleted, or is gone. What the store raises when it cannot say passes through."""
    try:
        run = MlflowClient().get_run(run_id) if run_id else None
    except MlflowException as error:
        if leaves_open(error):
            raise
        return None
    return run if run and run.info.lifecycle_stage == "active" else None


def find_finished(key: str) -> Run | None:
    """The newest finished run with this key whose outputs still stand as it left them."""
    return next((run for run in finished_runs("nic.key", key) if _outputs_stand(run)), None)


def finished_runs(tag: str, value: str) -> list[Run]:
    """Those of the experiment that carry the tag, the newest first."""
    runs: list[Run] = mlflow.search_runs(
        filter_string=f"tags.`{tag}` = '{value}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )
    return runs


def _outputs_stand(run: Run) -> bool:
    outputs = json.loads(run.data.tags.get("nic.outputs", "null"))
    return outputs is not None and all(output_digest(Path(path)) == wanted for path, wanted in outputs.items())


def result_of(run: Run) -> dict[str, Any]:
    """What a finished stage left for later ones."""
    result: dict[str, Any] = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/{RESULT_FILE}")
    return result


def log_trial(number: int, parameters: Mapping[str, Any], value: float, state: str) -> None:
    """A trial of a search as a run nested in the stage's."""
    with mlflow.start_run(run_name=f"trial-{number}", nested=True, tags={"nic.stage": "trial", "nic.state": state}):
        mlflow.log_params(dict(parameters))
        if math.isfinite(value):  # else the trial was pruned before it had one
            mlflow.log_metric("validation.auc", value)


def lineage(stage: str, **known: str) -> dict[str, str]:
    """Lineage tags of a version that a stage registers: its code, and what it was made of."""
    return {"nic.code": source_digest(stage), **{f"nic.{name}": value for name, value in known.items()}}
