"""The local server: the built page, and the endpoints of ``_api``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from carousel._errors import CarouselError
from carousel.serve._api import ENDPOINTS, answer
from carousel.serve._guard import Guard
from carousel.serve._json import decoded, encoded
from carousel.serve._work import Abandoned, Desk, Job

__all__ = ["PAGE", "application"]

# What is served as a file, by its exact path: no path from a request reaches the file system.
PAGE = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/app.css": ("app.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/landing.js": ("landing.js", "text/javascript"),
}

LARGEST_BODY_BYTES = 64 * 1024
BODY_S = 10.0  # in which a body has to arrive
CLOSED_REQUEST = 499  # read by nobody: the client has left

log = logging.getLogger("carousel.serve")

Handler = Callable[[Request], Awaitable[Response]]


class RefusedError(CarouselError):
    """A request that is not looked into."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def application(
    token: str, hosts: frozenset[str], model: object = None, desk: Desk | None = None
) -> Guard:
    """The whole application behind its guard.

    Args:
        token: what a browser has to show once, in ``/?token=...``.
        hosts: what may stand in Host, port included: "127.0.0.1:8000".
        model: what endpoints about a model of one's own answer from.
        desk: where it is computed.
    """
    return Guard(Application(model, desk or Desk()), token, hosts)


class Application:
    """Routes by exact paths, as they came over the wire: nothing is decoded, joined or guessed."""

    def __init__(self, model: object, desk: Desk) -> None:
        self.model = model
        self.desk = desk
        self.routes: dict[str, tuple[tuple[str, ...], Handler]] = {}
        self.routes |= dict.fromkeys(PAGE, (("GET", "HEAD"), page))
        self.routes |= {f"/api/{name}": (("POST",), self.api) for name in ENDPOINTS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        methods, handler = self.routes.get(path_of(scope), ((), None))
        if handler is None:
            response = refused("There is nothing at this address.", 404)
        elif scope["method"] not in methods:
            response = refused(f"Only {' and '.join(methods)} here.", 405)
            response.headers["Allow"] = ", ".join(methods)
        else:
            response = await handler(Request(scope, receive))
        if scope["method"] == "HEAD":
            response.body = b""  # its length stays in the headers
        await response(scope, receive, send)

    async def api(self, request: Request) -> Response:
        """One endpoint's answer, or the reason why there is none."""
        name = path_of(request.scope).removeprefix("/api/")
        try:
            return await self.computed(name, await body_of(request), request)
        except (Abandoned, ClientDisconnect):
            return Response(status_code=CLOSED_REQUEST)
        except CarouselError as error:
            return refused(str(error), getattr(error, "status", 400))
        except Exception:
            log.exception("The computation of %s failed.", name)
            return refused("The computation failed; the terminal of the server says why.", 500)

    async def computed(self, name: str, body: bytes, request: Request) -> Response:
        """The answer, unless the client leaves before."""

        def run(proceed: Callable[[], None]) -> Response:
            proceed()  # one that was left while it waited does not begin
            try:
                found = answer(name, decoded(body), proceed, self.model)
            except RecursionError:
                raise CarouselError("The request is nested too deeply.") from None
            if isinstance(found, bytes):
                return Response(found, media_type="application/octet-stream")
            return Response(encoded(found), media_type="application/json")

        job = Job(request.scope["carousel.client"], name, run, ENDPOINTS[name].seconds)
        self.desk.submit(job)
        done = asyncio.wrap_future(job.future)
        left = asyncio.ensure_future(departure(request.receive))
        either: set[asyncio.Future[Any]] = {done, left}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                raise Abandoned
            return done.result()
        except asyncio.CancelledError:
            if done.cancelled():  # abandoned before it began, as the server closes
                raise Abandoned from None
            raise
        finally:
            left.cancel()
            if not job.future.done():
                self.desk.abandon(job)
            done.cancel()


def path_of(scope: Scope) -> str:
    """The path as it was sent: ``/%61pp.js`` and ``/..%2fapp.js`` are other paths than ours."""
    return str(scope["raw_path"].decode("latin-1"))


async def departure(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def page(request: Request) -> Response:
    """A file of the built page."""
    name, kind = PAGE[path_of(request.scope)]
    content = (files("carousel.serve") / "page" / name).read_bytes()
    return Response(content, media_type=kind)


async def body_of(request: Request) -> bytes:
    """The whole body; of one that is too large, no more is read than shows it.

    Raises:
        RefusedError: it is too large, too slow, or says to be no JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError("The request has to be application/json.", 415)
    too_large = RefusedError(f"A request has at most {LARGEST_BODY_BYTES} bytes.", 413)
    if declared(request.headers) > LARGEST_BODY_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_BODY_BYTES:
                    raise too_large
    except TimeoutError:
        raise RefusedError("The request did not arrive in time.", 408) from None
    return bytes(body)


def declared(headers: Headers) -> int:
    """The length that the headers promise; 0 where they do not."""
    told = headers.get("content-length", "")
    if len(told) > 15:
        return LARGEST_BODY_BYTES + 1
    return int(told) if told.isascii() and told.isdecimal() else 0


def refused(message: str, status: int) -> Response:
    """An error as the page reads it."""
    # What was not read of a body is not taken for the next request.
    headers = {"Connection": "close"} if status in (404, 405, 408, 413, 415) else None
    body = encoded({"error": message})
    return Response(body, status, headers=headers, media_type="application/json")
