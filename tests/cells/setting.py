"""One cell made concrete: weights, inputs, non-zero initial states, upstream gradients."""

from __future__ import annotations

import torch
from tests.lstm_family import LSTM
from tests.oracles import Recorded, Reference, reference_of, step_of

from carousel.cells import (
    CELLS,
    Adjoint,
    Cell,
    Linearisation,
    Scaled,
    Trajectory,
    Weights,
    adjoint,
)

FLOAT64 = torch.float64
B, INPUTS, H, P = 3, 2, 5, 2
# The oracle's name of each cell.
ORACLE = {
    "RNN tanh": "rnn_tanh",
    "RNN relu": "rnn_relu",
    "RNN sigmoid": "rnn_sigmoid",
    "RNN identity": "rnn_identity",
    "LSTM": "lstm",
    "LSTM 1997": "lstm_1997",
    "LSTM 1997 squashed": "lstm_1997_squashed",
    "LSTM peephole": "lstm_peephole",
    "LSTM cifg": "lstm_cifg",
    "LSTM nig": "lstm_nig",
    "LSTM nfg": "lstm_nfg",
    "LSTM nog": "lstm_nog",
    "LSTM niaf": "lstm_niaf",
    "LSTM noaf": "lstm_noaf",
    "GRU": "gru",
}
LSTMS = [name for name, oracle in ORACLE.items() if oracle in LSTM]
# Every cell, and whether it projects.
KINDS = [(name, False) for name in ORACLE] + [(name, True) for name in LSTMS]
# Standard deviation of W_hh, times sqrt(H), such that the dynamics neither die nor explode.
GAIN = {"RNN sigmoid": 5.0, "RNN relu": 0.9}  # sigma' is at most 1/4: more gain
PARAMETERS = {  # the oracle's names of a cell's weights
    "w_ih": "weight_ih",
    "w_hh": "weight_hh",
    "b_ih": "bias_ih",
    "b_hh": "bias_hh",
    "w_hr": "weight_hr",
    "peephole": "weight_peephole",
}


def kind_id(value: object) -> str:
    if isinstance(value, tuple):
        return value[0] + (" projected" if value[1] else "")
    return str(value)


class Setting:
    """A cell with everything that a run of it and a loss need, drawn at random in float64."""

    def __init__(
        self,
        name: str,
        *,
        projected: bool = False,
        steps: int = 1,
        bias: bool = True,
        batch: int = B,
        hidden: int = H,
    ) -> None:
        self.generator = torch.Generator().manual_seed(steps + len(name))
        self.cell: Cell = CELLS[name]
        self.oracle, self.steps = ORACLE[name], steps
        gates = len(self.cell.gates)
        units = P if projected else hidden
        gain = GAIN.get(name, 1.3)
        self.tensors = {
            "weight_ih": self.draw(gates * hidden, INPUTS),
            "weight_hh": self.draw(gates * hidden, units) * gain / units**0.5,
        }
        if name == "RNN identity":
            self.tensors["weight_hh"] = torch.linalg.qr(self.tensors["weight_hh"]).Q
        if bias:
            self.tensors["bias_ih"] = self.draw(gates * hidden).abs()
            self.tensors["bias_hh"] = self.draw(gates * hidden)
        if projected:
            self.tensors["weight_hr"] = self.draw(P, hidden)
        self.x = self.draw(steps, batch, INPUTS)
        self.h0, self.c0 = self.draw(batch, units), self.draw(batch, hidden)
        self.up_h, self.up_c = self.draw(steps, batch, units), self.draw(steps, batch, hidden)
        if self.cell.peepholes:
            self.tensors["weight_peephole"] = 0.5 * self.draw(len(self.cell.peepholes), hidden)

    def draw(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=FLOAT64)

    @property
    def weights(self) -> Weights:
        return Weights(**{own: self.tensors.get(name) for own, name in PARAMETERS.items()})

    @property
    def start(self) -> tuple[torch.Tensor, ...]:
        return (self.h0, self.c0) if self.cell.has_c else (self.h0,)

    def reference(
        self, *, truncated: bool = False
    ) -> tuple[Reference, torch.Tensor, dict[str, torch.Tensor]]:
        """Run the loop; the oracle's answer, the gradient on the inputs and those on the weights.

        The loss takes in every h_t and c_t.
        """
        states = [part.clone().requires_grad_() for part in (self.h0, self.c0)]
        h, c = states[0], states[1] if self.cell.has_c else None
        x = self.x.clone().requires_grad_()
        tensors = {name: value.clone().requires_grad_() for name, value in self.tensors.items()}
        recorded = Recorded(h0=h, c0=c)
        loss = torch.zeros((), dtype=FLOAT64)
        for t in range(self.steps):
            step = step_of(self.oracle, tensors, x[t], h, c, truncated=truncated)
            outside_h, outside_c = recorded.add(step)
            loss = loss + (self.up_h[t] * outside_h).sum()
            if outside_c is not None:
                loss = loss + (self.up_c[t] * outside_c).sum()
            h, c = step.h, step.c
        loss.backward()
        gradients = {name: value.grad for name, value in tensors.items()}
        return reference_of(recorded), x.grad, gradients

    def replayed(self, reference: Reference, dtype: torch.dtype = FLOAT64) -> Trajectory:
        """The replay of the oracle's run, in any precision."""
        h_prev = torch.cat([self.h0.unsqueeze(0), reference.h[:-1]]).to(dtype)
        start = tuple(part.to(dtype) for part in self.start)
        weights = self.weights.map(lambda tensor: tensor.to(dtype))
        return self.cell.replay(self.x.to(dtype), h_prev, start, weights)

    def linearised(
        self, trajectory: Trajectory, *, truncated: bool = False, dtype: torch.dtype = FLOAT64
    ) -> Linearisation:
        """The derivative written by hand, along a trajectory."""
        weights = self.weights.map(lambda tensor: tensor.to(dtype))
        return self.cell.linearise(trajectory, weights, truncated=truncated)

    def followed(self, linearisation: Linearisation, dtype: torch.dtype = FLOAT64) -> Adjoint:
        """The total gradients by that derivative."""
        up_c = Scaled(self.up_c.to(dtype)) if self.cell.has_c else None
        return adjoint(linearisation, Scaled(self.up_h.to(dtype)), up_c)

    def d_weights(self, trajectory: Trajectory, found: Adjoint) -> dict[str, torch.Tensor]:
        """The gradients on the weights that those on the pre-activations make, by their names.

        Summed over steps and sequences, from the forward equations:

            a = W_ih x + b_ih + W_hh h_{t-1} + b_hh    d_W_ih = d_a x^T    d_W_hh = d_a h_{t-1}^T
            a_n = .. + r * (W_hn h_{t-1} + b_hn)       GRU: towards W_hn and b_hn d_a_n * r
            a_k = .. + p_k * c                         d_p_k = d_a_k * c
            h = W_hr m                                 d_W_hr = d_h m^T
        """
        d_a = found.d_a().value()
        at_state = d_a
        if trajectory.recurrent_n is not None:
            at_state = d_a.clone()
            at_state[..., -1, :] *= trajectory.gates["r"]
        at_input, at_state = d_a.flatten(2).flatten(0, 1), at_state.flatten(2).flatten(0, 1)
        x = self.x.to(d_a.dtype)
        gradients = {
            "weight_ih": at_input.T @ x.flatten(0, 1),
            "weight_hh": at_state.T @ trajectory.h_prev.flatten(0, 1),
            "bias_ih": at_input.sum(0),
            "bias_hh": at_state.sum(0),
        }
        if self.cell.peepholes:
            rows = []
            for gate in self.cell.peepholes:
                seen = trajectory.c if gate == "o" else trajectory.c_prev
                rows.append((d_a[..., self.cell.gates.index(gate), :] * seen).sum((0, 1)))
            gradients["weight_peephole"] = torch.stack(rows)
        if "weight_hr" in self.tensors:
            m = self.cell.unprojected(trajectory)
            gradients["weight_hr"] = found.d_h.value().flatten(0, 1).T @ m.flatten(0, 1)
        return {name: gradients[name] for name in self.tensors}
