"""One MLflow run a stage: its parameters, inputs, result and outputs, and whether a finished run can be used again."""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Run
from mlflow.exceptions import ExecutionException, MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE
from numpy.typing import NDArray

from nic.errors import NicError, StageFailed, StoreUnreached
from nic.tracking.digests import digest, output_digest
from nic.tracking.run_names import MODELS, run_name
from nic.tracking.source_digest import PROJECT, keep_source, source_digest
from nic.tracking.store import AS_TRAINING, kept_on_disk, leaves_open, unreached

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
FAILED = "failed"
"""Tag of a failed run with the reason, in one sentence."""


class Measured(Protocol):
    """What a stage has measured, such as nic.evaluation.figure.Estimate."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def n(self) -> int: ...


@dataclass
class StageRun:
    """A stage while it runs. `result` is what later stages read of it; it is written when the stage ends well.

    key: see `stage_key`. training_key: see `training_key_of`.
    """

    run_id: str
    key: str
    training_key: str
    result: dict[str, Any] = field(default_factory=dict)

    def log(self, name: str, value: float, step: int = 0, model_id: str | None = None) -> None:
        """Log a number, with the step of the training. model_id: of the registered model that it is a figure of."""
        mlflow.log_metric(name, value, step=step, run_id=self.run_id, model_id=model_id)

    def log_estimate(self, name: str, estimate: Measured, model_id: str | None = None) -> None:
        """Log a value and, as <name>.low and <name>.high, its interval. What is not defined is left out.

        model_id: of the registered model that was measured, whose page then shows the figure as well.
        """
        of_interval = {f"{name}.low": estimate.low, f"{name}.high": estimate.high}
        for metric, value in {name: estimate.value, **of_interval}.items():
            if value is not None and math.isfinite(value):
                self.log(metric, value, model_id=model_id)

    def rename(self, name: str) -> None:
        """Give the run another name in the list of runs."""
        MlflowClient().set_tag(self.run_id, MLFLOW_RUN_NAME, name)

    def describe(self, text: str) -> None:
        """Show a text (Markdown) as the description on the run's page."""
        MlflowClient().set_tag(self.run_id, MLFLOW_RUN_NOTE, text)

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
def stage_run(
    stage: str, config: "DataclassInstance", inputs: Mapping[str, str], files: Mapping[str, Path] | None = None
) -> Iterator[StageRun]:
    """Run a stage under MLflow. It logs parameters, digests of inputs and source, and at the end result and outputs.

    inputs: digest of each thing that the stage reads, by name. files: where an input lies, by name, if no parameter
    says so. Under `mlflow run` it is the run that MLflow started. The paths in the result's `outputs` are digested, so
    that a later call knows whether they are unchanged. Raises StoreUnreached, with what is kept on disk, when the store
    fails after the work.
    """
    key, training_key = stage_key(stage, config, inputs), training_key_of(stage, config, inputs)
    name = run_name(stage, {field: _resolved(value) for field, value in asdict(config).items()})
    with mlflow.start_run(run_name=name) as run, _failure_noted(run.info.run_id):
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
                _log_dataset(name, value, config, (files or {}).get(name))
        keep_source(stage)
        stage_run = StageRun(run.info.run_id, key, training_key)
        yield stage_run
        outputs = {str(path): output_digest(Path(path)) for path in stage_run.result.get("outputs", [])}
        with kept_on_disk(stage, outputs):
            mlflow.set_tag("nic.outputs", json.dumps(outputs))
            mlflow.log_dict(stage_run.result, RESULT_FILE)


def _resolved(value: object) -> object:
    """Of a model that is named by its alias the version; any other value as it is."""
    if named := re.fullmatch(f"{MODELS}([^/@,]+)@([^/@,]+)", str(value)):
        return f"{MODELS}{named[1]}/{MlflowClient().get_model_version_by_alias(*named.groups()).version}"
    return value


@contextmanager
def _failure_noted(run_id: str) -> Iterator[None]:
    """Around the work of a run: when it fails, the reason is noted on the run. A store that failed is not asked.

    A refusal of ours may have been caused by a file that is gone from the store; the store itself answers.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        refused = isinstance(error, NicError) and not isinstance(error, StoreUnreached)
        if refused or unreached(error) is None:
            note_failure(run_id, f"{type(error).__name__}: {error}")
        raise


def note_failure(run_id: str, reason: str) -> None:
    """Note on a run's page, above its description, and in a tag for the list of runs, why it failed."""
    client, sentence = MlflowClient(), " ".join(reason.split())
    described = client.get_run(run_id).data.tags.get(MLFLOW_RUN_NOTE, "")
    for tag, text in {FAILED: sentence, MLFLOW_RUN_NOTE: f"**Failed.** {sentence}\n\n{described}".rstrip()}.items():
        client.set_tag(run_id, tag, text)


def note_failure_before_stage(stage: str, parameters: Mapping[str, object], reason: str) -> None:
    """Name the run that `mlflow run` has made, and note the reason, when its entry point failed before its stage began.

    There is no such run outside `mlflow run`; a stage that has begun took it over.
    """
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        MlflowClient().set_tag(run_id, MLFLOW_RUN_NAME, run_name(stage, parameters))
        note_failure(run_id, reason)


def _log_dataset(name: str, digest: str, config: "DataclassInstance", file: Path | None) -> None:
    """Log an input by the name of its file or folder, with digest and place.

    file: its place; if None, the config's field of that name, or the study file.
    """
    parameter = getattr(config, name.partition(".")[0], None)
    place = str(file or parameter or getattr(config, "study", "") or name)
    shown = Path(place).name if file or parameter else f"{name} of {Path(place).name}"
    source = CodeDatasetSource({"place": place})
    mlflow.log_input(MetaDataset(source, shown, digest=digest[:24]), context=name)  # type: ignore[abstract]


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
        return Finished(finished.info.run_id, result_of(finished), True, 0.0)
    parameters = {name: str(value) for name, value in asdict(config).items()}
    try:
        submitted = mlflow.projects.run(  # type: ignore[no-untyped-call]
            str(PROJECT), entry_point=stage, parameters=parameters, env_manager="local"
        )
    except ExecutionException as error:
        remedy = "correct the error above and start again; finished stages are kept"
        raise StageFailed(f"{stage}: {_reason(error)}; {remedy}") from error
    run = MlflowClient().get_run(submitted.run_id)
    seconds = (run.info.end_time - run.info.start_time) / 1000
    return Finished(submitted.run_id, result_of(run), False, seconds)


def _reason(error: ExecutionException) -> str:
    """The reason that is noted on the run that failed, or MLflow's own words, which only name the run."""
    named = re.search(r"ID '(\w+)'", str(error))
    failed = find_run(named[1]) if named else None
    return failed.data.tags.get(FAILED, str(error)) if failed else str(error)


def input_file(run_id: str | None, name: str) -> str:
    """The name of the file that a run read as this input; empty where it is not known."""
    run = find_run(run_id)
    datasets = run.inputs.dataset_inputs if run and run.inputs else []
    return next(
        (d.dataset.name for d in datasets if any(t.value == name for t in d.tags) and d.dataset.name != name), ""
    )


def metrics_of(run_id: str) -> dict[str, float]:
    """The metrics of a run, by name."""
    return dict(MlflowClient().get_run(run_id).data.metrics)


def run_page(run_id: str, artifact: str = "") -> str:
    """Link from a text on MLflow's pages to a run's page, or to one of its artifacts."""
    page = f"#/experiments/{MlflowClient().get_run(run_id).info.experiment_id}/runs/{run_id}"
    return f"{page}{'/artifacts/' if artifact else ''}{artifact}{AS_TRAINING}"


def seconds_of(run_id: str) -> float:
    """How long a finished run took."""
    info = MlflowClient().get_run(run_id).info
    return float(info.end_time - info.start_time) / 1000


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
    with mlflow.start_run(run_name=f"trial {number}", nested=True, tags={"nic.stage": "trial", "nic.state": state}):
        mlflow.log_params(dict(parameters))
        if math.isfinite(value):  # else the trial was pruned before it had a value
            mlflow.log_metric("validation.auc", value)


def lineage(stage: str, **known: str) -> dict[str, str]:
    """Lineage tags of a version that a stage registers: the digest of its source, and what it was made of."""
    return {"nic.code": source_digest(stage), **{f"nic.{name}": value for name, value in known.items()}}
