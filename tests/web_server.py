"""A real server of the page inside the tests, and plain clients for it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from carousel.serve._app import application
from carousel.serve._guard import Guard
from carousel.serve._run import Server, configuration
from carousel.serve._work import Desk

TOKEN = "the-token"  # noqa: S105 - of the tests alone


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]  # names in small letters
    cookies: list[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @classmethod
    def of(cls, response: HTTPResponse) -> Answer:
        headers = {name.lower(): value for name, value in response.getheaders()}
        cookies = response.headers.get_all("set-cookie") or []
        return cls(response.status, headers, cookies, response.read())


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    port: int
    guard: Guard
    desk: Desk

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def enter(self) -> str:
        """The cookie of a new browser, as it sends it."""
        answer = self.send("GET", f"/?token={TOKEN}")
        assert answer.status == 303
        return answer.cookies[0].split(";")[0]

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            return Answer.of(connection.getresponse())
        finally:
            connection.close()

    def ask(self, name: str, request: object, cookie: str) -> Answer:
        return self.send("POST", f"/api/{name}", json.dumps(request).encode(), as_page(cookie))

    def raw(self, *parts: bytes, pause_s: float = 0.0) -> bytes:
        """All that comes back on a connection of its own for these very bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause_s)
            found = b""
            while chunk := connection.recv(65536):
                found += chunk
        return found


def as_page(cookie: str) -> dict[str, str]:
    """The headers of the page's own requests."""
    return {"Cookie": cookie, "Content-Type": "application/json"}


@contextmanager
def served(model: object = None) -> Iterator[Served]:
    """Run a server until the block is left."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
    desk = Desk()
    guard = application(TOKEN, hosts, model, desk)
    server = Server(configuration(guard), desk)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield Served(port, guard, desk)
    finally:
        server.should_exit = True
        thread.join(20)
        desk.close()
        listener.close()
        assert not thread.is_alive()
