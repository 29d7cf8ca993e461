"""Digests that say whether a finished stage may be used again."""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nic.slides.slide import SlideSource
from nic.slides.staging import version_of

PROJECT = Path(__file__).resolve().parents[2]
ASKED_AT_ONCE = 32
"""Slides that lie elsewhere whose versions are asked for at a time."""


def digest(content: Mapping[str, object]) -> str:
    """Sixteen hex digits of a mapping, whatever its order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def code_digest(stage: str) -> str:
    """Digest of the code a stage runs, see `code_files`, and of the pins."""
    files = [*code_files(stage), PROJECT / "requirements.txt"]
    return digest({str(f.relative_to(PROJECT)): file_sha256(f) for f in files})


def code_files(stage: str) -> list[Path]:
    """A stage's entry point, every module of nic it imports, and the templates that lie beside one under its name.

    Follows the import statements from `entrypoints/<stage>.py` on, so that a change in one room leaves the finished
    stages of the others standing.
    """
    modules = _import_closure(PROJECT / "entrypoints" / f"{stage}.py", set())
    templates = {module.with_suffix(".html") for module in modules}
    return sorted(modules | {template for template in templates if template.is_file()})


def folder_digest(folder: Path, pattern: str = "**/*") -> str:
    """Digest of the names and sizes below a folder: cheap, and enough to see that an output is gone or cut short."""
    files = sorted(f for f in folder.glob(pattern) if f.is_file()) if folder.is_dir() else []
    return digest({str(f.relative_to(folder)): f.stat().st_size for f in files})


def output_digest(path: Path) -> str:
    """Digest of what a stage left at a path, file or folder; of nothing when it is gone."""
    return digest({path.name: path.stat().st_size}) if path.is_file() else folder_digest(path)


def slides_digest(sources: Sequence[SlideSource]) -> str:
    """Digest of slides, by what can be known without reading them, wherever they lie."""
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        contents = pool.map(slide_content, sources)
        return digest(
            {source.slide_id: [source.mpp, content] for source, content in zip(sources, contents, strict=True)}
        )


def slide_content(source: SlideSource) -> str:
    """Of one that cannot be reached the reason: it is noted as unreached when its turn comes."""
    try:
        return version_of(source) or output_digest(source.path)
    except OSError as error:
        return str(error)


def file_sha256(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(files: Iterable[Path]) -> list[dict[str, str | int]]:
    """Name, size and sha256 of each file that is there: what the digest of its folder leaves out."""
    there = (file for file in files if file.is_file())
    return [{"file": f.name, "bytes": f.stat().st_size, "sha256": file_sha256(f)} for f in there]


def _import_closure(file: Path, seen: set[Path]) -> set[Path]:
    if file not in seen:
        seen.add(file)
        for imported in _project_imports(file):
            _import_closure(imported, seen)
    return seen


def _project_imports(file: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from nic.encoder import training` names a module, `from nic.errors import NicError` does not: try both.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            path = PROJECT / Path(*name.split("."))
            for candidate in (path.with_suffix(".py"), path / "__init__.py"):
                if name.split(".")[0] in ("nic", "entrypoints", "registry") and candidate.is_file():
                    yield candidate
