"""Connections on which a request has to arrive in time."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Impatient"]

HEADERS_S = 10.0  # from the first byte, or the connection, to the end of the headers


class Impatient(H11Protocol):
    """Uvicorn's connection; one that does not bring the headers it began is closed.

    Without this, whoever connects and says nothing holds a connection for ever.
    """

    waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait."""
        super().connection_made(transport)
        self.watch()

    def data_received(self, data: bytes) -> None:
        """Wait on, while headers have begun and not ended."""
        super().data_received(data)
        self.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self.forget()

    def watch(self) -> None:
        """Start the clock where it does not run, stop it where a request has come."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self.forget()
        elif self.waiting is None:
            self.waiting = self.loop.call_later(HEADERS_S, self.transport.close)

    def forget(self) -> None:
        """Stop the clock."""
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None
