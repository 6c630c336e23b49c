"""The local server: the built page, and the endpoints of ``_api``."""

from __future__ import annotations

import json
from importlib.resources import files

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from carousel._errors import CarouselError
from carousel.serve._api import ENDPOINTS, answer
from carousel.serve._guard import Guard

__all__ = ["application"]

# What is served as a file, by its exact path: no path from a request reaches the file system.
PAGE = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/app.css": ("app.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

LARGEST_BODY_BYTES = 64 * 1024


def application(token: str, hosts: frozenset[str], model: object = None) -> Guard:
    """The whole application behind its guard; ``model`` is what its endpoints answer from."""
    routes = [Route(path, page, methods=["GET"]) for path in PAGE]
    routes += [Route(f"/api/{name}", api, methods=["POST"]) for name in ENDPOINTS]
    app = Starlette(routes=routes)
    app.state.model = model
    return Guard(app, token, hosts)


async def page(request: Request) -> Response:
    """A file of the built page."""
    name, kind = PAGE[request.url.path]
    content = (files("carousel.serve") / "page" / name).read_bytes()
    return Response(content, media_type=kind)


async def api(request: Request) -> Response:
    """One endpoint's answer, or the reason why there is none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY_BYTES:
            return refused("The request is too large.", 413)
    name = request.url.path.removeprefix("/api/")
    try:
        found = await run_in_threadpool(
            answer, name, json.loads(body or b"{}"), model=request.app.state.model
        )
    except (CarouselError, ValueError) as error:
        return refused(str(error), 400)
    return JSONResponse(found)


def refused(message: str, status: int) -> Response:
    """An error as the page reads it."""
    return JSONResponse({"error": message}, status)
