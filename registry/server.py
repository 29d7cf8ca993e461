"""A registered model over HTTP for a hospital: MLflow's scoring app behind a token, with metrics and mute errors.

    NIC_MODEL=models:/nic-<endpoint>@champion NIC_API_TOKEN=... NIC_SLIDE_ROOTS=/slides \\
      uvicorn --factory registry.server:app --port 5999 --workers 2
"""

import hmac
import json
import os
import time
from dataclasses import dataclass

import mlflow
from fastapi import FastAPI
from mlflow.pyfunc import scoring_server
from prometheus_client import make_asgi_app
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nic.errors import RequestRefused
from nic.serving.metrics import count_answers, count_request

OPEN_PATHS = ("/health", "/ping", "/version")
REASONS = {
    400: "the request cannot be read; wanted JSON with dataframe_records, as docs/serving.md shows",
    401: "wanted Authorization: Bearer <token>",
    413: "the request is too large; ask in parts",
    504: "not answered in time; compress the slide, and give the file of its codes",
}
"""What a client is told in place of MLflow's own words, which repeat its rows and may hold a stack trace."""


def app() -> FastAPI:
    """Comes up only when the model has given its smoke answer, which loading it demands."""
    served: FastAPI = scoring_server.init(mlflow.pyfunc.load_model(os.environ["NIC_MODEL"]))
    served.mount("/metrics", make_asgi_app())
    served.add_middleware(Guard, token=os.environ.get("NIC_API_TOKEN", ""), most_bytes=_most_bytes())
    return served


def _most_bytes() -> int:
    return int(os.environ.get("NIC_MAX_MB", 64)) << 20


@dataclass(frozen=True)
class Guard:
    """ASGI middleware. token: demanded of all but OPEN_PATHS, unless empty. most_bytes: of a request's body."""

    app: ASGIApp
    token: str
    most_bytes: int

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
        """The whole body is held back, so that what went wrong can be said in words of our own."""
        start, status, body = time.monotonic(), 500, bytearray()
        started: Message = {}
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.most_bytes:
                raise RequestRefused("the body is too large")
            return message

        async def held_back(message: Message) -> None:
            nonlocal started, status
            if message["type"] == "http.response.start":
                started, status = message, message["status"]
            else:
                body.extend(message.get("body", b""))

        try:
            await self.app(scope, counted, held_back)
        except RequestRefused:
            status = 413
        count_request(status, time.monotonic() - start)
        if status != 200:
            await _refuse(send, status)
            return
        count_answers(json.loads(body)["predictions"])
        await send(started)
        await send({"type": "http.response.body", "body": bytes(body)})


async def _refuse(send: Send, status: int) -> None:
    content = json.dumps({"error": REASONS.get(status, REASONS[400] if status < 500 else "the server failed")}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
