"""One MLflow run a stage: its parameters, inputs, result and outputs, and whether a finished run can be used again."""

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
    from matplotlib.figure import Figure as Plot

RESULT_FILE, CONFIG_FILE = "result.json", "config.json"
DATA = ("tasks", "cohort", "codes", "other_codes", "slides", "features", "patches", "source")
"""Inputs that are data; MLflow shows them as datasets of the run. Of several of one kind each is `<kind>.<name>`."""
OUTPUT = "nic.output."
"""Tags with the digest of what a stage left. By it the run that made an input is looked up."""
SERVING = "serving"
"""Input of a stage that registers a version: digest of the serving code. Another one changes no network."""
TRAINING = "nic.training"
"""Tag with the key of a stage without the input SERVING: equal keys train the same networks."""


@dataclass
class StageRun:
    """A stage while it runs. `result` is what later stages read of it; it is written when the stage ends well.

    key: see `stage_key`. training_key: see `training_key_of`.
    """

    run_id: str
    key: str
    training_key: str
    result: dict[str, Any] = field(default_factory=dict)

    def log(self, name: str, value: float, step: int = 0) -> None:
        """Log a number, with the step of the training."""
        mlflow.log_metric(name, value, step=step, run_id=self.run_id)

    def leave(self, name: str, digest: str) -> None:
        """Record the digest of what the stage left, under the name that it has as the input of a later stage."""
        mlflow.set_tag(f"{OUTPUT}{name}", digest)

    def log_plot(self, plot: "Plot", file: str) -> None:
        """Log a plot among the run's artifacts."""
        mlflow.log_figure(plot, file)

    def log_text(self, text: str, file: str) -> None:
        """Log a text file among the run's artifacts."""
        mlflow.log_text(text, file)

    def log_image(self, image: NDArray[np.uint8], file: str) -> None:
        """Log a picture [h, w, 3] RGB among the run's artifacts."""
        mlflow.log_image(image, artifact_file=file)

    def log_png(self, png: bytes, file: str) -> None:
        """Log a picture that is already a PNG among the run's artifacts."""
        with TemporaryDirectory() as folder:
            copy = Path(folder) / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(png)
            mlflow.log_artifacts(folder)

    def log_table(self, table: pd.DataFrame, file: str) -> None:
        """Log a table as CSV among the run's artifacts."""
        mlflow.log_text(table.to_csv(index=False), file)


@contextmanager
def stage_run(stage: str, config: "DataclassInstance", inputs: Mapping[str, str]) -> Iterator[StageRun]:
    """Run a stage under MLflow. It logs parameters, digests of inputs and source, and at the end result and outputs.

    inputs: digest of each thing that the stage reads, by name. Under `mlflow run` it is the run that MLflow started.
    The paths in the result's `outputs` are digested, so that a later call knows whether they are unchanged. Raises
    StoreUnreached, with what is kept on disk, when the store fails after the work.
    """
    key, training_key = stage_key(stage, config, inputs), training_key_of(stage, config, inputs)
    with mlflow.start_run(run_name=stage) as run:
        # First, so that a store that cannot keep artifacts fails before the work.
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
    """Log digest and place of an input. The place is the config's field of that name, or the study file."""
    place = str(getattr(config, name.partition(".")[0], None) or getattr(config, "study", ""))
    source = CodeDatasetSource({"place": place})
    mlflow.log_input(MetaDataset(source, name, digest=digest[:24]), context=name)  # type: ignore[abstract]


def stage_key(stage: str, config: "DataclassInstance", inputs: Mapping[str, str]) -> str:
    """Digest of all that a stage depends on: equal keys mean that it would do the same again."""
    parameters = _parameters(config, inputs)
    return digest({"stage": stage, "config": parameters, "inputs": dict(inputs), "code": source_digest(stage)})


def training_key_of(stage: str, config: "DataclassInstance", inputs: Mapping[str, str]) -> str:
    """As `stage_key`, without the serving code: equal keys mean that the same networks would be trained."""
    return stage_key(stage, config, {name: value for name, value in inputs.items() if name != SERVING})


def _parameters(config: "DataclassInstance", inputs: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a config, with absolute paths, without the places of inputs: digests say what was read there."""
    read = {"study", *(name.partition(".")[0] for name in inputs)}
    fields = {name: value for name, value in asdict(config).items() if name not in read}
    return {name: value.resolve() if isinstance(value, Path) else value for name, value in fields.items()}


@dataclass(frozen=True)
class Finished:
    """A stage that ended well. reused: in an earlier run."""

    run_id: str
    result: dict[str, Any]
    reused: bool
    seconds: float


def run_or_reuse(stage: str, config: "DataclassInstance", inputs: Mapping[str, str]) -> Finished:
    """The finished run with the same key, or else a new child run of the project.

    Raises StageFailed when the child run fails; its own message is printed above it.
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
        remedy = "correct the error above and start again; finished stages are kept"
        raise StageFailed(f"{stage}: {error}; {remedy}") from error
    run = MlflowClient().get_run(submitted.run_id)
    seconds = (run.info.end_time - run.info.start_time) / 1000
    return Finished(submitted.run_id, result_of(run), False, seconds)


def artifact_place(run_id: str, file: str) -> str:
    """Where a file of a run can be opened: a path where artifacts lie on this machine, else a URI."""
    place = f"{MlflowClient().get_run(run_id).info.artifact_uri}/{file}"
    return place.removeprefix("file://")


def find_run(run_id: str | None) -> Run | None:
    """None without an id, and when the run is deleted or gone. Raises what the store raises when it does not answer."""
    try:
        run = MlflowClient().get_run(run_id) if run_id else None
    except MlflowException as error:
        if leaves_open(error):
            raise
        return None
    return run if run and run.info.lifecycle_stage == "active" else None


def find_finished(key: str) -> Run | None:
    """The newest finished run with this key whose outputs are unchanged."""
    return next((run for run in finished_runs("nic.key", key) if _outputs_unchanged(run)), None)


def finished_runs(tag: str, value: str) -> list[Run]:
    """Finished runs of the experiment with this tag, the newest first."""
    runs: list[Run] = mlflow.search_runs(
        filter_string=f"tags.`{tag}` = '{value}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )
    return runs


def _outputs_unchanged(run: Run) -> bool:
    outputs = json.loads(run.data.tags.get("nic.outputs", "null"))
    return outputs is not None and all(output_digest(Path(path)) == digest for path, digest in outputs.items())


def result_of(run: Run) -> dict[str, Any]:
    """The result that a finished stage left for later stages."""
    result: dict[str, Any] = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/{RESULT_FILE}")
    return result


def log_trial(number: int, parameters: Mapping[str, Any], value: float, state: str) -> None:
    """Log a trial of a hyperparameter search as a run nested in the stage's run."""
    with mlflow.start_run(run_name=f"trial-{number}", nested=True, tags={"nic.stage": "trial", "nic.state": state}):
        mlflow.log_params(dict(parameters))
        if math.isfinite(value):  # else the trial was pruned before it had a value
            mlflow.log_metric("validation.auc", value)


def lineage(stage: str, **known: str) -> dict[str, str]:
    """Lineage tags of a version that a stage registers: the digest of its source, and what it was made of."""
    return {"nic.code": source_digest(stage), **{f"nic.{name}": value for name, value in known.items()}}
