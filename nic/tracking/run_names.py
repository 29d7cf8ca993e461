"""What a run is called in the list of runs: what it does, and with what."""

from collections.abc import Mapping
from pathlib import PurePath
from string import Formatter

NAMES = {
    "main": "study {study}",
    "check_study": "check {study}",
    "make_phantom": "make phantom",
    "train_encoder": "train nic-encoder, {objective}",
    "import_encoder": "import {source} as nic-encoder",
    "probe_encoder": "probe {encoders}",
    "compress": "compress {slides} with {encoder}",
    "import_features": "import {features} of {layout}",
    "export_features": "export {codes} as {layout}",
    "train_patients": "train {register_as}",
    "evaluate": "evaluate {model} on {split}",
    "draw_maps": "draw maps of {model}",
    "compare": "compare {model} with {other}",
    "compare_networks": "compare networks on {study}",
    "promote": "promote {model}",
    "rollback": "roll back {name}",
    "predict": "predict {slides} with {model}",
    "monitor": "monitor {model}",
}
"""By entry point, with its parameters in braces. An entry point that is not listed is called by its own name."""
MODELS = "models:/"
TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".yaml", ".yml")
"""Endings of tables and study files, which a name leaves out."""


def run_name(stage: str, parameters: Mapping[str, object]) -> str:
    """The name of a run of an entry point with these parameters, such as `evaluate nic-marker/2 on external`."""
    pattern = NAMES.get(stage, "")
    wanted = {name for _, name, _, _ in Formatter().parse(pattern) if name}
    if not pattern or not wanted <= parameters.keys():
        return stage.replace("_", " ")
    words = {name: _word(parameters[name]) for name in wanted}
    if "register_as" in wanted and not words["register_as"]:
        words["register_as"] = f"nic-{parameters.get('endpoint')}"
    return " ".join(pattern.format(**words).split())


def _word(value: object) -> str:
    """Of a model its name and version, of a path its last part, of any other value the value."""
    text = str(value)
    if text.startswith(MODELS):
        return text.removeprefix(MODELS)
    name = PurePath(text).name
    return name.removesuffix(PurePath(name).suffix) if name.endswith(TABLES) else name
