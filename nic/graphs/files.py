"""The files of a graph: the .onnx file, and beside it files of weights, which graphs of 2 GiB and more have."""

import hashlib
import mmap
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePath

from nic.errors import EncoderError

HEADS_FILE = "heads.onnx"
"""The task heads of an encoder lie under this name beside its graph."""


def graph_in(path: Path) -> Path:
    """The .onnx file of a graph: the path itself, or the one such file of a folder. Raises EncoderError.

    The task heads of an encoder may lie in its folder too.
    """
    if not path.is_dir():
        return path
    graphs = sorted(file for file in path.glob("*.onnx") if file.name != HEADS_FILE)
    if len(graphs) != 1:
        raise EncoderError(f"{path.name}: a folder with {len(graphs)} .onnx files, wanted one")
    return graphs[0]


def graph_files(path: Path) -> list[Path]:
    """The .onnx file, then the files beside it that hold its weights, sorted; most graphs have none.

    Raises EncoderError when the graph cannot be read, names a file outside its own folder, or one that is missing.
    """
    try:
        names = sorted(_external_names(path)) if contains(path, b"location") else []  # the key of a file's name
    except OSError as error:
        raise EncoderError(f"{path.name}: not a readable ONNX graph: {error.strerror}") from error
    for name in names:
        if not name or PurePath(name).name != name or name == path.name:
            raise EncoderError(f"{path.name}: its weights are in {name!r}; wanted a file in the graph's own folder")
        if not (path.parent / name).is_file():
            raise EncoderError(f"{path.name}: its weights are in {name}, and there is no such file beside it")
    return [path, *(path.parent / name for name in names)]


def graph_sha256(path: Path) -> str:
    """Digest of a graph: of the .onnx file, and of the names and digests of its files of weights, if any."""
    graph, *weights = graph_files(path)
    alone = _sha256(graph)
    if not weights:
        return alone
    lines = [alone, *(f"{file.name} {_sha256(file)}" for file in weights)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def copy_graph(source: Path, target: Path) -> None:
    """Copy a graph to `target`, and its files of weights beside it. Links would not do: readers of ONNX refuse them.

    Raises EncoderError as graph_files, and where there is no such file.
    """
    try:
        graph, *weights = graph_files(source)
        shutil.copyfile(graph, target)
        for file in weights:
            shutil.copyfile(file, target.parent / file.name)
    except OSError as error:
        raise EncoderError(f"{source.name}: cannot be copied: {error.strerror}") from error


def move_graph(source: Path, target: Path) -> None:
    """Move a graph to `target` on the same disk: first its files of weights, then the .onnx. Raises EncoderError."""
    graph, *weights = graph_files(source)
    if target.name in (file.name for file in weights):
        raise EncoderError(f"{source.name}: its weights are in {target.name}, as the graph is to be named; rename them")
    for file in weights:
        file.replace(target.parent / file.name)
    graph.replace(target)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EncoderError(f"{path.name}: not a readable ONNX graph: {error.strerror}") from error


def contains(path: Path, word: bytes) -> bool:
    """Whether a file contains a word. Parsing the graph would need the onnx package, and memory for its weights."""
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(word) >= 0


def _external_names(path: Path) -> Iterator[str]:
    import onnx  # 0.2 s to import, for the few graphs that need it
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import uses_external_data

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:
        return  # running it says what is wrong
    names = set()
    for tensor in tensors(model.graph):
        if uses_external_data(tensor):
            names |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    yield from names


def tensors(graph: "onnx.GraphProto") -> Iterator["onnx.TensorProto"]:  # type: ignore[name-defined]  # noqa: F821
    """Weights and constants of a graph and of those inside its nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors(inner)
