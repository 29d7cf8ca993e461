"""What a model, or the model behind an answer, was made of: shown as a tree."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from nic.errors import UnknownModel
from nic.tracking.registry import find_version
from nic.tracking.trace import BROKEN, DataLookup, Node, trace

WIDTH = 200
"""Characters in a line: rich cuts a tree at the edge of the console, and a digest must not be cut."""
COLOUR = {"here": "green", "recorded": "cyan", "foreign": "yellow"}


def show_lineage(of: str, inputs_today: DataLookup) -> list[Node]:
    """Print the tree behind a model, or behind the models of some answers; the roots.

    of: the URI of a model, or a file of answers. inputs_today: the digests of what a run read, taken again.
    """
    titles_of = {of: [of]} if of.startswith("models:/") else answers_in(Path(of))
    console = Console(width=WIDTH, highlight=False)
    roots = [trace(find_version(uri), inputs_today) for uri in titles_of]
    for titles, root in zip(titles_of.values(), roots, strict=True):
        console.print(*titles, _drawn(root), sep="\n", markup=True)
    lost = [f"{node.what} is {node.state}" for root in roots for node in root.walk() if node.state in BROKEN]
    console.print("What no longer exists: " + (escape("; ".join(lost)) or "nothing that was checked") + ".")
    return roots


def answers_in(file: Path) -> dict[str, list[str]]:
    """A line for each answer, by the URI of the model that gave it. Raises UnknownModel for answers without a model."""
    if not file.is_file():
        raise UnknownModel(f"{file}: no such file; give a file of answers, or a model as models:/<name>/<version>")
    answers: dict[str, list[str]] = {}
    for row in _rows(file):
        if not {"model", "model_version", "prediction"} <= set(row):
            raise UnknownModel(
                f"{file.name}: no columns model, model_version, prediction; give answers of a patient model"
            )
        line = f"patient {row['patient']}: {row['prediction']} ({row['status']})"
        answers.setdefault(f"models:/{row['model']}/{row['model_version']}", []).append(escape(line))
    return answers


def _rows(file: Path) -> Sequence[Mapping[Any, Any]]:
    match file.suffix:
        case ".csv":
            return pd.read_csv(file, dtype=str).to_dict("records")
        case ".parquet":
            return pd.read_parquet(file).to_dict("records")
    content = json.loads(file.read_text())
    rows: list[dict[str, Any]] = content["predictions"] if isinstance(content, dict) else content
    return rows


def _drawn(node: Node) -> Tree:
    tree = Tree(_line(node))
    for part in node.parts:
        tree.children.append(_drawn(part))
    return tree


def _line(node: Node) -> str:
    note = f" [dim]({escape(node.note)})[/dim]" if node.note else ""
    return f"{escape(node.what)}: [{COLOUR.get(node.state, 'bold red')}]{node.state}[/]{note}"
