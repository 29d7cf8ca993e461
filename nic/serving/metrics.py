"""Counts and times for Prometheus, never who or what was asked for. Importing this module registers them."""

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import Counter, Histogram

from nic.serving.operator_log import INTERNAL

REQUESTS = Counter(
    "nic_requests",
    "Requests by the answer's HTTP status; 500 also where some rows met a fault of the server's own",
    ["status"],
)
SECONDS = Histogram("nic_request_seconds", "Time to answer", buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60))
PATIENTS = Counter("nic_patients", "Patients by status: ok, partial, refused", ["status"])
TILES = Counter("nic_tiles", "Tiles behind the answers")
FAILED_TILES = Counter("nic_failed_tiles", "Tiles that could not be decoded")
FAULTS = Counter("nic_row_faults", "Patients refused, in part or whole, by a fault of the server's own")
STRANGE = Counter("nic_out_of_distribution", "Patients unlike those of training")

# Counters start at 0: an alarm sees the first rise, and workers that share them need no more disk later.
for _status in ("200", "400", "413", "415", "500", "504"):
    REQUESTS.labels(_status)
for _status in ("ok", "partial", "refused"):
    PATIENTS.labels(_status)


def count_request(status: int, seconds: float) -> None:
    REQUESTS.labels(str(status)).inc()
    SECONDS.observe(seconds)


def count_answers(answers: Sequence[Mapping[str, Any]]) -> None:
    """answers: as they are sent, one a patient."""
    for answer in answers:
        PATIENTS.labels(answer["status"]).inc()
        TILES.inc(answer["tiles"])
        FAILED_TILES.inc(answer["failed_tiles"])
        STRANGE.inc(bool(answer["ood"]))
        FAULTS.inc(INTERNAL in answer["reason"])


def status_to_count(status: int, answers: Sequence[Mapping[str, Any]]) -> int:
    """500 in place of 200 if the server failed on a row, because alarms watch for 5xx."""
    return 500 if any(INTERNAL in answer["reason"] for answer in answers) else status
