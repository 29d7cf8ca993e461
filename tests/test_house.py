"""The house rules that a machine can hold: names, sizes, and an architecture page that names what exists."""

import ast
import re
import runpy
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(file for folder in ("nic", "entrypoints", "registry") for file in (ROOT / folder).rglob("*.py"))
LONGEST = 350
EMPTY_NAMES = {"found", "said", "told", "done", "given", "asked"}
"""Names that say how a value came, and not what it holds."""
PAGE = ROOT / "docs" / "ARCHITECTURE.md"


AT_THE_TOP = {"LICENSE", "MLproject", "Makefile", ".gitignore"}
"""Files without an ending that are at home beside README.md."""


TREES = {file.relative_to(ROOT): ast.parse(file.read_text()) for file in MODULES}


def names_in(node: ast.AST) -> Iterator[str]:
    """The names that a node gives to what it makes."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield name
        case ast.alias(asname=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.ExceptHandler(name=str(name)):
            yield name


def test_no_two_modules_share_a_name() -> None:
    """A stage is named as the entry point that runs it; no other name stands twice."""
    places = defaultdict(set)
    for file in TREES:
        places[file.stem].add(str(file.parent))
    del places["__init__"]
    pair = {"entrypoints", "nic/stages"}
    assert {name: where for name, where in places.items() if len(where) > 1 and where != pair} == {}


def test_no_two_classes_share_a_name() -> None:
    """But Config, of which each entry point has one."""
    places = defaultdict(list)
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name != "Config":
                places[node.name].append(str(file))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_names_say_what_a_value_holds() -> None:
    names = {(str(file), name) for file, tree in TREES.items() for node in ast.walk(tree) for name in names_in(node)}
    stems = {(str(file), file.stem) for file in TREES}
    assert sorted((file, name) for file, name in names | stems if name.strip("_").lower() in EMPTY_NAMES) == []


def test_no_module_is_longer_than_350_lines() -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in MODULES}
    assert {file: count for file, count in lines.items() if count > LONGEST} == {}


def test_the_architecture_page_names_what_exists() -> None:
    page = PAGE.read_text()
    paths = set(re.findall(r"`((?:nic|entrypoints|registry|docs|tests|deploy|studies)/[\w./-]*)`", page))
    assert len(paths) > 30
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_the_picture_of_the_architecture_is_that_of_the_contracts() -> None:
    drawn = runpy.run_path(str(ROOT / "docs" / "architecture.py"))
    assert (ROOT / "docs" / "architecture.svg").read_text() == drawn["picture"]()
    assert set(drawn["layers"]()) == set(drawn["PURPOSE"])


def test_contributing_lists_the_slow_tests() -> None:
    listed = set(re.findall(r"test_\w+\.py", (ROOT / "CONTRIBUTING.md").read_text()))
    tests = [file for file in (ROOT / "tests").rglob("test_*.py") if file != Path(__file__)]
    assert {file.name for file in tests if "mark.slow" in file.read_text()} == listed


def test_the_top_holds_text_alone() -> None:
    """A wheel or an archive that a command left beside README.md is not committed with the work."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files"]  # the checkout may belong to another user
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    top = {file for file in listed if "/" not in file} - AT_THE_TOP
    assert sorted(file for file in top if not file.endswith((".md", ".txt", ".toml", ".yaml"))) == []
