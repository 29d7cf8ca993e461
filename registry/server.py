"""A registered model over HTTP for a hospital: MLflow's scoring app behind a token, with metrics and mute errors.

    NIC_API_TOKEN=... NIC_SLIDE_ROOTS=/slides \\
      python -m registry.server models:/nic-<endpoint>@champion --port 5999 --workers 2

A worker that dies is started again; one that does not answer its reference never comes up, and ends the server.
"""

import argparse
import hmac
import json
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import uvicorn
from fastapi import FastAPI
from mlflow.pyfunc import scoring_server
from prometheus_client import CollectorRegistry, make_asgi_app, multiprocess
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nic.errors import SmokeFailed
from nic.serving.answers_log import AnswersLog
from nic.serving.metrics import count_answers, count_request

SHARED_COUNTS = "PROMETHEUS_MULTIPROC_DIR"
"""Folder in which workers leave their counts for whichever of them is asked; prometheus_client reads it at import."""
OPEN_PATHS = ("/health", "/ping", "/version")
REASONS = {
    400: "the request cannot be read; wanted JSON with dataframe_records, as docs/serving.md shows",
    401: "wanted Authorization: Bearer <token>",
    413: "the request is too large; ask in parts",
    504: "not answered in time; compress the slide, and give the file of its codes",
}
"""What a client is told in place of MLflow's own words, which repeat its rows and may hold a stack trace."""


def app() -> FastAPI:
    """Comes up only when the model has given its smoke answer. Raises SmokeFailed."""
    model = mlflow.pyfunc.load_model(os.environ["NIC_MODEL"])
    if not model.unwrap_python_model().proven:
        raise SmokeFailed("the model was registered without a reference; train and register it again")
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # its warnings repeat rows
    logging.getLogger("uvicorn.error").addFilter(_without_stack)
    served: FastAPI = scoring_server.init(model)
    served.mount("/metrics", _metrics())
    log = AnswersLog(Path(os.environ["NIC_ANSWERS_LOG"])) if "NIC_ANSWERS_LOG" in os.environ else None
    most_bytes = int(os.environ.get("NIC_MAX_MB", 64)) << 20
    served.add_middleware(Guard, token=os.environ.get("NIC_API_TOKEN", ""), most_bytes=most_bytes, log=log)
    return served


def _without_stack(record: logging.LogRecord) -> bool:
    """A stack trace may hold rows; what failed is said without it."""
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
    """ASGI middleware. token: demanded of all but OPEN_PATHS, unless empty. most_bytes: of a request's body."""

    app: ASGIApp
    token: str
    most_bytes: int
    log: AnswersLog | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif not self._admits(scope):
            await _refuse(send, 401)
        elif scope["path"] != "/invocations":
            await self.app(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        wanted = f"Bearer {self.token}".encode()
        return not self.token or scope["path"] in OPEN_PATHS or hmac.compare_digest(given, wanted)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole answer is held back, so that what went wrong can be said in words of our own."""
        start, status = time.monotonic(), 500
        try:
            status, headers, answer = await self._asked(scope, receive)
        finally:
            count_request(status, time.monotonic() - start)
        if status != 200:
            await _refuse(send, status)
            return
        answers = json.loads(answer)["predictions"]
        count_answers(answers)
        if self.log:
            self.log.keep(answers)
        await _send(send, 200, headers, answer)

    async def _asked(self, scope: Scope, receive: Receive) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body of what MLflow would send."""
        body = await _body(receive, self.most_bytes)
        if body is None:
            return 413, [], b""
        if b"content-type" not in dict(scope["headers"]):  # MLflow would fail
            return 400, [], b""
        status, headers, answer = 500, [], bytearray()

        async def given() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def held_back(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], message["headers"]
            else:
                answer.extend(message.get("body", b""))

        await self.app(scope, given, held_back)
        return status, headers, bytes(answer)


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


async def _refuse(send: Send, status: int) -> None:
    content = json.dumps({"error": REASONS.get(status, REASONS[400] if status < 500 else "the server failed")}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await _send(send, status, headers, content)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], content: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", help="models:/nic-<endpoint>@champion")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5999)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nic-counts-") as counts:
        os.environ.update({"NIC_MODEL": asked.model, SHARED_COUNTS: counts})
        uvicorn.run(
            "registry.server:app",
            factory=True,
            host=asked.host,
            port=asked.port,
            workers=asked.workers,
            access_log=False,
            server_header=False,
            timeout_worker_healthcheck=60,
        )


if __name__ == "__main__":
    main()
