"""Faults of the server's own: a row that meets one is refused alone, and the operator's log says where, not of whom."""

import logging

from nic.slides.faults import place_of

INTERNAL = "Internal: the server failed on this row; its operator finds where in the log"
"""What a client is told: the text of an unforeseen error may hold a path or a patient's name."""
OURS = "nic: "
"""Begins the reason of a request that is refused, by which a server tells it from MLflow's words, which repeat rows."""

_log = logging.getLogger("nic.serving")


def log_fault(what: str, error: BaseException) -> None:
    """what: words without names of patients or files."""
    _log.error("%s: %s", what, place_of(error))
