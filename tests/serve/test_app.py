"""What is asked of the endpoints, well and badly."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import carousel
from carousel.learn import Network, Settings, explore
from carousel.serve import _app, _connection
from carousel.serve._api import ENDPOINTS, Endpoint, answer
from web_server import Answer, Served, as_page, served

SMALL = {"first": {"hidden": 4}, "second": {"hidden": 3}, "steps": 12}
SAME = Settings(Network(hidden=4), Network(hidden=3), 12)


@dataclass(frozen=True)
class Nothing:
    """A request without fields."""


@dataclass(frozen=True)
class Told:
    """An answer."""

    value: float


@pytest.fixture
def also(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds an endpoint for the time of a test, before the server is made."""

    def add(name: str, run: Callable[..., Any], **options: Any) -> None:
        monkeypatch.setitem(ENDPOINTS, name, Endpoint(Nothing, run, Told, **options))

    return add


def post(server: Served, cookie: str, body: bytes, **headers: str) -> Answer:
    told = as_page(cookie) | {name.replace("_", "-"): value for name, value in headers.items()}
    return server.send("POST", "/api/explore", body, told)


def test_the_numbers_are_those_of_the_package(server: Served, cookie: str) -> None:
    found = server.ask("explore", SMALL, cookie)
    assert found.status == 200
    assert found.headers["content-type"] == "application/json"
    assert found.json == json.loads(json.dumps(asdict(explore(SAME))))


def test_an_empty_body_asks_for_the_defaults(server: Served, cookie: str) -> None:
    assert post(server, cookie, b"").json == post(server, cookie, b"{}").json


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "The request is not JSON"),
        (b"\xff\xfe", "The request is not JSON"),
        (b"\x00", "The request is not JSON"),
        (b'{"steps": NaN}', "NaN is not a number"),
        (b'{"steps": Infinity}', "Infinity is not a number"),
        (b'{"steps": -Infinity}', "-Infinity is not a number"),
        (b'{"steps": 1e999}', "steps: expected a whole number from 1 to 500, got inf"),
        (b'{"first": {"gain": 1e999}}', "first.gain: expected a number from 0 to 4, got inf"),
        (b'{"steps": 1' + b"0" * 400 + b"}", "steps: expected a whole number from 1 to 500"),
        (b'{"steps": 1' + b"0" * 5000 + b"}", "The request is not JSON"),
        (b'{"first": {"hidden": 1000000}}', "first.hidden: expected a whole number from 1 to 128"),
        (b'{"first": {"gain": 1' + b"0" * 400 + b"}}", "first.gain: expected a number from 0"),
        (b'{"steps": true}', "steps: expected a whole number"),
        (b'{"steps": 5.0}', "steps: expected a whole number"),
        (b'{"steps": "5"}', "steps: expected a whole number"),
        (b'{"steps": 5, "steps": 6}', "a name comes twice"),
        (b'{"steps": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "The request is nested too deeply"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "The request is nested too deeply"),
        (b'{"steps": ' + b"[" * 900 + b"]" * 900 + b"}", ""),
        (b"[]", "Settings: expected an object"),
        (b"null", "Settings: expected an object"),
        (b'"explore"', "Settings: expected an object"),
        (b'{"__class__": 1}', "__class__ is unknown"),
        (b'{"\\ud800": 1}', "is unknown"),
        (b'{"signal": "\\ud800"}', "signal: expected one of"),
        (b'{"signal": "../../etc/passwd"}', "signal: expected one of"),
        (b'{"first": {"cell": "lstm\\u0000"}}', "first.cell: expected one of"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bodies_that_are_refused(server: Served, cookie: str, body: bytes, sentence: str) -> None:
    found = post(server, cookie, body)
    assert found.status == 400
    assert set(found.json) == {"error"}
    assert sentence in found.json["error"]
    assert len(found.body) < 500, "an error does not send back what it was sent"


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"]
)
def test_other_types_are_refused(server: Served, cookie: str, kind: str) -> None:
    found = post(server, cookie, b"{}", Content_Type=kind)
    assert found.status == 415


def test_the_type_may_name_its_charset(server: Served, cookie: str) -> None:
    kind = "Application/JSON; charset=utf-8"
    assert post(server, cookie, json.dumps(SMALL).encode(), Content_Type=kind).status == 200


def test_a_body_may_be_as_large_as_that_and_no_larger(server: Served, cookie: str) -> None:
    most = _app.LARGEST_BODY_BYTES
    small = json.dumps(SMALL).encode()
    assert post(server, cookie, small + b" " * (most - len(small))).status == 200
    found = post(server, cookie, small + b" " * (most + 1 - len(small)))
    assert (found.status, found.headers["connection"]) == (413, "close")


def request_head(server: Served, cookie: str, *lines: str) -> bytes:
    head = ["POST /api/explore HTTP/1.1", f"Host: {server.host}", f"Cookie: {cookie}"]
    return "\r\n".join([*head, "Content-Type: application/json", *lines, "", ""]).encode()


def test_a_body_in_pieces_is_counted(server: Served, cookie: str) -> None:
    head = request_head(server, cookie, "Transfer-Encoding: chunked")
    piece = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    found = server.raw(head, *[piece] * 5)
    assert found.startswith(b"HTTP/1.1 413 ")


def test_a_body_that_promises_too_much_is_not_waited_for(server: Served, cookie: str) -> None:
    # Not a byte of it: what nobody reads makes the system throw the answer away.
    found = server.raw(request_head(server, cookie, "Content-Length: 99999999"))
    assert found.startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_come(
    server: Served, cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_app, "BODY_S", 0.2)
    found = server.raw(request_head(server, cookie, "Content-Length: 9"), b"{")
    assert found.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("begun", [[], [b"GET / HT"], [b"GET / HTTP/1.1\r\n"], [b"G", b"E"]])
def test_headers_that_do_not_come(
    server: Served, monkeypatch: pytest.MonkeyPatch, begun: list[bytes]
) -> None:
    monkeypatch.setattr(_connection, "HEADERS_S", 0.2)
    assert server.raw(*begun) == b""


def test_headers_that_do_not_come_after_a_request(
    server: Served, cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connection, "HEADERS_S", 0.5)
    whole = f"GET /icon.svg HTTP/1.1\r\nHost: {server.host}\r\nCookie: {cookie}\r\n\r\n"
    found = server.raw(whole.encode(), b"GET / HT", pause_s=0.1)
    assert found.count(b"HTTP/1.1 ") == 1


def test_what_goes_wrong_inside_says_no_more_than_that(
    also: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("/home/someone/secret.py")

    also("fail", fail)
    with served() as server:
        found = server.ask("fail", {}, server.enter())
        assert found.status == 500
        assert "secret" not in found.json["error"]
        assert "The computation failed" in found.json["error"]
        assert server.ask("explore", SMALL, server.enter()).status == 200
    assert "secret.py" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_an_error(
    also: Callable[..., None], value: float, caplog: pytest.LogCaptureFixture
) -> None:
    also("bad", lambda *_: Told(value))
    with served() as server:
        assert server.ask("bad", {}, server.enter()).status == 500
    assert "not JSON compliant" in caplog.text


def test_bytes_are_sent_as_they_are(also: Callable[..., None]) -> None:
    also("binary", lambda *_: b"\x00\xff")
    with served() as server:
        found = server.ask("binary", {}, server.enter())
        assert (found.body, found.status) == (b"\x00\xff", 200)
        assert found.headers["content-type"] == "application/octet-stream"


def test_an_endpoint_about_a_model_is_given_it(also: Callable[..., None]) -> None:
    also("model", lambda _request, _proceed, model: Told(model or -1.0), of_model=True)
    with served(2.5) as server:
        assert server.ask("model", {}, server.enter()).json == {"value": 2.5}
    assert answer("model", {}) == Told(-1.0)


def test_a_computation_has_a_time_limit(also: Callable[..., None]) -> None:
    def endless(_: object, proceed: Callable[[], None]) -> Told:
        while True:
            time.sleep(0.01)
            proceed()

    also("endless", endless, seconds=0.1)
    with served() as server:
        found = server.ask("endless", {}, server.enter())
        assert found.status == 422
        assert "longer than the 0.1 seconds" in found.json["error"]


def test_who_leaves_ends_the_computation(also: Callable[..., None]) -> None:
    began, ended = threading.Event(), threading.Event()

    def endless(_: object, proceed: Callable[[], None]) -> Told:
        began.set()
        try:
            while True:
                time.sleep(0.01)
                proceed()
        finally:
            ended.set()

    also("endless", endless, seconds=300)  # not what ends it here
    with served() as server:
        cookie = server.enter()
        head = request_head(server, cookie, "Content-Length: 2").replace(b"explore", b"endless")
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head + b"{}")
            assert began.wait(20)
            assert not ended.is_set()
        assert ended.wait(20)
        assert server.ask("explore", SMALL, cookie).status == 200


def test_the_server_ends_while_it_computes(also: Callable[..., None]) -> None:
    began = threading.Event()

    def endless(_: object, proceed: Callable[[], None]) -> Told:
        began.set()
        while True:
            time.sleep(0.01)
            proceed()

    also("endless", endless, seconds=300)  # not what ends it here
    with served() as server:
        cookie = server.enter()
        asking = threading.Thread(target=server.ask, args=("endless", {}, cookie))
        asking.start()
        assert began.wait(20)
    asking.join(20)
    assert not asking.is_alive()


def test_two_clients_at_once_get_the_numbers_of_each_alone(server: Served) -> None:
    requests = [
        SMALL | {"seed": seed, "second": {"hidden": 5, "cell": cell}}
        for seed, cell in enumerate(["lstm", "gru", "rnn-tanh", "lstm-peephole"] * 2)
    ]
    alone = [json.loads(json.dumps(asdict(answer("explore", one)))) for one in requests]
    cookies = [server.enter() for _ in requests]
    found: dict[tuple[int, int], object] = {}

    def ask(index: int) -> None:
        for turn in range(5):
            found[turn, index] = server.ask("explore", requests[index], cookies[index]).json

    state = torch.get_rng_state()
    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {(turn, i): alone[i] for turn in range(5) for i in range(len(requests))}
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_is_ever_unpickled() -> None:
    package = Path(carousel.__file__).parent
    sources = [path for part in ("serve", "learn") for path in (package / part).rglob("*.py")]
    assert len(sources) > 10
    for path in sources:
        text = path.read_text(encoding="utf-8")
        for word in ("pickle", "torch.load", "joblib", "marshal", "shelve", "allow_pickle"):
            assert word not in text, f"{word} in {path.name}"
