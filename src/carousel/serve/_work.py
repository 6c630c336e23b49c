"""Who computes when: the desk at which requests of all clients are worked off.

One computation runs at a time. torch's generator of random numbers is one for the whole process,
and ``carousel.measure`` itself forks it: of two computations at once, each would draw from what the
other one had seeded. At each ``proceed()`` a computation hands its turn to the one that has waited
longest, and takes its generator along: a long one does not keep the others waiting, and none sees
what another did.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Thread

import torch
from starlette.responses import Response

from carousel._errors import CarouselError

__all__ = ["Abandoned", "BusyError", "Desk", "Job", "TooLongError"]

STARTED = 4  # computations that have begun, of which one runs
WAITING_EACH = 8  # requests of one client
WAITING = 512  # requests of all clients


class Abandoned(Exception):  # noqa: N818 - nothing is wrong: nobody waits any more
    """The client left, or the server closes."""


class BusyError(CarouselError):
    """Too much is waiting already, or something newer took its place."""

    status = 503


class TooLongError(CarouselError):
    """A computation took longer than its endpoint may."""

    status = 422


@dataclass(eq=False)
class Job:
    """One request on its way."""

    client: str
    name: str  # of the endpoint
    run: Callable[[Callable[[], None]], Response]
    seconds: float  # that it may compute, waiting not counted
    future: Future[Response] = field(default_factory=Future)
    abandoned: bool = False


class Desk:
    """Takes jobs, runs them in threads of its own, fairly and one at a time."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.waiting: OrderedDict[str, deque[Job]] = OrderedDict()  # next client first
        self.started: dict[str, Job] = {}  # by client: one each
        self.turns: deque[Job] = deque()  # the first runs, the others wait for their turn
        self.threads: list[Thread] = []
        self.closed = False

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn.

        Of a client that has too many waiting already, the oldest for the same endpoint gives way:
        it asked for what is no longer looked at.

        Raises:
            BusyError: there is no room for it.
        """
        with self.changed:
            if self.closed:
                raise BusyError("The server is closing.")
            of_client = self.waiting.get(job.client, deque())
            if len(of_client) >= WAITING_EACH:
                older = next((one for one in of_client if one.name == job.name), None)
                if older is None:
                    raise BusyError(f"{WAITING_EACH} requests of this browser are waiting already.")
                of_client.remove(older)
                older.future.set_exception(BusyError("A newer request took the place of this one."))
            elif sum(map(len, self.waiting.values())) >= WAITING:
                raise BusyError("Too many requests are waiting. Try again in a moment.")
            self.waiting.setdefault(job.client, of_client).append(job)
            if len(self.threads) < STARTED:
                thread = Thread(target=self.work, name="carousel-desk", daemon=True)
                self.threads.append(thread)
                thread.start()
            self.changed.notify_all()

    def abandon(self, job: Job) -> None:
        """Nobody waits for it any more: it is not begun, or ends where it next proceeds."""
        with self.changed:
            job.abandoned = True
            of_client = self.waiting.get(job.client, deque())
            if job in of_client:
                of_client.remove(job)
                if not of_client:
                    del self.waiting[job.client]
                job.future.cancel()
            self.changed.notify_all()

    def close(self, seconds: float = 5.0) -> None:
        """Abandon everything and wait for the threads, but not for ever."""
        with self.changed:
            self.closed = True
            for job in [job for jobs in self.waiting.values() for job in jobs]:
                self.abandon(job)
            for job in self.started.values():
                job.abandoned = True
            self.changed.notify_all()
        until = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.0, until - time.monotonic()))

    def work(self) -> None:
        """What each thread does."""
        while (job := self.next_job()) is not None:
            turn = Turn(self, job)
            try:
                with turn.held(), torch.inference_mode(mode=False), torch.enable_grad():
                    found = job.run(turn.proceed)
            except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
                job.future.set_exception(error)
            else:
                job.future.set_result(found)
            finally:
                with self.changed:
                    del self.started[job.client]
                    self.changed.notify_all()
            del job, turn  # an idle thread keeps no answer

    def next_job(self) -> Job | None:
        """The oldest job of the client whose turn it is; None when the server closes."""
        with self.changed:
            while not self.closed:
                free = next((one for one in self.waiting if one not in self.started), None)
                if free is None:
                    self.changed.wait()
                    continue
                jobs = self.waiting.pop(free)
                job = jobs.popleft()
                if jobs:
                    self.waiting[free] = jobs  # behind all other clients
                job.future.set_running_or_notify_cancel()
                self.started[free] = job
                return job
            return None


class Turn:
    """One computation's right to run, its clock, and its random numbers."""

    def __init__(self, desk: Desk, job: Job) -> None:
        self.desk = desk
        self.job = job
        self.random = torch.Generator().manual_seed(0).get_state()
        self.computed_s = 0.0

    @contextmanager
    def held(self) -> Iterator[None]:
        """From the first turn to the end."""
        self.take()
        try:
            yield
        finally:
            self.give()

    def proceed(self) -> None:
        """End what nobody waits for or takes too long, and let others have a turn."""
        spent = self.computed_s + time.monotonic() - self.since
        if spent > self.job.seconds:
            raise TooLongError(
                f"This takes longer than the {self.job.seconds:g} seconds that a request may: "
                "ask for less."
            )
        if len(self.desk.turns) > 1:
            self.give()
            self.take()
        if self.job.abandoned:
            raise Abandoned

    def take(self) -> None:
        """Wait for the turn, then make the generator one's own."""
        with self.desk.changed:
            self.desk.turns.append(self.job)
            self.desk.changed.wait_for(lambda: self.desk.turns[0] is self.job)
        self.outside = torch.get_rng_state()
        torch.set_rng_state(self.random)
        self.since = time.monotonic()

    def give(self) -> None:
        """Leave the generator as it was, and let the next one run."""
        self.computed_s += time.monotonic() - self.since
        self.random = torch.get_rng_state()
        torch.set_rng_state(self.outside)
        with self.desk.changed:
            self.desk.turns.popleft()
            self.desk.changed.notify_all()
