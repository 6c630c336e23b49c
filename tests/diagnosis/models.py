"""Sick and healthy models for the tests of the rules, and what is found in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

import carousel
from carousel.diagnosis import ClippingRecord, Finding
from carousel.diagnosis._subject import subject_of
from carousel.diagnosis.rules import RULES
from carousel.flow import Flow

INPUTS = 3
UNITS = 16
Loss = Callable[[Tensor], Tensor]


def last(output: Tensor) -> Tensor:
    return output[-1].square().sum()


def every(output: Tensor) -> Tensor:
    return output.square().sum()


def data(steps: int = 80, batch: int = 4, inputs: int = INPUTS, seed: int = 1) -> Tensor:
    return torch.randn(steps, batch, inputs, generator=torch.Generator().manual_seed(seed))


def made(
    kind: type[nn.Module], *, seed: int = 0, units: int = UNITS, **options: object
) -> nn.Module:
    """A module with the weights that its class gives it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(INPUTS, units, **options)


def measured(module: nn.Module, x: Tensor | None = None, loss: Loss = last) -> Flow:
    x = data() if x is None else x
    return carousel.measure(module, lambda: loss(module(x)[0]))


def found(
    flow: Flow,
    rule: str,
    lag: int | None = None,
    *,
    lengths: Tensor | Sequence[int] | None = None,
    clipping: ClippingRecord | None = None,
) -> tuple[Finding, ...]:
    """The findings of one rule."""
    findings = tuple(RULES[rule](subject_of(flow, lag, lengths, clipping)))
    assert all(finding.rule == rule for finding in findings)
    return findings


def only(flow: Flow, rule: str, lag: int | None = None) -> Finding:
    """The one finding of a rule."""
    (finding,) = found(flow, rule, lag)
    return finding


@torch.no_grad()
def filled(module: nn.Module, value: float, *names: str, gate: int | None = None) -> nn.Module:
    """Set parameters whose names begin so, or the rows of one gate among four, to a value."""
    for name, parameter in module.named_parameters():
        if name.startswith(names):
            rows = parameter if gate is None else parameter.chunk(4)[gate]
            rows.fill_(value)
    return module


@torch.no_grad()
def scaled(module: nn.Module, factor: float, name: str = "weight_hh") -> nn.Module:
    for own, parameter in module.named_parameters():
        if own.startswith(name):
            parameter.mul_(factor)
    return module
