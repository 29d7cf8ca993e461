"""Loads a registered patient model in a process that has imported nic."""

import weakref
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow.pyfunc import PyFuncModel

from nic.tracking.source_digest import PROJECT


def load_version(folder: Path, config: Mapping[str, Any] | None = None) -> PyFuncModel:
    """The model in a folder that MLflow wrote, served by the code that is running.

    A version brings along the code that it was registered with, which serves it in an image. A process that has
    imported a newer nic cannot import that code as well: modules have other names in it.
    """
    linked = TemporaryDirectory(prefix="nic-version-")
    for entry in folder.resolve().iterdir():
        if entry.name != "code":
            ours = PROJECT / "registry" / entry.name
            (Path(linked.name) / entry.name).symlink_to(ours if ours.suffix == ".py" and ours.is_file() else entry)
    model: PyFuncModel = mlflow.pyfunc.load_model(linked.name, model_config=dict(config) if config else None)
    weakref.finalize(model, linked.cleanup)
    return model
