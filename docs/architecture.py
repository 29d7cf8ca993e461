"""Draws docs/architecture.svg: the three steps, and below them the rooms in the layers of pyproject.toml.

python docs/architecture.py
"""

import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

PROJECT = Path(__file__).resolve().parents[1]
PICTURE = PROJECT / "docs" / "architecture.svg"
WIDTH, STEP_W, STEP_H, LAYER_H = 960, 208, 76, 34

STEPS = (
    ("labelled tiles", "1 encoder", "train, certify", "nic-encoder"),
    ("slides", "2 compression", "tile, encode", "one .h5 a slide"),
    ("labels of patients", "3 patients", "train, calibrate", "nic-<endpoint>"),
    ("a request", "serving", "compress, predict", "an answer and its map"),
)
"""What goes in, the step, what it does, what comes out. The result of each step is also an input of the next."""
PURPOSE = {
    "entrypoints | registry": "the command line, and what is registered and served",
    "nic.stages": "what an entry point does",
    "nic.ablation": "the paper's experiments",
    "nic.study": "the study file",
    "nic.tracking | nic.phantom | nic.serving | nic.comparators": "MLflow; synthetic data; requests; rivals",
    "nic.encoder | nic.compression | nic.patients | nic.evaluation": "the three steps, and what measures them",
    "nic.tasks": "labelled tiles",
    "nic.slides | nic.graphs | nic.tables": "slides, ONNX graphs, tables",
    "nic.threads | nic.child_process | nic.shared_files | nic.system_errors | nic.training_device": (
        "what every room may use"
    ),
    "nic.errors": "everything that nic refuses",
}


def text(x: float, y: float, words: str, size: int = 13, style: str = 'text-anchor="middle"') -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" {style}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" stroke="#555"/>'


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:g},{y1:g} L{x2:g},{y2:g}" stroke="#555" fill="none" marker-end="url(#head)"/>'


def step(number: int, y: float) -> list[str]:
    source, title, work, result = STEPS[number]
    x = 24 + number * (STEP_W + 26)
    middle = x + STEP_W / 2
    parts = [
        text(middle, y - 34, source),
        arrow(middle, y - 26, middle, y - 4),
        box(x, y, STEP_W, STEP_H, "#dbe9f6"),
        text(middle, y + 32, title, 17, 'text-anchor="middle" font-weight="bold"'),
        text(middle, y + 56, work),
        arrow(middle, y + STEP_H + 2, middle, y + STEP_H + 22),
        text(middle, y + STEP_H + 40, result),
    ]
    if number < len(STEPS) - 1:
        parts.append(arrow(x + STEP_W + 3, y + STEP_H / 2, x + STEP_W + 23, y + STEP_H / 2))
    return parts


def layers() -> list[str]:
    """The layers of the first contract of import-linter, the highest first."""
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return list(contracts[0]["layers"])


def picture() -> str:
    """The text of the SVG."""
    names = layers()
    top = 246
    height = top + 40 + len(names) * LAYER_H
    parts = [part for number in range(len(STEPS)) for part in step(number, 66)]
    parts.append(text(24, top, "The rooms. A room imports only rooms below it.", 14, 'font-weight="bold"'))
    for number, name in enumerate(names):
        y = top + 16 + number * LAYER_H
        parts += [
            box(24, y, WIDTH - 48, LAYER_H - 4, "#f4f1e8"),
            text(36, y + 20, name.replace(" | ", ", "), 13, 'font-weight="bold"'),
            text(WIDTH - 36, y + 20, PURPOSE.get(name, ""), 13, 'text-anchor="end"'),
        ]
    head = (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>'
    )
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    return "\n".join([start, head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture())
