"""Faults of the server's own: a row that meets one is refused alone, and the operator's log says where, not of whom."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nic.errors import SettingError
from nic.slides.messages import place_of

INTERNAL = "Internal: the server failed on this row; its operator finds where in the log"
"""What a client is told: the text of an unforeseen error may hold a path or a patient's name."""
OURS = "nic: "
"""Begins the reason of a request that is refused, by which a server tells it from MLflow's words, which repeat rows."""

_log = logging.getLogger("nic.serving")


def log_fault(what: str, error: BaseException) -> None:
    """what: words without names of patients or files."""
    _log.error("%s: %s", what, place_of(error))


LOG = "NIC_ANSWERS_LOG"
KEPT = (
    *("score", "prediction", "ood_score", "ood", "tiles", "failed_tiles", "codes_differ", "status"),
    *("model", "model_version"),
)
"""Those of an answer that are kept, as far as it has them."""


class AnswersLog:
    """A file of JSON lines; processes may share it. Raises SettingError when it cannot be written."""

    def __init__(self, file: Path) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise SettingError(f"{LOG}={file}: cannot be written ({type(error).__name__})") from error

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "AnswersLog | None":
        """The file that NIC_ANSWERS_LOG names, if it does. Raises SettingError."""
        return cls(Path(environ[LOG])) if environ.get(LOG) else None

    def keep(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """All or none of them, in one write. A full disk costs the log some lines, and nobody an answer."""
        rows = [{name: answer[name] for name in KEPT if name in answer} for answer in answers]
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        try:
            written = os.write(self._file, lines)
            if written < len(lines):
                os.write(self._file, b"\n")  # ends the line that was cut; whoever reads passes it over
        except OSError as error:
            log_fault("answers are not logged", error)
