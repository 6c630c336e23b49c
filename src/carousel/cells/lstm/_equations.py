"""The LSTM and its variants: the step, its replay, its derivative, for any row of the table.

Sources: Gers, Schmidhuber & Cummins 2000, eq. 1-5, with the conventions of ``torch.nn.LSTM``; the
peepholes and what a variant may lack as in Greff et al. 2015, section II and V. The derivation of
the derivative is in README.md beside this file.

    a = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh        a: a_i, a_f, a_g, a_o, of the gates that exist
    i = sigmoid(a_i + p_i * c_{t-1})                 or 1
    f = sigmoid(a_f + p_f * c_{t-1})                 or 1 - i, or 1
    g = phi(a_g)                                     phi: tanh, 4 sigmoid - 2 or the identity
    c_t = f * c_{t-1} + i * g
    o = sigmoid(a_o + p_o * c_t)                     or 1
    m_t = o * psi(c_t)                               psi: tanh, 2 sigmoid - 1 or the identity
    h_t = m_t                                        or W_hr m_t with a projection

p is zero in a variant without peepholes. A gate that does not exist is None in what follows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import linear

from carousel._errors import CarouselError
from carousel.cells._cell import Cell, Linearisation, State, Trajectory, Weights
from carousel.cells._derivatives import d_sigmoid
from carousel.cells._products import pre_activations as products
from carousel.cells._scan import elementwise_scan
from carousel.cells.lstm._squashers import INPUT, OUTPUT
from carousel.cells.lstm._variants import VARIANTS, Variant

__all__ = ["LSTM", "cell_of"]

Rows = dict[str, Tensor]  # by gate


def step(variant: Variant, x: Tensor, state: State, weights: Weights) -> State:
    """One step of the equations: x [B, I], state (h [B, P], c [B, H]) -> the next state."""
    h, c = state
    a = linear(x, weights.w_ih, weights.b_ih) + linear(h, weights.w_hh, weights.b_hh)
    a_of, p_of = _rows(variant, a), _peepholes(variant, weights)
    i, f = (_gate(gate, a_of, p_of, c) for gate in "if")
    kept, term = _kept(variant, i, f), _written(i, INPUT[variant.cell_input].of(a_of["g"]))
    c = (c if kept is None else kept * c) + term
    o = _gate("o", a_of, p_of, c)
    return _project(_read(o, OUTPUT[variant.cell_output].of(c)), weights), c


def replay(
    variant: Variant, x: Tensor, h_prev: Tensor, start: State, weights: Weights
) -> Trajectory:
    """All steps at once, where every h_{t-1} is known: one product, then a scan for c.

    Args:
        variant: a row of the table.
        x: inputs [T, B, I].
        h_prev: the state h that each step started from [T, B, P].
        start: (h_0 [B, P], c_0 [B, H]).
        weights: of this layer and direction.
    """
    a = products(x, h_prev, weights)
    a_of, p_of = _rows(variant, a), _peepholes(variant, weights)
    g = INPUT[variant.cell_input].of(a_of["g"])
    if any(gate in p_of for gate in "if"):
        i, f, states = _scan_seeing_c(variant, a_of, p_of, g, start[1])
    else:
        i, f = (_gate(gate, a_of, p_of, None) for gate in "if")
        kept = _kept(variant, i, f)
        factor = g.new_ones(()).expand_as(g) if kept is None else kept
        states = elementwise_scan(factor, _written(i, g), start[1])
    c_prev, c = states[:-1], states[1:]
    o = _gate("o", a_of, p_of, c)
    there = {"i": i, "f": f, "g": g, "o": o}
    return Trajectory(
        h_prev=h_prev,
        c_prev=c_prev,
        h=_project(_read(o, OUTPUT[variant.cell_output].of(c)), weights),
        c=c,
        gates={gate: tensor for gate, tensor in there.items() if tensor is not None},
    )


def pre_activations(
    variant: Variant, x: Tensor, trajectory: Trajectory, weights: Weights
) -> dict[str, Tensor]:
    """The arguments of the activations, the peepholes' terms included, each [T, B, H]."""
    assert trajectory.c is not None
    assert trajectory.c_prev is not None
    a_of = _rows(variant, products(x, trajectory.h_prev, weights))
    for gate, p in _peepholes(variant, weights).items():
        seen = trajectory.c if gate == "o" else trajectory.c_prev
        a_of[gate] = torch.addcmul(a_of[gate], p, seen)
    return a_of


def linearise(
    variant: Variant, trajectory: Trajectory, weights: Weights, truncated: bool = False
) -> Linearisation:
    """The derivative of each step, in the reverse order of ``step``.

    m_t = o * psi(c_t)              d_a_o = d_m * psi(c) * o'         d_c += d_m * o * psi'(c)
    a_o = ... + p_o * c_t           d_c += d_a_o * p_o
    c_t = f * c_{t-1} + i * g       d_a_g = d_c * i * phi'(a_g)       d_a_f = d_c * c_{t-1} * f'
                                    d_a_i = d_c * g * i'              d_c_{t-1} = d_c * f
    f   = 1 - i, where coupled      d_a_i = d_c * (g - c_{t-1}) * i'
    a_i = ... + p_i * c_{t-1}       d_c_{t-1} += d_a_i * p_i          a_f likewise
    a   = ... + W_hh h_{t-1}        d_h_{t-1} = d_a @ W_hh

    Truncated (Hochreiter & Schmidhuber 1997, appendix A.1; with peepholes Gers, Schraudolph &
    Schmidhuber 2002): what goes through W_hh and through p counts as zero, so between steps there
    is only d_c_{t-1} = d_c * f. The parameters and x still get d_a as above.
    """
    assert trajectory.c is not None
    o = trajectory.gates.get("o")
    p_of = {} if truncated else _peepholes(variant, weights)
    psi = OUTPUT[variant.cell_output]
    psi_c = psi.of(trajectory.c)
    c_from_m = _read(o, psi.d_of(psi_c))
    o_from_m = psi_c.new_empty(*psi_c.shape[:-1], 0, psi_c.shape[-1])  # no row where there is no o
    if o is not None:
        o_from_m = (psi_c * d_sigmoid(o)).unsqueeze(-2)
    if "o" in p_of:
        c_from_m = torch.addcmul(c_from_m, p_of["o"], o_from_m.squeeze(-2))
    if truncated:
        weights = replace(weights, w_hh=torch.zeros_like(weights.w_hh))
    return Linearisation(
        from_h=o_from_m,
        from_c=_from_c(variant, trajectory, p_of),
        c_from_h=c_from_m,
        n_from_h=None,
        weights=weights,
        gates=len(variant.gates),
    )


def _from_c(variant: Variant, trajectory: Trajectory, p_of: Rows) -> Tensor:
    """What multiplies d_c in the carry and, after it, in each gate but o, [T, B, K, H]."""
    i, f, g = (trajectory.gates.get(gate) for gate in "ifg")
    c_prev = trajectory.c_prev
    assert g is not None
    assert c_prev is not None
    inner = [gate for gate in variant.gates if gate != "o"]
    factors = g.new_empty(*g.shape[:-1], 1 + len(inner), g.shape[-1])
    carry, *rows = factors.unbind(-2)
    row = dict(zip(inner, rows, strict=True))
    d_phi = INPUT[variant.cell_input].d_of(g)
    if i is None:
        row["g"].copy_(d_phi)
    else:
        torch.mul(i, d_phi, out=row["g"])
        torch.mul(g - c_prev if variant.coupled else g, d_sigmoid(i), out=row["i"])
    if f is not None:
        torch.mul(c_prev, d_sigmoid(f), out=row["f"])
    kept = _kept(variant, i, f)
    carry.copy_(g.new_ones(()) if kept is None else kept)
    for gate in inner:
        if gate in p_of:
            carry.addcmul_(p_of[gate], row[gate])
    return factors


def unprojected(variant: Variant, trajectory: Trajectory) -> Tensor:
    """m_t = o * psi(c_t) [T, B, H], which is h_t before any projection."""
    assert trajectory.c is not None
    return _read(trajectory.gates.get("o"), OUTPUT[variant.cell_output].of(trajectory.c))


def _rows(variant: Variant, a: Tensor) -> Rows:
    return dict(zip(variant.gates, a.chunk(len(variant.gates), dim=-1), strict=True))


def _peepholes(variant: Variant, weights: Weights) -> Rows:
    """p_i, p_f and p_o [H], those that exist."""
    wanted = variant.peepholes
    if not wanted:
        return {}
    if weights.peephole is None or len(weights.peephole) != len(wanted):
        found = None if weights.peephole is None else list(weights.peephole.shape)
        raise CarouselError(
            f"The {variant.cell_name} needs peephole weights [{len(wanted)}, H], a row for each "
            f"of the gates {', '.join(wanted)}; got {found}."
        )
    return dict(zip(wanted, weights.peephole.unbind(0), strict=True))


def _gate(gate: str, a_of: Rows, p_of: Rows, c: Tensor | None) -> Tensor | None:
    """sigmoid(a + p * c) of one gate, for one step or all; None where there is no such gate."""
    a = a_of.get(gate)
    if a is None:
        return None
    if gate in p_of:
        assert c is not None
        a = torch.addcmul(a, p_of[gate], c)
    return torch.sigmoid(a)


def _kept(variant: Variant, i: Tensor | None, f: Tensor | None) -> Tensor | None:
    """The factor of c_{t-1} in c_t; None for 1."""
    if variant.coupled:
        assert i is not None
        return 1 - i
    return f


def _written(i: Tensor | None, g: Tensor) -> Tensor:
    """i * g, what c_t takes up."""
    return g if i is None else i * g


def _read(o: Tensor | None, psi_c: Tensor) -> Tensor:
    """o * psi(c), what c_t shows."""
    return psi_c if o is None else o * psi_c


def _project(m: Tensor, weights: Weights) -> Tensor:
    return m if weights.w_hr is None else linear(m, weights.w_hr)


def _scan_seeing_c(
    variant: Variant, a_of: Rows, p_of: Rows, g: Tensor, start: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """The gates that see c_{t-1}, and c, one step after another.

    Returns:
        i and f [T, B, H], where they exist, and c_0 .. c_T [T + 1, B, H].
    """
    seeing = [gate for gate in "if" if gate in p_of]
    arguments = torch.stack([a_of[gate] for gate in seeing])  # [gates, T, B, H]
    p = torch.stack([p_of[gate] for gate in seeing]).unsqueeze(1)  # [gates, 1, H]
    gates = torch.empty_like(arguments)
    by_gate = dict(zip(seeing, gates.unbind(0), strict=True))  # filled below
    i, f = (by_gate.get(gate) for gate in "if")
    states = start.new_empty(len(g) + 1, *start.shape)
    states[0] = start
    for t in range(len(g)):
        torch.sigmoid(torch.addcmul(arguments[:, t], p, states[t]), out=gates[:, t])
        i_t, f_t = None if i is None else i[t], None if f is None else f[t]
        kept, term = _kept(variant, i_t, f_t), _written(i_t, g[t])
        torch.add(states[t] if kept is None else kept * states[t], term, out=states[t + 1])
    return i, f, states


def cell_of(variant: Variant) -> Cell:
    """The cell of a row of the table."""
    return Cell(
        name=variant.cell_name,
        gates=variant.gates,
        has_c=True,
        step=partial(step, variant),
        replay=partial(replay, variant),
        linearise=partial(linearise, variant),
        pre_activations=partial(pre_activations, variant),
        native_code=variant.native_code,
        peepholes=variant.peepholes,
        unprojected=partial(unprojected, variant),
    )


LSTM: dict[str, Cell] = {name: cell_of(variant) for name, variant in VARIANTS.items()}
