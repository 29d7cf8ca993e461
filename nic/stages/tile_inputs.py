"""The tile tasks of a study, and what the stages of an encoder read, as digests by name."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from nic.errors import EncoderError, StudyError
from nic.graphs.files import graph_sha256
from nic.study import read_study
from nic.tasks.read_task import read_task
from nic.tasks.tile_task import TileTask
from nic.tracking.digests import digest
from nic.tracking.registry import ENCODER_MODEL, encoder_file, serving_digest
from nic.tracking.runs import SERVING


def selected_tasks(study_file: Path, names: Sequence[str] = ()) -> list[TileTask]:
    """The tasks of these names; all where there are none. Raises StudyError for a task that the study lacks."""
    entries = {entry.name: entry for entry in read_study(study_file).tile_tasks}
    if not entries:
        raise StudyError(f"{study_file.name}: no tile_tasks; add labelled tiles, which an encoder learns from")
    if unknown := [name for name in names if name not in entries]:
        raise StudyError(f"{study_file.name}: no tile task {unknown[0]!r}; it has {', '.join(entries)}")
    return [read_task(entries[name]) for name in names or entries]


def tasks_digest(tasks: Iterable[TileTask]) -> str:
    return digest({task.name: task.digest for task in tasks})


def training_inputs(study_file: Path, tasks: Sequence[str]) -> dict[str, str]:
    return {"tasks": tasks_digest(selected_tasks(study_file, tasks)), SERVING: serving_digest(ENCODER_MODEL)}


def probe_inputs(encoders: Sequence[str], study_file: Path, tasks: Sequence[str]) -> dict[str, str]:
    graphs = digest({uri: graph_sha256(encoder_file(uri)) for uri in encoders})
    return {"tasks": tasks_digest(selected_tasks(study_file, tasks)), "encoders": graphs}


def import_inputs(source: Path, name: str, study: str) -> dict[str, str]:
    """study: a study file with tiles to measure the codes on, or empty. Raises EncoderError without a source."""
    if not source.is_file():
        raise EncoderError(f"{source}: no such file")
    tasks = tasks_digest(selected_tasks(Path(study))) if study else ""
    made_of = {"source": graph_sha256(source), "name": name}
    return made_of | {"measured_on": tasks, SERVING: serving_digest(ENCODER_MODEL)}
