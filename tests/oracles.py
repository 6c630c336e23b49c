"""Independent references: a loop over the steps through autograd, and finite differences.

Written from the equations in torch's documentation and DESIGN section 3, never from ``carousel``.

Every state exists twice in the loop. ``h_t`` itself goes to step t+1; an identity copy of it,
``outside``, goes to everybody else: the layer above, the output, h_n. So autograd measures both
quantities by itself: ``h_t.grad`` is the total gradient, ``outside.grad`` the injected part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from tests.cases import Case, Problem
from tests.lstm_family import LSTM, lstm_step
from tests.tolerances import assert_close
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Weights = dict[str, torch.Tensor]


@dataclass
class Step:
    """What one step of one cell left behind, before any gradient."""

    h: torch.Tensor
    c: torch.Tensor | None
    gates: Weights
    pre_activations: Weights


def _rows(value: torch.Tensor, names: str) -> Weights:
    return dict(zip(names, value.chunk(len(names), dim=-1), strict=True))


def _affine(weight: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    product = x @ weight.T
    return product if bias is None else product + bias


def step_of(
    cell: str,
    weights: Weights,
    x: torch.Tensor,
    h: torch.Tensor,
    c: torch.Tensor | None = None,
    *,
    nudge: torch.Tensor | float = 0.0,
    truncated: bool = False,
) -> Step:
    """One step of a cell. ``weights``: weight_ih, weight_hh and, where there are any, the rest.

    ``nudge`` is added to c_t before anybody sees it. ``truncated`` cuts, as Hochreiter and
    Schmidhuber did in 1997, all ways between two steps but that from c_{t-1} straight to c_t.
    """
    from_input = _affine(weights["weight_ih"], x, weights.get("bias_ih"))
    from_state = _affine(
        weights["weight_hh"], h.detach() if truncated else h, weights.get("bias_hh")
    )
    if cell in LSTM:
        a = _rows(from_input + from_state, LSTM[cell].rows)
        return Step(*lstm_step(LSTM[cell], a, weights, c, nudge=nudge, truncated=truncated))
    if cell == "gru":
        x_rows, h_rows = _rows(from_input, "rzn"), _rows(from_state, "rzn")
        a = {name: x_rows[name] + h_rows[name] for name in "rz"}
        r, z = torch.sigmoid(a["r"]), torch.sigmoid(a["z"])
        a["n"] = x_rows["n"] + r * h_rows["n"]
        n = torch.tanh(a["n"])
        return Step((1 - z) * n + z * h, None, {"r": r, "z": z, "n": n}, a)
    a_h = from_input + from_state
    activation = {
        "rnn_tanh": torch.tanh,
        "rnn_relu": torch.relu,
        "rnn_sigmoid": torch.sigmoid,
        "rnn_identity": lambda value: value,
    }[cell]
    h = activation(a_h)
    return Step(h, None, {"h": h}, {"h": a_h})


def parameters_of(module: nn.Module) -> Weights:
    """Return leaf copies of the parameters in float64: the oracle never touches the module."""
    return {
        name: parameter.detach().to("cpu", torch.float64).clone().requires_grad_()
        for name, parameter in module.named_parameters()
    }


def weights_of(parameters: Weights, name: str) -> Weights:
    """Return the weights of one layer and direction, without the suffix: weight_ih, bias_hh, ..."""
    ending = f"_{name}"
    found = {}
    for key, value in parameters.items():
        if key.endswith(ending):
            found[key.removesuffix(ending)] = value
    return found


@dataclass
class Recorded:
    """The steps of one layer and direction, in the input's time order, for autograd to fill."""

    h: list = field(default_factory=list)
    c: list = field(default_factory=list)
    h_outside: list = field(default_factory=list)
    c_outside: list = field(default_factory=list)
    gates: list = field(default_factory=list)
    pre_activations: list = field(default_factory=list)
    h0: torch.Tensor | None = None
    c0: torch.Tensor | None = None

    def add(self, step: Step) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Record a step; return the copies of h and c that are for the world outside of time."""
        self.gates.append(step.gates)
        self.pre_activations.append(step.pre_activations)
        self.h.append(_kept(step.h))
        self.h_outside.append(_kept(step.h * 1.0))
        self.c.append(None if step.c is None else _kept(step.c))
        self.c_outside.append(None if step.c is None else _kept(step.c * 1.0))
        return self.h_outside[-1], self.c_outside[-1]

    def reverse(self) -> None:
        """Turn the order of the steps around: a reverse direction was recorded from the end."""
        for name in ("h", "c", "h_outside", "c_outside", "gates", "pre_activations"):
            getattr(self, name).reverse()

    @staticmethod
    def joined(parts: list[Recorded]) -> Recorded:
        """Return chunks one after the other as one timeline, which starts as the first does."""
        whole = Recorded(h0=parts[0].h0, c0=parts[0].c0)
        for name in ("h", "c", "h_outside", "c_outside", "gates", "pre_activations"):
            for part in parts:
                getattr(whole, name).extend(getattr(part, name))
        return whole


@dataclass
class Reference:
    """The oracle's answer for one layer and direction. Beyond a sequence's length it is zero."""

    h: torch.Tensor
    c: torch.Tensor | None
    d_h: torch.Tensor
    d_c: torch.Tensor | None
    d_h_injected: torch.Tensor
    d_c_injected: torch.Tensor | None
    d_h0: torch.Tensor | None
    d_c0: torch.Tensor | None
    gates: Weights
    pre_activations: Weights
    valid: torch.Tensor  # [T, B]


def _kept(value: torch.Tensor) -> torch.Tensor:
    if value.requires_grad:
        value.retain_grad()
    return value


def _grad(value: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(value) if value.grad is None else value.grad.clone()


def reference_of(recorded: Recorded, lengths: torch.Tensor | None = None) -> Reference:
    """Read, after backward, what autograd left on a layer's recorded steps."""
    steps, batch = len(recorded.h), recorded.h[0].shape[0]
    lengths = torch.full((batch,), steps) if lengths is None else lengths
    valid = torch.arange(steps)[:, None] < lengths[None, :]

    def stack(values: list[torch.Tensor]) -> torch.Tensor:
        return torch.where(valid[..., None], torch.stack(values).detach(), 0.0)

    def named(values: list[Weights]) -> Weights:
        return {name: stack([value[name] for value in values]) for name in values[0]}

    has_c = recorded.c[0] is not None
    return Reference(
        h=stack(recorded.h),
        c=stack(recorded.c) if has_c else None,
        d_h=stack([_grad(h) for h in recorded.h]),
        d_c=stack([_grad(c) for c in recorded.c]) if has_c else None,
        d_h_injected=stack([_grad(h) for h in recorded.h_outside]),
        d_c_injected=stack([_grad(c) for c in recorded.c_outside]) if has_c else None,
        d_h0=None if recorded.h0 is None else _grad(recorded.h0),
        d_c0=None if recorded.c0 is None else _grad(recorded.c0),
        gates=named(recorded.gates),
        pre_activations=named(recorded.pre_activations),
        valid=valid,
    )


Nudges = dict[tuple[str, str], torch.Tensor]


class Loop:
    """A stacked, bidirectional, ragged, projected recurrent module as a loop over its steps.

    After ``run``: ``output`` [T, B, D * H_out] padded with zeros, ``h_n``, ``c_n`` for the world
    outside; ``h_last``, ``c_last`` by layer name for a next chunk of the same timeline.

    ``nudges[name, "h" | "c" | "h_outside" | "c_outside"]`` [T, B, H] is added to that quantity of
    that layer at each step: the finite differences move the states with it.
    """

    def __init__(self, case: Case, module: nn.Module, nudges: Nudges | None = None) -> None:
        self.case = case
        self.parameters = parameters_of(module)
        self.nudges = nudges or {}
        self.recorded: dict[str, Recorded] = {}

    def run(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor,
        state: dict[str, tuple[torch.Tensor, torch.Tensor | None]] | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        """Run over x [T, B, I]. ``state[name]`` is (h, c); without it the states start at zero."""
        case = self.case
        if seed is not None:
            torch.manual_seed(seed)
        self.h_last: dict[str, torch.Tensor] = {}
        self.c_last: dict[str, torch.Tensor | None] = {}
        h_n, c_n = [], []
        below = x.detach().to(torch.float64)
        for k in range(case.layers):
            if k > 0 and case.dropout > 0:
                below = self._dropped(below, lengths)
            outputs = []
            for name in [f"l{k}", f"l{k}_reverse"][: case.directions]:
                output, h, c = self._layer(name, below, lengths, (state or {}).get(name))
                outputs.append(output)
                h_n.append(h)
                c_n.append(c)
            below = torch.cat(outputs, dim=-1)
        self.output = below
        self.h_n = torch.stack(h_n)
        self.c_n = torch.stack(c_n) if case.cell in LSTM else None

    def _dropped(self, below: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        if self.case.ragged == "unbatched":  # torch gives unbatched input a batch axis at once
            return torch.dropout(below, self.case.dropout, train=True)
        if self.case.ragged == "no":
            return torch.dropout(below, self.case.dropout, train=True)
        packed = pack_padded_sequence(below, lengths, enforce_sorted=self.case.ragged == "sorted")
        packed = packed._replace(data=torch.dropout(packed.data, self.case.dropout, train=True))
        return pad_packed_sequence(packed, total_length=below.shape[0])[0]

    def _nudge(self, name: str, quantity: str, t: int) -> torch.Tensor | float:
        return self.nudges[name, quantity][t] if (name, quantity) in self.nudges else 0.0

    def _layer(
        self,
        name: str,
        x: torch.Tensor,
        lengths: torch.Tensor,
        state: tuple[torch.Tensor, torch.Tensor | None] | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        case = self.case
        weights = weights_of(self.parameters, name)
        steps, batch, _ = x.shape
        if state is None:
            zeros = torch.zeros(batch, case.state_size, dtype=torch.float64)
            c0 = torch.zeros(batch, case.hidden, dtype=torch.float64)
            state = (zeros.requires_grad_(), c0.requires_grad_() if case.cell in LSTM else None)
        h, c = state
        recorded = self.recorded[name] = Recorded(h0=_kept(h), c0=None if c is None else _kept(c))
        h_out, c_out = h, c
        outputs: list[torch.Tensor] = []
        order = range(steps)
        for t in reversed(order) if name.endswith("_reverse") else order:
            now = (t < lengths)[:, None]
            step = step_of(case.cell, weights, x[t], h, c, nudge=self._nudge(name, "c", t))
            step.h = step.h + self._nudge(name, "h", t)
            h_outside, c_outside = recorded.add(step)
            h_outside = h_outside + self._nudge(name, "h_outside", t)
            outputs.append(torch.where(now, h_outside, torch.zeros_like(h_outside)))
            h, h_out = torch.where(now, step.h, h), torch.where(now, h_outside, h_out)
            if c is not None:
                c_outside = c_outside + self._nudge(name, "c_outside", t)
                c, c_out = torch.where(now, step.c, c), torch.where(now, c_outside, c_out)
        if name.endswith("_reverse"):
            outputs.reverse()
            recorded.reverse()
        self.h_last[name], self.c_last[name] = h, c
        return torch.stack(outputs), h_out, c_out


def initial_states(problem: Problem) -> dict[str, tuple[torch.Tensor, torch.Tensor | None]] | None:
    """Return the problem's initial states by layer name, as float64 leaves."""
    if problem.h0 is None:
        return None

    def leaf(value: torch.Tensor) -> torch.Tensor:
        return value.detach().to("cpu", torch.float64).clone().requires_grad_()

    return {
        name: (leaf(problem.h0[k]), None if problem.c0 is None else leaf(problem.c0[k]))
        for k, name in enumerate(problem.case.layer_names)
    }


def run_loop(problem: Problem, nudges: Nudges | None = None, state: dict | None = None) -> Loop:
    """Run a problem through the loop, in float64 on the CPU, whatever the problem's own dtype."""
    loop = Loop(problem.case, problem.module, nudges)
    state = initial_states(problem) if state is None else state
    loop.run(problem.x.cpu(), problem.lengths, state, seed=problem.case.seed)
    return loop


def loss_of_loop(problem: Problem, loop: Loop, loss: str) -> torch.Tensor:
    """Return the problem's loss of the loop's results."""
    total = torch.zeros((), dtype=torch.float64)
    if loss in ("output", "all"):
        total = total + (problem.w_output.cpu() * loop.output).sum()
    if loss in ("h_n", "all"):
        total = total + (problem.w_h_n.cpu() * loop.h_n).sum()
    if loss in ("c_n", "all") and loop.c_n is not None:
        total = total + (problem.w_c_n.cpu() * loop.c_n).sum()
    return total


def references(problem: Problem, loss: str) -> tuple[dict[str, Reference], Loop]:
    """Return the oracle's answer for each layer of a problem, and the loop it came from."""
    loop = run_loop(problem)
    loss_of_loop(problem, loop, loss).backward()
    return {
        name: reference_of(recorded, problem.lengths) for name, recorded in loop.recorded.items()
    }, loop


def finite_differences(
    problem: Problem, loss: str, name: str, quantity: str, step_size: float = 1e-5
) -> torch.Tensor:
    """Central differences of the loss by each entry of h, c or their outside copies in a layer."""
    size = problem.case.state_size if quantity.startswith("h") else problem.case.hidden
    shape = (problem.case.steps, problem.x.shape[1], size)
    state = initial_states(problem)
    found = torch.zeros(shape, dtype=torch.float64)
    with torch.no_grad():
        for index in range(math.prod(shape)):
            values = []
            for sign in (1.0, -1.0):
                nudge = torch.zeros(shape, dtype=torch.float64)
                nudge.view(-1)[index] = sign * step_size
                loop = run_loop(problem, {(name, quantity): nudge}, state)
                values.append(float(loss_of_loop(problem, loop, loss)))
            found.view(-1)[index] = (values[0] - values[1]) / (2 * step_size)
    return found


def layer_inputs(problem: Problem, found: dict[str, Reference]) -> dict[str, torch.Tensor]:
    """Return the input of each layer: the problem's own, or the outputs of the layer below."""
    inputs = {}
    below = problem.x
    for k in range(problem.case.layers):
        names = [f"l{k}", f"l{k}_reverse"][: problem.case.directions]
        inputs |= dict.fromkeys(names, below)
        below = torch.cat([found[name].h for name in names], dim=-1)
    return inputs


def step_jacobians(problem: Problem, name: str) -> list[dict[int, torch.Tensor]]:
    """Return, for each sequence, J_t by step of the input, in the order in which the layer runs.

    Plain float64 matrices [S, S] of s = (h, c), by autograd of the equations.
    """
    case, (found, _) = problem.case, references(problem, "all")
    reference, x = found[name], layer_inputs(problem, found)[name]
    place = case.layer_names.index(name)
    h0 = x.new_zeros(x.shape[1], case.state_size) if problem.h0 is None else problem.h0[place]
    c0 = None if problem.c0 is None else problem.c0[place]
    if c0 is None and case.cell in LSTM:
        c0 = x.new_zeros(x.shape[1], case.hidden)
    weights = {k: v.detach() for k, v in weights_of(parameters_of(problem.module), name).items()}
    size = case.state_size
    jacobians: list[dict[int, torch.Tensor]] = []
    for b in range(x.shape[1]):
        times = [t for t in range(x.shape[0]) if reference.valid[t, b]]
        if name.endswith("_reverse"):
            times.reverse()
        before = [(h0[b], None if c0 is None else c0[b])]
        before += [
            (reference.h[t, b], None if reference.c is None else reference.c[t, b]) for t in times
        ]

        def one(s: torch.Tensor, t: int, b: int = b) -> torch.Tensor:
            step = step_of(
                case.cell, weights, x[t, b], s[:size], s[size:] if s.numel() > size else None
            )
            return step.h if step.c is None else torch.cat([step.h, step.c])

        states = [torch.cat([part for part in s if part is not None]).detach() for s in before]
        jacobians.append(
            {
                t: torch.autograd.functional.jacobian(lambda s, t=t: one(s, t), state)
                for t, state in zip(times, states, strict=False)
            }
        )
    return jacobians


def jacobian_products(problem: Problem, name: str) -> list[list[torch.Tensor]]:
    """Return, for each sequence, ds_T/ds_{T-lag} for lag = 0, 1, ... as plain float64 matrices.

    The last entry is the derivative by the initial state.
    """
    products = []
    for jacobians in step_jacobians(problem, name):
        product = torch.eye(len(next(iter(jacobians.values()))), dtype=torch.float64)
        lags = [product]
        for jacobian in reversed(list(jacobians.values())):
            product = product @ jacobian
            lags.append(product)
        products.append(lags)
    return products


def assert_layer(layer: object, reference: Reference, dtype: torch.dtype, what: str = "") -> None:
    """Compare everything that a measured layer holds with the oracle's answer."""
    steps = reference.h.shape[0]

    def same(actual: torch.Tensor, expected: torch.Tensor, name: str) -> None:
        assert_close(actual, expected, steps, dtype, f"{name} of {what}")

    for name in ("h", "c", "d_h", "d_c", "d_h_injected", "d_c_injected", "d_h0", "d_c0"):
        actual, expected = getattr(layer, name), getattr(reference, name)
        if expected is None:
            assert actual is None, f"{name} of {what}: expected None, got {actual!r}"
        else:
            same(actual, expected, name)
            if expected.shape[0] == steps and expected.dim() == 3:
                assert not actual.cpu()[~reference.valid].any(), (
                    f"{name} of {what}: not 0 at padding"
                )
    valid = reference.valid[..., None]
    for name in ("gates", "pre_activations"):
        actual, expected = getattr(layer, name), getattr(reference, name)
        assert sorted(actual) == sorted(expected), f"{name} of {what}: {sorted(actual)}"
        for key, value in expected.items():
            same(torch.where(valid, actual[key].cpu(), 0.0), value, f"{name}[{key!r}]")
    assert layer.lengths.tolist() == reference.valid.sum(0).tolist()


def assert_flow(
    flow: object, expected: dict[str, Reference], dtype: torch.dtype, what: str = ""
) -> None:
    """Compare a flow with the oracle's answer for each of its layers, and the layers' names."""
    assert sorted(flow) == sorted(expected), f"layers of {what}: {sorted(flow)}"
    for name, reference in expected.items():
        assert_layer(flow[name], reference, dtype, f"{name} of {what}")
