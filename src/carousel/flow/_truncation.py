"""What truncated backpropagation through time throws away.

Truncated at k, the loss of each step goes back over k steps, its own included: lags 0 .. k-1 of the
itemised gradient are kept. With G[s, t] the part of the gradient at step t that step s sent,

    window   d_k[t] = sum of G[s, t] over s - t < k
    chunks   d_k[t] = sum of G[s, t] over s in the chunk of t, chunks of k steps

The second is what is mostly implemented: the state is detached every k steps. Chunks of k keep less
than a window of k does, since no step but the last of a chunk goes back over all of it. The
gradient of a parameter follows from d_k as the full one does from d, and

    relative bias(k) = |g_k - g| / |g|

is the definition of Aicher, Foti & Fox 2019, "Adaptively Truncating Backpropagation Through Time
to Control Gradient Bias". They bound it by an assumed rate of decay of an expected gradient; here
it is exact, of the gradient of the very batch that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, SupportsFloat

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.cells import Scaled, binary_exponent, largest, power_of_two, pull_back
from carousel.flow._arriving import arriving, linearisation_of, standing, through_h
from carousel.flow._difference import Difference
from carousel.flow._parameter_factors import not_known
from carousel.flow._parameter_gradients import parameter_gradients
from carousel.flow._running import in_running_order, turned_back
from carousel.flow._shown import Shown, counted, middle, per_cent
from carousel.flow._tangent import back_of
from carousel.trace import Trace

__all__ = ["ALL", "Truncation", "TruncationCurve", "truncation", "truncation_curve"]

How = Literal["window", "chunks"]
WAYS = ("window", "chunks")
ALL = "all"  # the parameters of a layer, side by side
MOST_NUMBERS = 2**22  # of gradients of chunks that are held at once, 32 MiB
Without = Literal["exactly zero", "not finite"]
WHERE_TO_LOOK: dict[Without, str] = {
    "exactly zero": "layer.norm('d_h') shows where no gradient arrives.",
    "not finite": "flow.nonfinite says where NaN or infinity first arose.",
}


@dataclass(frozen=True, eq=False, repr=False)
class Truncation(Shown):
    """One layer truncated at ``k`` steps; what arrives from above is what arrives in full.

    By step: |d_k - d| / |d| and the cosine over the units, [T, B] float64; NaN where the total is
    zero and at padding.
    """

    k: int
    how: How
    relative_h: Tensor
    cosine_h: Tensor
    relative_c: Tensor | None
    cosine_c: Tensor | None
    of_parameters: Mapping[str, Difference] | None  # by torch's names, and "all"; None: not known
    layer: str

    def __str__(self) -> str:
        said = f"{self.layer} truncated at {counted(self.k, 'step')} ({self.how}): "
        known = self.of_parameters
        if known is None:
            return f"{said}dL/dh_t is {per_cent(middle(self.relative_h))} off (median)."
        all_of_them = known[ALL]
        if math.isnan(all_of_them.relative):
            return f"{said}the full gradient is zero or not finite, so nothing is relative to it."
        bias = per_cent(all_of_them.relative)
        return (
            f"{said}the gradient of its parameters is {bias} off the full one (cosine "
            f"{all_of_them.cosine:.3g})."
        )

    @property
    def parameters(self) -> Mapping[str, Difference]:
        """Of each parameter's gradient: "weight_ih", "weight_hh", "bias_ih", .. as torch has them.

        Raises:
            CarouselError: of a cell that was measured as a function.
        """
        return {name: found for name, found in self._known().items() if name != ALL}

    @property
    def all_parameters(self) -> Difference:
        """Of all of the layer's parameters, side by side.

        Raises:
            CarouselError: as ``parameters`` does.
        """
        return self._known()[ALL]

    def _known(self) -> Mapping[str, Difference]:
        if self.of_parameters is None:
            raise not_known(self.layer)
        return self.of_parameters


@dataclass(frozen=True, eq=False, repr=False)
class TruncationCurve(Shown):
    """``Difference`` of every parameter's gradient, and of all together, for k = 1 .. K."""

    k: Tensor  # [K] int64
    parameters: Mapping[str, Tensor]  # relative, each [K] float64
    cosines: Mapping[str, Tensor]
    relative: Tensor  # [K] of all parameters of the layer, side by side
    cosine: Tensor
    how: How = "window"
    without: Mapping[str, Without] = field(
        default_factory=dict
    )  # by name, "all" too: why a gradient has no relative difference

    def __str__(self) -> str:
        if ALL in self.without:
            return f"The full gradient is {self.without[ALL]}, so no truncation is relative to it."
        found = (
            f"from k = {self.length(0.1)} on it is"
            if self.how == "window"
            else (f"chunks of {self.length(0.1)} steps leave it")
        )
        return (
            f"Truncated at k = 1 of {counted(len(self.k), 'step')} ({self.how}), the gradient of "
            f"the parameters is {per_cent(float(self.relative[0]))} off the full one; {found} at "
            "most 10 % off."
        )

    def length(self, relative: float, parameter: str | None = None) -> int:
        """The k that a relative difference of at most ``relative`` takes.

        Of "window", the smallest k from which on it stays there: it need not fall with k, so a
        smaller k may have a smaller one by chance. Of "chunks", the smallest k that has it: where
        the last chunk begins decides as much as how long it is, so a longer one may be worse again
        (with the loss on the last of 50 steps, chunks of 49 leave it one step, chunks of 25 leave
        it 25), and hardly any but the whole sequence is one from which on it stays.

        Args:
            relative: above 0, such as 0.1.
            parameter: one of ``parameters``; None: all together.

        Raises:
            CarouselError: no positive number, an unknown parameter, or a gradient that is zero or
                not finite, from which nothing has a relative difference.
        """
        if not _number(relative) > 0:
            raise CarouselError(
                f"Expected a relative difference above 0, such as 0.1, got {relative!r}."
            )
        if parameter is not None and parameter not in self.parameters:
            raise CarouselError(
                f"There is no parameter {parameter!r}. Expected one of: "
                f"{', '.join(self.parameters)}."
            )
        curve = self.relative if parameter is None else self.parameters[parameter]
        if bool(curve.isnan().any()):
            whose = parameter or ALL
            why = self.without.get(whose, "not finite")
            raise CarouselError(
                f"The gradient {'of the layer' if whose == ALL else f'of {whose}'} is "
                f"{why}, so nothing has a relative difference from it. {WHERE_TO_LOOK[why]}"
            )
        if self.how == "chunks":
            enough = (curve <= relative).nonzero().flatten()
            return int(enough[0]) + 1 if len(enough) else len(curve)
        above = (curve > relative).nonzero().flatten()
        if not len(above):
            return 1
        return min(int(above[-1]) + 2, len(curve))  # at the longest k only rounding is left


def _number(value: object) -> float:
    return float(value) if isinstance(value, SupportsFloat) else math.nan


def truncation(trace: Trace, k: int, how: How = "window") -> Truncation:
    """Truncate one layer at k steps; see ``LayerFlow.truncation``."""
    if type(k) is not int or k < 1:
        raise CarouselError(f"Expected k to be a whole number of steps from 1 on, got {k!r}.")
    _check(how)
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        work = _Lags(trace, k if how == "chunks" else None)
        kept = work.kept(k)
        by_step = [
            [work.turned(each) for each in _by_step(part, total)]
            for part, total in zip(work.totals(kept), work.totals(work.total), strict=True)
        ]
        differences = None
        if trace.cell.derived:
            differences = _differences(work.gradients(kept), work.gradients(work.total))
        return Truncation(
            k=k,
            how=how,
            relative_h=by_step[0][0],
            cosine_h=by_step[0][1],
            relative_c=by_step[1][0] if len(by_step) > 1 else None,
            cosine_c=by_step[1][1] if len(by_step) > 1 else None,
            of_parameters=differences,
            layer=trace.name,
        )


def truncation_curve(trace: Trace, how: How = "window") -> TruncationCurve:
    """The bias of every k; see ``LayerFlow.truncation_curve``."""
    _check(how)
    if not trace.cell.derived:
        raise not_known(trace.name)
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        work = _Lags(trace, None)
        full = work.gradients(work.total)
        truncated = work.windows(full) if how == "window" else work.chunks()
        curve = [_differences(found, full) for found in truncated]
        names = list(curve[0])
        relative = {name: _column(d[name].relative for d in curve) for name in names}
        cosine = {name: _column(d[name].cosine for d in curve) for name in names}
        bias = relative.pop(ALL)
        return TruncationCurve(
            k=torch.arange(1, len(curve) + 1),
            relative=bias,
            cosine=cosine.pop(ALL),
            parameters=relative,
            cosines=cosine,
            how=how,
            without=_without(relative | {ALL: bias}, full),
        )


def _check(how: How) -> None:
    if how not in WAYS:
        raise CarouselError(f"There is no truncation {how!r}. Expected one of: {', '.join(WAYS)}.")


def _without(relative: Mapping[str, Tensor], full: Mapping[str, Tensor]) -> dict[str, Without]:
    """Of each gradient that has no relative difference, whether it is zero or not finite."""
    zero = {name: not bool((gradient != 0).any()) for name, gradient in full.items()}
    zero[ALL] = all(zero.values())
    return {
        name: "exactly zero" if zero[name] else "not finite"
        for name, curve in relative.items()
        if bool(curve.isnan().any())
    }


def _column(numbers: Iterable[float]) -> Tensor:
    return torch.tensor(list(numbers), dtype=torch.float64)


class _Lags:
    """The gradient at every step by the lag that it has come over, all steps side by side.

        w_0[t] = what arrives at t;     w_{l+1}[t] = J_{t+1}^T w_l[t+1]

    In float64, whatever the module's dtype, and at each step in units of a power of two near the
    total there: what underflows beside it is nothing beside it. A cell known as a function alone
    is followed in its own dtype.
    """

    def __init__(self, trace: Trace, chunk: int | None) -> None:
        self.trace, self.chunk = trace, chunk
        self.running = in_running_order(trace)
        if trace.cell.derived:
            self.running = _in_double(self.running)
        self.linearisation = linearisation_of(self.running)
        self.arriving = arriving(self.running, self.linearisation)
        stands = standing(self.running, self.linearisation)
        self.unit = stands.exponents() + binary_exponent(largest(stands.mantissa))  # [T, B]
        self.total = stands.at(self.unit).mantissa
        vector = torch.cat(self.arriving.vectors, dim=-1)
        self.arrived = Scaled(vector, self.arriving.exponent).at(self.unit).mantissa
        self.outputs = self.arriving.vectors[0].shape[-1]
        self.passing = self._passing()

    def _passing(self) -> Tensor:
        """What a gradient at step t is multiplied with on its way before t, [T, B, 1 or units]."""
        shift = self.unit - torch.cat([self.unit[:1], self.unit[:-1]])
        passing = power_of_two(shift).unsqueeze(-1)
        if self.arriving.crossing:
            passing = passing.expand_as(self.total).clone()
        for step in self.arriving.crossing:
            parts = self.arriving.stop(step, *self.split(passing[step]))
            passing[step] = torch.cat([part for part in parts if part is not None], dim=-1)
        if self.chunk is not None:
            passing[:: self.chunk] = 0.0
        return passing

    def kept(self, k: int) -> Tensor:
        """The sum of w_0 .. w_{k-1} at every step, [T, B, units]."""
        if self.linearisation is None:
            return self._kept_step_by_step(k)
        kept = torch.zeros_like(self.total)
        for lag, (first, part) in enumerate(self.by_lag()):
            if lag == k:
                break
            kept[first : first + len(part)] += part
        return kept

    def _kept_step_by_step(self, k: int) -> Tensor:
        """The same with all lags side by side at each step, so that a step is run only once."""
        step = back_of(self.running, None)
        kept = torch.empty_like(self.total)
        w = self.arrived[-1:]  # [lags, B, units], w_0 in front
        for t in range(len(kept) - 1, -1, -1):
            kept[t] = w.sum(0)
            if t == 0:
                break
            if k == 1:
                w = self.arrived[t - 1 : t]
                continue
            pulled = step(t, *self.split(w[: k - 1]))
            earlier = torch.cat([part for part in pulled if part is not None], dim=-1)
            earlier = torch.where(self.passing[t] == 0, 0.0, earlier * self.passing[t])
            w = torch.cat([self.arrived[t - 1 : t], earlier])
        return kept

    def windows(self, like: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """The gradients of windows of 1, 2, .. steps, lag by lag in one sum."""
        found = {name: torch.zeros_like(gradient) for name, gradient in like.items()}
        for first, part in self.by_lag():
            for name, gradient in self.gradients(part, first).items():
                found[name] += gradient
            yield found

    def chunks(self) -> Iterator[dict[str, Tensor]]:
        """The gradients of chunks of 1, 2, .. steps, many k side by side on each way back."""
        step = back_of(self.running, self.linearisation)
        steps = len(self.total)
        many = max(1, MOST_NUMBERS // self.total.numel())
        for k in torch.arange(1, steps + 1, device=self.total.device).split(many):
            kept = self.total.new_empty(steps, len(k), *self.total.shape[1:])
            w = self.arrived[-1].expand(len(k), -1, -1)
            for t in range(steps - 1, -1, -1):
                kept[t] = w
                if t == 0:
                    break
                pulled = step(t, *self.split(w))
                earlier = torch.cat([part for part in pulled if part is not None], dim=-1)
                begins = (t % k == 0).reshape(-1, 1, 1)
                stays = begins | (self.passing[t] == 0)
                w = self.arrived[t - 1] + torch.where(stays, 0.0, earlier * self.passing[t])
            for own in kept.unbind(1):
                yield self.gradients(own)

    def by_lag(self) -> Iterator[tuple[int, Tensor]]:
        """For lag 0, 1, ..: the first step and w of the steps from there on, [S, B, units].

        Ends where nothing is left.
        """
        there = self.arriving.there.any(1).nonzero().flatten().tolist()
        first, stop = (there[0], there[-1] + 1) if there else (0, 1)
        w = self.arrived[first:stop]
        yield first, w
        while stop > 1:
            begin = max(first, 1)  # nothing stands before step 0
            w = self._pulled(begin, stop, w[begin - first :])
            first, stop = begin - 1, stop - 1
            if not bool((w != 0).any()):
                return
            yield first, w

    def _pulled(self, begin: int, stop: int, w: Tensor) -> Tensor:
        """From the steps begin .. stop-1, each to the one before it."""
        assert self.linearisation is not None
        side_by_side = self.linearisation.map(
            lambda factor: factor[begin:stop].flatten(0, 1).unsqueeze(0)
        )
        step = pull_back(side_by_side)
        w_h, w_c = self.split(w.flatten(0, 1))
        w_h, w_c = step(0, w_h, w_c)
        pulled = w_h if w_c is None else torch.cat([w_h, w_c], dim=-1)
        passing = self.passing[begin:stop]
        # What does not pass is zero even where it is not finite.
        return torch.where(passing == 0, 0.0, pulled.unflatten(0, w.shape[:2]) * passing)

    def split(self, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """The parts of h and of c."""
        if not self.trace.cell.has_c:
            return w, None
        return w[..., : self.outputs].contiguous(), w[..., self.outputs :].contiguous()

    def totals(self, w: Tensor, first: int = 0) -> list[Tensor]:
        """d_h and, where there is a c, d_c with its way through h, of steps from ``first`` on."""
        d_h, w_c = self.split(w)
        if w_c is None:
            return [d_h]
        if self.linearisation is None:
            return [d_h, w_c + through_h(self.running, d_h, first)]
        assert self.linearisation.c_from_h is not None
        w_hr = self.running.weights.w_hr
        d_m = d_h if w_hr is None else d_h @ w_hr
        return [d_h, w_c + self.linearisation.c_from_h[first : first + len(w)] * d_m]

    def gradients(self, w: Tensor, first: int = 0) -> dict[str, Tensor]:
        """What w of the steps from ``first`` on gives for each parameter, in one common unit."""
        assert self.linearisation is not None
        scale = power_of_two(self.unit[first : first + len(w)] - self.unit.max())
        d_h, *d_c = self.totals(w * scale.unsqueeze(-1), first)
        return parameter_gradients(
            self.running, self.linearisation, first, d_h, d_c[0] if d_c else None
        )

    def turned(self, by_step: Tensor) -> Tensor:
        """[T, B] in the order of the input, NaN at padding."""
        return torch.where(self.trace.valid, turned_back(self.trace, by_step), math.nan)


def _in_double(trace: Trace) -> Trace:
    """The same trace with all that is computed with in float64."""

    def double(scaled: Scaled) -> Scaled:
        return scaled.linear(Tensor.double)

    return replace(
        trace,
        x=trace.x.double(),
        trajectory=trace.trajectory.map(Tensor.double),
        weights=trace.weights.map(Tensor.double),
        d_h=double(trace.d_h),
        d_c=None if trace.d_c is None else double(trace.d_c),
        d_h_injected=double(trace.d_h_injected),
        d_c_injected=None if trace.d_c_injected is None else double(trace.d_c_injected),
        handed_over=trace.handed_over.double(),
    )


def _by_step(kept: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """``Difference`` over the units, [T, B, units] -> relative and cosine [T, B]."""
    size = torch.linalg.vector_norm(total, dim=-1)
    relative = torch.linalg.vector_norm(kept - total, dim=-1) / size
    relative = torch.where(size == 0, math.nan, relative)
    cosine = torch.nn.functional.cosine_similarity(_unit(kept), _unit(total), dim=-1, eps=0.0)
    return relative, cosine


def _unit(vectors: Tensor) -> Tensor:
    """With entries up to 1, so that no square underflows; NaN for a vector of zero."""
    return vectors / largest(vectors).unsqueeze(-1)


def _differences(found: Mapping[str, Tensor], full: Mapping[str, Tensor]) -> dict[str, Difference]:
    """Of each parameter and of all side by side."""
    products = {
        name: torch.stack(
            [
                (found[name] - gradient).square().sum(),
                gradient.square().sum(),
                found[name].square().sum(),
                (found[name] * gradient).sum(),
            ]
        )
        for name, gradient in full.items()
    }
    products[ALL] = torch.stack(list(products.values())).sum(0)
    return {name: _difference(*values.tolist()) for name, values in products.items()}


def _difference(gap: float, full: float, found: float, along: float) -> Difference:
    """From squared norms and the inner product."""
    if not full > 0:
        return Difference(math.nan, math.nan)
    cosine = along / math.sqrt(full * found) if found > 0 else math.nan
    return Difference(math.sqrt(gap / full), cosine)
