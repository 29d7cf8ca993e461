"""The source code that a stage runs: its digest, and a copy of it that is kept with the run.

A digest accounts for nothing when the code itself is gone, so each run keeps its source.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import mlflow
from mlflow.exceptions import MlflowException

from nic.tracking.digests import digest, file_sha256

PROJECT = Path(__file__).resolve().parents[2]
PINS = PROJECT / "requirements.txt"
KEPT_SOURCE = "source.zip"
"""Artifact of a run: the files that `source_digest` is of, by their paths in the checkout."""


def source_digest(stage: str, root: Path = PROJECT) -> str:
    """Digest of the source files of a stage, see `source_files`, and of the pins."""
    return files_digest([*source_files(stage, root), root / PINS.name], root)


def files_digest(files: Iterable[Path], root: Path = PROJECT) -> str:
    """Digest of files by their names below a root, and their bytes."""
    return digest({str(f.relative_to(root)): file_sha256(f) for f in files})


def source_files(stage: str, root: Path = PROJECT) -> list[Path]:
    """A stage's entry point, every module of nic it imports, and the HTML template of the same name beside a module.

    The list follows the import statements of `entrypoints/<stage>.py`. A change in one room therefore leaves the
    finished stages of the other rooms valid.
    """
    modules = imported_files([root / "entrypoints" / f"{stage}.py"], root)
    templates = {module.with_suffix(".html") for module in modules}
    return sorted(modules | {template for template in templates if template.is_file()})


def imported_files(files: Iterable[Path], root: Path = PROJECT) -> set[Path]:
    """Python files and all modules below a root that they import, directly or through others."""
    seen: set[Path] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += _imports_of(file, root, file.stat().st_mtime_ns)
    return seen


def keep_source(stage: str) -> None:
    """Log the source files of a stage, some 100 kB, as an artifact of the active run."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / KEPT_SOURCE
        with ZipFile(file, "w", ZIP_DEFLATED) as archive:
            for source in [*source_files(stage), PINS]:
                archive.write(source, source.relative_to(PROJECT))
        mlflow.log_artifact(str(file))


def kept_source_digest(run_id: str) -> str | None:
    """The `source_digest` of the source that a run keeps; None when there is none or it cannot be read."""
    try:
        with TemporaryDirectory() as folder:
            file = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=KEPT_SOURCE, dst_path=folder)
            with ZipFile(file) as archive:
                return digest({name: sha256(archive.read(name)).hexdigest() for name in archive.namelist()})
    except (MlflowException, OSError, BadZipFile):
        return None


@lru_cache(maxsize=10_000)
def _imports_of(file: Path, root: Path, changed_ns: int) -> tuple[Path, ...]:
    """changed_ns: when the file was last changed; it is parsed once for each such time."""
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
    """All statements below a node. Expressions hold no imports, and walking them takes ten times as long."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield child
            yield from _statements(child)
