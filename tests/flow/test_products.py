"""Products of Jacobians by their singular values, against matrices of the oracle and 400 digits."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from tests.cases import Case, Problem
from tests.oracles import step_jacobians
from tests.trace.own_layers import CELLS, Own

import carousel
from carousel.flow import JacobianProduct, LayerFlow, _products
from carousel.flow import _graded as graded_module
from carousel.flow._graded import Graded, identity, singular, times

FLOAT64 = torch.float64
CASES = [
    Case(cell=cell, projected=projected, ragged=ragged, layers=2, bidirectional=True, state="given")
    for cell, projected in [("rnn_tanh", False), ("gru", False), ("lstm", False), ("lstm", True)]
    for ragged in ("no", "unsorted")
]


def matrix_of(found: JacobianProduct, b: int) -> torch.Tensor:
    sigma = torch.pow(10.0, found.log10_singular_values[b])
    return found.left[b] @ torch.diag(sigma) @ found.right[b].T


def assert_orthonormal(columns: torch.Tensor) -> None:
    eye = torch.eye(columns.shape[-1], dtype=FLOAT64)
    torch.testing.assert_close(
        columns.mT @ columns, eye.expand_as(columns.mT @ columns), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 3), (1, 3)])
def test_it_is_the_product_of_the_oracles_matrices(case: Case, start: int, stop: int) -> None:
    """Both directions; sequences that end before ``stop`` are NaN throughout."""
    problem = Problem(case)
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    for name in case.layer_names:
        found = flow[name].jacobian_product(start, stop)
        reverse = name.endswith("_reverse")
        order = range(stop - 1, start - 1, -1) if reverse else range(start + 1, stop + 1)
        for b, jacobians in enumerate(step_jacobians(problem, name)):
            if stop not in jacobians:
                assert found.log10_singular_values[b].isnan().all()
                assert found.left[b].isnan().all()
                assert not found.resolved[b].any()
                continue
            product = torch.eye(len(jacobians[start]), dtype=FLOAT64)
            for t in order:
                product = jacobians[t] @ product
            torch.testing.assert_close(matrix_of(found, b), product, rtol=0, atol=1e-12)
            norm = float(torch.linalg.matrix_norm(product, 2))
            assert float(found.log10_norm[b]) == pytest.approx(math.log10(norm), abs=1e-11)
            assert_orthonormal(found.left[b])
            assert_orthonormal(found.right[b])
            assert found.resolved[b].all()


@pytest.mark.parametrize("cell", CELLS)
def test_own_layers(cell: str) -> None:
    problem = Own(Case(cell=cell, state="given"))
    layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
    found = layer.jacobian_product(0, 2)
    for b, jacobians in enumerate(step_jacobians(problem, "l0")):
        product = jacobians[2] @ jacobians[1]
        torch.testing.assert_close(matrix_of(found, b), product, rtol=0, atol=1e-12)


def exact_log10(problem: Problem, start: int, stop: int) -> torch.Tensor:
    """log10 of the singular values in 400 digits, of the oracle's float64 Jacobians, [B, S]."""
    with mpmath.workdps(400):
        rows = []
        for jacobians in step_jacobians(problem, "l0"):
            product = mpmath.eye(len(jacobians[start]))
            for t in range(start + 1, stop + 1):
                product = mpmath.matrix(jacobians[t].tolist()) * product
            sigma = mpmath.svd_r(product, compute_uv=False)
            rows.append(sorted((float(mpmath.log10(s)) for s in sigma), reverse=True))
    return torch.tensor(rows, dtype=FLOAT64)


@pytest.mark.parametrize(
    ("cell", "projected"),
    [("lstm", False), ("lstm", True), ("gru", False), ("rnn_tanh", False)],
)
def test_small_singular_values_of_a_long_product(cell: str, projected: bool) -> None:
    """Down to 1e-80 beside 1e-10: six digits of every one of them, where an SVD has none."""
    case = Case(cell=cell, projected=projected, steps=41, batch=2, hidden=3, state="given")
    problem = Problem(case)
    layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
    found, expected = layer.jacobian_product(0, 40), exact_log10(problem, 0, 40)
    assert float((expected[:, 0] - expected[:, -1]).max()) > 15
    assert found.resolved.all()
    torch.testing.assert_close(found.log10_singular_values, expected, rtol=0, atol=4e-7)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(("start", "stop"), [(0, 59), (20, 23)])
def test_the_leading_ones_alone(
    k: int, start: int, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By block power iteration, which settles without the other directions."""
    problem = Problem(Case(cell="lstm", steps=60, batch=2, hidden=16, state="given"))
    layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
    whole = layer.jacobian_product(start, stop)
    widths = []
    original = _products._round
    monkeypatch.setattr(
        _products, "_round", lambda *a: (widths.append(a[2].shape[-1]), original(*a))[1]
    )
    found = layer.jacobian_product(start, stop, k)
    assert set(widths) == {k + 8}
    assert len(widths) <= 12
    assert found.left.shape == (2, 32, k)
    torch.testing.assert_close(
        found.log10_singular_values, whole.log10_singular_values[:, :k], rtol=0, atol=1e-8
    )
    overlap = (found.right.mT @ whole.right[..., :k]).diagonal(dim1=-2, dim2=-1).abs()
    torch.testing.assert_close(overlap, torch.ones_like(overlap), rtol=0, atol=1e-5)


def layer_of(w_hh: torch.Tensor, steps: int, phi: str = "identity", bias: float = 0.0) -> LayerFlow:
    rnn = carousel.RNN(1, len(w_hh), nonlinearity=phi).to(FLOAT64)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.zero_()
        rnn.weight_hh_l0.copy_(w_hh)
        rnn.bias_ih_l0.fill_(bias)
    x, h0 = torch.zeros(steps, 2, 1, dtype=FLOAT64), torch.ones(1, 2, len(w_hh), dtype=FLOAT64)
    return carousel.measure(rnn, lambda: rnn(x, h0)[0].square().sum())["l0"]


def test_beyond_the_range_of_float64() -> None:
    w = torch.diag(torch.tensor([0.9, 1e-3, 0.3], dtype=FLOAT64))
    found = layer_of(w, 150).jacobian_product(0, 149)
    expected = 149 * torch.tensor([0.9, 0.3, 1e-3], dtype=FLOAT64).log10()
    torch.testing.assert_close(found.log10_singular_values[0], expected, rtol=1e-12, atol=0)
    axes = torch.eye(3, dtype=FLOAT64)[:, [0, 2, 1]]
    torch.testing.assert_close(found.right[1].abs(), axes, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.left[1].abs(), axes, rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [None, 1])
def test_equal_singular_values(k: int | None) -> None:
    """A scaled permutation: all are a^n, and any directions will do."""
    found = layer_of(0.8 * torch.eye(4, dtype=FLOAT64).roll(1, 0), 31).jacobian_product(0, 30, k)
    expected = torch.full_like(found.log10_singular_values, 30 * math.log10(0.8))
    torch.testing.assert_close(found.log10_singular_values, expected, rtol=1e-12, atol=0)


def test_exact_zeros_are_minus_infinity() -> None:
    w = torch.tensor([[0.9, 0.4, 0.2], [0.1, 0.5, 0.3], [1.0, 0.9, 0.5]], dtype=FLOAT64)  # rank 2
    found = layer_of(w, 12).jacobian_product(0, 11)
    assert found.log10_singular_values[:, :2].isfinite().all()
    assert (found.log10_singular_values[:, 2] == -math.inf).all()
    dead = layer_of(torch.eye(2, dtype=FLOAT64), 6, "relu", bias=-2.0).jacobian_product(0, 5)
    assert (dead.log10_singular_values == -math.inf).all()
    assert (dead.log10_norm == -math.inf).all()


def test_resets_and_changes_between_calls() -> None:
    cell = torch.nn.GRUCell(1, 3).to(FLOAT64)
    x = torch.zeros(2, 1, dtype=FLOAT64)
    factors = torch.tensor([[0.0], [1.0]], dtype=FLOAT64)

    class Loop(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self) -> torch.Tensor:
            h = torch.ones(2, 3, dtype=FLOAT64)
            for t in range(6):
                h = self.cell(x, h * factors if t == 4 else h)
            return h.sum()

    model = Loop()
    layer = carousel.measure(model, model)["cell"]
    found = layer.jacobian_product(2, 5)
    assert (found.log10_norm[0] == -math.inf).all()
    assert found.log10_norm[1].isfinite()
    assert layer.jacobian_product(0, 3).log10_norm.isfinite().all()


def test_nan_in_one_sequence_leaves_the_others() -> None:
    problem = Problem(Case(cell="lstm", state="given", steps=6))
    clean = carousel.measure(problem.module, lambda: problem.loss("output"))["l0"]
    problem.x[3, 1] = math.nan
    layer = carousel.measure(problem.module, lambda: problem.loss("output"))["l0"]
    found, expected = layer.jacobian_product(1, 4), clean.jacobian_product(1, 4)
    assert found.log10_norm[1].isnan()
    torch.testing.assert_close(
        found.log10_norm[[0, 2]], expected.log10_norm[[0, 2]], rtol=0, atol=1e-12
    )
    assert layer.jacobian_product(0, 2).log10_norm.isfinite().all()
    assert layer.eigenvalues(3)[1].isnan().all()
    assert layer.eigenvalues(3)[0].isfinite().all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_eigenvalues(case: Case) -> None:
    problem = Problem(case)
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    for name in case.layer_names:
        found = flow[name].eigenvalues(2)
        assert found.dtype == torch.complex128
        for b, jacobians in enumerate(step_jacobians(problem, name)):
            if 2 not in jacobians:
                assert found[b].isnan().all()
                continue
            expected = torch.linalg.eigvals(jacobians[2])
            assert (found[b].abs().diff() <= 1e-12).all()
            gaps = (found[b].unsqueeze(1) - expected.unsqueeze(0)).abs()
            assert float(gaps.amin(0).max()) < 1e-9
            assert float(gaps.amin(1).max()) < 1e-9


def test_wrong_arguments() -> None:
    layer = layer_of(torch.eye(3, dtype=FLOAT64), 5)
    for message, arguments in {
        "start < stop": (3, 3),
        "stop from 0 to 4": (0, 5),
        "start from 0 to 4": (-1, 3),
        "whole number, got 1.5": (1.5, 3),
        "k from 1 to 3": (0, 1, 4),
        "got 0": (0, 1, 0),
        "k to be a whole number": (0, 1, 2.0),
    }.items():
        with pytest.raises(carousel.CarouselError, match=message):
            layer.jacobian_product(*arguments)
    with pytest.raises(carousel.CarouselError, match="step from 0 to 4"):
        layer.eigenvalues(5)


class TestGraded:
    """The decomposition by itself, where the answer is known."""

    def test_of_a_matrix_on_scales(self) -> None:
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(2, 6, 6, generator=generator, dtype=FLOAT64)
        scales = torch.tensor([-900.0, 300.0, 0.0, -2.0, -2.1, 299.0], dtype=FLOAT64)
        graded = Graded(scales.expand(2, -1), rows)
        logs, x, y, resolved = singular(graded)
        assert resolved.all()
        for b in range(2):
            with mpmath.workdps(900):
                matrix = mpmath.diag([mpmath.exp(s) for s in scales.tolist()])
                matrix = matrix * mpmath.matrix(rows[b].tolist())
                sigma = mpmath.svd_r(matrix, compute_uv=False)
                expected = sorted((float(mpmath.log(s)) for s in sigma), reverse=True)
            torch.testing.assert_close(
                logs[b], torch.tensor(expected, dtype=FLOAT64), rtol=0, atol=1e-10
            )
        assert_orthonormal(x)
        assert_orthonormal(y)

    def test_values_too_close_for_the_sweeps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are left to an ordinary SVD; what that cannot resolve is said."""
        monkeypatch.setattr(graded_module, "MOST_SWEEPS", 1)
        generator = torch.Generator().manual_seed(1)
        rows = torch.randn(1, 8, 8, generator=generator, dtype=FLOAT64)
        logs, x, y, resolved = singular(Graded(torch.zeros(1, 8, dtype=FLOAT64), rows))
        torch.testing.assert_close(logs.exp(), torch.linalg.svdvals(rows), rtol=1e-10, atol=0)
        torch.testing.assert_close(x @ logs.exp().diag_embed() @ y.mT, rows, rtol=0, atol=1e-12)
        assert resolved.all()
        nearly = rows.clone()
        nearly[0, -1] = nearly[0, 0] + 1e-10 * nearly[0, -1]
        *_, resolved = singular(Graded(torch.zeros(1, 8, dtype=FLOAT64), nearly))
        assert resolved[0, :-1].all()
        assert not resolved[0, -1]

    def test_times(self) -> None:
        generator = torch.Generator().manual_seed(2)
        one, other = (
            torch.randn(3, 4, 4, generator=generator, dtype=FLOAT64).triu() for _ in range(2)
        )
        found = times(other, times(one, identity(3, 4, torch.device("cpu"))))
        product = found.log_scale.exp().unsqueeze(-1) * found.rows
        torch.testing.assert_close(product, other @ one, rtol=0, atol=1e-13)
