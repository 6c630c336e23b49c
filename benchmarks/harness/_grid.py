"""The shapes that are measured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Shape", "grid"]


@dataclass(frozen=True)
class Shape:
    """B sequences of T steps; H units and as many inputs."""

    B: int
    T: int
    H: int

    def flops(self, gates: int, steps: int | None = None) -> float:
        """Useful operations of a forward and backward pass: 6 B T (gates H) (I + H).

        2 for each weight, sequence and step forward, 4 backward, and nothing for what is
        computed twice or elementwise. For the LSTM, gates = 4: 8BTH(I+H) + 16BTH(I+H).

        Args:
            gates: rows of weights for each unit: LSTM 4, GRU 3, RNN 1.
            steps: sequence steps in all, where that is not B T (ragged batches).
        """
        rows = self.B * self.T if steps is None else steps
        return 6.0 * rows * gates * self.H * (self.H + self.H)

    def __str__(self) -> str:
        return f"B={self.B} T={self.T} H={self.H}"


def grid(*, quick: bool) -> tuple[Shape, ...]:
    """B x H at T = 100, then B = 16, H = 128 at other lengths; or a corner of it."""
    if quick:
        return (Shape(1, 100, 64), Shape(16, 100, 128), Shape(16, 100, 256))
    shapes = (Shape(B, 100, H) for B in (1, 16, 64) for H in (64, 128, 256, 512, 1024))
    return (*shapes, *(Shape(16, T, 128) for T in (10, 1000, 10_000)))
