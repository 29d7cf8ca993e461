"""A web server of slides on this machine; some of its files behave badly."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Archive(ThreadingHTTPServer):
    """Serves a folder. A file whose name is a way of misbehaving misbehaves like that, in any folder.

    requests: "GET /wsi/a.tif" and so on; headers: of each request. redirect_to: the target of `redirect`. ended: set
    when answers that keep a client waiting should stop.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.requests, self.headers = folder, list[str](), list[dict[str, str]]()
        self.redirect_to, self.ended = "", threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: clients that leave are part of these tests."""


class Handler(SimpleHTTPRequestHandler):
    server: Archive

    def __init__(self, request: Any, client_address: Any, server: Archive) -> None:
        super().__init__(request, client_address, server, directory=str(server.folder))

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(super().do_HEAD)

    def do_GET(self) -> None:
        self._answer(super().do_GET)

    def _answer(self, well: Any) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        self.server.headers.append(dict(self.headers))
        getattr(self, f"_{Path(self.path).stem}", well)()

    def _head(self, status: int = 200, **headers: object) -> bool:
        """Whether a body is wanted."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        return self.command == "GET"

    def _redirect(self) -> None:
        self._head(302, Location=self.server.redirect_to, ETag="r", Content_Length=0)

    def _forbidden(self) -> None:
        self._head(403, Content_Length=0)

    def _silent(self) -> None:
        self.server.ended.wait(60)

    def _stalling(self) -> None:
        if self._head(ETag="s", Content_Length=1000):
            self.wfile.write(b"s" * 500)
            self.wfile.flush()
            self.server.ended.wait(60)

    def _dripping(self) -> None:
        if self._head(ETag="d", Content_Length=1000):
            while not self.server.ended.wait(0.05):
                self.wfile.write(b"d")
                self.wfile.flush()

    def _large(self) -> None:
        self._head(ETag="l", Content_Length=10**13)

    def _endless(self) -> None:
        """States a small size, and never ends."""
        if self.command == "HEAD":
            self._head(ETag="e", Content_Length=1000)
            return
        self._head(ETag="e")
        while not self.server.ended.is_set():
            self.wfile.write(b"e" * (1 << 20))

    def _short(self) -> None:
        if self._head(ETag="h", Content_Length=1000 if self.command == "HEAD" else 10):
            self.wfile.write(b"h" * 10)

    def _sizeless(self) -> None:
        if self._head(ETag="z"):
            self.wfile.write(b"z" * 1000)

    def _nameless(self) -> None:
        """States neither a tag nor a date."""
        if self._head(Content_Length=1000):
            self.wfile.write(b"n" * 1000)

    def _changing(self) -> None:
        if self._head(ETag=len(self.server.requests), Content_Length=1000):
            self.wfile.write(b"c" * 1000)

    def _packed(self) -> None:
        if self._head(ETag="p", Content_Length=1000, Content_Encoding="gzip"):
            self.wfile.write(b"p" * 1000)


@contextmanager
def archive(folder: Path) -> Iterator[Archive]:
    server = Archive(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
