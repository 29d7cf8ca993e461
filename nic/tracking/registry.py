"""Registered models: how versions are written with their lineage, and looked up by a `models:/` URI."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.signature import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from nic.encoder.spec import IMPORTED, EncoderSpec
from nic.errors import ForeignCodes, UnknownModel
from nic.graphs.files import copy_graph, graph_files, graph_in, graph_sha256
from nic.tracking.digests import digest
from nic.tracking.served_example import ServedExample
from nic.tracking.source_digest import PROJECT, files_digest, imported_files
from nic.tracking.store import AS_TRAINING, leaves_open
from nic.tracking.version_loader import load_version

ENCODER_NAME = "nic-encoder"
CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"

REFERENCE = "reference"
"""Folder among a model's artifacts: a reference request, and the answers that the model gave at registration."""
GRAPHS = ("encoder", "heads", "patient")
GRAPH = "nic.graph."
"""Tags with the digest of each graph that was registered."""
SERVING_TAG = "nic.serving"
"""Tag with the digest of the code that serves a version, see `serving_digest`."""
NETWORKS_OF = "nic.networks_of"
"""Tag of a version that was registered again with other serving code: the name/version that was trained."""

# What a served model imports; the versions come from requirements.txt, the one list of pins.
SERVING_PACKAGES = [
    "mlflow",
    "onnxruntime-gpu",
    "onnxruntime",
    "onnx",
    "openslide-python",
    "openslide-bin",
    "opencv-python-headless",
    "tifffile",
    "imagecodecs",
    "h5py",
    "numpy",
    "pandas",
    "scipy",
    "tqdm",
    "filelock",
    "fsspec",
    "aiohttp",
    "pillow",
    "pyyaml",
    "matplotlib",
    "prometheus-client",
    "joblib",
]
# Folders that a version brings along, so that it can be served without this checkout.
SERVING_CODE = [str(PROJECT / "nic"), str(PROJECT / "registry")]
PATIENT_MODEL, ENCODER_MODEL = "patient_model.py", "encoder_model.py"
"""Files of registry/ that load and answer."""
SERVED_BY = {
    PATIENT_MODEL: (
        "registry/patient_model.py",
        "registry/server.py",
        "registry/reference_answers.py",
        "registry/smoke.py",  # its name in versions that were registered before
        "nic/serving/*.py",
    ),
    ENCODER_MODEL: ("registry/encoder_model.py",),
}
"""Files whose imports are the source of serving; all of nic/serving, of which some runs as a process of its own."""


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model.

    tags: lineage and verdict; whoever may write to the registry may change them. run_id, source: as MLflow recorded
    them when the version was made; nobody can change them. model_id: of the logged model that was registered.
    """

    name: str
    version: str
    tags: dict[str, str]
    run_id: str | None = None
    source: str = ""
    model_id: str | None = None

    @property
    def uri(self) -> str:
        return f"models:/{self.full_name}"

    @property
    def full_name(self) -> str:
        return f"{self.name}/{self.version}"

    @property
    def page(self) -> str:
        """Link to it from a text on MLflow's pages."""
        return f"#/models/{self.name}/versions/{self.version}{AS_TRAINING}"

    @property
    def copied_from(self) -> str | None:
        """Which version this one is a copy of, as name/version; None where it is no copy."""
        copied = re.fullmatch(r"models:/([^/@]+/\d+)", self.source)
        return copied[1] if copied else None


def register_encoder(
    graph: Path, lineage: Mapping[str, str], request: pd.DataFrame | None = None, heads: Path | None = None
) -> RegisteredVersion:
    """Register an encoder's graph, with the file that serves it, as a version of nic-encoder.

    graph: its .onnx file; weights in files beside it are taken along, into a folder of the version. request: an example
    of what it answers. heads: the graph of its task heads; None where it learned without labels.
    """
    files = {"encoder": graph} | ({"heads": heads} if heads else {})
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "image")]), outputs=Schema([ColSpec(DataType.string, "code")])
    )
    return _register(ENCODER_NAME, ENCODER_MODEL, files, signature, lineage, request)


def register_patient_model(
    name: str,
    encoder: Path | None,
    patient: Path,
    lineage: Mapping[str, str],
    companions: Mapping[str, Path] | None = None,
    example: ServedExample | None = None,
) -> RegisteredVersion:
    """Register both graphs, encoder and patient, with the file that serves them, as a version of one model.

    encoder: None when another tool made the codes; the model then takes files of codes only. companions: further
    artifacts by name: `familiarity`, and the folder REFERENCE that shows whether a served model answers as it did here.
    """
    columns = [ColSpec(DataType.string, name, required=False) for name in ("slide", "features", "image", "patient")]
    signature = ModelSignature(
        inputs=Schema([*columns, ColSpec(DataType.double, "mpp", required=False)]),
        outputs=example.answer_schema if example else None,
        params=ParamSchema(  # see RequestParams of nic.serving
            [
                ParamSpec("map", DataType.string, "none"),
                ParamSpec("map_class", DataType.string, ""),
                ParamSpec("max_tiles", DataType.long, 0),
                ParamSpec("batch_tiles", DataType.long, 0),
            ]
        ),
    )
    files = {"patient": patient} | ({"encoder": encoder} if encoder else {}) | dict(companions or {})
    config = {"confined": True, "at_once": 1, "device": "auto"}
    request = example.request if example else None
    return _register(name, PATIENT_MODEL, files, signature, lineage, request, config)


def _register(
    name: str,
    code_file: str,
    files: Mapping[str, Path],
    signature: ModelSignature,
    lineage: Mapping[str, str],
    request: pd.DataFrame | None,
    model_config: dict[str, object] | None = None,
) -> RegisteredVersion:
    with TemporaryDirectory(prefix="nic-") as folder:
        info = Model.log(
            artifact_path=None,
            flavor=_Served,
            name=name.replace(".", "-"),  # of the logged model, which may have no dot
            python_model=str(PROJECT / "registry" / code_file),
            artifacts={key: str(_artifact(key, path, Path(folder))) for key, path in files.items()},
            code_paths=SERVING_CODE,
            pip_requirements=serving_pins(),
            signature=signature,
            model_config=model_config,
            registered_model_name=name,
            input_example=request,
            validate_serving_input=False,
        )
    version = str(info.registered_model_version)
    graphs = {key: graph_in(path) for key, path in files.items() if key in GRAPHS}
    digests = {f"{GRAPH}{key}": graph_sha256(path) for key, path in graphs.items()}
    made_by = {SERVING_TAG: serving_digest(code_file), "nic.run": info.run_id}
    tag_version(name, version, {**lineage, **digests, **made_by})
    return find_version(f"models:/{name}/{version}")


class _Served:
    """The flavor mlflow.pyfunc for Model.log. `mlflow.pyfunc.log_model` would also load the model to try the example,
    which takes seconds and writes the operator's log; whoever registers a version has tried its example."""

    @staticmethod
    def save_model(validate_serving_input: bool, **options: Any) -> None:
        mlflow.pyfunc.save_model(**options)


def _artifact(key: str, path: Path, folder: Path) -> Path:
    """What MLflow keeps: a file as it is; of a graph with weights in other files, a folder with copies of all."""
    if key not in GRAPHS or len(graph_files(graph := graph_in(path))) == 1:
        return path
    (folder / key).mkdir()
    copy_graph(graph, folder / key / graph.name)
    return folder / key


def serving_digest(code_file: str, root: Path = PROJECT, pins: Sequence[str] | None = None) -> str:
    """Digest of the source that serves a version, all of nic that it imports, and its pins.

    root, pins: those that a registered version brings along; by default those of this checkout.
    """
    beginnings = [file for pattern in SERVED_BY[code_file] for file in root.glob(pattern)]
    code = files_digest(sorted(imported_files(beginnings, root)), root)
    return digest({"code": code, "pins": sorted(serving_pins() if pins is None else pins)})


def serving_pins() -> list[str]:
    """The lines of requirements.txt that a served model needs: neither torch nor Lightning nor Optuna."""
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if re.split(r"[=; ]", line)[0] in SERVING_PACKAGES]


def tag_version(name: str, version: str, tags: Mapping[str, str]) -> None:
    client = MlflowClient()
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)


def find_version(uri: str) -> RegisteredVersion:
    """The version that `models:/name@alias` or `models:/name/version` means now.

    Raises UnknownModel, which names what is missing and what exists.
    """
    parsed = re.fullmatch(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))", uri)
    if not parsed:
        raise UnknownModel(f"{uri!r} is no URI of a model; wanted models:/name@alias or models:/name/version")
    name, alias, version = parsed["name"], parsed["alias"], parsed["version"]
    client = MlflowClient()
    try:
        registered: ModelVersion = (
            client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)
        )
    except MlflowException as error:
        if leaves_open(error):
            raise
        raise UnknownModel(f"{uri}: {_what_exists(name)}") from error
    return RegisteredVersion(
        name,
        str(registered.version),
        dict(registered.tags),
        registered.run_id,
        registered.source or "",
        registered.model_id,
    )


def _what_exists(name: str) -> str:
    client = MlflowClient()
    try:
        model = client.get_registered_model(name)
    except MlflowException:
        names = ", ".join(m.name for m in client.search_registered_models()) or "none yet"
        return f"no registered model {name!r}; registered are: {names}"
    versions = sorted(int(v.version) for v in client.search_model_versions(f"name = '{name}'"))
    aliases = ", ".join(f"{a} -> {v}" for a, v in model.aliases.items()) or "none"
    return f"no such version or alias; {name} has versions {versions} and aliases: {aliases}"


def alias_version(name: str, alias: str) -> RegisteredVersion | None:
    """The version that carries the alias, or None."""
    try:
        return find_version(f"models:/{name}@{alias}")
    except UnknownModel:
        return None


def graph_file(uri: str, graph: str) -> Path:
    """Local path of a registered version's graph, one of GRAPHS. Raises UnknownModel when it has none."""
    version = find_version(uri)
    folder = model_folder(version) / "artifacts"
    for file in (*folder.glob(f"{graph}*.onnx"), *folder.glob(f"{graph}/*.onnx")):
        return file
    names = ", ".join(sorted(file.name for file in folder.iterdir()))
    raise UnknownModel(f"{version.uri}: no {graph} graph among its files {names}")


def model_place(version: RegisteredVersion) -> str:
    """Where the files of a version lie: a path where artifacts lie on this machine, else a URI."""
    place: str = MlflowClient().get_model_version_download_uri(version.name, version.version)
    return place.removeprefix("file://")


def model_folder(version: RegisteredVersion) -> Path:
    """Local path of all files of a version. Raises UnknownModel when they are gone from the store."""
    try:
        return Path(mlflow.artifacts.download_artifacts(version.uri))
    except (MlflowException, OSError) as error:
        if leaves_open(error):
            raise
        raise UnknownModel(f"{version.uri}: its files are gone from the store") from error


def encoder_file(source: str) -> Path:
    """Path of an encoder's graph. source: a `models:/` URI, an .onnx file, or a folder with one.

    Weights in other files lie beside it: see nic.graphs.files.graph_files.
    """
    return graph_file(source, "encoder") if source.startswith("models:/") else graph_in(Path(source))


def encoder_digest(source: str) -> str:
    """Digest of the encoder whose codes a stage reads: the sha256 of its graph, or IMPORTED."""
    if source == IMPORTED:
        return IMPORTED
    return find_version(source).tags.get("nic.encoder_sha256") or graph_sha256(encoder_file(source))


def encoder_of_codes(source: str, spec: EncoderSpec) -> tuple[str, Path | None]:
    """The encoder that made the codes, as name/version, and its graph; no graph when another tool made them.

    source: a `models:/` URI, or IMPORTED. spec: the one stored with the codes. Raises ForeignCodes when they disagree.
    """
    if (source == IMPORTED) != (spec.objective == IMPORTED):
        made_by = "/".join(spec.tasks) if spec.objective == IMPORTED else f"an encoder of nic, {spec.sha256[:12]}"
        raise ForeignCodes(f"codes of {made_by}, not of {source}; encoder={IMPORTED} is for other tools' codes only")
    if source == IMPORTED:
        return "/".join(spec.tasks), None
    version, graph = find_version(source), encoder_file(source)
    if graph_sha256(graph) != spec.sha256:
        raise ForeignCodes(f"codes of encoder {spec.sha256[:12]}, not of {version.uri}; compress with that encoder")
    return version.full_name, graph


def load_served(uri: str, at_once: int = 1, device: str = "auto") -> Callable[..., pd.DataFrame]:
    """A registered model as the server loads it: rows in, and parameters if any, one answer a patient out.

    Loaded like this it opens any slide, without limits; a server is confined to NIC_SLIDE_ROOTS and its limits.
    at_once: requests at the same time; their slides share the cores. device: where its networks run.
    """
    config = {"confined": False, "at_once": at_once, "device": device}
    predict: Callable[..., Any] = load_version(model_folder(find_version(uri)), config).predict
    return predict
