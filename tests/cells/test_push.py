"""The derivative forward in time against autograd of the equations, and against its transpose."""

from __future__ import annotations

import pytest
import torch
from tests.cells.setting import FLOAT64, KINDS, P, Setting, kind_id
from tests.oracles import step_of
from tests.tolerances import assert_close

from carousel.cells import Linearisation, pull_back, push_forward, step_matrices

STEPS = 3


def linearised(setting: Setting, dtype: torch.dtype = FLOAT64) -> Linearisation:
    reference, _, _ = setting.reference()
    return setting.linearised(setting.replayed(reference, dtype), dtype=dtype)


def expected(setting: Setting) -> torch.Tensor:
    """J_t by autograd, [T, B, S, S]."""
    reference, _, _ = setting.reference()
    h_prev = torch.cat([setting.h0.unsqueeze(0), reference.h[:-1]])
    units = h_prev.shape[-1]
    s_prev = h_prev
    if setting.cell.has_c:
        c_prev = torch.cat([setting.c0.unsqueeze(0), reference.c[:-1]])
        s_prev = torch.cat([h_prev, c_prev], dim=-1)

    def one(s: torch.Tensor, t: int, b: int) -> torch.Tensor:
        c = s[units:] if setting.cell.has_c else None
        step = step_of(setting.oracle, setting.tensors, setting.x[t, b], s[:units], c)
        return step.h if step.c is None else torch.cat([step.h, step.c])

    def jacobian(t: int, b: int) -> torch.Tensor:
        return torch.autograd.functional.jacobian(lambda s: one(s, t, b), s_prev[t, b])

    batch = s_prev.shape[1]
    return torch.stack(
        [torch.stack([jacobian(t, b) for b in range(batch)]) for t in range(setting.steps)]
    )


def pushed(lin: Linearisation, units: int, t: int, q: torch.Tensor) -> torch.Tensor:
    """J_t q for rows q [.., B, S]."""
    has_c = lin.from_c is not None
    parts = push_forward(lin)(t, q[..., :units], q[..., units:] if has_c else None)
    return torch.cat([part for part in parts if part is not None], dim=-1)


def units_of(lin: Linearisation) -> int:
    return lin.weights.w_hh.shape[-1]


@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
def test_push_is_the_jacobian(kind: tuple[str, bool]) -> None:
    setting = Setting(kind[0], projected=kind[1], steps=STEPS)
    lin, jacobians = linearised(setting), expected(setting)
    assert float(jacobians.abs().max()) > 0.1
    size = jacobians.shape[-1]
    eye = torch.eye(size, dtype=FLOAT64).unsqueeze(1).expand(-1, jacobians.shape[1], -1)
    for t in range(STEPS):
        columns = pushed(lin, units_of(lin), t, eye).permute(1, 2, 0)
        assert_close(columns, jacobians[t], STEPS, FLOAT64, f"J_{t}")


@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
def test_step_matrices_are_the_jacobians(kind: tuple[str, bool]) -> None:
    setting = Setting(kind[0], projected=kind[1], steps=STEPS)
    matrices, jacobians = step_matrices(linearised(setting)), expected(setting)
    columns = setting.draw(jacobians.shape[1], jacobians.shape[-1], 4)
    for t in range(STEPS):
        assert_close(matrices.full(t), jacobians[t], STEPS, FLOAT64, f"J_{t}")
        product = jacobians[t] @ columns
        assert_close(matrices.push(t, columns), product, STEPS, FLOAT64, f"J_{t} q")


@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
@pytest.mark.parametrize("lead", [(), (4,), (2, 3)], ids=str)
def test_push_is_the_transpose_of_pull(kind: tuple[str, bool], lead: tuple[int, ...]) -> None:
    """<v, J q> = <v J, q>, for any axes in front."""
    setting = Setting(kind[0], projected=kind[1], steps=STEPS)
    lin = linearised(setting)
    units = P if kind[1] else setting.h0.shape[-1]
    size = units + (setting.c0.shape[-1] if setting.cell.has_c else 0)
    for t in range(STEPS):
        v, q = setting.draw(*lead, 3, size), setting.draw(*lead, 3, size)
        v_c = v[..., units:] if setting.cell.has_c else None
        back = pull_back(lin)(t, v[..., :units], v_c)
        v_j = torch.cat([part for part in back if part is not None], dim=-1)
        one, other = (v * pushed(lin, units, t, q)).sum(-1), (v_j * q).sum(-1)
        assert one.abs().max() > 1e-3
        assert_close(one, other, STEPS, FLOAT64, f"<v, J_{t} q>")


@pytest.mark.parametrize("kind", [("LSTM", True), ("GRU", False)], ids=kind_id)
def test_float32_to_its_own_rounding(kind: tuple[str, bool]) -> None:
    setting = Setting(kind[0], projected=kind[1], steps=STEPS)
    lin, jacobians = linearised(setting, torch.float32), expected(setting)
    eye = torch.eye(jacobians.shape[-1]).unsqueeze(1).expand(-1, jacobians.shape[1], -1)
    found = pushed(lin, units_of(lin), 1, eye)
    assert found.dtype == torch.float32
    assert_close(found.permute(1, 2, 0), jacobians[1], STEPS, torch.float32, "J_1")


def test_truncated_steps_carry_along_f_alone() -> None:
    """The truncated gradient of 1997: dc_t/dc_{t-1} = f, and nothing goes through the gates."""
    setting = Setting("LSTM peephole", steps=1)
    reference, _, _ = setting.reference()
    trajectory = setting.replayed(reference)
    lin = setting.linearised(trajectory, truncated=True)
    units = units_of(lin)
    full = step_matrices(lin).full(0)
    assert torch.equal(full[:, units:, units:], trajectory.gates["f"][0].diag_embed())
    assert not full[:, :, :units].any()
