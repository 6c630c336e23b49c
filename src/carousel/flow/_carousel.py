"""The carousel in the derivative of the state: term by term in one step, and alone over any lag.

One step of an LSTM, where h_{t-1} = W_hr (o * psi(c_{t-1})) depends on c_{t-1} too:

    dc_t/dc_{t-1} = diag(f_t)                                                          direct
                  + sum_k diag(row_k) W_hk W_hr diag(into_c[t-1]) + diag(p_k row_k)    i, f, g

row_k is what a_k does to c_t (row_f = c_{t-1} * f', ..), into_c as in ``_paths.py``. A GRU has
dh_t/dh_{t-1} = diag(z_t) + sum_k diag(row_k) W_hk with k = r, z, n; an RNN the one term of h.

Over a lag, the carousel alone is the product of the steps in which only diag(f), or diag(z), leads
from one state to the next. It stands beside the full product ds_T/ds_t, s = (h, c), being a part:

    [W_hr diag(into_c[T])]
    [         1          ] diag(f_T * .. * f_{t+1})
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import index
from typing import Literal, SupportsIndex

import torch
from torch import Tensor
from torch.nn.functional import pad

from carousel._errors import CarouselError
from carousel.flow._jacobian import NORMS, by_lag, jacobian_norms, norm_named
from carousel.flow._one_step import OneStep, linearised
from carousel.flow._running import in_running_order
from carousel.flow._shown import Shown, listed, middle, number, per_cent
from carousel.trace import Trace

__all__ = ["CarouselShare", "StepTerms", "carousel_share", "step_terms"]


@dataclass(frozen=True, eq=False, repr=False)
class StepTerms(Shown):
    """dc_t/dc_{t-1} of an LSTM, or dh_t/dh_{t-1} of a GRU or an RNN, as a sum of terms.

    Row j, column k of a term is what unit k before does to unit j after. NaN for a sequence that
    has no such step, or whose state was changed just before it by operations outside the module.
    """

    state: Literal["c", "h"]
    step: int  # t; the step before it is t-1, or t+1 in the reverse direction
    terms: Mapping[str, Tensor]  # "direct" (no RNN has it) and by gate, each [B, H, H]

    def __str__(self) -> str:
        terms = {**self.terms, "total": self.total}
        norms = (
            (name, number(middle(torch.linalg.matrix_norm(term.double()).log10())))
            for name, term in terms.items()
        )
        return (
            f"d{self.state}_t/d{self.state}_{{t-1}} at step t = {self.step}, by the Frobenius "
            f"norms of its terms (medians over the sequences): {listed(norms)}."
        )

    @property
    def total(self) -> Tensor:
        """The derivative itself [B, H, H]."""
        return torch.stack(list(self.terms.values())).sum(0)


@dataclass(frozen=True, eq=False, repr=False)
class CarouselShare(Shown):
    """How much of ds_T/ds_t is the carousel alone, by lag; T is each sequence's last step.

    NaN where there is no such lag; -inf is an exact zero.
    """

    lags: Tensor  # [L] int64, 0 .. L-1 steps back
    log10_carousel: Tensor  # [L, B] float64, norm of the product that follows the carousel alone
    log10_full: Tensor  # [L, B] float64, norm of the full product

    def __str__(self) -> str:
        share = self.share
        known = (~share.isnan()).any(1).nonzero().flatten().tolist()
        if not known or known[-1] == 0:
            return "There is no lag over which the carousel has a share."
        said = [f"{per_cent(middle(share[lag]))} at lag {lag}" for lag in sorted({1, known[-1]})]
        return (
            f"Beside ds_T/ds_t, the carousel alone is {' and '.join(said)} by its norm (medians "
            "over the sequences)."
        )

    @property
    def share(self) -> Tensor:
        """The ratio of both norms [L, B] float64; above 1 where the other ways work against it."""
        return torch.pow(10.0, self.log10_carousel - self.log10_full)


def step_terms(trace: Trace, step: int) -> StepTerms:
    """The terms of one step's derivative; see ``LayerFlow.step_terms``."""
    if not isinstance(step, SupportsIndex):
        raise CarouselError(f"Expected step to be a whole number, one of the steps; got {step!r}.")
    step = index(step)
    running = in_running_order(trace)
    lengths = trace.lengths
    place = lengths - 1 - step if trace.direction == "reverse" else torch.full_like(lengths, step)
    there = (place >= 1) & (place < lengths)
    if not 0 <= step < trace.x.shape[0] or not bool(there.any()):
        before = "step + 1" if trace.direction == "reverse" else "step - 1"
        raise CarouselError(
            f"Expected a step that has one before it, got step {step}: {trace.name} has "
            f"{trace.x.shape[0]} steps and runs {trace.direction}, so {before} must be one of them."
        )
    for boundary, same in zip(trace.boundaries, trace.handed_over, strict=True):
        there = there & ((place != boundary) | (same == 1))
    place = place.clamp(min=1, max=trace.x.shape[0] - 1)
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        found = _terms(linearised(running, truncated=False), place)
    mask = there[:, None, None]
    return StepTerms(
        state="h" if trace.d_c is None else "c",
        step=step,
        terms={name: torch.where(mask, term, torch.nan) for name, term in found.items()},
    )


def _terms(one: OneStep, place: Tensor) -> dict[str, Tensor]:
    """The terms at a step of each sequence [B], each [B, H, H]."""
    sequences = torch.arange(len(place), device=place.device)

    def at(factor: Tensor, steps: Tensor) -> Tensor:
        return factor[steps, sequences]

    found = {} if one.keep is None else {"direct": torch.diag_embed(at(one.keep, place))}
    into_c = one.linearisation.c_from_h
    for gate in one.gates:
        if gate == "o" and into_c is not None:  # it has its say on h_t, after c_t
            continue
        row = at(one.row(gate), place)
        term = row.unsqueeze(-1) * one.through_projection(one.block(gate))
        if into_c is not None:
            term = term * at(into_c, place - 1).unsqueeze(-2)
        p = one.peephole(gate)
        found[gate] = term if p is None else term + torch.diag_embed(p * row)
    return found


def carousel_share(trace: Trace, norm: str = "spectral") -> CarouselShare:
    """The carousel's own product beside the full one; see ``LayerFlow.carousel_share``."""
    norm_named(norm)
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        running = in_running_order(trace)
        one = linearised(running, truncated=False)
        if one.keep is None:
            raise CarouselError(
                f"{trace.name} is a simple {trace.cell.name}: it has no carousel, no way on which "
                "its state passes without its weights. Ask an LSTM or a GRU; jacobian_norms() "
                "gives the product of an RNN."
            )
        alone = by_lag(_log_norms_alone(one, norm), trace.lengths)[: int(trace.lengths.max())]
    full = jacobian_norms(trace, norm)
    # Nothing is followed over no steps: the identity, of which the carousel is no mere part.
    alone = torch.cat([full.log10[:1], alone[1:] / math.log(10)])
    return CarouselShare(full.lags, alone, full.log10)


def _log_norms_alone(one: OneStep, norm: str) -> Tensor:
    """ln of the norm of the carousel's product at every step [T, B], in running order.

    The logarithms of the factors are added up, so no product is ever out of range.
    """
    trace, keep = one.trace, one.keep
    assert keep is not None
    log = torch.where(trace.valid.unsqueeze(-1), keep.double().log(), 0.0)
    if trace.boundaries:
        log[list(trace.boundaries)] += trace.handed_over.double().log().unsqueeze(-1)
    log = pad(log.flip(0).cumsum(0).flip(0)[1:], (0, 0, 0, 0, 0, 1))
    into_c = one.linearisation.c_from_h
    if into_c is None:
        return _of_columns(log, norm)
    sequences = torch.arange(len(trace.lengths), device=log.device)
    read = into_c[trace.lengths - 1, sequences].double()  # [B, H]
    w_hr = one.linearisation.weights.w_hr
    if w_hr is not None and norm == "spectral":
        return _spectral_projected(log, read, w_hr.double())
    width = 1.0 if w_hr is None else w_hr.double().square().sum(0)
    return _of_columns(log + (1 + width * read.square()).log() / 2, norm)


def _of_columns(log: Tensor, norm: str) -> Tensor:
    """ln of the norm of matrices with orthogonal columns, from the logarithms of their lengths."""
    if norm == "spectral":
        return log.amax(-1)
    return torch.logsumexp(2 * log, dim=-1) / 2


def _spectral_projected(log: Tensor, read: Tensor, w_hr: Tensor) -> Tensor:
    """ln of the largest singular value of [W_hr diag(read); 1] diag(exp(log)), step by step."""
    begin = torch.cat(
        [
            w_hr.unsqueeze(1) * read,
            torch.eye(len(read.T), dtype=read.dtype, device=read.device)
            .unsqueeze(1)
            .expand(-1, len(read), -1),
        ]
    )  # [P + H, B, H]
    found = torch.empty(log.shape[:2], dtype=log.dtype, device=log.device)
    for t in range(len(log)):
        top = log[t].amax(-1)
        scale = torch.where(top == -math.inf, 0.0, top).unsqueeze(-1)
        value = NORMS["spectral"](begin * (log[t] - scale).exp())
        found[t] = value.log() + scale.squeeze(-1)
    return found
