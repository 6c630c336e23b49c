"""Gradient flossing: the leading Lyapunov exponents are pulled towards zero.

    Q_t R_t = J_t Q_{t-1},   lambda_i = mean over t of ln |r_ii|,   loss = mean over i of lambda_i^2

The loss is differentiated through the factorisations, the Jacobians and the states, in float64,
whatever the module has: J_t q is autograd's derivative of the cell's own step in the direction q.

Source: Engelken, *Gradient flossing: improving gradient descent through dynamic control of
Jacobians*, NeurIPS 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from carousel._errors import CarouselError
from carousel.cells import Weights
from carousel.diagnosis.remedies._places import Place, places_of
from carousel.diagnosis.remedies._remedy import Remedy
from carousel.diagnosis.remedies._stepping import (
    add_gradients,
    around_training,
    checked_strength,
    unfit_for_gradients,
    while_listening,
)
from carousel.diagnosis.remedies._undo import Undo
from carousel.flow import LayerFlow
from carousel.trace import Trace, turner

__all__ = ["Flossing", "flossing_gradient"]

DEAD = 1e-13  # a step that shrinks a direction so far: float64 cannot tell it from zero


@dataclass(frozen=True)
class Flossing(Remedy):
    """Add strength * mean of lambda_i^2, over the ``exponents`` leading ones, to the loss.

    Its gradient is added before each step of a torch optimizer, for the first ``optimizer_steps``
    of them: flossing before and in the beginning of a training is what the paper found enough.
    Costs about ``exponents`` forward and backward passes of the layer in plain equations, on the
    first ``sequences`` of the batch.

    Attributes:
        layer: name of a layer or of a module; "": every recurrent module.
        exponents: how many of the leading ones.
        strength: the factor of the loss.
        optimizer_steps: the steps in which it acts; None: all.
        sequences: of each batch, at most, over which the loss is averaged.
    """

    exponents: int = 1
    strength: float = 1.0
    optimizer_steps: int | None = None
    sequences: int = 8
    name: ClassVar[str] = "flossing"
    keeps_weights: ClassVar[bool] = True
    in_model: ClassVar[bool] = False

    def sentence(self) -> str:
        """What it does, in plain words."""
        which = "exponent" if self.exponents == 1 else f"{self.exponents} exponents"
        return (
            f"Pull the leading Lyapunov {which} of {self.layer or 'every recurrent layer'} towards "
            "zero by an extra loss (gradient flossing), so that the gradient neither fades nor "
            "grows on its way. It starts from the weights as they are."
        )

    def code(self) -> str:
        """The lines to paste around the training loop."""
        return around_training(self)

    def apply(self, model: nn.Module) -> Undo:
        """Listen to every backward pass, and add the gradient before each optimizer step.

        Raises:
            CarouselError: it does not fit the layer; the model is as it was.
        """
        checked_strength(self.strength)
        if type(self.exponents) is not int or self.exponents < 1:
            raise CarouselError(
                f"Expected exponents to be a whole number from 1 on, got {self.exponents!r}."
            )
        applied = Undo(self)

        def add(place: Place, layer: LayerFlow) -> bool:
            _, gradients = flossing_gradient(layer.trace, self.exponents, self.sequences)
            return add_gradients(
                place, layer, {name: self.strength * each for name, each in gradients.items()}
            )

        try:
            places = places_of(model, self.layer, _unfit)
            while_listening(model, places, add, applied, self.optimizer_steps)
            return applied
        except BaseException:
            applied.undo()
            raise


def _unfit(place: Place) -> str:
    return unfit_for_gradients(place, "w_ih", "w_hh", "b_ih", "b_hh")


def flossing_gradient(
    trace: Trace, exponents: int, sequences: int | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The leading exponents, and the gradient of the mean of their squares by the weights.

    Padding is left out; the state is taken to go on over calls. A sequence in which a direction
    dies, as where units of a relu are off, has no such gradient and does not count.

    Args:
        trace: of one layer.
        exponents: how many, at most as many as the state has numbers.
        sequences: the first so many of the batch; None: all.

    Returns:
        Exponents [B, k] of the sequences that count, and gradients by the names of the equations,
        in float64.
    """
    with torch.autocast(trace.x.device.type, enabled=False), torch.enable_grad():
        weights = trace.weights.map(lambda tensor: tensor.detach().double().requires_grad_())
        every = torch.arange(len(trace.lengths), device=trace.x.device)[:sequences]
        held = weights.map(Tensor.detach)
        found, alive = _exponents(trace, held, exponents, every)
        if not bool(alive.any()):
            return found.detach()[alive], {}
        lambdas, _ = _exponents(trace, weights, exponents, every[alive])
        loss = lambdas.square().mean()
        there = {name: tensor for name, tensor in vars(weights).items() if tensor is not None}
        slopes = torch.autograd.grad(loss, list(there.values()), materialize_grads=True)
    gradients = dict(zip(there, slopes, strict=True))
    return lambdas.detach(), gradients


def _exponents(trace: Trace, weights: Weights, count: int, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """lambda_i of the chosen sequences [B, k], with a graph back to the weights; which have all."""
    turn = turner(trace.lengths, len(trace.x)) if trace.direction == "reverse" else _as_it_is
    lengths = trace.lengths[chosen]
    x = turn(trace.x).double()[:, chosen]
    trajectory = trace.trajectory
    states = [turn(trajectory.h_prev)[0, chosen]]
    if trajectory.c_prev is not None:
        states.append(turn(trajectory.c_prev)[0, chosen])
    state = tuple(each.detach().double().requires_grad_() for each in states)
    widths = [each.shape[-1] for each in state]
    batch, size = len(state[0]), sum(widths)
    count = min(count, size)
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(size, count, generator=generator, dtype=torch.float64)
    q = torch.linalg.qr(draws)[0].to(x.device).expand(batch, -1, -1)
    logs, alive = x.new_zeros(batch, count), torch.ones_like(lengths, dtype=torch.bool)
    for t in range(len(x)):
        state, pushed = _step(trace, weights, x[t], state, q)
        q, r = torch.linalg.qr(pushed)
        size, valid = r.diagonal(dim1=-2, dim2=-1).abs(), t < lengths
        alive = alive & ((size > DEAD).all(-1) | ~valid)
        logs = logs + torch.where(valid.unsqueeze(-1), size.log(), 0.0)
    return logs / lengths.unsqueeze(-1), alive


def _step(
    trace: Trace, weights: Weights, x: Tensor, state: tuple[Tensor, ...], q: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The state after a step, and J_t q for the columns of q [B, S, k]."""
    batch, _, count = q.shape
    widths = [each.shape[-1] for each in state]
    columns = q.permute(2, 0, 1).reshape(count * batch, -1)
    before = tuple(each.repeat(count, 1) for each in state)
    after = trace.cell.step(x.repeat(count, 1), before, weights)
    # The way back is linear in what is sent along it, and its derivative is the way forward.
    sent = tuple(torch.zeros_like(each, requires_grad=True) for each in after)
    back = torch.autograd.grad(after, before, sent, create_graph=True, materialize_grads=True)
    pushed = torch.autograd.grad(
        back, sent, columns.split(widths, dim=-1), create_graph=True, materialize_grads=True
    )
    joined = torch.cat(pushed, dim=-1).view(count, batch, -1).permute(1, 2, 0)
    return tuple(each[:batch] for each in after), joined


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
