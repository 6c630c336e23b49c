"""``carousel learn`` as a process."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

HEAVY = ("torch", "numpy", "starlette", "uvicorn", "asyncio", "rich")
PROBE = f"""
import sys
sys.argv = ["carousel", *sys.argv[1:]]
from carousel.cli import main
try:
    main()
finally:
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    print("loaded:", loaded, file=sys.stderr)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "carousel", "learn", "--no-browser", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@contextmanager
def learning(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command and the address that it printed."""
    command = [sys.executable, "-m", "carousel", "learn", "--no-browser", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, f"no address in {line!r}"
            yield process, found.group()
        finally:
            process.kill()


def status(address: str) -> int:
    place = re.fullmatch(r"http://([^/]+)(/[^#]*)(#.*)?", address)
    assert place
    connection = HTTPConnection(place[1], timeout=60)
    try:
        connection.request("GET", place[2])
        return connection.getresponse().status
    finally:
        connection.close()


def test_help_answers_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, "learn", "--help"], capture_output=True, text=True, check=True
    )
    assert "loaded: []" in done.stderr
    for option in ("--port", "--no-browser", "--export", "--host", "--allow-remote", "--lock"):
        assert option in done.stdout


def test_the_address_lets_in_and_nothing_else_does() -> None:
    with learning() as (_, address):
        assert address.startswith("http://127.0.0.1:")
        assert status(address) == 303
        assert status(address.partition("?")[0]) == 403
        assert status(address + "x") == 403


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -15)])
def test_it_ends_cleanly(number: signal.Signals, code: int) -> None:
    with learning() as (process, address):
        assert status(address) == 303
        process.send_signal(number)
        out, said = process.communicate(timeout=60)
        assert process.returncode == code
        assert "Traceback" not in said
        assert said == out == ""


def test_the_port_that_was_asked_for() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with learning("--port", str(port)) as (_, address):
        assert address.startswith(f"http://127.0.0.1:{port}/")
        second = run("--port", str(port))
    assert second.returncode == 2
    assert f"Port {port} of 127.0.0.1 cannot be used" in second.stderr
    assert not second.stdout


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none(port: str) -> None:
    done = run("--port", port)
    assert done.returncode == 2
    assert "Invalid value for '--port'" in done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0"])  # noqa: S104 - the others: tests/serve/test_run.py
def test_other_addresses_only_where_it_is_said(host: str) -> None:
    done = run("--host", host)
    assert done.returncode == 2
    assert "--allow-remote" in done.stderr


def test_an_address_that_is_not_ours() -> None:
    done = run("--host", "192.0.2.1", "--allow-remote")
    assert done.returncode == 2
    assert "192.0.2.1 cannot be used" in done.stderr


def test_every_address_needs_a_name() -> None:
    done = run("--host", "0.0.0.0", "--allow-remote")  # noqa: S104
    assert done.returncode == 2
    assert "--name" in done.stderr


def test_a_name_is_answered_to_and_others_are_not() -> None:
    arguments = ("--host", "0.0.0.0", "--allow-remote", "--name", "Lab.example")  # noqa: S104
    with learning(*arguments) as (process, address):
        port = re.search(r":(\d+)/", address)
        assert port
        assert address.startswith(f"http://lab.example:{port[1]}/?token=")
        place = "/" + address.partition("/?")[1].strip("/") + address.partition("/?")[2]
        for host, expected in ((f"lab.example:{port[1]}", 303), (f"127.0.0.1:{port[1]}", 421)):
            connection = HTTPConnection("127.0.0.1", int(port[1]), timeout=60)
            connection.request("GET", place, headers={"Host": host})
            assert connection.getresponse().status == expected
            connection.close()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert "other machines can reach this server" in said
    assert "encrypted" in said


def test_locks_stand_in_the_address() -> None:
    with learning("--lock", "first.cell", "--lock", "steps") as (_, address):
        assert address.endswith("#/explorer?v=1&lock=first.cell,steps")


def test_a_lock_of_nothing() -> None:
    done = run("--lock", "first.colour")
    assert done.returncode == 2
    assert "--lock first.colour: expected one of first.cell, first.hidden" in done.stderr


def test_export_writes_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "lesson"
    done = run("--export", str(folder))
    assert done.returncode == 0
    assert done.stderr.endswith("answers: 100%\n")
    assert done.stdout == f"Carousel's page: {folder / 'index.html'}\n"
    assert (folder / "index.html").is_file()


def test_export_refuses_a_folder_of_others(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    done = run("--export", str(tmp_path))
    assert done.returncode == 2
    assert "thesis.tex" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
