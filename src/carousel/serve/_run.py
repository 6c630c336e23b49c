"""Running the server on this machine."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from collections.abc import Callable

import uvicorn

from carousel._errors import CarouselError
from carousel.serve._app import application

__all__ = ["serve"]


def serve(
    say: Callable[[str], None],
    port: int = 0,
    *,
    browser: bool = True,
    at: str = "",
    model: object = None,
) -> None:
    """Serve the page on 127.0.0.1 until interrupted.

    Args:
        say: is told the address, token included, when the server is about to answer.
        port: 0 for any that is free.
        browser: open it.
        at: the part of the page to open, such as "#/explorer".
        model: what endpoints about a model of one's own answer from.

    Raises:
        CarouselError: the port is taken.
    """
    listener = socket.socket()
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise CarouselError(
            f"Port {port} of 127.0.0.1 cannot be used ({error}). Name another, or leave it out."
        ) from error
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(32)
    hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
    config = uvicorn.Config(
        application(token, hosts, model), log_level="warning", server_header=False
    )
    address = f"http://127.0.0.1:{port}/?token={token}{at}"
    say(address)
    if browser:
        webbrowser.open(address)
    with listener:
        uvicorn.Server(config).run(sockets=[listener])
