"""The task heads that lie beside an encoder, of a registered version or of a file."""

from pathlib import Path

from nic.encoder.loading import load_encoder
from nic.encoder.spec import MULTITASK
from nic.encoder.task_heads import TaskHeads
from nic.errors import UnknownModel
from nic.graphs.files import HEADS_FILE
from nic.tracking.registry import encoder_file, find_version, model_folder


def heads_file(source: str) -> Path | None:
    """Path of the task heads of an encoder; None where there are none.

    source: as of `encoder_file`, a `models:/` URI, an .onnx file, or a folder with one. An encoder has no heads when it
    learned without labels, was imported, or was registered before heads were kept.
    """
    registered = source.startswith("models:/")
    folder = model_folder(find_version(source)) / "artifacts" if registered else encoder_file(source).parent
    path = folder / HEADS_FILE
    return path if path.is_file() else None


def load_heads(source: str) -> TaskHeads:
    """The task heads of an encoder. source: as of `heads_file`. Raises UnknownModel where it has none."""
    path = heads_file(source)
    if path:
        return TaskHeads.load(path)
    objective = load_encoder(encoder_file(source), device="cpu").spec.objective
    taught = "it was trained before they were kept; train it again with train_encoder"
    untaught = f"its objective is {objective}, which teaches no tasks; train an encoder with objective=multitask"
    raise UnknownModel(
        f"{source}: no task heads ({HEADS_FILE}) beside this encoder: {taught if objective == MULTITASK else untaught}"
    )
