"""Running the server on this machine."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterable

import torch
import uvicorn
from starlette.responses import Response

from carousel._errors import CarouselError
from carousel.learn import LessonRequest, lesson
from carousel.serve._api import ENDPOINTS
from carousel.serve._app import application
from carousel.serve._connection import Impatient
from carousel.serve._guard import Guard
from carousel.serve._work import Desk, Job

__all__ = ["serve"]

LOOPBACK = "127.0.0.1"
HTTP = 80  # the port that browsers leave out
MOST_CONNECTIONS = 1024


def serve(
    say: Callable[[str], None],
    port: int = 0,
    *,
    browser: bool = True,
    at: str = "",
    model: object = None,
    host: str = LOOPBACK,
    names: Iterable[str] = (),
    allow_remote: bool = False,
) -> None:
    """Serve the page until interrupted.

    Args:
        say: is told the address, token included, when connections are accepted.
        port: 0 for any that is free.
        browser: open it.
        at: the part of the page to open, such as "#/explorer".
        model: what endpoints about a model of one's own answer from.
        host: the address to listen at.
        names: by which other machines call this one; only these are answered to, and ``host``.
        allow_remote: listen at an address that other machines reach. Nothing is encrypted: whoever
            can read the traffic can read the token.

    Raises:
        CarouselError: the port is taken, the address is none of this machine, or other machines
            reach it and nobody allowed that.
    """
    if not (allow_remote or is_loopback(host)):
        raise CarouselError(
            f"{host} can be reached by other machines. Expected an address of this machine alone, "
            "such as 127.0.0.1, or --allow-remote, which says that this is meant."
        )
    called = known_names(host, names)
    with listening(host, port) as listener:
        port = listener.getsockname()[1]
        hosts = {f"{name}:{port}" for name in called} | {name for name in called if port == HTTP}
        desk = Desk()
        if model is None:
            begin_with_the_lesson(desk)
        guard = application(secrets.token_urlsafe(32), frozenset(hosts), model, desk)
        base = f"http://{called[0]}:{port}/?token="
        say(f"{base}{guard.token}{at}")
        if browser:  # in a thread: one that runs in the terminal returns when it is closed
            opened = f"{base}{guard.token_for_once()}{at}"
            threading.Thread(target=webbrowser.open, args=(opened,), daemon=True).start()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # what the page asks for is small: more would wait for each other
        try:
            Server(configuration(guard), desk).run(sockets=[listener])
        finally:
            torch.set_num_threads(threads)
            desk.close()


def begin_with_the_lesson(desk: Desk) -> None:
    """Measure its networks, which takes seconds, while the browser is on its way."""

    def run(proceed: Callable[[], None]) -> Response:
        lesson(LessonRequest(), proceed)
        return Response()

    desk.submit(Job("", "lesson", run, ENDPOINTS["lesson"].seconds))


class Server(uvicorn.Server):
    """Uvicorn's; before it waits for its requests to end, it ends them."""

    def __init__(self, config: uvicorn.Config, desk: Desk) -> None:
        super().__init__(config)
        self.desk = desk

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Abandon what is computed."""
        self.desk.close(seconds=0)
        await super().shutdown(sockets)


def configuration(guard: Guard) -> uvicorn.Config:
    """No headers of proxies, no WebSockets, no log of addresses, and limits."""
    return uvicorn.Config(
        guard,
        loop="asyncio",
        http=Impatient,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
    )


def known_names(host: str, names: Iterable[str]) -> list[str]:
    """What this server answers to, the first to be printed.

    Raises:
        CarouselError: nobody could know how others call it.
    """
    address = as_address(host)
    everywhere = address is not None and address.is_unspecified
    called = [*map(spelled, names), *([] if everywhere else [spelled(host)])]
    if is_loopback(host):
        called.append("localhost")
    if not called:
        raise CarouselError(
            f"{host} stands for every address of this machine, and no request is answered that "
            "does not name this server: say by which name or address others call it (--name)."
        )
    return called


def as_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a text is, or None."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Does it lead back to this machine alone?"""
    address = as_address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def spelled(host: str) -> str:
    """As in a URL, where IPv6 stands in brackets."""
    return f"[{host.lower()}]" if ":" in host else host.lower()


def listening(host: str, port: int) -> socket.socket:
    """A socket that already accepts connections: what is said about it is true.

    Raises:
        CarouselError: there is none.
    """
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(where[:2], family=family, backlog=1024)
    except OSError as error:
        raise CarouselError(
            f"Port {port} of {host} cannot be used ({error}). Name another, or leave it out."
        ) from error
