"""The desk: one at a time, fair, bounded, and nobody's random numbers are another's."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest
import torch
from starlette.responses import Response

from carousel.serve import _work
from carousel.serve._work import Abandoned, BusyError, Desk, Job, TooLongError

Proceed = Callable[[], None]


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()
    assert not any(thread.is_alive() for thread in made.threads)


class Gate:
    """A job that runs until it is let go, and says when it began."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, proceed: Proceed) -> Response:
        self.began.set()
        while not self.go.is_set():
            time.sleep(0.001)
            proceed()
        return Response()


def put(desk: Desk, client: str, run: Callable[[Proceed], Any], name: str = "a") -> Job:
    job = Job(client, name, run, 20.0)
    desk.submit(job)
    return job


def drawn(times: int, proceed: Proceed, seed: int) -> list[float]:
    """Numbers from the global generator, with turns handed over in between."""
    torch.manual_seed(seed)
    found = []
    for _ in range(times):
        found.append(torch.rand(()).item())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
        proceed()
    return found


def test_one_computes_at_a_time(desk: Desk) -> None:
    inside, most = 0, 0

    def run(proceed: Proceed) -> Response:
        nonlocal inside, most
        for _ in range(20):
            inside += 1
            most = max(most, inside)
            time.sleep(0.001)
            inside -= 1
            proceed()
        return Response()

    jobs = [put(desk, str(client), run) for client in range(8)]
    for job in jobs:
        job.future.result(20)
    assert most == 1
    assert len(desk.threads) == _work.STARTED


def test_turns_change_and_each_keeps_its_random_numbers(desk: Desk) -> None:
    order: list[int] = []
    found: dict[int, list[float]] = {}
    gate = Gate()
    first = put(desk, "gate", gate)
    assert gate.began.wait(20)

    def run(seed: int, proceed: Proceed) -> Response:
        def next_one() -> None:
            order.append(seed)
            proceed()

        found[seed] = drawn(30, next_one, seed)
        return Response()

    before = torch.get_rng_state()
    jobs = [
        put(desk, str(seed), lambda proceed, seed=seed: run(seed, proceed)) for seed in (5, 6, 7)
    ]
    gate.go.set()
    for job in [first, *jobs]:
        job.future.result(20)
    assert found == {seed: drawn(30, lambda: None, seed) for seed in (5, 6, 7)}
    changes = sum(a != b for a, b in itertools.pairwise(order))
    assert changes > 30, "a long computation hands its turn over"
    torch.set_rng_state(before)


def test_nobody_sees_the_state_that_another_left(desk: Desk) -> None:
    def spoil(_: Proceed) -> Response:
        torch.manual_seed(99)
        torch.set_grad_enabled(False)
        return Response()

    seen: list[tuple[bool, float]] = []

    def look(_: Proceed) -> Response:
        seen.append((torch.is_grad_enabled(), torch.rand(()).item()))
        return Response()

    outside = torch.get_rng_state()
    for run in (look, spoil, look, spoil, look):
        put(desk, "a", run).future.result(20)
    assert len(set(seen)) == 1
    assert seen[0][0]
    assert torch.equal(torch.get_rng_state(), outside)


def test_one_job_of_a_client_at_a_time(desk: Desk) -> None:
    first, second, other = Gate(), Gate(), Gate()
    put(desk, "a", first)
    assert first.began.wait(20)
    put(desk, "a", second)
    put(desk, "b", other)
    assert other.began.wait(20), "another client's turn comes"
    assert not second.began.is_set()
    first.go.set()
    assert second.began.wait(20)
    for gate in (second, other):
        gate.go.set()


def test_clients_take_turns(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_work, "STARTED", 1)
    gate, order = Gate(), []
    put(desk, "gate", gate)
    assert gate.began.wait(20)

    def run(client: str) -> Response:
        order.append(client)
        return Response()

    jobs = [put(desk, client, lambda _, c=client: run(c)) for client in "aaaabbc"]
    gate.go.set()
    for job in jobs:
        job.future.result(20)
    assert "".join(order) == "abcabaa"


def test_of_too_many_the_oldest_for_the_same_gives_way(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_work, "WAITING_EACH", 3)
    gate = Gate()
    put(desk, "a", gate)
    assert gate.began.wait(20)
    jobs = [put(desk, "a", lambda _: Response(), name) for name in ("x", "y", "y")]
    newer = put(desk, "a", lambda _: Response(), "y")
    with pytest.raises(BusyError, match="A newer request took the place"):
        jobs[1].future.result(20)
    with pytest.raises(BusyError, match="3 requests of this browser are waiting"):
        put(desk, "a", lambda _: Response(), "z")
    gate.go.set()
    for job in (jobs[0], jobs[2], newer):
        job.future.result(20)


def test_waiting_is_bounded_in_all(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_work, "WAITING", 2)
    monkeypatch.setattr(_work, "STARTED", 1)
    gate = Gate()
    put(desk, "a", gate)
    assert gate.began.wait(20)
    jobs = [put(desk, client, lambda _: Response()) for client in "bc"]
    with pytest.raises(BusyError, match="Too many requests are waiting"):
        put(desk, "d", lambda _: Response())
    gate.go.set()
    for job in jobs:
        job.future.result(20)
    put(desk, "d", lambda _: Response()).future.result(20)
    assert not desk.waiting
    assert not desk.turns


def test_what_is_abandoned_does_not_begin_or_ends(desk: Desk) -> None:
    gate, never = Gate(), Gate()
    running, waiting = put(desk, "a", gate), put(desk, "a", never)
    assert gate.began.wait(20)
    desk.abandon(waiting)
    with pytest.raises(CancelledError):
        waiting.future.result(20)
    desk.abandon(running)
    with pytest.raises(Abandoned):
        running.future.result(20)
    assert not never.began.is_set()
    assert not desk.waiting
    put(desk, "a", lambda _: Response()).future.result(20)


def test_waiting_does_not_count_as_computing(desk: Desk) -> None:
    def slow(proceed: Proceed) -> Response:
        for _ in range(10):
            time.sleep(0.02)
            proceed()
        return Response()

    long, short = Gate(), Job("b", "a", slow, 2.0)
    put(desk, "a", long)
    assert long.began.wait(20)
    desk.submit(short)
    short.future.result(20)
    late = Job("c", "a", slow, 0.05)
    desk.submit(late)
    with pytest.raises(TooLongError, match=r"longer than the 0\.05 seconds"):
        late.future.result(20)
    long.go.set()


def test_a_closed_desk_takes_nothing() -> None:
    desk = Desk()
    gate = Gate()
    running, waiting = put(desk, "a", gate), put(desk, "a", Gate())
    assert gate.began.wait(20)
    desk.close()
    with pytest.raises(Abandoned):
        running.future.result(20)
    assert waiting.future.cancelled()
    with pytest.raises(BusyError, match="closing"):
        put(desk, "a", Gate())


def test_an_error_is_the_waiting_ones(desk: Desk) -> None:
    def fail(_: Proceed) -> Response:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        put(desk, "a", fail).future.result(20)
    put(desk, "a", lambda _: Response()).future.result(20)
