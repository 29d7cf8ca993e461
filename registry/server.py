"""A registered model over HTTP for a hospital: MLflow's scoring app behind a token, with metrics and terse errors.

    NIC_API_TOKEN=... NIC_SLIDE_ROOTS=/slides \\
      python -m registry.server models:/nic-<endpoint>@champion --port 5999 --workers 2

A worker that dies is started again. One that does not answer its reference does not start, and ends the server.
"""

import argparse
import hmac
import ipaddress
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import uvicorn
from fastapi import FastAPI
from mlflow.pyfunc import scoring_server
from prometheus_client import CollectorRegistry, make_asgi_app, multiprocess
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nic.errors import RequestRefused, SettingError, SmokeFailed
from nic.serving.limits import number
from nic.serving.metrics import count_answers, count_request, status_to_count
from nic.serving.operator_log import REASON_PREFIX, log_fault
from nic.serving.requests import check_columns, columns_in
from nic.tracking.version_loader import load_version

SHARED_COUNTS = "PROMETHEUS_MULTIPROC_DIR"
"""Folder in which workers share their counts; prometheus_client reads this variable when it is imported."""
LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")
OPEN_PATHS = ("/health", "/ping", "/version")
REASONS = {
    400: "the request cannot be read; wanted JSON with dataframe_records, as docs/serving.md shows",
    401: "wanted Authorization: Bearer <token>",
    403: "this server has no NIC_API_TOKEN, and answers only its own machine",
    413: "the request is too large; ask in parts",
    504: "not answered in time; compress the slide, and give the file of its codes",
}
"""What a client reads in place of MLflow's own words, which repeat its rows and may hold a stack trace."""
UNREADABLE_BODY = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What MLflow raises for a body that it cannot read; the model itself raises MlflowException alone."""


def app() -> FastAPI:
    """Raises SmokeFailed when the model has no reference, or does not answer it as at registration."""
    guard = admission(os.environ)
    model = load_version(Path(mlflow.artifacts.download_artifacts(os.environ["NIC_MODEL"])))
    if not model.unwrap_python_model().proven:  # type: ignore[no-untyped-call]
        raise SmokeFailed("the model was registered without a reference; train and register it again")
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # its warnings repeat rows
    logging.getLogger("uvicorn.error").addFilter(_without_stack)
    logging.getLogger("uvicorn.access").disabled = True  # however uvicorn was started: it would log who asked when
    served: FastAPI = scoring_server.init(model)
    served.mount("/metrics", _metrics())
    most_bytes = number(os.environ, "NIC_MAX_MB", int, 64) << 20
    served.add_middleware(Guard, most_bytes=most_bytes, **guard)
    return served


def admission(environ: Mapping[str, str]) -> dict[str, Any]:
    """`token` and `anybody` of a Guard. Raises SettingError."""
    token, anybody = environ.get("NIC_API_TOKEN", "").strip(), environ.get("NIC_OPEN", "").lower()
    if anybody not in ("", "true", "false"):
        raise SettingError("NIC_OPEN: wanted true or false")
    return {"token": token, "anybody": anybody == "true"}


def _without_stack(record: logging.LogRecord) -> bool:
    """Drop stack traces, which may hold rows, from the log."""
    record.exc_info = None
    return True


def _metrics() -> Any:
    if SHARED_COUNTS not in os.environ:
        return make_asgi_app()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return make_asgi_app(registry=registry)


@dataclass(frozen=True)
class Guard:
    """ASGI middleware. most_bytes: of a request's body. token: required on all but OPEN_PATHS. If it is empty, only
    connections to a local address (127.0.0.1, ::1, a socket file) are let in, or all if `anybody`."""

    app: ASGIApp
    most_bytes: int
    token: str
    anybody: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif refusal := self._refusal(scope):
            await _refuse(send, refusal)
        elif scope["path"] != "/invocations":
            await self.app(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> int:
        """401 or 403; 0 if the request is let in."""
        if scope["path"] in OPEN_PATHS:
            return 0
        if not self.token:
            return 0 if self.anybody or _is_local(scope) else 403
        header = dict(scope["headers"]).get(b"authorization", b"")
        return 0 if hmac.compare_digest(header, f"Bearer {self.token}".encode()) else 401

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole answer is held back, so that an error can be answered in our own words."""
        start, status, counted = time.monotonic(), 500, 500
        answer, reason = b"", ""
        headers: list[tuple[bytes, bytes]] = []
        try:
            status, headers, answer, reason = await self._forward(scope, receive)
            answers = json.loads(answer)["predictions"] if status == 200 else []
            count_answers(answers)
            counted = status_to_count(status, answers)
        except Exception as error:
            log_fault("a request failed", error)
            status = counted = 500
        finally:
            count_request(counted, time.monotonic() - start)
        if status == 200:
            await _send(send, 200, headers, answer)
        else:
            await _refuse(send, status, reason)

    async def _forward(self, scope: Scope, receive: Receive) -> tuple[int, list[tuple[bytes, bytes]], bytes, str]:
        """Status, headers and body of MLflow's answer, and our reason if this server or the model refused the request.

        An unknown column is refused here, because MLflow drops it: without a misspelt `mpp`, a slide would be answered
        for at another um/px.
        """
        body = await _body(receive, self.most_bytes)
        if body is None:
            return 413, [], b"", ""
        content_type = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
        if not content_type:  # MLflow would fail
            return 400, [], b"", ""
        try:
            if columns := columns_in(body, content_type):
                check_columns(columns)
        except RequestRefused as refusal:
            return 400, [], b"", str(refusal)
        status, headers, answer = 500, [], bytearray()

        async def receive_body() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def hold_back(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], message["headers"]
            else:
                answer.extend(message.get("body", b""))

        try:
            await self.app(scope, receive_body, hold_back)
        except UNREADABLE_BODY:
            return 400, [], b"", ""
        return status, headers, bytes(answer), _own_reason(bytes(answer)) if status == 400 else ""


def _is_local(scope: Scope) -> bool:
    """Whether a connection came to an address that no other machine can reach.

    The socket's own address tells it; the client's may be what a proxy claims.
    """
    host, port = scope.get("server") or ("", 0)
    try:
        return port is None or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _own_reason(answer: bytes) -> str:
    """The model's reason out of MLflow's message."""
    try:
        message = str(json.loads(answer)["message"])
    except (ValueError, LookupError, TypeError):
        return ""
    _, _, reason = message.rpartition("\nError: ")
    return reason.removeprefix(REASON_PREFIX) if reason.startswith(REASON_PREFIX) else ""


async def _body(receive: Receive, most_bytes: int) -> bytes | None:
    """The body, or None as soon as it is too large or the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        body.extend(message.get("body", b""))
        if len(body) > most_bytes or message["type"] == "http.disconnect":
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _refuse(send: Send, status: int, reason: str = "") -> None:
    default = REASONS.get(status, REASONS[400] if status < 500 else "the server failed")
    content = json.dumps({"error": reason or default}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await _send(send, status, headers, content)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], content: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def refuse_unguarded(host: str) -> None:
    """Exit if a server without a token would refuse everybody who can reach it."""
    guard = admission(os.environ)
    if not (guard["token"] or guard["anybody"] or host in LOCAL_HOSTS):
        sys.exit(
            f"--host {host}: without NIC_API_TOKEN only this machine is answered; set a token "
            "(openssl rand -hex 24), or pass --open if anybody who can reach the port may ask"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", help="models:/nic-<endpoint>@champion")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5999)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--open", action="store_true", help="answer anybody who can reach the port, without a token")
    arguments = parser.parse_args()
    if arguments.open:
        os.environ["NIC_OPEN"] = "true"
    refuse_unguarded(arguments.host)
    os.environ["NIC_MODEL"] = arguments.model
    with tempfile.TemporaryDirectory(prefix="nic-counts-") as counts:
        if arguments.workers > 1:  # one worker is this process, whose prometheus_client has read it already
            os.environ[SHARED_COUNTS] = counts
        uvicorn.run(
            "registry.server:app",
            factory=True,
            host=arguments.host,
            port=arguments.port,
            workers=arguments.workers,
            access_log=False,
            server_header=False,
            timeout_worker_healthcheck=60,
        )


if __name__ == "__main__":
    main()
