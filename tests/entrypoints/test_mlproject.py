"""MLproject says of every entry point what its Config says: names, defaults, and how they reach the command line."""

import dataclasses
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
ENTRY_POINTS = sorted(PROJECT["entry_points"])
SHARED = {
    "cli",
    "measures",
    "network_comparison",
    "objectives",
    "predictions",
    "cohort_flow",
    "companions",
    "evaluation",
    "mapping",
    "registration",
    "report_words",
    "reporting",
    "splitting",
    "steps",
}


def test_every_file_is_an_entry_point() -> None:
    files = {path.stem for path in (ROOT / "entrypoints").glob("*.py")} - {"__init__"} - SHARED
    assert set(ENTRY_POINTS) == files


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
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "no slides there" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_environment_is_one_list_of_pins() -> None:
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    assert conda["dependencies"][-1] == {"pip": ["-r requirements.txt"]}
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all("==" in line for line in lines)
    assert "torch==2.13.0" in lines
