"""The one tolerance table: by dtype and by length. Every comparison with an oracle reads it.

An entry is relative to the largest absolute value of the reference quantity. float64 is the
contract of the project (1e-10); the others are the rounding of the model's own forward pass, which
no replay can undo: a state of a bfloat16 model is off by 2**-9 relative at each step, of a float32
model by 2**-24, and the errors of the steps add up. (torch's own bfloat16 d_h0 is off by up to 9e-2
on these cases, its float32 d_h0 by 1.4e-6.)
"""

from __future__ import annotations

import torch

TOLERANCE: dict[torch.dtype, tuple[tuple[int, float], ...]] = {
    # (longest sequence the row holds for, tolerance)
    torch.float64: ((1000, 1e-10),),
    torch.float32: ((10, 1e-5), (100, 1e-4), (1000, 1e-3)),
    torch.bfloat16: ((10, 1e-1),),
}


def tolerance(dtype: torch.dtype, steps: int) -> float:
    """Return the relative tolerance for sequences of ``steps`` steps computed in ``dtype``."""
    for longest, value in TOLERANCE[dtype]:
        if steps <= longest:
            return value
    message = f"no tolerance for {dtype} at {steps} steps: add a row, with its cause, to TOLERANCE"
    raise KeyError(message)


def assert_close(
    actual: torch.Tensor, expected: torch.Tensor, steps: int, dtype: torch.dtype, what: str
) -> None:
    """Compare ``actual`` with the oracle's ``expected``, relative to the oracle's largest entry.

    Shapes must be equal, both must be finite, and where the oracle is zero throughout, ``actual``
    must be exactly zero.
    """
    assert tuple(actual.shape) == tuple(expected.shape), (
        f"{what}: shape {tuple(actual.shape)}, the oracle has {tuple(expected.shape)}"
    )
    actual = actual.detach().to("cpu", torch.float64)
    expected = expected.detach().to("cpu", torch.float64)
    assert torch.isfinite(expected).all(), f"{what}: the oracle itself is not finite"
    assert torch.isfinite(actual).all(), f"{what}: not finite"
    if expected.numel() == 0:
        return
    scale = float(expected.abs().max())
    error = float((actual - expected).abs().max())
    limit = tolerance(dtype, steps) * scale
    assert error <= limit, f"{what}: off by {error:.3e}, allowed {limit:.3e}, scale {scale:.3e}"


def assert_identical(actual: dict[str, object], expected: dict[str, object]) -> None:
    """Compare two runs bit by bit."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            other = actual[name]
            assert isinstance(other, torch.Tensor), name
            assert other.dtype == value.dtype, name
            assert torch.equal(other, value), f"{name} is not bit-identical"
        else:
            assert actual[name] == value, name
