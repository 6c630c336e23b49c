"""Any cell through autograd: the flow of the layer, known answers, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
import torch
from tests.cases import Case, Problem
from tests.oracles import assert_close, parameters_of, references, step_of, weights_of
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import LayerFlow

FLOAT64 = torch.float64
Loss = Callable[[object], torch.Tensor]


def as_cell(problem: Problem) -> Callable[[torch.Tensor, object], object]:
    """The oracle's equations of the problem's one layer as a function."""
    weights = {
        name: value.detach().to(problem.dtype)
        for name, value in weights_of(parameters_of(problem.module), "l0").items()
    }

    def cell(x: torch.Tensor, state: object) -> object:
        h, c = state if problem.case.cell == "lstm" else (state, None)
        step = step_of(problem.case.cell, weights, x, h, c)
        return step.h if c is None else (step.h, step.c)

    return cell


def loss_of(problem: Problem) -> Loss:
    """The problem's loss "all" as a function of the states."""

    def loss(states: object) -> torch.Tensor:
        h, c = states if problem.case.cell == "lstm" else (states, None)
        total = (problem.w_output * h).sum() + (problem.w_h_n[0] * h[-1]).sum()
        return total if c is None else total + (problem.w_c_n[0] * c[-1]).sum()

    return loss


def measured(problem: Problem) -> LayerFlow:
    state = problem.h0[0] if problem.c0 is None else (problem.h0[0], problem.c0[0])
    return carousel.measure_cell(as_cell(problem), problem.x, state, loss_of(problem))["cell"]


CASES = [
    Case(cell=cell, projected=projected, steps=steps, batch=batch, state="given")
    for cell, projected in [
        ("rnn_tanh", False),
        ("rnn_relu", False),
        ("gru", False),
        ("lstm", False),
        ("lstm", True),
    ]
    for steps, batch in [(1, 1), (7, 3), (70, 2)]
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_totals_and_injected_are_those_of_the_oracle(case: Case) -> None:
    problem = Problem(case)
    layer = measured(problem)
    expected, _ = references(problem, "all")
    reference = expected["l0"]
    for name in ("h", "c", "d_h", "d_c", "d_h_injected", "d_c_injected", "d_h0", "d_c0"):
        found, known = getattr(layer, name), getattr(reference, name)
        if known is None:
            assert found is None, name
        else:
            assert_close(found, known, case.steps, FLOAT64, name)
    assert layer.certificate == 0.0
    assert layer.certificate <= layer.certificate_limit


@pytest.mark.parametrize("case", CASES[1::3], ids=lambda case: case.id)
def test_dynamics_are_those_of_the_layer(case: Case) -> None:
    problem = Problem(case)
    own = measured(problem)
    layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
    for norm in ("spectral", "frobenius"):
        torch.testing.assert_close(
            own.jacobian_norms(norm).log10,
            layer.jacobian_norms(norm).log10,
            rtol=0,
            atol=1e-9,
            equal_nan=True,
        )
    assert own.hidden == layer.hidden
    torch.testing.assert_close(
        own.jacobian_product(1, 5).log10_singular_values,
        layer.jacobian_product(1, 5).log10_singular_values,
        rtol=0,
        atol=1e-6,
    )
    torch.testing.assert_close(
        own.eigenvalues(2).abs(), layer.eigenvalues(2).abs(), rtol=0, atol=1e-9
    )


def test_spectrum_and_horizon_are_those_of_the_layer() -> None:
    problem = Problem(Case(cell="lstm", steps=120, batch=2, hidden=3, state="given"))
    own = measured(problem)
    layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
    for k in (None, 1):
        found, expected = own.spectrum(k), layer.spectrum(k)
        torch.testing.assert_close(found.exponents, expected.exponents, rtol=0, atol=1e-9)
    assert own.horizon().rate == pytest.approx(layer.horizon().rate, rel=1e-9)
    assert own.horizon().kind == layer.horizon().kind


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_modules_of_torch_as_they_are(kind: type[nn.Module]) -> None:
    """Nothing of the module is changed, its gradients included."""
    torch.manual_seed(0)
    cell = kind(2, 4).double()
    next(cell.parameters()).grad = torch.ones_like(next(cell.parameters()))
    before = [None if p.grad is None else p.grad.clone() for p in cell.parameters()]
    x, h0 = torch.randn(6, 3, 2, dtype=FLOAT64), torch.randn(3, 4, dtype=FLOAT64)
    state = (h0, h0.cos()) if kind is nn.LSTMCell else h0
    rng = torch.get_rng_state()
    flow = carousel.measure_cell(cell, x, state, lambda s: sum(p.square().sum() for p in s))
    assert torch.equal(torch.get_rng_state(), rng)
    for parameter, old in zip(cell.parameters(), before, strict=True):
        assert (parameter.grad is None) == (old is None)
        assert old is None or torch.equal(parameter.grad, old)
    assert flow["cell"].kind == f"cell {kind.__name__}"
    assert flow["cell"].d_h.abs().max() > 0.1


def test_doubling_chain() -> None:
    flow = carousel.measure_cell(
        lambda _, h: 2 * h, torch.zeros(3, 1, 1), torch.ones(1, 1), lambda h: h[-1].sum()
    )
    layer = flow["cell"]
    assert layer.d_h.flatten().tolist() == [4.0, 2.0, 1.0]
    assert layer.d_h_injected.flatten().tolist() == [0.0, 0.0, 1.0]
    assert layer.d_h0.flatten().tolist() == [8.0]
    assert flow.nonfinite == ()


@pytest.mark.parametrize("a", [1e-3, 1e3])
def test_beyond_the_range_of_the_dtype(a: float) -> None:
    """400 steps of 1e-3 or 1e3 with the loss on the last: 1e-1197 or 1e1197 at the first."""
    layer = carousel.measure_cell(
        lambda _, h: torch.where(h == 0, a * h, h),  # zero stays zero, with the slope a
        torch.zeros(400, 1, 1, dtype=FLOAT64),
        torch.zeros(1, 2, dtype=FLOAT64),
        lambda h: h[-1].sum(),
    )["cell"]
    log10 = layer.log10_norm("d_h")[:, 0]
    expected = torch.arange(399, -1, -1, dtype=FLOAT64) * math.log10(a) + math.log10(2) / 2
    torch.testing.assert_close(log10, expected, rtol=1e-12, atol=1e-9)


def test_state_changed_in_place_is_the_same() -> None:
    x, h0 = torch.randn(5, 2, 3, dtype=FLOAT64), torch.randn(2, 3, dtype=FLOAT64)

    def in_place(x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return h.mul_(0.9).add_(x).tanh_()

    def plain(x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return (0.9 * h + x).tanh()

    one, other = (
        carousel.measure_cell(cell, x, h0, lambda h: h.sum())["cell"] for cell in (in_place, plain)
    )
    assert torch.equal(one.d_h, other.d_h)
    assert torch.equal(one.h, other.h)


class OnceOnly(torch.autograd.Function):
    """tanh with a backward pass that cannot be differentiated, and has no batching rule."""

    @staticmethod
    def forward(ctx: object, a: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a.tanh())
        return a.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: object, d: torch.Tensor) -> torch.Tensor:
        (h,) = ctx.saved_tensors
        return d * (1 - h * h)


def test_a_function_with_a_backward_pass_of_its_own() -> None:
    torch.manual_seed(0)
    w = torch.randn(6, 6, dtype=FLOAT64)
    x, h0 = torch.randn(40, 2, 6, dtype=FLOAT64), torch.randn(2, 6, dtype=FLOAT64)
    own, plain = (
        carousel.measure_cell(
            lambda x, h, phi=phi: phi(h @ w.T + x), x, h0, lambda h: h.square().sum()
        )["cell"]
        for phi in (OnceOnly.apply, torch.tanh)
    )
    torch.testing.assert_close(own.d_h, plain.d_h, rtol=1e-12, atol=1e-12)
    for k in (1, None):
        torch.testing.assert_close(
            own.spectrum(k).exponents, plain.spectrum(k).exponents, rtol=1e-9, atol=1e-9
        )


def test_float32_and_bfloat16() -> None:
    x, h0 = torch.randn(5, 2, 3, dtype=FLOAT64), torch.randn(2, 3, dtype=FLOAT64)

    def layer(dtype: torch.dtype) -> LayerFlow:
        return carousel.measure_cell(
            lambda x, h: (0.9 * h + x).tanh(), x.to(dtype), h0.to(dtype), lambda h: h.sum()
        )["cell"]

    exact = layer(FLOAT64)
    for dtype in (torch.float32, torch.bfloat16):
        found = layer(dtype)
        assert found.dtype == dtype
        assert found.d_h.dtype == torch.float32
        assert_close(found.d_h, exact.d_h, 5, dtype, f"d_h of {dtype}")


def test_report() -> None:
    problem = Problem(Case(cell="lstm", state="given", steps=20))
    state = (problem.h0[0], problem.c0[0])
    flow = carousel.measure_cell(as_cell(problem), problem.x, state, loss_of(problem))
    report = carousel.Report(flow)
    assert report.faults == ()
    written = json.loads(report.to_json())
    assert written["flows"][0]["layers"][0]["name"] == "cell"


def test_a_nan_is_located() -> None:
    x = torch.zeros(6, 2, 3)
    x[4, 1, 0] = math.nan
    flow = carousel.measure_cell(
        lambda x, h: (0.5 * h + x).tanh(), x, torch.zeros(2, 3), lambda h: h.sum()
    )
    first = flow.nonfinite[0]
    assert (first.layer, first.step, first.sequence, first.quantity) == ("cell", 4, 1, "x")
    assert flow["cell"].certificate == 0.0


def test_a_random_cell_fails_its_certificate() -> None:
    """Dropout inside a step is another one when the step runs again, and the report says so."""
    torch.manual_seed(0)
    flow = carousel.measure_cell(
        lambda x, h: nn.functional.dropout(0.9 * h + x),
        torch.randn(6, 2, 8),
        torch.ones(2, 8),
        lambda h: h.sum(),
    )
    assert flow["cell"].certificate > flow["cell"].certificate_limit
    assert "do not trust" in carousel.Report(flow).faults[0]


def test_what_lies_inside_a_step_is_refused_by_name() -> None:
    layer = measured(Problem(Case(cell="gru", state="given")))
    with pytest.raises(carousel.CarouselError, match="its gates are not known"):
        _ = layer.gates
    with pytest.raises(carousel.CarouselError, match="no pre-activations"):
        _ = layer.pre_activations
    cell, trace = layer.trace.cell, layer.trace
    with pytest.raises(carousel.CarouselError, match="paths through its gates"):
        cell.linearise(trace.trajectory, trace.weights)
    with pytest.raises(carousel.CarouselError, match="no replay from its weights"):
        cell.replay(trace.x, trace.trajectory.h_prev, (), trace.weights)
    with pytest.raises(carousel.CarouselError, match="no state before the projection"):
        cell.unprojected(trace.trajectory)


X, H0 = torch.zeros(4, 2, 3), torch.ones(2, 3)
WRONG = {
    "Expected x as a tensor": ((lambda _, h: h), torch.zeros(4), H0, torch.sum),
    "at least one step": ((lambda _, h: h), torch.zeros(0, 2, 3), H0, torch.sum),
    "Expected the state as": ((lambda _, h: h), X, torch.ones(3), torch.sum),
    r"h_0 \[2, P\]": ((lambda _, h: h), X, torch.ones(5, 3), torch.sum),
    "got a tuple of 3": ((lambda _, h: h), X, (H0, H0, H0), torch.sum),
    "got a tensor of int64": ((lambda _, h: h), X, H0.long(), torch.sum),
    "to be callable": (3, X, H0, torch.sum),
    r"a state like .* got a tensor of float32 \[2, 6\]": (
        (lambda _, h: torch.cat([h, h], -1)),
        X,
        H0,
        torch.sum,
    ),
    "returns the state alone": ((lambda _, h: (h, h)), X, H0, torch.sum),
    "loss to be a scalar": ((lambda _, h: 0.5 * h), X, H0, lambda h: h),
    "Reduce it": ((lambda _, h: 0.5 * h), X, H0, lambda _: 1.0),
    "loss does not depend": ((lambda _, h: 0.5 * h), X, H0, lambda h: h.detach().sum()),
    "does not depend on the state": ((lambda x, _: x), X, H0, torch.sum),
    "of another sequence": ((lambda _, h: h - h.mean(0)), X, H0, torch.sum),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_input(message: str) -> None:
    with pytest.raises(carousel.CarouselError, match=message):
        carousel.measure_cell(*WRONG[message])


def mixing(among: list[int], at: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A cell in which some sequences mix at step ``at``, that x names, and only off h = 0."""

    def cell(x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        mean = torch.zeros_like(h)
        mean[among] = h[among].mean(0)
        return torch.tanh(0.5 * h + 1 + (x == at) * h * mean)

    return cell


@pytest.mark.parametrize("at", [3, 5])
@pytest.mark.parametrize("among", [[0, 1, 2, 3, 4], [1, 3], [2, 4], [0, 4]])
def test_sequences_that_mix_later_or_only_some_of_them(among: list[int], at: int) -> None:
    """From h_0 = 0 a product of states has no derivative at the first step."""
    x = torch.arange(6.0).reshape(6, 1, 1).expand(6, 5, 3)
    start = torch.zeros(5, 3)
    with pytest.raises(carousel.CarouselError, match=f"At step {at} .* of another sequence"):
        carousel.measure_cell(mixing(among, at), x, start, torch.sum)
    carousel.measure_cell(mixing([], at), x, start, torch.sum)


def test_sequences_that_mix_through_a_product_of_states() -> None:
    generator = torch.Generator().manual_seed(0)
    u, x = (torch.randn(*shape, generator=generator) for shape in ((3, 3), (6, 4, 3)))

    def cell(x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x + (h * h.mean(0)) @ u)

    with pytest.raises(carousel.CarouselError, match="of another sequence"):
        carousel.measure_cell(cell, x, torch.zeros(4, 3), lambda h: h[-1].sum())
    carousel.measure_cell(cell, x[:, :1], torch.zeros(1, 3), lambda h: h[-1].sum())


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_sequence_that_is_not_finite_is_no_sign_of_mixing(value: float) -> None:
    x = torch.zeros(6, 2, 3)
    x[2, 1] = value
    layer = carousel.measure_cell(lambda x, h: x + h * h, x, H0, lambda h: h[-1].sum())["cell"]
    assert layer.h[:, 0].isfinite().all()
    assert not layer.h[-1, 1].isfinite().any()


ITEMISED = [case for case in CASES if case.steps < 70]


@pytest.mark.parametrize("case", ITEMISED, ids=lambda case: case.id)
def test_items_are_those_of_the_layer(case: Case) -> None:
    problem = Problem(case)
    own = measured(problem).itemised(vectors_at=range(case.steps))
    layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
    expected = layer.itemised(vectors_at=range(case.steps))
    for name in ("log10_h", "log10_c", "share_h", "share_c", "d_h", "d_c"):
        found, known = getattr(own, name), getattr(expected, name)
        assert (found is None) == (known is None), name
        if known is not None:
            torch.testing.assert_close(
                found, known, rtol=1e-9, atol=1e-12, equal_nan=True, msg=name
            )


@pytest.mark.parametrize("how", ["window", "chunks"])
@pytest.mark.parametrize("k", [1, 3, 9])
@pytest.mark.parametrize("case", ITEMISED, ids=lambda case: case.id)
def test_truncation_of_the_states_is_that_of_the_layer(case: Case, k: int, how: str) -> None:
    problem = Problem(case)
    found = measured(problem).truncation(k, how)
    layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
    expected = layer.truncation(k, how)
    for name in ("relative_h", "cosine_h", "relative_c", "cosine_c"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        if other is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-9, equal_nan=True, msg=name)
    for refused in ("parameters", "all_parameters"):
        with pytest.raises(CarouselError, match="so its parameters are not known"):
            getattr(found, refused)


def test_items_beyond_the_range_of_the_dtype() -> None:
    """A loss on the last of 400 steps of 1e-3: 1e-1197 at the first."""
    flow = carousel.measure_cell(
        lambda _, h: 1e-3 * h, torch.zeros(400, 1, 1), torch.ones(1, 1), lambda h: h[-1].sum()
    )
    items = flow["cell"].itemised([399])
    assert float(items.log10_h[0, 0, 0]) == pytest.approx(-3 * 399, abs=1e-3)
    assert float(flow["cell"].truncation(399).relative_h[0, 0]) == pytest.approx(1.0)
    assert float(flow["cell"].truncation(400).relative_h[0, 0]) == pytest.approx(0.0, abs=1e-6)
