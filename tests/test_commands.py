"""Each command that a reader meets is understood: its program, target, options, parameters and files exist."""

import ast
import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import click
import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement
from written_commands import ANYTHING, PAGES, ROOT, Command, all_commands, in_block, snippets

from entrypoints.cli import parsed
from nic.serving.requests import by_patient, columns_in
from nic.serving.served_model import RequestParams

COMMANDS = all_commands()
ENTRY_POINTS = set(yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"])
NOT_OURS = {"docker", "docker-compose", "git", "ray", "nginx", "openssl", "mkdir"}
"""Programs of others. Of their commands, files of this repository are looked up, and nothing else."""
DOTTED = re.compile(r"[\w/.-]+\.(?:yaml|yml|txt|md|py|sh|example|conf)")


class WrongCommand(AssertionError):
    """A command that would not do what is written."""


def check(command: Command) -> None:
    """Raises WrongCommand."""
    first, *rest = command.words
    match first:
        case "mlflow":
            check_mlflow(rest, command)
        case "python" | "python3.11":
            check_python(rest, command)
        case "make":
            check_make(rest)
        case "pip":
            check_pip(rest)
        case "pytest":
            check_pytest(rest)
        case "curl":
            check_curl(rest)
        case "-P":
            check_parameters_of_any(command.words)
        case _ if first in ENTRY_POINTS:
            check_entry_point(first, parameters(rest), whole=False)
        case "cp" | "sh":
            require((ROOT / rest[0]).exists(), f"no file {rest[0]}")
        case _:
            require(first in NOT_OURS, f"no program and no entry point {first}")
            for file in filter(DOTTED.fullmatch, rest):
                require((ROOT / file).exists(), f"no file {file}")


def require(holds: object, problem: str) -> None:
    if not holds:
        raise WrongCommand(problem)


def check_mlflow(words: list[str], command: Command) -> None:
    """Its options by MLflow's own command line, which is click's."""
    group, path = mlflow_commands(), "mlflow"
    while isinstance(group, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        subcommand = group.get_command(click.Context(group), name)
        require(subcommand, f"{path} has no {name}; it has {', '.join(group.commands)}")
        group, path = subcommand, f"{path} {name}"
    arguments = list(check_options(group, words))
    if path == "mlflow run" and arguments:
        if arguments[0] == ".":
            named = dict(pairwise(words)).get("-e", "main")
            if named != ANYTHING:
                check_entry_point(named, parameters(words), whole=command.block or not command.is_form)
        else:
            require(urlsplit(arguments[0]).scheme in ("https", "ssh", "git"), f"{arguments[0]}: not a git address")
            check_entry_point(dict(pairwise(words)).get("-e", "main"), parameters(words), whole=True)
            for name, value in parameters(words):
                relative = value and ":" not in value and not value.startswith("/")
                require(name not in ("study", "work", "out", "gates") or not relative, f"{name}={value} is relative")
    elif command.block:
        missing = [p.name for p in group.params if p.required and not set(p.opts) & set(words) and not arguments]
        require(not missing, f"{path} needs {', '.join(map(str, missing))}")


@cache
def mlflow_commands() -> click.Group:
    from mlflow.cli import cli

    return cli  # type: ignore[no-any-return]


def check_options(command: click.Command, words: list[str]) -> Iterator[str]:
    """Yields the arguments."""
    options = {name: param for param in command.params for name in (*param.opts, *param.secondary_opts)}
    waiting = iter(words)
    for word in waiting:
        name, _, value = word.partition("=")
        if not word.startswith("-"):
            yield word
            continue
        require(name in options, f"{command.name} has no option {name}")
        option = options[name]
        if isinstance(option, click.Option) and not option.is_flag and not option.count:
            value = value or next(waiting, "")
            require(value, f"{name} without a value")
            if isinstance(option.type, click.Choice | click.types.IntParamType) and value != ANYTHING:
                option.type.convert(value, option, None)
            elif name == "--env-manager" and option.callback:
                option.callback(click.Context(command), option, value)


def parameters(words: list[str] | tuple[str, ...]) -> list[tuple[str, str]]:
    """Names and values behind -P."""
    return [(name, value) for flag, word in pairwise(words) if flag == "-P" for name, _, value in [word.partition("=")]]


def check_entry_point(name: str, given: list[tuple[str, str]], *, whole: bool) -> None:
    """Each parameter exists, and its value is taken by the Config. whole: and none that is required is missing."""
    require(name in ENTRY_POINTS, f"no entry point {name}; there are {', '.join(sorted(ENTRY_POINTS))}")
    config_type = import_module(f"entrypoints.{name}").Config
    types = get_type_hints(config_type)
    unknown = [parameter for parameter, _ in given if parameter not in types]
    require(not unknown, f"{name} has no {', '.join(unknown)}; it has {', '.join(types)}")
    values = {parameter: value for parameter, value in given if ANYTHING not in value and value}
    required = [field.name for field in dataclasses.fields(config_type) if field.default is dataclasses.MISSING]
    if whole:
        missing = set(required) - {parameter for parameter, _ in given}
        require(not missing, f"{name} needs {', '.join(sorted(missing))}")
    known = {parameter: first_value(types[parameter]) for parameter in required} | values
    parse(config_type, [word for key, value in known.items() for word in (f"--{key.replace('_', '-')}", value)])


def first_value(kind: Any) -> str:
    return str(get_args(kind)[0]) if get_origin(kind) is Literal else "x"


def parse(config_type: Any, words: list[str]) -> None:
    try:
        parsed(config_type, words, console_outputs=False)
    except SystemExit as refused:
        raise WrongCommand(f"{config_type.__module__} does not take {' '.join(words)}") from refused


def check_parameters_of_any(words: tuple[str, ...]) -> None:
    """Parameters whose entry point stands in the sentence around them: one has them all."""
    for name in sorted(ENTRY_POINTS):
        try:
            return check_entry_point(name, parameters(words), whole=False)
        except WrongCommand:
            continue
    raise WrongCommand(f"no entry point takes {' '.join(words)}")


def check_python(words: list[str], command: Command) -> None:
    match words:
        case []:
            return
        case ["-c", code, *_]:
            compile(code, "<command>", "exec")
        case ["-m", "venv", *_]:
            return
        case ["-m", module, *options] if module.startswith("entrypoints."):
            name = module.removeprefix("entrypoints.")
            if ANYTHING in name:  # python -m entrypoints.<entry point>
                return
            given = [(flag.removeprefix("--").replace("-", "_"), value) for flag, value in pairwise([*options, ""])]
            named = [(flag, value) for (flag, value), word in zip(given, options, strict=True) if word[:2] == "--"]
            if options[:1] == ["--help"]:
                named = []
            check_entry_point(name, named, whole=command.block)
        case ["-m", module, *options]:
            require(find_spec(module), f"no module {module}")
            check_own_options(Path(str(getattr(find_spec(module), "origin", ""))), options)
        case [file, *options]:
            require((ROOT / file).is_file(), f"no file {file}")
            check_own_options(ROOT / file, options)


def check_own_options(file: Path, words: list[str]) -> None:
    """By the calls of argparse in a module: to import it would load torch."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    declared = {
        argument.value
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    unknown = [word for word in words if word.startswith("--") and word not in declared]
    require(not unknown, f"{file.name} has no {', '.join(unknown)}; it has {', '.join(sorted(declared))}")


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w./]+):(?!=)", makefile, re.MULTILINE))
    settings = set(re.findall(r"^(\w+) \?=", makefile, re.MULTILINE))
    for word in words:
        name, is_setting, _ = word.partition("=")
        require(name in (settings if is_setting else targets), f"the Makefile has no {name}")


def check_pip(words: list[str]) -> None:
    """Files exist; a version is that of our own pins, where they have the package."""
    pins = {
        requirement.name: str(requirement.specifier)
        for file in sorted(ROOT.glob("requirements*.txt"))
        for line in file.read_text().splitlines()
        if line and line[0] not in "#-"
        for requirement in [Requirement(line)]
    }
    install, *rest = words
    require(install == "install", f"pip {install}")
    for flag, word in pairwise(["", *rest]):
        if flag in ("-r", "--requirement"):
            require((ROOT / word).is_file(), f"no file {word}")
        elif not word.startswith("-") and word != ANYTHING:
            requirement = Requirement(word.rstrip("."))
            version = str(requirement.specifier)
            require(not version or version == pins.get(requirement.name), f"{word}: the pins have another version")


def check_pytest(words: list[str]) -> None:
    marks = (ROOT / "pyproject.toml").read_text()
    for flag, word in pairwise(["", *words]):
        if flag == "-m":
            require(f'"{word}: ' in marks, f"no mark {word}")
        elif "/" in word:
            require((ROOT / word).exists(), f"no tests {word}")


def check_curl(words: list[str]) -> None:
    """A request that the server reads: JSON, with columns and parameters that it knows."""
    content = dict(pairwise(words))["-d"]
    request = json.loads(content)
    require("Content-Type: application/json" in words, "no Content-Type")
    require(columns_in(content.encode(), "application/json"), "no columns")
    by_patient(pd.DataFrame(request["dataframe_records"]), 256)
    RequestParams(**request.get("params", {}))


def test_there_are_commands_of_every_kind() -> None:
    firsts = {command.words[0] for command in COMMANDS}
    assert {"mlflow", "python", "make", "pip", "pytest", "curl", "docker", "-P"} <= firsts
    by_place = {command.place.partition("/")[0] for command in COMMANDS}
    assert {"README.md", "CONTRIBUTING.md", "docs", "Makefile", "nic", "entrypoints", "registry", "deploy"} <= by_place
    print(f"{len(COMMANDS)} commands in {len({c.place for c in COMMANDS})} places", file=sys.stderr)
    assert len(COMMANDS) > 100


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.place} {command.text}"[:100])
def test_a_written_command_is_understood(command: Command) -> None:
    check(command)


@pytest.mark.parametrize(
    "wrong",
    [
        "mlflow uy",
        "mlflow ui --store sqlite:///mlflow.db",
        "mlflow models serve --env-manager local",
        "mlflow models serve -m models:/nic-score@champion --env-manager locale",
        "mlflow models serve -m models:/nic-score@champion -p 5999x",
        "mlflow run . -e trian_patients",
        "mlflow run . -e promote -P modle=models:/nic-score/1",
        "mlflow run . -e promote -P strict=true",
        "mlflow run . -e promote -P model=models:/nic-score/1 -P strict=maybe",
        "mlflow run . -e train_patients -P study=s.yaml -P endpoint=e -P codes=c -P network=grid",
        "mlflow run https://git.example.org/lab/nic -P study=studies/mine.yaml",
        "python -m entrypoints.lineage",
        "python -m entrypoints.lineage --off models:/nic-score/1",
        "python -m benchmarks.gone",
        "python -m benchmarks.reading --sides 3",
        "python -m registry.server models:/nic-score@champion --prot 5999",
        "python docs/gone.py",
        "make deom",
        "make demo SEEDS=1",
        "pip install ray==1.0.0",
        "pip install -r requirements-gone.txt",
        "pytest -m slowly",
        "pytest tests/gone.py",
        "docker compose --file deploy/gone.yaml up",
        "cp studies/gone.yaml studies/mine.yaml",
        "curl http://127.0.0.1:5999/invocations -H 'Content-Type: application/json' -d '{\"dataframe_records\": }'",
        "curl http://127.0.0.1:5999/invocations -H 'Content-Type: application/json' -d "
        '\'{"dataframe_records": [{"slid": "/x"}]}\'',
    ],
)
def test_a_wrong_command_is_not_understood(wrong: str) -> None:
    [command] = in_block(wrong, "here")
    with pytest.raises(Exception, match=r"."):
        check(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_request_goes_to_a_port_that_is_served(page: Path) -> None:
    text = page.read_text()
    asked = set(re.findall(r"https?://(?:127\.0\.0\.1|localhost):(\d+)/invocations", text))
    served = set(re.findall(r"(?: -p|--port) (\d+)", text))
    assert asked <= served


@pytest.mark.parametrize(("place", "content"), list(snippets()))
def test_python_in_documents_compiles(place: str, content: str) -> None:
    compile(content, place, "exec")
