"""The task heads of an encoder: from codes to the class probabilities of its tile tasks. Needs no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.errors import EncoderError
from nic.graphs.device import CPU
from nic.graphs.run import OnnxGraph

HEADS_KEY = "nic.heads"
"""Of the spec in the metadata of heads.onnx."""


@dataclass(frozen=True)
class HeadsSpec:
    """What heads.onnx says of itself. encoder_sha256: digest of the encoder's graph. tasks: class names by task, in the
    order of the graph's outputs and of their columns."""

    encoder_sha256: str
    tasks: Mapping[str, Sequence[str]]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "HeadsSpec":
        """Raises KeyError, TypeError, ValueError."""
        fields = json.loads(text)
        return cls(fields["encoder_sha256"], {task: tuple(classes) for task, classes in fields["tasks"].items()})


class TaskHeads:
    """The heads of one encoder, as training had them in the encoder's best epoch.

    tasks: class names by task. encoder_sha256: of the encoder whose codes the heads take.
    """

    def __init__(self, graph: OnnxGraph, spec: HeadsSpec) -> None:
        self._graph = graph
        self.tasks, self.encoder_sha256 = spec.tasks, spec.encoder_sha256

    @classmethod
    def load(cls, path: Path) -> "TaskHeads":
        """path: of heads.onnx. Raises EncoderError naming the file when it is no graph of heads."""
        graph = OnnxGraph(path, threads=1, device=CPU)
        try:
            return cls(graph, HeadsSpec.from_json(graph.metadata[HEADS_KEY]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EncoderError(
                f"{path.name}: no readable {HEADS_KEY} metadata ({error!r}); wanted the heads.onnx that train_encoder "
                "writes beside an encoder"
            ) from error

    def probabilities(self, task: str, codes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Codes [N, D] of this encoder to class probabilities [N, K], in the order of the task's class names.

        Codes are stored in float16; in a trial that moved a probability by 1.5e-4 at most. Raises EncoderError for a
        task that the encoder was not taught, and for codes of another size.
        """
        if task not in self.tasks:
            raise EncoderError(
                f"{self._graph.path.name}: no head of task {task!r}; this encoder was taught {', '.join(self.tasks)}; "
                "name one of these, or train an encoder with that task"
            )
        return self._graph.run(codes=codes.astype(np.float32))[list(self.tasks).index(task)]
