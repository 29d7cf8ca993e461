"""Lineage of a registered version: what it was made of, down to data and source, and whether that still exists."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from nic.encoder.spec import IMPORTED
from nic.errors import UnknownModel
from nic.graphs.files import graph_sha256
from nic.tracking.digests import OF_ROWS, digest
from nic.tracking.registry import (
    ENCODER_MODEL,
    ENCODER_NAME,
    GRAPH,
    NETWORKS_OF,
    PATIENT_MODEL,
    SERVING_TAG,
    RegisteredVersion,
    encoder_file,
    find_version,
    graph_file,
    model_folder,
    serving_digest,
)
from nic.tracking.runs import DATA, OUTPUT, find_run
from nic.tracking.source_digest import PROJECT, kept_source_digest, source_digest

State = Literal["here", "recorded", "foreign", "changed", "gone", "unrecorded"]
"""recorded: known by its digest, and not looked up. foreign: made by another tool, which alone knows how."""
DataLookup = Callable[[str, Mapping[str, str]], Mapping[str, str] | str]
"""From stage and parameters of a run to the digests of its data today, by name, or to the reason why they are gone."""
BROKEN: tuple[State, ...] = ("changed", "gone", "unrecorded")
OF_NO_FOLDER = (digest({}), OF_ROWS + digest({}))
"""Digests of a folder that does not exist."""
SHOWN = 21
"""Characters of a digest that are shown."""
READ = {
    "train_patients": ("cohort", "codes"),
    "train_encoder": ("tasks",),
    "import_encoder": ("source",),
    "compress": ("slides",),
    "import_features": ("features",),
}
"""What each stage reads in any case. A run that does not record it is not accounted for."""


@dataclass(frozen=True)
class Node:
    """One thing that a model was made of. parts: what that thing itself was made of."""

    what: str
    state: State
    note: str = ""
    parts: tuple["Node", ...] = ()

    def walk(self) -> Iterator["Node"]:
        """This node and all below it."""
        yield self
        for part in self.parts:
            yield from part.walk()


def no_lookup(stage: str, parameters: Mapping[str, str]) -> Mapping[str, str] | str:
    """Looks up nothing, so that data are `recorded`: they may lie on another machine."""
    return {}


def trace(version: RegisteredVersion, lookup: DataLookup = no_lookup) -> Node:
    """The tree behind a version: its files, the run that made it, its data, and of a patient model the encoder."""
    run = find_run(version.tags.get("nic.run"))
    files = _files(version)
    if run is None:
        return Node(version.full_name, "here", "", (*files, _missing_run("run", version.tags.get("nic.run"))))
    behind = _encoder_run(run, version, lookup) if version.name == ENCODER_NAME else _patient_run(run, version, lookup)
    return Node(version.full_name, "here", _aliases(version), (*files, behind))


def unaccounted(node: Node, foreign_encoder: bool = False) -> list[str]:
    """What cannot be accounted for, one sentence each; empty when everything is recorded or here.

    foreign_encoder: whether the codes may be made by another tool's encoder.
    """
    states = BROKEN if foreign_encoder else (*BROKEN, "foreign")
    return [f"{n.what} is {n.state}" + (f" ({n.note})" if n.note else "") for n in node.walk() if n.state in states]


def _patient_run(run: Run, version: RegisteredVersion, lookup: DataLookup) -> Node:
    return _run_node(
        run,
        (
            _code(run, version.tags.get("nic.code")),
            _endpoint(run, lookup),
            _artifact(run, "split.csv", "the fold of every training patient"),
            _artifact(run, "codes.csv", "sha256 of every file of codes"),
            *_data(run, lookup, skip=("codes",)),
            _codes(run, version, lookup),
            _encoder(run, version, lookup),
        ),
    )


def _encoder_run(run: Run, version: RegisteredVersion, lookup: DataLookup) -> Node:
    return _run_node(run, (_code(run, version.tags.get("nic.code")), *_data(run, lookup)))


def _run_node(run: Run, parts: tuple[Node, ...]) -> Node:
    stage = run.data.tags.get("nic.stage", "a stage")
    when = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return Node(f"{stage}, run {run.info.run_id[:12]}", "here", f"{when:%Y-%m-%d %H:%M} UTC", parts)


def _missing_run(stage: str, run_id: str | None) -> Node:
    return Node(f"{stage} {run_id[:12]}", "gone") if run_id else Node(stage, "unrecorded", "no tag nic.run")


def _files(version: RegisteredVersion) -> list[Node]:
    """The graphs with their digests, the code that serves them, and the pins that the model is installed with."""
    graphs = {key.removeprefix(GRAPH): value for key, value in version.tags.items() if key.startswith(GRAPH)}
    if not graphs:
        return [Node("graphs", "unrecorded", "no digest was kept at registration")]
    try:
        folder = model_folder(version)
        nodes = [_graph(version, graph, wanted) for graph, wanted in graphs.items()]
    except UnknownModel as error:
        return [Node("files of the model", "gone", str(error))]
    file = folder / "requirements.txt"
    pins = file.read_text().splitlines() if file.is_file() else []
    listed = Node("pins", "here" if pins else "gone", f"{len(pins)} in the model's requirements.txt")
    return [*_networks_of(version), *nodes, _serving(version, folder, pins), listed]


def _networks_of(version: RegisteredVersion) -> list[Node]:
    """Of a version that was registered again with other serving code, the version whose networks it has."""
    trained = version.tags.get(NETWORKS_OF)
    note = "registered again with other code of serving"
    return [Node(f"networks of {trained}", "recorded", note)] if trained else []


def _serving(version: RegisteredVersion, folder: Path, pins: Sequence[str]) -> Node:
    """The serving code that a version brings along, and whether it is that of this checkout."""
    wanted = version.tags.get(SERVING_TAG)
    if wanted is None:
        return Node("code of serving", "unrecorded", "no digest was kept at registration")
    file = ENCODER_MODEL if version.name == ENCODER_NAME else PATIENT_MODEL
    here = serving_digest(file, folder / "code", pins)
    note = "" if here == serving_digest(file) else "not this checkout's; train again to register it with that"
    return Node(f"code of serving {wanted}", "here" if here == wanted else "changed", note if here == wanted else "")


def _graph(version: RegisteredVersion, graph: str, wanted: str) -> Node:
    same = graph_sha256(graph_file(version.uri, graph)) == wanted
    return Node(f"{graph} graph, sha256 {wanted[:12]}", "here" if same else "changed")


def _code(run: Run, wanted: str | None) -> Node:
    """The stage's source. wanted: its digest in the tags of the version, with which the run must agree."""
    tags, stage = run.data.tags, run.data.tags.get("nic.stage", "")
    known = tags.get("nic.code")
    if known is None or known != wanted:
        state: State = "changed" if known else "unrecorded"
        return Node(f"code {known or ''}".strip(), state, "version and run do not agree on it" if known else "")
    if (PROJECT / "entrypoints" / f"{stage}.py").is_file() and source_digest(stage) == known:
        return Node(f"code {known}", "here")
    commit, kept = tags.get("mlflow.source.git.commit"), kept_source_digest(run.info.run_id)
    if kept is not None and kept != known:
        return Node(f"code {known}", "changed", f"the source that is kept with the run is {kept}")
    if kept is None and not commit:
        return Node(f"code {known}", "unrecorded", "not this checkout's; neither source nor git commit was kept")
    where = ["not this checkout's", f"git commit {commit[:12]}" if commit else "", "source kept" if kept else ""]
    return Node(f"code {known}", "recorded", "; ".join(filter(None, where)))


def _endpoint(run: Run, lookup: DataLookup) -> Node:
    """The endpoint's definition when the model was trained: what the labels meant."""
    definition = run.data.tags.get("nic.input.endpoint")
    if not definition:
        return Node("definition of the endpoint", "unrecorded")
    what, now = f"endpoint {_in_words(definition)}", _today(run, lookup)
    if isinstance(now, str) or "endpoint" not in now:
        return Node(what, "recorded")
    if now["endpoint"] == definition:
        return Node(what, "here")
    return Node(what, "changed", f"now {_in_words(now['endpoint'])}")


def _in_words(definition: str) -> str:
    """As `Endpoint.definition` writes it."""
    fields = json.loads(definition)
    columns = " and ".join(repr(column) for column in fields["columns"])
    positive = f", positive is {fields['positive']!r}" if fields["positive"] is not None else ""
    unit = f", in {fields['unit']}" if fields["unit"] else ""
    return f"{fields['name']}: {fields['kind']} of {columns}{positive}{unit}"


def _artifact(run: Run, file: str, note: str) -> Node:
    try:
        names = {artifact.path for artifact in MlflowClient().list_artifacts(run.info.run_id)}
    except (MlflowException, OSError):
        names = set()
    return Node(file, "here" if file in names else "gone", note)


def _data(run: Run, lookup: DataLookup, skip: tuple[str, ...] = ()) -> list[Node]:
    """What the run read: digests then and, where they are looked up, today."""
    needed = READ.get(run.data.tags.get("nic.stage", ""), ())
    wanted = {name: run.data.tags.get(f"nic.input.{name}") for name in dict.fromkeys([*DATA, *needed])}
    now = _today(run, lookup)
    nodes = {name: _datum(name, value, now) for name, value in wanted.items() if value}
    missing = {name: Node(name, "unrecorded", "the run does not say what it read") for name in needed}
    return [node for name, node in (missing | nodes).items() if name not in skip]


def _today(run: Run, lookup: DataLookup) -> Mapping[str, str] | str:
    return lookup(run.data.tags.get("nic.stage", ""), run.data.params)


def _datum(name: str, wanted: str, now: Mapping[str, str] | str) -> Node:
    what = f"{name} {wanted[:SHOWN]}"
    if isinstance(now, str):
        return Node(what, "gone", now)
    if name not in now:
        return Node(what, "recorded")
    if now[name] == wanted:
        return Node(what, "here")
    if now[name] in OF_NO_FOLDER:
        return Node(what, "gone")
    if now[name].startswith(OF_ROWS) and not wanted.startswith(OF_ROWS):
        return Node(what, "recorded", "an older digest, of names and sizes; it cannot be compared with the bytes")
    return Node(what, "changed", f"now {now[name][:SHOWN]}")


def _codes(run: Run, version: RegisteredVersion, lookup: DataLookup) -> Node:
    wanted = run.data.tags.get("nic.input.codes")
    if wanted is None:
        return Node("codes", "unrecorded")
    codes = _datum("codes", wanted, _today(run, lookup))
    maker = _maker(wanted, version.tags.get("nic.encoder_sha256"))
    if maker is None:
        part = Node("the run that made them", "unrecorded", "no run has left codes of this digest with this encoder")
    else:
        sha256 = maker.data.tags.get("nic.input.encoder")  # another tool's is not known
        encoder = [Node(f"encoder, sha256 {sha256[:12]}", "here")] if sha256 else []
        part = _run_node(maker, (_code(maker, maker.data.tags.get("nic.code")), *_data(maker, lookup), *encoder))
    return Node(codes.what, codes.state, codes.note, (part,))


def _encoder(run: Run, version: RegisteredVersion, lookup: DataLookup) -> Node:
    name, wanted = version.tags.get("nic.encoder_version"), version.tags.get("nic.encoder_sha256")
    if not name or not wanted:
        return Node("encoder", "unrecorded")
    what = f"encoder {name}, sha256 {wanted[:12]}"
    if run.data.tags.get("nic.input.encoder") == IMPORTED:
        return Node(what, "foreign", "made by another tool; its digest is of what is known of it")
    try:
        encoder = find_version(f"models:/{name}")
        agrees = graph_sha256(encoder_file(encoder.uri)) == wanted
    except UnknownModel as error:
        return Node(what, "gone", str(error))
    if not agrees:
        return Node(what, "changed", "the registered graph has another digest")
    trained = find_run(encoder.tags.get("nic.run"))
    part = _encoder_run(trained, encoder, lookup) if trained else _missing_run("its run", encoder.tags.get("nic.run"))
    return Node(what, "here", "", (part,))


def _maker(codes: str, encoder: str | None) -> Run | None:
    """The newest run of any experiment that left codes of this digest, compressed with this encoder.

    Or the run that imported them from another tool. The encoder is asked for since older digests, of names and sizes,
    may be the same for the codes of two encoders.
    """
    client = MlflowClient()
    everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
    left = f"tags.`{OUTPUT}codes` = '{codes}'"
    own = client.search_runs(everywhere, f"{left} and tags.`nic.input.encoder` = '{encoder}'", max_results=1)
    imported = client.search_runs(everywhere, f"{left} and tags.`nic.stage` = 'import_features'", max_results=1)
    return next(iter([*own, *imported]), None)


def _aliases(version: RegisteredVersion) -> str:
    aliases = MlflowClient().get_model_version(version.name, version.version).aliases
    return ", ".join(sorted(aliases))
