"""Whom the server answers: every route, asked by everybody who should not be answered."""

from __future__ import annotations

from dataclasses import MISSING, fields

import pytest

from carousel.serve import _guard
from carousel.serve._api import ENDPOINTS
from carousel.serve._app import PAGE, Application
from carousel.serve._guard import HEADERS, MOST_SESSIONS
from carousel.serve._work import Desk
from web_server import TOKEN, Answer, Served, as_page, served

ROUTES = {path: methods for path, (methods, _) in Application(None, Desk()).routes.items()}
PLACES = sorted(ROUTES)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO")


def knock(
    server: Served, path: str, headers: dict[str, str], method: str = "", body: bytes = b"{}"
) -> Answer:
    method = method or ROUTES[path][0]
    return server.send(method, path, body if method == "POST" else None, headers)


def test_all_routes_are_known() -> None:
    assert set(PLACES) == set(PAGE) | {f"/api/{name}" for name in ENDPOINTS}


# Endpoints that an empty request does not suffice for: they are reached, and say what is missing.
ASKING_MORE = {
    f"/api/{name}"
    for name, endpoint in ENDPOINTS.items()
    if any(
        one.default is MISSING and one.default_factory is MISSING
        for one in fields(endpoint.request)
    )
}


@pytest.mark.parametrize("path", PLACES)
def test_who_has_the_cookie_is_answered(server: Served, cookie: str, path: str) -> None:
    answer = knock(server, path, as_page(cookie))
    assert answer.status == (400 if path in ASKING_MORE else 200)
    assert len(answer.body) == int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("without", "status"),
    [
        ({"Cookie": ""}, 403),
        ({"Cookie": "other=1"}, 403),
        ({"Cookie": "{cookie}x"}, 403),
        ({"Cookie": "{name}="}, 403),
        ({"Cookie": "{name}"}, 403),
        ({"Cookie": "carousel={value}"}, 403),
        ({"Cookie": f"{{name}}={TOKEN}"}, 403),
        ({"Authorization": f"token {TOKEN}", "Cookie": ""}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:{port}"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Host": "127.0.0.1.:{port}"}, 421),
        ({"Host": "localhost.:{port}"}, 421),
        ({"Host": "LOCALHOST:{port}"}, 421),
        ({"Host": "127.0.0.1:{port}@evil.example"}, 421),
        ({"Host": "127.0.0.1:{port}, evil.example"}, 421),
        ({"Host": "127.1:{port}"}, 421),
        ({"Host": "[::1]:{port}"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://127.0.0.1:{port}.evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:{port}/"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        (
            {
                "Sec-Fetch-Site": "same-site",
                "Sec-Fetch-Mode": "navigate",
                "Sec-Fetch-Dest": "iframe",
            },
            403,
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", PLACES)
def test_who_lacks_something_is_refused(
    server: Served, cookie: str, path: str, without: dict[str, str], status: int
) -> None:
    name, _, value = cookie.partition("=")
    known = {"cookie": cookie, "name": name, "value": value, "port": server.port}
    changed = {key: text.format(**known) for key, text in without.items()}
    answer = knock(server, path, as_page(cookie) | changed)
    assert answer.status == status
    if ROUTES[path] == ("POST",):
        assert set(answer.json) == {"error"}
    knows_nothing = (value, TOKEN, "Traceback")
    assert not any(secret in answer.body.decode() for secret in knows_nothing)


@pytest.mark.parametrize("path", PLACES)
def test_a_wrong_token_opens_nothing(server: Served, path: str) -> None:
    for token in ("wrong", TOKEN + "x", TOKEN[:-1], "%00", "%ff", "ü".encode().hex(), ""):
        method = ROUTES[path][0]
        answer = server.send(method, f"{path}?token={token}", b"" if method == "POST" else None)
        assert answer.status == 403
        assert answer.cookies == []


@pytest.mark.parametrize("path", PLACES)
def test_the_right_token_is_taken_at_the_door_only(server: Served, path: str) -> None:
    for method in METHODS:
        answer = server.send(method, f"{path}?token={TOKEN}")
        assert (answer.status == 303) == ((method, path) == ("GET", "/"))
        assert bool(answer.cookies) == ((method, path) == ("GET", "/"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", PLACES)
def test_wrong_methods(server: Served, cookie: str, path: str, method: str) -> None:
    answer = knock(server, path, as_page(cookie), method)
    if method in ROUTES[path]:
        assert answer.status == (400 if path in ASKING_MORE else 200)
    else:
        assert answer.status == 405
        assert answer.headers["allow"] == ", ".join(ROUTES[path])
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize("path", sorted(PAGE))
def test_head_is_get_without_the_body(server: Served, cookie: str, path: str) -> None:
    got, head = (knock(server, path, {"Cookie": cookie}, one) for one in ("GET", "HEAD"))
    assert head.body == b""
    assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.body))


@pytest.mark.parametrize(
    "path",
    [
        "/..%2f",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/../_app.py",
        "/%2e%2e/_app.py",
        "/..\\_app.py",
        "/app.js%00",
        "/%00",
        "/app.js%0a",
        "/app.js/",
        "/%61pp.js",
        "/App.js",
        "//app.js",
        "//",
        "//evil.example/",
        "/./app.js",
        "/index.html",
        "/page/app.js",
        "/static/app.js",
        "/api",
        "/api/",
        "/api/explore/",
        "/api//explore",
        "/api%2fexplore",
        "/api/nonsense",
        "/api/__class__",
        "/api/..%2fexplore",
        "/docs",
        "/openapi.json",
        "/" + "x" * 8000,
        "http://evil.example/app.js",
        "*",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_other_path_leads_anywhere(server: Served, cookie: str, path: str, method: str) -> None:
    request = f"{method} {path} HTTP/1.1\r\nHost: {server.host}\r\nCookie: {cookie}\r\n"
    found = server.raw(f"{request}Connection: close\r\n\r\n".encode())
    assert found.split(b"\r\n")[0] in (b"HTTP/1.1 404 Not Found", b"HTTP/1.1 404 ")
    assert b"location" not in found.lower()
    refused = server.raw(request.partition("Cookie")[0].encode() + b"Connection: close\r\n\r\n")
    assert b" 403 " in refused.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "lines",
    [
        ["Host: {host}", "Host: evil.example"],
        ["Host: evil.example", "Host: {host}"],
        ["Host: {host}", "Host: {host}"],
        ["Host : {host}"],
        [],
        ["Host: {host}", "Transfer-Encoding: chunked", "Content-Length: 3"],
        ["Host: {host}", "Content-Length: -1"],
        ["Host: {host}", "Content-Length: 1", "Content-Length: 2"],
        ["Host: {host}\x00"],
    ],
    ids=lambda lines: str(lines)[:40],
)
def test_malformed_headers(server: Served, cookie: str, lines: list[str]) -> None:
    told = [line.format(host=server.host) for line in lines]
    request = "\r\n".join(["GET /app.js HTTP/1.1", *told, f"Cookie: {cookie}", "", ""])
    try:
        found = server.raw(request.encode(), b"abc")
    except ConnectionError:  # refused and closed before all of it was read
        return
    assert found.split(b" ")[1] in (b"400", b"421")
    assert b"carousel" not in found.lower()


@pytest.mark.parametrize("begin", ["GET /?", "GET / HTTP/1.1\r\nX: "])
def test_headers_without_end_are_refused(server: Served, begin: str) -> None:
    parts = [begin.encode()] + [b"x" * 50_000] * 4
    try:
        found = server.raw(*parts, pause_s=0.05)
    except ConnectionError:  # closed while more is being sent
        return
    assert found.split(b" ")[1] == b"400"


def test_two_origins_are_none(server: Served, cookie: str) -> None:
    ours = f"Origin: http://{server.host}\r\n"
    request = f"GET /app.js HTTP/1.1\r\nHost: {server.host}\r\nCookie: {cookie}\r\n"
    for origins, status in ((ours, b"200"), (ours * 2, b"403")):
        found = server.raw(f"{request}{origins}Connection: close\r\n\r\n".encode())
        assert found.split(b" ")[1] == status


def test_the_exchange(server: Served) -> None:
    answer = server.send("GET", f"/?token={TOKEN}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    (cookie,) = answer.cookies
    name, _, rest = cookie.partition("=")
    value, *attributes = rest.split("; ")
    assert name == f"carousel-{server.port}"
    assert {one.lower() for one in attributes} == {"httponly", "samesite=strict", "path=/"}
    assert len(value) >= 43
    assert TOKEN not in value
    again = server.send("GET", f"/?token={TOKEN}")
    assert again.cookies[0] != cookie, "each browser has a session of its own"


def test_a_token_for_once_works_once(server: Served) -> None:
    token = server.guard.token_for_once()
    assert server.send("GET", f"/?token={token}").status == 303
    assert server.send("GET", f"/?token={token}").status == 403


def test_a_token_for_once_works_for_some_time(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_guard, "ONCE_S", -1.0)
    assert server.send("GET", f"/?token={server.guard.token_for_once()}").status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_from_another_site_leads_in_by_a_page_of_ours(server: Served, site: str) -> None:
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    answer = server.send("GET", f"/?token={TOKEN}", headers=link)
    assert answer.status == 200
    assert b'url=/"' in answer.body
    assert TOKEN.encode() not in answer.body
    entered = {"Cookie": answer.cookies[0].split(";")[0]}
    assert server.send("GET", "/", headers=entered | link).status == 200
    assert server.send("GET", "/app.js", headers=entered | link).status == 403


def test_cookies_of_others_do_not_hide_ours(server: Served, cookie: str) -> None:
    name = cookie.partition("=")[0]
    for other in ('a="b; {"c":1}', f"{name}=wrong", "=", ";;", "é=ü".encode().decode("latin-1")):
        for both in (f"{other}; {cookie}", f"{cookie}; {other}"):
            assert server.send("GET", "/app.js", headers={"Cookie": both}).status == 200


def test_two_servers_have_cookies_of_different_names(server: Served, cookie: str) -> None:
    with served() as other:
        theirs = other.enter()
        assert theirs.partition("=")[0] != cookie.partition("=")[0]
        both = {"Cookie": f"{cookie}; {theirs}"}
        assert server.send("GET", "/", headers=both).status == 200
        assert other.send("GET", "/", headers=both).status == 200
        assert other.send("GET", "/", headers={"Cookie": cookie}).status == 403


def test_sessions_are_bounded() -> None:
    with served() as running:
        first = running.enter()
        for _ in range(MOST_SESSIONS - 1):
            running.guard.way_in(landing=False)
        assert running.send("GET", "/", headers={"Cookie": first}).status == 200
        last = running.enter()
        assert running.send("GET", "/", headers={"Cookie": first}).status == 403
        assert running.send("GET", "/", headers={"Cookie": last}).status == 200
        assert len(running.guard.sessions) == MOST_SESSIONS


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/", {}), ("/", {"Host": "evil.example"}), (f"/?token={TOKEN}", {}), ("/nonsense", {})],
)
def test_every_answer_has_the_headers(
    server: Served, cookie: str, path: str, headers: dict[str, str]
) -> None:
    for known in ({}, {"Cookie": cookie}):
        answer = server.send("GET", path, headers=headers | known)
        assert {name: answer.headers[name.lower()] for name in HEADERS} == HEADERS
        assert "server" not in answer.headers


def test_the_policy_allows_no_code_from_elsewhere() -> None:
    policy = dict(
        one.strip().split(" ", 1) for one in HEADERS["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_no_websocket(server: Served, cookie: str) -> None:
    upgrade = (
        f"GET / HTTP/1.1\r\nHost: {server.host}\r\nCookie: {cookie}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        f"GET /nonsense HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n\r\n"
    )
    assert not server.raw(upgrade.encode()).startswith(b"HTTP/1.1 101")
