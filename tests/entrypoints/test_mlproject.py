"""MLproject says of every entry point what its Config says: names, defaults, and how they reach the command line."""

import ast
import dataclasses
import importlib
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from stores import new_store

ROOT = Path(__file__).resolve().parents[2]
PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
ENTRY_POINTS = sorted(PROJECT["entry_points"])


LAUNCHER = "cli"
MOST_LINES = 30


def test_the_folder_holds_the_entry_points_and_their_launcher() -> None:
    names = {path.name for path in (ROOT / "entrypoints").iterdir()} - {"__pycache__"}
    assert names == {f"{name}.py" for name in ("__init__", LAUNCHER, *ENTRY_POINTS)}


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_is_a_documented_config_and_a_short_run(name: str) -> None:
    text = (ROOT / "entrypoints" / f"{name}.py").read_text()
    nodes = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for field, words in pairwise([*nodes["Config"].body, None]):
        assert isinstance(words, ast.Expr) or not isinstance(field, ast.AnnAssign), ast.unparse(field)
    _docstring, first, *_ = nodes["run"].body
    lines = [line for line in text.splitlines()[first.lineno - 1 : nodes["run"].end_lineno] if line.strip()]
    assert len(lines) <= MOST_LINES


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_names_and_defaults_are_those_of_the_config(name: str) -> None:
    declared: dict[str, Any] = PROJECT["entry_points"][name]["parameters"]
    fields = dataclasses.fields(importlib.import_module(f"entrypoints.{name}").Config)
    assert list(declared) == [f.name for f in fields]
    for field in fields:
        if field.default is dataclasses.MISSING:
            assert "default" not in declared[field.name]
        else:
            assert str(declared[field.name]["default"]) == str(field.default)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_the_command_hands_every_parameter_over(name: str) -> None:
    command = PROJECT["entry_points"][name]["command"]
    assert command.startswith(f"python -m entrypoints.{name} ")
    given = re.findall(r"--([a-z-]+) \{(\w+)\}", command)
    assert [flag.replace("-", "_") for flag, _ in given] == [value for _, value in given]
    assert [value for _, value in given] == list(PROJECT["entry_points"][name]["parameters"])


def test_help_teaches_every_parameter() -> None:
    command = [sys.executable, "-m", "entrypoints.compress", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "Compress every slide" in shown
    assert "Least share of tissue" in shown


def test_what_nic_refuses_ends_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "entrypoints.compress", "--slides", f"{tmp_path}/*.svs", "--out", str(tmp_path)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": new_store(tmp_path)}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert ended.returncode == 1
    assert "no slides there" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_environment_is_one_list_of_pins() -> None:
    """MLflow takes two environments for one when their conda.yaml is the same: the pins have to stand in it."""
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert conda["dependencies"][-1] == {"pip": lines}, "make conda.yaml"
    assert all("==" in line for line in lines)
    assert "torch==2.13.0" in lines


def test_make_writes_the_environment_from_the_pins(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").write_text('# Pins.\nmlflow==1.0\nx==2; sys_platform == "linux" # why\n')
    subprocess.run(["make", "conda.yaml"], cwd=tmp_path, check=True, capture_output=True)
    conda = yaml.safe_load((tmp_path / "conda.yaml").read_text())
    assert conda["dependencies"][-1] == {"pip": ["mlflow==1.0", 'x==2; sys_platform == "linux" # why']}
    whole = yaml.safe_load((ROOT / "conda.yaml").read_text())
    assert conda["dependencies"][:-1] == whole["dependencies"][:-1]
