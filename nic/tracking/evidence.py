"""The evidence for an estimate on a version: the record of answers, checked against facts that no tag can change."""

from dataclasses import asdict, dataclass, replace

from mlflow.entities import DatasetInput
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from nic.errors import RegistryError, UnknownModel
from nic.graphs import files
from nic.patients.model_spec import PatientModelSpec
from nic.patients.predictor import PatientModel
from nic.tracking.answers import Answers
from nic.tracking.figure_name import FigureName
from nic.tracking.recorded_estimates import RecordedEstimate, read_answers, tagged_estimate, verified_estimate
from nic.tracking.registry import ENCODER_NAME, RegisteredVersion, find_version, graph_file
from nic.tracking.runs import find_run

SAME, NEARLY = 1e-6, 0.01
"""How far two computations may differ: in the value, and in the ends of the interval, whose draws may tie otherwise on
another machine. The gate judges the estimate that it computed itself."""


@dataclass(frozen=True)
class Evidence:
    """An estimate and the answers that it was measured on; an encoder is measured on tiles and has none."""

    estimate: RecordedEstimate
    answers: Answers | None


def spec_of(version: RegisteredVersion) -> PatientModelSpec:
    """The spec in the graph of a patient model. Raises UnknownModel when the graph is gone."""
    return PatientModel(graph_file(version.uri, "patient")).spec


def graph_sha256(version: RegisteredVersion) -> str:
    """Digest of the version's graph. Raises UnknownModel when the graph is gone."""
    return files.graph_sha256(graph_file(version.uri, "encoder" if version.name == ENCODER_NAME else "patient"))


def evidence_of(version: RegisteredVersion, name: FigureName) -> Evidence:
    """The evidence for the deciding figure, its value and interval computed again.

    Raises RegistryError with the reason why the tagged estimate cannot be believed.
    """
    tagged = verified_estimate(version, name)
    if tagged is None:
        remedy = "run `evaluate` first"
        if version.name == ENCODER_NAME:
            remedy = f"`train_encoder` measures it; a study takes an imported encoder by `encoder: {version.uri}`"
        raise RegistryError(f"{name} was never measured on {version.full_name}; {remedy}")
    if version.name == ENCODER_NAME:
        return Evidence(tagged, None)
    answers = _record(version, tagged, name.part)
    again = answers.deciding(name.figure)
    computed = replace(tagged, value=again.value, low=again.low, high=again.high, n=again.n)
    apart = (abs(again.value - tagged.value), *_ends_apart(computed, tagged))
    if apart[0] > SAME or max(apart) > NEARLY:
        raise RegistryError(f"{name} in its tag is {tagged}; its record of answers gives {computed}")
    return Evidence(computed, answers)


def _ends_apart(one: RecordedEstimate, other: RecordedEstimate) -> tuple[float, float]:
    """Distances of the low and of the high ends; inf where an interval is missing."""
    ends = ((one.low, other.low), (one.high, other.high))
    low, high = (abs(a - b) if a is not None and b is not None else float("inf") for a, b in ends)
    return low, high


def _record(version: RegisteredVersion, estimate: RecordedEstimate, part: str) -> Answers:
    """The record of an estimate. Raises RegistryError when it is gone or changed, or belongs to another version."""
    if estimate.answers is None:
        raise RegistryError(f"{version.full_name} was measured before answers were recorded; run `evaluate` again")
    answers, digest = read_answers(estimate.run, part)
    run, run_name = find_run(estimate.run), f"run {str(estimate.run)[:12]}"
    own_models = (version.full_name, version.copied_from)
    faults = {
        f"{run_name}, which measured it, is gone or did not finish": not run or run.info.status != "FINISHED",
        f"the record of answers in {run_name} is not the one that was measured": digest != estimate.answers,
        f"its record holds answers of {answers.model}": answers.model not in own_models,
        f"its record is of part {answers.part}": answers.part != part,
        "its record holds answers of another graph than this version's": answers.graph != graph_sha256(version),
        "its record is of other patients than the figure": answers.data != estimate.data,
    }
    if wrong := [fault for fault, is_so in faults.items() if is_so]:
        raise RegistryError(f"{version.full_name}: {'; '.join(wrong)}; run `evaluate` again")
    return answers


def estimate_as_tagged(version: RegisteredVersion, name: FigureName) -> RecordedEstimate | None:
    """The estimate that a version claims, to be shown; None where the tag cannot be read."""
    try:
        return tagged_estimate(version, name)
    except RegistryError:
        return None


def untrue_tags(version: RegisteredVersion) -> list[str]:
    """Tags of a version, its encoder and their runs that disagree with the graphs or with MLflow, in words."""
    return [fault for each in (version, *_encoder_of(version)) for fault in _untrue_tags(each)]


def _encoder_of(version: RegisteredVersion) -> list[RegisteredVersion]:
    """The registered encoder of a patient model; none where another tool made the codes."""
    if version.name == ENCODER_NAME:
        return []
    try:
        return [find_version(f"models:/{spec_of(version).encoder_version}")]
    except UnknownModel:
        return []


def _untrue_tags(version: RegisteredVersion) -> list[str]:
    facts = {"nic.run": version.run_id, "promotion.copy_of": version.copied_from, **_of_graph(version)}
    on_version = {tag: (version.tags[tag], fact) for tag, fact in facts.items() if tag in version.tags}
    run = find_run(version.run_id)
    datasets = run.inputs.dataset_inputs if run and run.inputs else []
    read, of_run = {_input_name(i): i.dataset.digest for i in datasets}, run.data.tags if run else {}
    inputs = {f"nic.input.{name}": digest for name, digest in read.items() if f"nic.input.{name}" in of_run}
    on_run = {tag: (of_run[tag][: len(digest)], digest) for tag, digest in inputs.items()}
    return [
        f"tag {tag} of {what} is {tagged}, in truth {fact or 'nothing'}"
        for what, tags in ((version.full_name, on_version), (f"the run of {version.full_name}", on_run))
        for tag, (tagged, fact) in tags.items()
        if tagged != fact
    ]


def _input_name(dataset: DatasetInput) -> str:
    """Which input a dataset is: its context; the dataset itself has the name of the file."""
    contexts = {tag.key: tag.value for tag in dataset.tags}
    return contexts.get(MLFLOW_DATASET_CONTEXT, dataset.dataset.name)


def _of_graph(version: RegisteredVersion) -> dict[str, str]:
    """The tags that a version must have, by its own graph."""
    if version.name == ENCODER_NAME:
        return {"nic.encoder_sha256": graph_sha256(version)}
    spec = asdict(spec_of(version))
    return {f"nic.{name}": spec[name] for name in ("encoder_version", "encoder_sha256", "cohort")}
