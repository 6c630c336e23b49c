"""What the layers are compared with, besides torch.nn: loops over cells, and products alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness._grid import Shape

__all__ = ["CellLoop", "VariantLoop", "gemms"]

GATES = {"forget": "ifgo", "peephole": "ifgo", "1997": "igo", "cifg": "igo"}


class CellLoop:
    """An LSTMCell loop with ``retain_grad`` on every state: total gradients without Carousel."""

    def __init__(self, model: nn.LSTM) -> None:
        self.cell = nn.LSTMCell(model.input_size, model.hidden_size)
        for name, parameter in model.named_parameters():
            setattr(self.cell, name.removesuffix("_l0"), nn.Parameter(parameter.detach().clone()))

    def __call__(self, x: Tensor, d_output: Tensor) -> list[tuple[Tensor, Tensor]]:
        """One step of training; the states of every step, with their gradients in ``.grad``."""
        self.cell.zero_grad()
        x.grad = None
        h = c = x.new_zeros(x.shape[1], self.cell.hidden_size)
        states = []
        for x_t in x.unbind(0):
            h, c = self.cell(x_t, (h, c))
            h.retain_grad()
            c.retain_grad()
            states.append((h, c))
        torch.stack([h for h, _ in states]).backward(d_output)
        return states

    def totals(self, x: Tensor, d_output: Tensor) -> dict[str, Tensor]:
        """d_h and d_c [T, B, H]."""
        states = self(x, d_output)
        return {
            name: torch.stack([state[k].grad for state in states])
            for k, name in enumerate(("d_h", "d_c"))
        }


class VariantLoop(nn.Module):
    """An LSTM variant written as a loop over steps, as one does without a layer for it.

    Written with care: the input's product is taken once for all steps, and a step is one
    ``addmm`` and its elementwise part. Gates stand in the order i f g o, less those that are not
    there; peepholes in the order i f o.

        a_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh  (+ p_i c_{t-1}, p_f c_{t-1}, p_o c_t)
        c_t = f c_{t-1} + i g,   h_t = o tanh(c_t);   1997: f = 1;   cifg: f = 1 - i

    Args:
        variant: forget, peephole, 1997 or cifg.
        parameters: values to copy, by the names of the layer's first layer.
    """

    def __init__(self, variant: str, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.variant, self.gates = variant, GATES[variant]
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value.detach().clone()))

    @classmethod
    def drawn(cls, variant: str, hidden: int) -> VariantLoop:
        """With I = H and parameters from U(-1/sqrt(H), 1/sqrt(H))."""
        rows, bound = len(GATES[variant]) * hidden, hidden**-0.5
        sizes = {
            "weight_ih_l0": (rows, hidden),
            "weight_hh_l0": (rows, hidden),
            "bias_ih_l0": (rows,),
            "bias_hh_l0": (rows,),
        }
        if variant == "peephole":
            sizes["weight_peephole_l0"] = (3, hidden)
        drawn = {name: torch.empty(size).uniform_(-bound, bound) for name, size in sizes.items()}
        return cls(variant, drawn)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Output [T, B, H] and the last h and c [1, B, H]."""
        w_hh = self.weight_hh_l0.t()
        inputs = functional.linear(x, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)
        h = c = x.new_zeros(x.shape[1], w_hh.shape[0])
        outputs = []
        for a_t in inputs.unbind(0):
            parts = torch.addmm(a_t, h, w_hh).chunk(len(self.gates), 1)
            h, c = self.step(dict(zip(self.gates, parts, strict=True)), c)
            outputs.append(h)
        return torch.stack(outputs), (h[None], c[None])

    def step(self, a: dict[str, Tensor], c: Tensor) -> tuple[Tensor, Tensor]:
        """h_t and c_t from the pre-activations of the gates by name and c_{t-1}."""
        peephole = self.weight_peephole_l0.unbind(0) if self.variant == "peephole" else None
        i = torch.sigmoid(a["i"] if peephole is None else a["i"] + peephole[0] * c)
        g = torch.tanh(a["g"])
        if self.variant == "1997":
            c = c + i * g
        elif self.variant == "cifg":
            c = (1 - i) * c + i * g
        else:
            f = torch.sigmoid(a["f"] if peephole is None else a["f"] + peephole[1] * c)
            c = f * c + i * g
        o = torch.sigmoid(a["o"] if peephole is None else a["o"] + peephole[2] * c)
        return o * torch.tanh(c), c


def gemms(shape: Shape, gates: int) -> Callable[[], None]:
    """Only the products of a training step, by ``torch.mm``: what the rest is measured against.

    Over all steps at once: x W_ih^T, and backward d_a W_ih, d_a^T x, d_a^T h. One step after the
    other, T times: h W_hh^T, and backward d_a W_hh. No activation, no bias, nothing allocated.
    """
    B, T, H = shape.B, shape.T, shape.H
    x, h = torch.randn(T * B, H), torch.randn(T * B, H)
    d_a, w_ih, w_hh = (torch.randn(n, gates * H) for n in (T * B, H, H))
    a, d_x, d_w = torch.empty(T * B, gates * H), torch.empty(T * B, H), torch.empty(gates * H, H)
    a_t, d_h_t = torch.empty(B, gates * H), torch.empty(B, H)
    h_steps, d_a_steps = h.view(T, B, H).unbind(0), d_a.view(T, B, gates * H).unbind(0)
    w_ih, w_hh = w_ih.t().contiguous(), w_hh.t().contiguous()  # [gates H, H], as torch.nn has them

    def run() -> None:
        torch.mm(x, w_ih.t(), out=a)
        for h_step in h_steps:
            torch.mm(h_step, w_hh.t(), out=a_t)
        for d_a_step in d_a_steps:
            torch.mm(d_a_step, w_hh, out=d_h_t)
        torch.mm(d_a, w_ih, out=d_x)
        torch.mm(d_a.t(), x, out=d_w)
        torch.mm(d_a.t(), h, out=d_w)

    return run
