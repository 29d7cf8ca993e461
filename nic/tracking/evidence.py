"""What a figure on a version rests on: the record of answers, checked against what nobody can write by a tag."""

from dataclasses import asdict, dataclass, replace

from nic.errors import RegistryError, UnknownModel
from nic.graphs import files
from nic.patients.predictor import PatientModel
from nic.patients.spec import PatientModelSpec
from nic.tracking.answers import Answers
from nic.tracking.figures import Figure, figure_on, part_of, read_answers, verified_figure
from nic.tracking.registry import ENCODER_NAME, RegisteredVersion, find_version, graph_file
from nic.tracking.runs import find_run

SAME, NEARLY = 1e-6, 0.01
"""Two computations of one figure differ by less; those of one interval on two machines, where draws tie, by less. The
gate goes by what it computed itself."""


@dataclass(frozen=True)
class Evidence:
    """A figure and the answers that it was measured on; of an encoder's figure, which is of tiles, None."""

    figure: Figure
    answers: Answers | None


def spec_of(version: RegisteredVersion) -> PatientModelSpec:
    """What the graph of a patient model says of itself. Raises UnknownModel when it is gone."""
    return PatientModel(graph_file(version.uri, "patient")).spec


def graph_sha256(version: RegisteredVersion) -> str:
    """Of the graph that answers. Raises UnknownModel when it is gone."""
    return files.graph_sha256(graph_file(version.uri, "encoder" if version.name == ENCODER_NAME else "patient"))


def evidence_of(version: RegisteredVersion, name: str) -> Evidence:
    """What the deciding figure rests on, its value and interval computed again.

    name: <part>.<metric>. Raises RegistryError with the reason why it cannot be believed.
    """
    figure = verified_figure(version, name)
    if figure is None:
        raise RegistryError(f"{name} was never measured on {version.full_name}; run `evaluate` first")
    if version.name == ENCODER_NAME:
        return Evidence(figure, None)
    answers = _record(version, figure, part_of(name))
    again = answers.deciding(name.partition(".")[2])
    computed = replace(figure, value=again.value, low=again.low, high=again.high, n=again.n)
    far = (abs(again.value - figure.value), *_apart(computed, figure))
    if far[0] > SAME or max(far) > NEARLY:
        raise RegistryError(f"{name} in its tag is {figure}; its record of answers gives {computed}")
    return Evidence(computed, answers)


def _apart(one: Figure, other: Figure) -> tuple[float, float]:
    """How far the ends of two intervals are from each other; inf where one has none."""
    ends = ((one.low, other.low), (one.high, other.high))
    low, high = (abs(a - b) if a is not None and b is not None else float("inf") for a, b in ends)
    return low, high


def _record(version: RegisteredVersion, figure: Figure, part: str) -> Answers:
    """The record behind a figure. Raises RegistryError when it is gone, was changed, or is another version's."""
    if figure.answers is None:
        raise RegistryError(f"{version.full_name} was measured before answers were recorded; run `evaluate` again")
    answers, digest = read_answers(figure.run, part)
    run = find_run(figure.run)
    faults = {
        f"run {str(figure.run)[:12]}, which measured it, is gone or did not finish": not run
        or run.info.status != "FINISHED",
        f"the record of answers in run {str(figure.run)[:12]} is not the one that was measured": digest
        != figure.answers,
        f"its record holds answers of {answers.model}": answers.model not in (version.full_name, version.copied_from),
        f"its record is of part {answers.part}": answers.part != part,
        "its record holds answers of another graph than this version's": answers.graph != graph_sha256(version),
        "its record is of other patients than the figure": answers.data != figure.data,
    }
    if wrong := [fault for fault, is_so in faults.items() if is_so]:
        raise RegistryError(f"{version.full_name}: {'; '.join(wrong)}; run `evaluate` again")
    return answers


def figure_as_tagged(version: RegisteredVersion, name: str) -> Figure | None:
    """To show what a version claims; None where the tag cannot be read."""
    try:
        return figure_on(version, name)
    except RegistryError:
        return None


def untrue_tags(version: RegisteredVersion) -> list[str]:
    """Tags of a version, of its encoder and of the runs that made them that say otherwise than graphs and MLflow."""
    return [fault for each in (version, *_encoder_of(version)) for fault in _untrue_tags(each)]


def _encoder_of(version: RegisteredVersion) -> list[RegisteredVersion]:
    """The registered encoder of a patient model; none of codes that another tool made."""
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
    read, of_run = {i.dataset.name: i.dataset.digest for i in datasets}, run.data.tags if run else {}
    inputs = {f"nic.input.{name}": digest for name, digest in read.items() if f"nic.input.{name}" in of_run}
    on_run = {tag: (of_run[tag][: len(digest)], digest) for tag, digest in inputs.items()}
    return [
        f"tag {tag} of {what} is {tagged}, in truth {fact or 'nothing'}"
        for what, tags in ((version.full_name, on_version), (f"the run of {version.full_name}", on_run))
        for tag, (tagged, fact) in tags.items()
        if tagged != fact
    ]


def _of_graph(version: RegisteredVersion) -> dict[str, str]:
    """What the tags of a version must say, by its own graph."""
    if version.name == ENCODER_NAME:
        return {"nic.encoder_sha256": graph_sha256(version)}
    spec = asdict(spec_of(version))
    return {f"nic.{name}": spec[name] for name in ("encoder_version", "encoder_sha256", "cohort")}
