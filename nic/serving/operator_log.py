"""What the operator of a server can read: where it failed, and what it answered; never for whom."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nic.errors import SettingError
from nic.slides.messages import place_of

INTERNAL = "Internal: the server failed on this row; its operator finds where in the log"
"""What a client reads: the text of an unforeseen error may hold a path or a patient's name."""
REASON_PREFIX = "nic: "
"""Begins the reason why a request is refused. A server shows no other reason: MLflow's own words repeat rows."""
ANSWERS_LOG = "NIC_ANSWERS_LOG"
LOGGED = (
    *("score", "prediction", "class", "ood_score", "ood", "tiles", "failed_tiles", "codes_differ", "status"),
    *("model", "model_version"),
)
"""Fields of an answer that are logged, as far as it has them."""

_log = logging.getLogger("nic.serving")


def log_fault(what: str, error: BaseException) -> None:
    """Log the kind of an error and its place in the code. what: words without names of patients or files."""
    _log.error("%s: %s", what, place_of(error))


class AnswersLog:
    """A file of JSON lines, an answer each, for `monitor`; processes may share it."""

    def __init__(self, file: Path) -> None:
        """Raises SettingError when the file cannot be written."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise SettingError(f"{ANSWERS_LOG}={file}: cannot be written ({type(error).__name__})") from error

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "AnswersLog | None":
        """The file that NIC_ANSWERS_LOG names; None without it. Raises SettingError."""
        return cls(Path(environ[ANSWERS_LOG])) if environ.get(ANSWERS_LOG) else None

    def keep(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """Write all or none of them, in one write. On a full disk the log lacks lines; the answers are given."""
        rows = [{name: answer[name] for name in LOGGED if name in answer} for answer in answers]
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        try:
            written = os.write(self._file, lines)
            if written < len(lines):
                os.write(self._file, b"\n")  # ends the line that was cut; a reader skips it
        except OSError as error:
            log_fault("answers are not logged", error)
