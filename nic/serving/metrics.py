"""What Prometheus is told of a server: counts and times, never who or what was asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import Counter, Histogram

REQUESTS = Counter("nic_requests", "Requests by the answer's HTTP status", ["status"])
SECONDS = Histogram("nic_request_seconds", "Time to answer", buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60))
PATIENTS = Counter("nic_patients", "Patients by status: ok, partial, refused", ["status"])
TILES = Counter("nic_tiles", "Tiles behind the answers")
FAILED_TILES = Counter("nic_failed_tiles", "Tiles that could not be decoded")
STRANGE = Counter("nic_out_of_distribution", "Patients unlike those of training")


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
