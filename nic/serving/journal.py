"""Answers that are kept as soon as they are known, so that a batch that died goes on where it was."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Journal:
    """A file of JSON lines, an answer each, by a key that says what was asked; threads may share it.

    A line that a dying process left half-written is passed over, and what it would have said is asked again.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.answers = _read(file)
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if file.stat().st_size:
            os.write(self._file, b"\n")  # ends a line that was cut

    def keep(self, key: str, answer: Mapping[str, Any]) -> None:
        os.write(self._file, (json.dumps([key, answer]) + "\n").encode())
        self.answers[key] = dict(answer)

    def close(self) -> None:
        os.close(self._file)


def _read(file: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for line in file.read_text(errors="replace").splitlines() if file.is_file() else []:
        try:
            key, answer = json.loads(line)
        except ValueError:
            continue
        found[key] = answer
    return found
