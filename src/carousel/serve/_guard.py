"""Who may ask: nothing is answered but to the browser that was given the token.

The address that ``carousel learn`` opens carries a token once; it is exchanged for a cookie that no
script can read and no other site can send. Every request must name this server in Host, and in
Origin where it has one: a page elsewhere, or a foreign name that resolves to this machine, is
refused before anything else is looked at.
"""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["COOKIE", "Guard"]

COOKIE = "carousel"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """Middleware around the whole application."""

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str]) -> None:
        self.app = app
        self.token = token
        self.session = secrets.token_urlsafe(32)
        self.hosts = hosts  # "127.0.0.1:8000"

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
        """The application, or the refusal."""
        headers = Headers(scope=scope)
        if headers.getlist("host") not in [[host] for host in self.hosts]:
            return PlainTextResponse("Unknown host.", 421)
        origins = headers.getlist("origin")
        if origins and origins not in [[f"http://{host}"] for host in self.hosts]:
            return PlainTextResponse("Requests from other sites are refused.", 403)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and scope["method"] == "GET" and given:
            if not secrets.compare_digest(given.encode(), self.token.encode()):
                return PlainTextResponse("Wrong token: open the address that was printed.", 403)
            response = RedirectResponse("/", 303)
            response.set_cookie(COOKIE, self.session, httponly=True, samesite="strict", path="/")
            return response
        if not secrets.compare_digest(cookie_of(headers).encode(), self.session.encode()):
            return PlainTextResponse("No token: open the address that was printed.", 403)
        return self.app


def cookie_of(headers: Headers) -> str:
    """The session that the browser sent, "" without one."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value
