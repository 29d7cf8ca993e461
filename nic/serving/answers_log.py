"""What a server answered, without who was asked for: the rows that `monitor` compares with training."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KEPT = ("score", "prediction", "ood_score", "ood", "tiles", "failed_tiles", "status", "model", "model_version")


class AnswersLog:
    """A file of JSON lines; processes may share it, a line is written at once or not at all."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def keep(self, answers: Sequence[Mapping[str, Any]]) -> None:
        for answer in answers:
            row = {name: answer[name] for name in KEPT if name in answer}  # an older model gives no score
            os.write(self._file, (json.dumps(row) + "\n").encode())
