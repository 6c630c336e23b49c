"""Many browsers at once: what the server of the page answers under load, and what it keeps.

    python benchmarks/serving.py [--clients N] [--seconds S]

Each client lets itself in, then asks again as soon as it is answered: of ten requests eight explore
small networks, one asks for the page's script, one leaves before it is answered. Every answer is
compared with what the package computes in this process. The server runs in a process of its own;
its memory is read after a warm-up of each client and at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from carousel.serve._api import answer

REQUESTS = [
    {"first": {"hidden": hidden}, "second": {"hidden": hidden, "cell": cell}, "steps": 20}
    for hidden in (4, 8)
    for cell in ("lstm", "gru", "rnn-relu", "lstm-peephole")
]
WARM = 5  # requests of each client before the memory is read


@dataclass
class Load:
    """What came of it."""

    answers: int = 0
    left: int = 0  # requests that the client gave up
    errors: list[str] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    rss_before: int = 0  # bytes, 0 where the system does not say
    rss_after: int = 0


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    with started() as (address, process):
        load = asyncio.run(under_load(address, process, given.clients, given.seconds))
    times = sorted(load.latencies_ms)
    low, median, high = (times[int(len(times) * part)] for part in (0.05, 0.5, 0.99))
    print(
        f"{given.clients} clients, {given.seconds:g} s: {load.answers} answers, {load.left} left, "
        f"{len(load.errors)} errors; ms 5 % {low:.0f}, median {median:.0f}, 99 % {high:.0f}, "
        f"most {times[-1]:.0f}; "
        f"RSS {load.rss_before / 2**20:.1f} -> {load.rss_after / 2**20:.1f} MiB"
    )
    for error in sorted(set(load.errors))[:10]:
        print(error)
    if load.errors:
        raise SystemExit(1)


@contextmanager
def started() -> Iterator[tuple[str, int]]:
    """The address that ``carousel learn`` prints, and its process."""
    command = [sys.executable, "-m", "carousel", "learn", "--no-browser"]
    with subprocess.Popen(  # noqa: S603 - this package's own command
        command, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found, "the server did not start"
            yield found.group(), process.pid
        finally:
            process.terminate()


async def under_load(address: str, process: int, clients: int, seconds: float) -> Load:
    """Ask from all clients at once."""
    load = Load()
    expected = [json.loads(json.dumps(asdict(answer("explore", one)))) for one in REQUESTS]
    made = [Client(index, address, load, expected) for index in range(clients)]
    await asyncio.gather(*(one.enter() for one in made))
    await asyncio.gather(*(one.ask_often(requests=WARM) for one in made))
    load.rss_before = resident(process)
    load.latencies_ms.clear()
    load.answers = load.left = 0
    await asyncio.gather(*(one.ask_often(seconds=seconds) for one in made))
    load.rss_after = resident(process)
    return load


class Client:
    """One browser, on one connection that is kept."""

    def __init__(self, index: int, address: str, load: Load, expected: list[object]) -> None:
        found = re.fullmatch(r"http://(([^/:]+):(\d+))(/\?[^#]*).*", address)
        assert found
        self.host, self.name, self.port, self.door = found.groups()
        self.load, self.expected, self.turn = load, expected, index
        self.cookie = ""
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def enter(self) -> None:
        """Exchange the token for a cookie."""
        status, head, _ = await self.exchange(f"GET {self.door}", b"")
        found = re.search(r"set-cookie: ([^;]+)", head)
        assert status == 303, status
        assert found
        self.cookie = found[1]

    async def ask_often(self, requests: int = 10**9, seconds: float = 1e9) -> None:
        """Ask until there are so many answers, or so much time has passed."""
        until = time.perf_counter() + seconds
        while requests > 0 and time.perf_counter() < until:
            requests -= 1
            self.turn += 1
            begun = time.perf_counter()
            try:
                await self.ask()
            except (OSError, EOFError, AssertionError) as error:
                self.load.errors.append(repr(error))
                self.leave()
            self.load.latencies_ms.append((time.perf_counter() - begun) * 1e3)
        self.leave()

    async def ask(self) -> None:
        """One request of the mixture."""
        kind, which = self.turn % 10, self.turn % len(REQUESTS)
        body = json.dumps(REQUESTS[which]).encode()
        if kind == 0:
            status, _, found = await self.exchange("GET /app.js", b"")
            assert (status, len(found) > 1000) == (200, True), f"app.js: {status}"
        elif kind == 1:
            await self.send("POST /api/explore", body)
            self.leave()
            self.load.left += 1
            return
        else:
            status, _, found = await self.exchange("POST /api/explore", body)
            assert status == 200, f"{status}: {found[:200]!r}"
            assert json.loads(found) == self.expected[which], "other numbers than the package's"
        self.load.answers += 1

    async def send(self, what: str, body: bytes) -> asyncio.StreamReader:
        """Write a request."""
        if self.streams is None:
            self.streams = await asyncio.open_connection(self.name, int(self.port))
        reader, writer = self.streams
        head = f"{what} HTTP/1.1\r\nHost: {self.host}\r\nCookie: {self.cookie}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}\r\n".encode() + body)
        await writer.drain()
        return reader

    async def exchange(self, what: str, body: bytes) -> tuple[int, str, bytes]:
        """Write a request and read its answer."""
        reader = await self.send(what, body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").replace("\r", "")
        length = re.search(r"(?i)content-length: (\d+)", head)
        found = await reader.readexactly(int(length[1])) if length else b""
        return int(head.split()[1]), head, found

    def leave(self) -> None:
        """Close the connection, answered or not."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


def resident(process: int) -> int:
    """The memory of a process in bytes; 0 where the system has no /proc."""
    status = Path(f"/proc/{process}/status")
    found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main()
