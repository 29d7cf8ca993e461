"""What an entry point imports before it knows what it is asked for, and before its run is open."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ENTRY_POINTS = sorted(yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"])
OF_TRAINING = {"torch", "lightning", "optuna", "kornia"}
OF_FIGURES = {"sklearn", "sksurv", "scipy.stats", "matplotlib", "jinja2"}
OF_OTHER_PLACES = {"aiohttp", "ray", "openpyxl", "openvino"}
OF_RUNS = {"mlflow", "sqlalchemy", "pandas", "pyarrow"}

HELP = """
import runpy, sys
from contextlib import redirect_stdout
from io import StringIO
names = sys.argv[1:]
for name in names:
    shown = StringIO()
    sys.argv[:] = [name, "--help"]
    try:
        with redirect_stdout(shown):
            runpy.run_module(f"entrypoints.{name}", run_name="__main__")
    except SystemExit as end:
        assert end.code == 0
    assert "--help" in shown.getvalue()
    print(name, *{wanted} & set(sys.modules))
"""
STAGES = """
import ast, importlib, sys

def imports_before_the_run(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.FunctionDef | ast.If):  # not ast.With: there the run is open
            yield from imports_before_the_run(child)

names = sys.argv[1:]
for name in names:
    module = importlib.import_module(f"entrypoints.{name}")
    tree = ast.parse(open(module.__file__).read())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    imports = [statement for function in functions for statement in imports_before_the_run(function)]
    exec(compile(ast.Module(imports, []), name, "exec"))
    print(name, *{wanted} & set(sys.modules))
"""


def imported(program: str, wanted: set[str], names: list[str]) -> dict[str, list[str]]:
    """Which of the modules are imported once a program is through with each of the names, all in one fresh process."""
    command = [sys.executable, "-c", program.replace("{wanted}", repr(wanted)), *names]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    return {line.split()[0]: sorted(line.split()[1:]) for line in ended.stdout.splitlines()}


def test_help_needs_neither_mlflow_nor_torch() -> None:
    unneeded = OF_RUNS | OF_TRAINING | OF_FIGURES | OF_OTHER_PLACES
    assert imported(HELP, unneeded, ENTRY_POINTS) == {name: [] for name in ENTRY_POINTS}


WITH_A_RUN = [name for name in ENTRY_POINTS if name != "init_study"]


@pytest.fixture(scope="module")
def before_runs() -> dict[str, list[str]]:
    """Which modules are imported before the run of each entry point is open, or of one before it."""
    return imported(STAGES, OF_TRAINING | OF_FIGURES | OF_OTHER_PLACES | {"mlflow"}, WITH_A_RUN)


def test_a_run_is_open_before_anything_that_trains_or_draws_is_imported(before_runs: dict[str, list[str]]) -> None:
    heavy = {name: [module for module in modules if module != "mlflow"] for name, modules in before_runs.items()}
    assert heavy == {name: [] for name in WITH_A_RUN}


def test_status_needs_no_mlflow() -> None:
    unneeded = OF_RUNS | OF_TRAINING | OF_FIGURES | OF_OTHER_PLACES
    assert imported(STAGES, unneeded, ["status"]) == {"status": []}


def test_what_is_imported_is_seen(before_runs: dict[str, list[str]]) -> None:
    assert before_runs["evaluate"] == ["mlflow"]
