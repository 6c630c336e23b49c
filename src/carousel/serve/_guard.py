"""Who may ask: nothing is answered but to a browser that was given the token.

The address that ``carousel learn`` prints carries a token; it is exchanged for a cookie that no
script can read and no other site can send, and the answer leads to an address without it. The
browser that is opened gets a token of its own that works once: everybody on a machine can read with
which address a program was started.

Every request must name this server in Host, and in Origin where it has one, and what the browser
says of the page that sent it (Sec-Fetch-Site) must fit: a page elsewhere, a page of another server
on this machine, or a foreign name that resolves to it, is refused before all else is looked at.
What this cannot prevent: a cookie has no port, so another server on this machine, if one opens its
pages by the same name, is sent it too.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HEADERS", "Guard"]

HEADERS = {
    # Only what the page is built of; data: and blob: are how a figure becomes a PNG.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

ONCE_S = 120.0  # in which a browser that is opened has to come
MOST_SESSIONS = 1024  # browsers that are let in; the one that came first gives way

# A cookie that is SameSite=Strict does not come along a redirect that began on another site, such
# as a terminal in a web page; from a page of ours it does.
LANDING = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Carousel</title>'
    '<script src="/landing.js"></script>'
    '<noscript><meta http-equiv="refresh" content="0; url=/"></noscript>'
    '<p><a href="/">Open the page</a></p></html>'
)


class Guard:
    """Middleware around the whole application."""

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str]) -> None:
        self.app = app
        self.token = token
        self.hosts = hosts  # "127.0.0.1:8000"
        self.once: dict[str, float] = {}  # tokens that work one time each, and until when
        self.sessions: dict[bytes, None] = {}  # digests: to look them up tells nothing of them
        # Cookies have no port: two servers on one machine would overwrite each other's.
        self.cookie = f"carousel-{max(hosts, key=len).rpartition(':')[2]}"

    def token_for_once(self) -> str:
        """A token that lets in the first one who shows it."""
        token = secrets.token_urlsafe(32)
        self.once[token] = time.monotonic() + ONCE_S
        return token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no WebSocket is served
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in HEADERS.items()),
                ]
            await send(message)

        await self.admitted(scope)(scope, receive, guarded)

    def admitted(self, scope: Scope) -> ASGIApp:
        """The application, the way in, or the refusal."""
        headers = Headers(scope=scope)
        at_door = scope["raw_path"] == b"/" and scope["method"] == "GET"
        from_elsewhere = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if headers.getlist("host") not in [[host] for host in self.hosts]:
            return refusal(scope, "Unknown host: open the address that was printed.", 421)
        # A link to the page may be followed from anywhere; nothing else comes from elsewhere.
        if self.foreign(headers) or (from_elsewhere and not (at_door and followed(headers))):
            return refusal(scope, "Requests from other sites are refused.", 403)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if at_door and given:
            if self.accepts(given):
                return self.way_in(landing=from_elsewhere)
            return refusal(scope, "Wrong token: open the address that was printed.", 403)
        return self.known(scope, headers)

    def known(self, scope: Scope, headers: Headers) -> ASGIApp:
        """The application, for a browser that has been let in."""
        session = next(filter(self.knows, values(headers, self.cookie)), None)
        if session is None:
            return refusal(scope, "No token: open the address that was printed.", 403)
        if scope["method"] != "POST" and has_body(headers):  # nobody would read it
            return refusal(scope, "Only POST has a body.", 400)
        scope["carousel.client"] = session
        return self.app

    def foreign(self, headers: Headers) -> bool:
        """Does a page of another origin ask?"""
        origins = headers.getlist("origin")
        return bool(origins) and origins not in [[f"http://{host}"] for host in self.hosts]

    def accepts(self, token: str) -> bool:
        """Is it the printed token, or one that was not shown before?"""
        until = self.once.pop(
            token, None
        )  # of 256 random bits: timing the look-up tells too little
        if until is not None:
            return time.monotonic() < until
        return secrets.compare_digest(token.encode(), self.token.encode())

    def knows(self, session: str) -> bool:
        """Did this come from here, as a cookie?"""
        return digest(session) in self.sessions

    def way_in(self, *, landing: bool) -> Response:
        """A session, and an address without the token."""
        session = secrets.token_urlsafe(32)
        if len(self.sessions) >= MOST_SESSIONS:
            del self.sessions[next(iter(self.sessions))]
        self.sessions[digest(session)] = None
        response = HTMLResponse(LANDING) if landing else RedirectResponse("/", 303)
        response.set_cookie(self.cookie, session, httponly=True, samesite="strict", path="/")
        return response


def followed(headers: Headers) -> bool:
    """Did somebody follow a link, into a tab of its own?"""
    mode, goal = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    return mode == "navigate" and goal == "document"


def refusal(scope: Scope, sentence: str, status: int) -> Response:
    """For a reader, or as the page's script reads it."""
    headers = {"Connection": "close"}  # what was not read is not taken for the next request
    if scope["method"] == "POST":
        text = json.dumps({"error": sentence})
        return Response(text, status, headers=headers, media_type="application/json")
    return PlainTextResponse(sentence, status, headers=headers)


def has_body(headers: Headers) -> bool:
    """Does something come after the headers?"""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def digest(session: str) -> bytes:
    """What is kept of a session."""
    return hashlib.sha256(session.encode()).digest()


def values(headers: Headers, name: str) -> list[str]:
    """The values of a cookie. http.cookies drops all where one, of whomever, is malformed."""
    pairs = [one.partition("=") for line in headers.getlist("cookie") for one in line.split(";")]
    return [value.strip() for key, _, value in pairs if key.strip() == name]
