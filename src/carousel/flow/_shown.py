"""How results show themselves: a sentence for ``print``, and fields by their shapes for ``repr``.

A result holds tensors of thousands of numbers, which nobody reads where they are printed whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from torch import Tensor

from carousel._quantile import quantile
from carousel.cells import Scaled

__all__ = ["Shown", "counted", "listed", "middle", "number", "per_cent"]


@dataclass(frozen=True, eq=False, repr=False)
class Shown:
    """Base of results: ``repr`` names each field, a tensor by its dtype and shape.

    A class that inherits from it says ``repr=False`` to ``dataclass``, and what its numbers come to
    in ``__str__``.
    """

    def __repr__(self) -> str:
        said = ", ".join(f"{one.name}={_short(getattr(self, one.name))}" for one in fields(self))
        return f"{type(self).__name__}({said})"


def _short(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, Scaled):
        return f"scaled {_short(value.mantissa)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_short(one)}" for key, one in value.items()) + "}"
    return repr(value)


def middle(values: Tensor) -> float:
    """The median of all that is no NaN; NaN where there is nothing else."""
    flat = values.detach().flatten().double().cpu()
    flat = flat[~flat.isnan()]
    return float(quantile(flat, ~flat.isnan(), 0.5)) if len(flat) else math.nan


def number(log10: float) -> str:
    """A number by its log10: 0.031, or 2.4e-400, which no float is."""
    if not math.isfinite(log10):
        return "NaN" if math.isnan(log10) else "exactly zero" if log10 < 0 else "infinite"
    if -3 <= log10 < 4:
        return f"{10**log10:.3g}"
    exponent = math.floor(log10)
    mantissa = f"{10 ** (log10 - exponent):.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent + 1
    return f"{mantissa}e{exponent:+03d}"


def per_cent(share: float) -> str:
    """A share: "12 %", or that there is none."""
    return "NaN" if math.isnan(share) else f"{100 * share:.3g} %"


def counted(count: int, what: str) -> str:
    """So many of something: "1 step", "3 steps"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def listed(parts: Iterable[tuple[str, str]]) -> str:
    """Names with what is said of each: "direct 80 %, f 3 %"."""
    return ", ".join(f"{name} {said}" for name, said in parts)
