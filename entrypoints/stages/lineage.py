"""What `entrypoints.lineage` does."""

import json
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from entrypoints.cli import parsed
from entrypoints.lineage import Config
from nic.errors import NicError, UnknownModel
from nic.tracking.registry import find_version
from nic.tracking.source_digest import PROJECT
from nic.tracking.trace import BROKEN, Node, trace

WIDTH = 200
"""Characters: a tree is cut at the edge of the console, and nothing here may be cut."""
COLOUR = {"here": "green", "recorded": "cyan", "foreign": "yellow"}


def run(config: Config) -> list[Node]:
    """See `entrypoints.lineage`."""
    answered = {config.of: [config.of]} if config.of.startswith("models:/") else answers_in(Path(config.of))
    console = Console(width=WIDTH, highlight=False)
    roots = [trace(find_version(uri), as_today) for uri in answered]
    for heads, root in zip(answered.values(), roots, strict=True):
        console.print(*heads, _drawn(root), sep="\n", markup=True)
    lost = [f"{node.what} is {node.state}" for root in roots for node in root.walk() if node.state in BROKEN]
    console.print("What no longer exists: " + (escape("; ".join(lost)) or "nothing of what was looked for") + ".")
    return roots


def answers_in(file: Path) -> dict[str, list[str]]:
    """One line an answer, by the URI of the model that gave it. Raises UnknownModel when they do not name it."""
    if not file.is_file():
        raise UnknownModel(f"{file}: no such file, and no models:/ URI")
    answers: dict[str, list[str]] = {}
    for row in _rows(file):
        if not {"model", "model_version", "prediction"} <= set(row):
            raise UnknownModel(f"{file.name}: not the answers of a patient model, they name no model and model_version")
        line = f"patient {row['patient']}: {row['prediction']} ({row['status']})"
        answers.setdefault(f"models:/{row['model']}/{row['model_version']}", []).append(escape(line))
    return answers


def _rows(file: Path) -> list[dict[str, Any]]:
    match file.suffix:
        case ".csv":
            return pd.read_csv(file, dtype=str).to_dict("records")
        case ".parquet":
            return pd.read_parquet(file).to_dict("records")
    content = json.loads(file.read_text())
    rows: list[dict[str, Any]] = content["predictions"] if isinstance(content, dict) else content
    return rows


def as_today(stage: str, parameters: Mapping[str, str]) -> Mapping[str, str] | str:
    """Digests of what a run read, taken again: by its own entry point, with its parameters."""
    if not (PROJECT / "entrypoints" / f"{stage}.py").is_file():
        return {}
    module = import_module(f"entrypoints.stages.{stage}")
    known = [field.name for field in fields(module.Config) if field.name in parameters]
    # MLflow logs a parameter as it quoted it for the shell.
    words = [word for name in known for word in (f"--{name.replace('_', '-')}", parameters[name].strip("'"))]
    try:
        config = parsed(module.Config, words, console_outputs=False)
        return dict(module.inputs(config))
    except (NicError, OSError) as error:
        return str(error)
    except SystemExit:
        return {}  # parameters of another version of the code: what it read is known by its digest alone


def _drawn(node: Node) -> Tree:
    tree = Tree(_line(node))
    for part in node.parts:
        tree.children.append(_drawn(part))
    return tree


def _line(node: Node) -> str:
    note = f" [dim]({escape(node.note)})[/dim]" if node.note else ""
    return f"{escape(node.what)}: [{COLOUR.get(node.state, 'bold red')}]{node.state}[/]{note}"
