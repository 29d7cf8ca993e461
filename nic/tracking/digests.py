"""Digests that say whether a finished stage may be used again."""

import ast
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from nic.compression.hdf5_file import content_digest
from nic.errors import CodesError

PROJECT = Path(__file__).resolve().parents[2]
PINS = PROJECT / "requirements.txt"
ASKED_AT_ONCE = 32
"""Files that are looked at at a time: on a share, and still more elsewhere, each look is a wait."""
OF_ROWS = "rows-"
"""Beginning of a digest of codes by their content; those of before it was taken are of names and sizes, and bare."""


def digest(content: Mapping[str, object]) -> str:
    """Sixteen hex digits of a mapping, whatever its order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def code_digest(stage: str, root: Path = PROJECT) -> str:
    """Digest of the code a stage runs, see `code_files`, and of the pins."""
    return source_digest([*code_files(stage, root), root / PINS.name], root)


def source_digest(files: Iterable[Path], root: Path = PROJECT) -> str:
    """Digest of files by their names below a root, and their bytes."""
    return digest({str(f.relative_to(root)): file_sha256(f) for f in files})


def code_files(stage: str, root: Path = PROJECT) -> list[Path]:
    """A stage's entry point, every module of nic it imports, and the templates that lie beside one under its name.

    Follows the import statements from `entrypoints/<stage>.py` on, so that a change in one room leaves the finished
    stages of the others standing.
    """
    modules = imported_files([root / "entrypoints" / f"{stage}.py"], root)
    templates = {module.with_suffix(".html") for module in modules}
    return sorted(modules | {template for template in templates if template.is_file()})


def imported_files(files: Iterable[Path], root: Path = PROJECT) -> set[Path]:
    """Python files, and all of ours that they import, directly or through others, below a root."""
    seen: set[Path] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += _imports_of(file, root, file.stat().st_mtime_ns)
    return seen


def codes_digest(folder: Path) -> str:
    """Digest of the compressed slides of a folder: encoder, slide, setting and rows of each.

    It is taken of the heads of the files, thousands in seconds. Of a file that is damaged the size stands for it: who
    needs its codes is told when he reads them.
    """
    return OF_ROWS + _digest_of_files(folder, "*.h5", _codes_or_size)


def bytes_digest(folder: Path) -> str:
    """Digest of every byte below a folder."""
    return _digest_of_files(folder, "**/*", file_sha256)


def folder_digest(folder: Path) -> str:
    """Digest of what stands below a folder: the content of codes, and of all else names and sizes.

    Cheap, and enough to see that an output is gone, cut short, or of another encoder. What a later stage reads has a
    digest of its own.
    """
    return _digest_of_files(folder, "**/*", lambda file: _codes_or_size(file) if file.suffix == ".h5" else _size(file))


def output_digest(path: Path) -> str:
    """Digest of what a stage left at a path, file or folder; of nothing when it is gone."""
    return digest({path.name: path.stat().st_size}) if path.is_file() else folder_digest(path)


def _digest_of_files(folder: Path, pattern: str, of: Callable[[Path], object]) -> str:
    files = sorted(f for f in folder.glob(pattern) if f.is_file()) if folder.is_dir() else []
    names = [str(f.relative_to(folder)) for f in files]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        return digest(dict(zip(names, pool.map(of, files), strict=True)))


def _size(file: Path) -> int:
    return file.stat().st_size


def _codes_or_size(file: Path) -> object:
    try:
        return content_digest(file)
    except CodesError:
        return _size(file)


def file_sha256(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(files: Iterable[Path]) -> list[dict[str, str | int]]:
    """Name, size and sha256 of each file that is there: by which anybody can tell whether a file is the one."""
    there = (file for file in files if file.is_file())
    return [{"file": f.name, "bytes": f.stat().st_size, "sha256": file_sha256(f)} for f in there]


@lru_cache(maxsize=10_000)
def _imports_of(file: Path, root: Path, changed_ns: int) -> tuple[Path, ...]:
    """changed_ns: of the file, which is parsed once for as long as it stays as it is."""
    return tuple(_imports(file, root))


def _imports(file: Path, root: Path) -> Iterator[Path]:
    for node in _statements(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from nic.encoder import training` names a module, `from nic.errors import NicError` does not: try both.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            path = root / Path(*name.split("."))
            for candidate in (path.with_suffix(".py"), path / "__init__.py"):
                if name.split(".")[0] in ("nic", "entrypoints", "registry") and candidate.is_file():
                    yield candidate


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Those below a node, at any depth. No import stands in an expression: walking those takes ten times as long."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield child
            yield from _statements(child)
