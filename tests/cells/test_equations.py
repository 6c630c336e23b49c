"""Every cell's step, replay and hand-written adjoint against the oracle and autograd."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.cells.setting import FLOAT64, KINDS, ORACLE, H, Setting, kind_id
from tests.oracles import step_of
from tests.tolerances import assert_close

from carousel import CarouselError
from carousel.cells import CELLS, Scaled, Weights, adjoint, cell_named

# By how much the gate i, or f where there is none, is shut: c of these grows over many steps.
SHUT = {
    "LSTM 1997": 5.0,
    "LSTM 1997 squashed": 5.0,
    "LSTM nig": 2.0,
    "LSTM nfg": 5.0,
    "LSTM niaf": 5.0,
}
LENGTHS = [1, 2, 5, 63, 64, 65, 150]


@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "nobias"])
def test_step(kind: tuple[str, bool], *, bias: bool) -> None:
    setting = Setting(kind[0], projected=kind[1], steps=1, bias=bias)
    expected = step_of(setting.oracle, setting.tensors, setting.x[0], *setting.start)
    actual = setting.cell.step(setting.x[0], setting.start, setting.weights)
    assert len(actual) == (2 if setting.cell.has_c else 1)
    assert_close(actual[0], expected.h, 1, FLOAT64, "h")
    if expected.c is not None:
        assert_close(actual[1], expected.c, 1, FLOAT64, "c")


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
def test_replay_and_adjoint(kind: tuple[str, bool], steps: int) -> None:
    """Against autograd through a loop; longer than the blocks in which the adjoint is computed."""
    setting = Setting(kind[0], projected=kind[1], steps=steps)
    expected, d_x, _ = setting.reference()
    assert expected.d_h[0].abs().max() > 1e-6, "the dynamics died: the test would measure zero"
    assert expected.d_h.abs().max() < 1e6, "the dynamics exploded"
    trajectory = setting.replayed(expected)
    for name in ("h", "c"):
        if getattr(expected, name) is not None:
            actual = getattr(trajectory, name)
            assert_close(actual, getattr(expected, name), steps, FLOAT64, name)
    pre_activations = setting.cell.pre_activations(setting.x, trajectory, setting.weights)
    assert tuple(trajectory.gates) == tuple(pre_activations) == setting.cell.gates
    for gate in setting.cell.gates:
        actual, wanted = trajectory.gates[gate], expected.gates[gate]
        assert_close(actual, wanted, steps, FLOAT64, f"gates[{gate!r}]")
        actual, wanted = pre_activations[gate], expected.pre_activations[gate]
        assert_close(actual, wanted, steps, FLOAT64, f"pre_activations[{gate!r}]")
    found = setting.followed(setting.linearised(trajectory))
    assert_close(found.d_h.value(), expected.d_h, steps, FLOAT64, "d_h")
    assert_close(found.d_h_start.value()[0], expected.d_h0, steps, FLOAT64, "d_h0")
    assert_close(found.d_x().value(), d_x, steps, FLOAT64, "d_x")
    if setting.cell.has_c:
        assert_close(found.d_c.value(), expected.d_c, steps, FLOAT64, "d_c")
        assert_close(found.d_c_start.value()[0], expected.d_c0, steps, FLOAT64, "d_c0")
    else:
        assert found.d_c is None


@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
def test_step_jacobian(kind: tuple[str, bool]) -> None:
    """Unit gradients followed back over one step are the rows of autograd's Jacobian of it."""
    setting = Setting(kind[0], projected=kind[1], steps=1)
    cell, units = setting.cell, setting.h0.shape[1]

    def one(state: torch.Tensor) -> torch.Tensor:
        c = state[units:] if cell.has_c else None
        taken = step_of(setting.oracle, setting.tensors, setting.x[0, 0], state[:units], c)
        return taken.h if taken.c is None else torch.cat([taken.h, taken.c])

    before = torch.cat([part[0] for part in setting.start])
    jacobian = torch.autograd.functional.jacobian(one, before)
    # The same step once for each row: the rows take the place of the batch.
    rows = len(jacobian)
    start = tuple(part[:1].expand(rows, -1) for part in setting.start)
    x = setting.x[:, :1].expand(-1, rows, -1)
    trajectory = cell.replay(x, start[0].unsqueeze(0), start, setting.weights)
    unit = torch.eye(rows, dtype=FLOAT64).unsqueeze(0)
    up_c = Scaled(unit[..., units:]) if cell.has_c else None
    linearisation = cell.linearise(trajectory, setting.weights)
    found = adjoint(linearisation, Scaled(unit[..., :units].contiguous()), up_c)
    parts = [found.d_h_start.value()[0]]
    if cell.has_c:
        parts.append(found.d_c_start.value()[0])
    assert_close(torch.cat(parts, dim=-1), jacobian, 1, FLOAT64, "the Jacobian of a step")


@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
def test_finite_differences_of_a_step(kind: tuple[str, bool]) -> None:
    setting = Setting(kind[0], projected=kind[1], steps=1)
    expected, _, _ = setting.reference()
    found = setting.followed(setting.linearised(setting.replayed(expected)))

    def loss(start: tuple[torch.Tensor, ...]) -> float:
        after = setting.cell.step(setting.x[0], start, setting.weights)
        ups = (setting.up_h[0], setting.up_c[0])[: len(after)]
        return float(sum((up * part).sum() for up, part in zip(ups, after, strict=True)))

    gradients = [found.d_h_start] + ([found.d_c_start] if setting.cell.has_c else [])
    for place, gradient in enumerate(gradients):
        measured = torch.zeros_like(setting.start[place])
        for index in range(measured.numel()):
            values = []
            for sign in (1e-5, -1e-5):
                start = [part.clone() for part in setting.start]
                start[place].view(-1)[index] += sign
                values.append(loss(tuple(start)))
            measured.view(-1)[index] = (values[0] - values[1]) / 2e-5
        torch.testing.assert_close(gradient.value()[0], measured, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1e-3, 1e3], ids=["vanishing", "exploding"])
@pytest.mark.parametrize("name", list(ORACLE))
def test_adjoint_far_beyond_the_range_of_the_dtype(
    name: str, factor: float, dtype: torch.dtype
) -> None:
    """Each step's derivative times 1e-3, over 400 steps: 1e-1200.

    The adjoint is linear, so the gradient k steps back is factor^k times that of the plain network,
    which float64 holds and autograd gives.
    """
    steps = 400
    setting = Setting(name, projected=False, steps=steps)
    setting.up_h[:-1], setting.up_c[:] = 0.0, 0.0
    # Keep c from growing until tanh'(c) is nothing but rounding.
    setting.tensors["bias_ih"][:H] -= SHUT.get(name, 0.0)
    reference, _, _ = setting.reference()
    plain = reference.d_h.norm(dim=-1).log10()
    assert plain.isfinite().all(), "the plain network must stay within float64"
    back = torch.arange(steps - 1, -1, -1, dtype=FLOAT64).unsqueeze(1)
    expected = plain + back * math.log10(factor)
    assert expected[0].abs().min() > 800, "the test must leave the range of float64"

    trajectory = setting.replayed(reference).map(lambda tensor: tensor.to(dtype))
    weights = setting.weights.map(lambda tensor: tensor.to(dtype))
    linearisation = setting.cell.linearise(trajectory, weights)
    parts = {
        part: getattr(linearisation, part) * factor
        for part in ("from_h", "from_c")
        if getattr(linearisation, part) is not None
    }
    found = adjoint(replace(linearisation, **parts), Scaled(setting.up_h.to(dtype)), None)
    actual = found.d_h.log2_norm() * math.log10(2)
    # A step's derivative is off by some eps of itself, and cancellation makes that more.
    assert (actual - expected).abs().max() < steps * 100 * torch.finfo(dtype).eps


def test_a_cell_that_does_not_exist() -> None:
    with pytest.raises(CarouselError, match=r"'ELM'.*RNN tanh.*LSTM"):
        cell_named("ELM")


@pytest.mark.parametrize("name", list(CELLS))
def test_names(name: str) -> None:
    assert cell_named(name).name == name
    assert name in ORACLE, "a cell without an oracle"


def test_sigmoid_numbers_of_the_seeds() -> None:
    """max over w of w sigma'(w) = 0.224 at w = 1.5434; sigma(10) = 0.99995; sigma' <= 1/4."""
    w = torch.linspace(-30, 30, 600_001, dtype=FLOAT64).reshape(-1, 1, 1)
    weights = Weights(torch.zeros(1, 1, dtype=FLOAT64), torch.ones(1, 1, dtype=FLOAT64))
    cell = CELLS["RNN sigmoid"]
    trajectory = cell.replay(torch.zeros_like(w), w, (w[0],), weights)
    slope = cell.linearise(trajectory, weights).from_h.flatten()
    w = w.flatten()
    assert float((w * slope).max()) == pytest.approx(0.224, abs=5e-4)
    assert float(w[(w * slope).argmax()]) == pytest.approx(1.5434, abs=1e-4)
    assert float(slope.max()) == 0.25
    assert float(trajectory.h.flatten()[(w - 10).abs().argmin()]) == pytest.approx(
        0.99995, abs=5e-6
    )


@pytest.mark.parametrize("w", [-3.999, -1.0, 0.5, 3.999])
def test_a_scalar_sigmoid_rnn_below_four_always_vanishes(w: float) -> None:
    steps = 3000
    weights = Weights(torch.ones(1, 1, dtype=FLOAT64), torch.full((1, 1), w, dtype=FLOAT64))
    cell = CELLS["RNN sigmoid"]
    x = torch.randn(steps, 4, 1, generator=torch.Generator().manual_seed(0), dtype=FLOAT64)
    h = [torch.rand(4, 1, generator=torch.Generator().manual_seed(1), dtype=FLOAT64)]
    for t in range(steps):
        (after,) = cell.step(x[t], (h[-1],), weights)
        h.append(after)
    trajectory = cell.replay(x, torch.stack(h[:-1]), (h[0],), weights)
    up = torch.zeros(steps, 4, 1, dtype=FLOAT64)
    up[-1] = 1.0
    log2 = adjoint(cell.linearise(trajectory, weights), Scaled(up), None).d_h.log2_norm()
    assert (log2.diff(dim=0) > 0).all(), "each step back takes some of the gradient"
    assert log2[0].max() < steps * torch.log2(torch.tensor(abs(w) / 4)) + 1e-6


def test_a_scaled_orthogonal_linear_rnn_has_exponent_ln_a() -> None:
    """Every direction shrinks by a at each step, over 2 000 steps."""
    steps, a = 2000, 0.7
    generator = torch.Generator().manual_seed(0)
    square = torch.randn(H, H, generator=generator, dtype=FLOAT64)
    weights = Weights(torch.zeros(H, 1, dtype=FLOAT64), a * torch.linalg.qr(square).Q)
    cell = CELLS["RNN identity"]
    h_prev = torch.randn(steps, H, H, generator=generator, dtype=FLOAT64)
    trajectory = cell.replay(torch.zeros(steps, H, 1, dtype=FLOAT64), h_prev, (h_prev[0],), weights)
    up = torch.zeros(steps, H, H, dtype=FLOAT64)
    up[-1] = torch.eye(H, dtype=FLOAT64)
    log2 = adjoint(cell.linearise(trajectory, weights), Scaled(up), None).d_h.log2_norm()
    exponents = (log2[0] - log2[-1]) / (steps - 1) * torch.tensor(2.0, dtype=FLOAT64).log()
    torch.testing.assert_close(
        exponents, torch.full((H,), a, dtype=FLOAT64).log(), rtol=1e-12, atol=0
    )
