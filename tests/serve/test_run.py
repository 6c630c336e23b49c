"""Where the server listens, what it calls itself, and what it tells whom."""

from __future__ import annotations

import re
import socket
import threading
from http.client import HTTPConnection

import pytest
import torch

from carousel import CarouselError
from carousel.serve import _run, serve
from carousel.serve._run import known_names, listening


class Stopped(Exception):  # noqa: N818 - not an error
    """In the place of a server that runs."""


@pytest.mark.parametrize(
    ("host", "names", "known"),
    [
        ("127.0.0.1", [], ["127.0.0.1", "localhost"]),
        ("localhost", [], ["localhost", "localhost"]),
        ("::1", [], ["[::1]", "localhost"]),
        ("127.0.0.1", ["Tunnel.example"], ["tunnel.example", "127.0.0.1", "localhost"]),
        ("192.0.2.7", [], ["192.0.2.7"]),
        ("Lab.example", [], ["lab.example"]),
        ("0.0.0.0", ["lab", "2001:DB8::1"], ["lab", "[2001:db8::1]"]),  # noqa: S104
        ("::", ["lab"], ["lab"]),
    ],
)
def test_what_it_answers_to(host: str, names: list[str], known: list[str]) -> None:
    assert known_names(host, names) == known


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_every_address_has_no_name(host: str) -> None:
    with pytest.raises(CarouselError, match="--name"):
        known_names(host, [])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "lab.example", ""])  # noqa: S104
def test_others_are_let_in_only_on_purpose(host: str) -> None:
    with pytest.raises(CarouselError, match="--allow-remote"):
        serve(pytest.fail, host=host, names=["lab"])


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CarouselError, match=rf"Port {port} of 127\.0\.0\.1 cannot be used"):
            listening("127.0.0.1", port)


def test_the_opened_browser_has_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    came = threading.Event()
    threads = torch.get_num_threads()

    def run(server: _run.Server, sockets: list[socket.socket]) -> None:
        assert torch.get_num_threads() == 1
        assert came.wait(20)
        guard = server.config.app
        printed, once = (re.findall(r"token=([^#]+)", said[0])[0] for said in (told, opened))
        assert printed != once
        assert [guard.accepts(one) for one in (printed, once, printed, once)] == [
            True,
            True,
            True,
            False,
        ]
        assert sockets[0].getsockname()[0] == "127.0.0.1"
        raise Stopped

    monkeypatch.setattr(_run.webbrowser, "open", lambda at: (opened.append(at), came.set()))
    monkeypatch.setattr(_run.Server, "run", run)
    told: list[str] = []
    torch.set_num_threads(2)
    try:
        with pytest.raises(Stopped):
            serve(told.append, at="#/quiz")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert told[0].endswith("#/quiz")
    assert opened[0].endswith("#/quiz")


def test_connections_are_accepted_when_the_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(address: str) -> None:
        port = int(re.findall(r":(\d+)/", address)[0])
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.connect()
        connection.close()
        raise Stopped

    monkeypatch.setattr(_run.webbrowser, "open", pytest.fail)
    with pytest.raises(Stopped):
        serve(connect, browser=False)
