"""From a registered version back to the bytes it was made of, and what of that is still there."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from nic.encoder.spec import IMPORTED
from nic.errors import UnknownModel
from nic.tracking.digests import PROJECT, code_digest, digest, file_sha256
from nic.tracking.registry import (
    ENCODER_NAME,
    GRAPH,
    RegisteredVersion,
    encoder_file,
    find_version,
    graph_file,
    model_folder,
)
from nic.tracking.runs import DATA, OUTPUT, find_run

State = Literal["here", "recorded", "foreign", "changed", "gone", "unrecorded"]
"""recorded: known by its digest, and not looked for. foreign: made by another tool, which alone knows how."""
Look = Callable[[str, Mapping[str, str]], Mapping[str, str] | str]
"""What a run's data are today, by its stage and parameters: digests by name, or in words why they are gone."""
BROKEN: tuple[State, ...] = ("changed", "gone", "unrecorded")
NOTHING = digest({})
"""Digest of a folder that is not there."""


@dataclass(frozen=True)
class Node:
    """One thing that a model was made of. parts: what that thing was made of in turn."""

    what: str
    state: State
    note: str = ""
    parts: tuple["Node", ...] = ()

    def walk(self) -> Iterator["Node"]:
        """This node and all below it."""
        yield self
        for part in self.parts:
            yield from part.walk()


def not_looked_for(stage: str, parameters: Mapping[str, str]) -> Mapping[str, str] | str:
    """A look that leaves data recorded: they may lie on another machine."""
    return {}


def trace(version: RegisteredVersion, look: Look = not_looked_for) -> Node:
    """The tree behind a version: its files, the run that made it, its data, and for patients' models the encoder."""
    run = find_run(version.tags.get("nic.run"))
    files = _files(version)
    if run is None:
        return Node(version.full_name, "here", "", (*files, _missing_run("run", version.tags.get("nic.run"))))
    behind = _encoder_run(run, version, look) if version.name == ENCODER_NAME else _patient_run(run, version, look)
    return Node(version.full_name, "here", _aliases(version), (*files, behind))


def unaccounted(node: Node, foreign_encoder: bool = False) -> list[str]:
    """What cannot be accounted for, in words; nothing where all is recorded or there.

    foreign_encoder: whether codes may be those of another tool's encoder.
    """
    states = BROKEN if foreign_encoder else (*BROKEN, "foreign")
    return [f"{n.what} is {n.state}" + (f" ({n.note})" if n.note else "") for n in node.walk() if n.state in states]


def _patient_run(run: Run, version: RegisteredVersion, look: Look) -> Node:
    return _run_node(
        run,
        (
            _code(run, version),
            _artifact(run, "split.csv", "the fold of every training patient"),
            _artifact(run, "codes.csv", "sha256 of every file of codes"),
            *_data(run, look, skip=("codes",)),
            _codes(run, version, look),
            _encoder(run, version, look),
        ),
    )


def _encoder_run(run: Run, version: RegisteredVersion, look: Look) -> Node:
    return _run_node(run, (_code(run, version), *_data(run, look)))


def _run_node(run: Run, parts: tuple[Node, ...]) -> Node:
    stage = run.data.tags.get("nic.stage", "a stage")
    when = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return Node(f"{stage}, run {run.info.run_id[:12]}", "here", f"{when:%Y-%m-%d %H:%M} UTC", parts)


def _missing_run(stage: str, run_id: str | None) -> Node:
    return Node(f"{stage} {run_id[:12]}", "gone") if run_id else Node(stage, "unrecorded", "no tag nic.run")


def _files(version: RegisteredVersion) -> list[Node]:
    """The graphs with their digests, and the list of pins that the model is installed with."""
    graphs = {key.removeprefix(GRAPH): value for key, value in version.tags.items() if key.startswith(GRAPH)}
    if not graphs:
        return [Node("graphs", "unrecorded", "no digest was kept at registration")]
    try:
        nodes = [_graph(version, graph, wanted) for graph, wanted in graphs.items()]
        pins = model_folder(version) / "requirements.txt"
    except UnknownModel as error:
        return [Node("files of the model", "gone", str(error))]
    number = len(pins.read_text().splitlines()) if pins.is_file() else 0
    return [*nodes, Node("pins", "here" if number else "gone", f"{number} in the model's requirements.txt")]


def _graph(version: RegisteredVersion, graph: str, wanted: str) -> Node:
    found = file_sha256(graph_file(version.uri, graph))
    return Node(f"{graph} graph, sha256 {wanted[:12]}", "here" if found == wanted else "changed")


def _code(run: Run, version: RegisteredVersion) -> Node:
    tags, stage = run.data.tags, run.data.tags.get("nic.stage", "")
    known = tags.get("nic.code")
    if known is None or known != version.tags.get("nic.code"):
        state: State = "changed" if known else "unrecorded"
        return Node(f"code {known or ''}".strip(), state, "version and run do not agree on it" if known else "")
    here = (PROJECT / "entrypoints" / f"{stage}.py").is_file() and code_digest(stage) == known
    commit = tags.get("mlflow.source.git.commit")
    where = f"git commit {commit[:12]}" if commit else "no git commit was noted"
    return Node(f"code {known}", "here" if here else "recorded", "" if here else f"not this checkout's; {where}")


def _artifact(run: Run, file: str, note: str) -> Node:
    try:
        names = {found.path for found in MlflowClient().list_artifacts(run.info.run_id)}
    except (MlflowException, OSError):
        names = set()
    return Node(file, "here" if file in names else "gone", note)


def _data(run: Run, look: Look, skip: tuple[str, ...] = ()) -> list[Node]:
    """What the run read, with digests then and, where somebody looks, now."""
    tags = {name: run.data.tags.get(f"nic.input.{name}") for name in DATA if name not in skip}
    wanted = {name: value for name, value in tags.items() if value}
    now = _today(run, look)
    return [_datum(name, value, now) for name, value in wanted.items()]


def _today(run: Run, look: Look) -> Mapping[str, str] | str:
    return look(run.data.tags.get("nic.stage", ""), run.data.params)


def _datum(name: str, wanted: str, now: Mapping[str, str] | str) -> Node:
    what = f"{name} {wanted[:16]}"
    if isinstance(now, str):
        return Node(what, "gone", now)
    if name not in now:
        return Node(what, "recorded")
    if now[name] == wanted:
        return Node(what, "here")
    return Node(what, "gone") if now[name] == NOTHING else Node(what, "changed", f"now {now[name][:16]}")


def _codes(run: Run, version: RegisteredVersion, look: Look) -> Node:
    wanted = run.data.tags.get("nic.input.codes")
    if wanted is None:
        return Node("codes", "unrecorded")
    codes = _datum("codes", wanted, _today(run, look))
    maker = _maker("codes", wanted)
    if maker is None:
        part = Node("the run that made them", "unrecorded", "no run has left codes of this digest")
    else:
        parts = (*_data(maker, look), *_compressed_with(maker, version))
        part = _run_node(maker, parts)
    return Node(codes.what, codes.state, codes.note, (part,))


def _compressed_with(maker: Run, version: RegisteredVersion) -> list[Node]:
    """The encoder that the slides were compressed with; another tool's features have none here."""
    found = maker.data.tags.get("nic.input.encoder")
    if found is None:
        return []
    agrees = found == version.tags.get("nic.encoder_sha256")
    return [Node(f"encoder, sha256 {found[:12]}", "here" if agrees else "changed", "" if agrees else "another one")]


def _encoder(run: Run, version: RegisteredVersion, look: Look) -> Node:
    name, wanted = version.tags.get("nic.encoder_version"), version.tags.get("nic.encoder_sha256")
    if not name or not wanted:
        return Node("encoder", "unrecorded")
    what = f"encoder {name}, sha256 {wanted[:12]}"
    if run.data.tags.get("nic.input.encoder") == IMPORTED:
        return Node(what, "foreign", "made by another tool; its digest is of what is known of it")
    try:
        found = find_version(f"models:/{name}")
        agrees = file_sha256(encoder_file(found.uri)) == wanted
    except UnknownModel as error:
        return Node(what, "gone", str(error))
    if not agrees:
        return Node(what, "changed", "the registered graph has another digest")
    trained = find_run(found.tags.get("nic.run"))
    part = _encoder_run(trained, found, look) if trained else _missing_run("its run", found.tags.get("nic.run"))
    return Node(what, "here", "", (part,))


def _maker(name: str, wanted: str) -> Run | None:
    """The newest run that left something of this digest, in whichever experiment."""
    client = MlflowClient()
    everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(everywhere, f"tags.`{OUTPUT}{name}` = '{wanted}'", max_results=1)
    return found[0] if found else None


def _aliases(version: RegisteredVersion) -> str:
    aliases = MlflowClient().get_model_version(version.name, version.version).aliases
    return ", ".join(sorted(aliases))
