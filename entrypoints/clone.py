"""A project that MLflow has cloned from a git address: what is written below it is lost with it."""

import re
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from nic.errors import RequestRefused

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

WRITTEN = ("work", "out", "maps")
"""Parameters of entry points that name what is written."""
READ = ("study", "gates", "slides", "codes", "features", "answers", "source")
"""Those that name what is read."""


def is_temporary(project: Path) -> bool:
    """Whether the project lies in a folder that Python's tempfile made, as MLflow's clones do."""
    return project.parent == Path(tempfile.gettempdir()).resolve() and bool(re.fullmatch(r"tmp\w{8}", project.name))


def check_paths(config: "DataclassInstance", project: Path) -> None:
    """Raises RequestRefused for a path below a clone that is written, or is read and is not in the repository."""
    for field in fields(config):
        value = str(getattr(config, field.name))
        if not value or ":" in value or Path(value).is_absolute():
            continue
        if field.name in WRITTEN:
            problem = "would be written into the clone of a git address, which nobody keeps"
        elif field.name in READ and not any(project.glob(value)):
            problem = "is not in the repository, which is cloned from a git address"
        else:
            continue
        raise RequestRefused(f"{field.name}={value}: {problem}; give an absolute path: -P {field.name}=/...")
