"""Loads a registered patient model in a process that has imported nic."""

import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow.pyfunc import PyFuncModel

from nic.tracking.source_digest import PROJECT

ARTIFACTS = "artifacts"
"""Folder of a version's graphs and other files, which may be large."""


def load_version(folder: Path, config: Mapping[str, Any] | None = None) -> PyFuncModel:
    """The model in a folder that MLflow wrote, served by the code that is running.

    A version brings along the code that it was registered with, which serves it in an image. A process that has
    imported a newer nic cannot import that code as well: modules have other names in it.
    """
    copy = TemporaryDirectory(prefix="nic-version-")
    (Path(copy.name) / ARTIFACTS).symlink_to(folder.resolve() / ARTIFACTS)
    for file in filter(Path.is_file, folder.iterdir()):
        ours = PROJECT / "registry" / file.name
        shutil.copy(ours if ours.suffix == ".py" and ours.is_file() else file, copy.name)
    model: PyFuncModel = mlflow.pyfunc.load_model(copy.name, model_config=dict(config) if config else None)
    weakref.finalize(model, copy.cleanup)
    return model
