"""Every row of the LSTM's table of variants: what it computes, and all of its gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.cells.setting import (
    FLOAT64,
    INPUTS,
    KINDS,
    LSTMS,
    ORACLE,
    H,
    Setting,
    kind_id,
)
from tests.lstm_family import LSTM, Kind
from tests.tolerances import assert_close

from carousel import CarouselError
from carousel.cells import CELLS, Linearisation, Scaled, Weights, adjoint
from carousel.cells.lstm import VARIANTS, Variant, cell_of

Numbers = dict[str, float]
LSTM_KINDS = [kind for kind in KINDS if kind[0] in LSTMS]
SHAPES = [(1, 3, 5), (5, 1, 5), (6, 3, 7), (1, 1, 1), (65, 2, 3)]  # steps, batch, hidden


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


# One unit by hand: pre-activations without peepholes, peepholes, c_{t-1} -> c_t, and from c_t h_t.
WRITTEN_OUT: dict[str, tuple[Callable[..., float], Callable[..., float]]] = {
    "LSTM": (
        lambda a, _, c: sigmoid(a["f"]) * c + sigmoid(a["i"]) * math.tanh(a["g"]),
        lambda a, _, c: sigmoid(a["o"]) * math.tanh(c),
    ),
    "LSTM 1997": (
        lambda a, _, c: c + sigmoid(a["i"]) * math.tanh(a["g"]),
        lambda a, _, c: sigmoid(a["o"]) * math.tanh(c),
    ),
    "LSTM 1997 squashed": (
        lambda a, _, c: c + sigmoid(a["i"]) * (4 * sigmoid(a["g"]) - 2),
        lambda a, _, c: sigmoid(a["o"]) * (2 * sigmoid(c) - 1),
    ),
    "LSTM peephole": (
        lambda a, p, c: (
            sigmoid(a["f"] + p["f"] * c) * c + sigmoid(a["i"] + p["i"] * c) * math.tanh(a["g"])
        ),
        lambda a, p, c: sigmoid(a["o"] + p["o"] * c) * math.tanh(c),
    ),
    "LSTM cifg": (
        lambda a, _, c: (1 - sigmoid(a["i"])) * c + sigmoid(a["i"]) * math.tanh(a["g"]),
        lambda a, _, c: sigmoid(a["o"]) * math.tanh(c),
    ),
    "LSTM nig": (
        lambda a, p, c: sigmoid(a["f"] + p["f"] * c) * c + math.tanh(a["g"]),
        lambda a, p, c: sigmoid(a["o"] + p["o"] * c) * math.tanh(c),
    ),
    "LSTM nfg": (
        lambda a, p, c: c + sigmoid(a["i"] + p["i"] * c) * math.tanh(a["g"]),
        lambda a, p, c: sigmoid(a["o"] + p["o"] * c) * math.tanh(c),
    ),
    "LSTM nog": (
        lambda a, p, c: (
            sigmoid(a["f"] + p["f"] * c) * c + sigmoid(a["i"] + p["i"] * c) * math.tanh(a["g"])
        ),
        lambda _a, _p, c: math.tanh(c),
    ),
    "LSTM niaf": (
        lambda a, p, c: sigmoid(a["f"] + p["f"] * c) * c + sigmoid(a["i"] + p["i"] * c) * a["g"],
        lambda a, p, c: sigmoid(a["o"] + p["o"] * c) * math.tanh(c),
    ),
    "LSTM noaf": (
        lambda a, p, c: (
            sigmoid(a["f"] + p["f"] * c) * c + sigmoid(a["i"] + p["i"] * c) * math.tanh(a["g"])
        ),
        lambda a, p, c: sigmoid(a["o"] + p["o"] * c) * c,
    ),
}


def test_every_variant_is_written_out() -> None:
    assert set(WRITTEN_OUT) == set(LSTMS) == {row.cell_name for row in VARIANTS.values()}


@pytest.mark.parametrize("name", LSTMS)
def test_one_unit_by_hand(name: str) -> None:
    """The order of the weights' and peepholes' rows, and who sees which c."""
    setting = Setting(name, steps=3, batch=1, hidden=1)
    gates, peepholes = setting.cell.gates, setting.cell.peepholes
    w_ih, w_hh = setting.tensors["weight_ih"], setting.tensors["weight_hh"]
    bias = setting.tensors["bias_ih"] + setting.tensors["bias_hh"]
    p: Numbers = {}
    if peepholes:
        rows = setting.tensors["weight_peephole"].flatten().tolist()
        p = dict(zip(peepholes, rows, strict=True))
    state, h, c = setting.start, float(setting.h0), float(setting.c0)
    for t in range(3):
        a_row = w_ih @ setting.x[t, 0] + w_hh.flatten() * h + bias
        a = dict(zip(gates, a_row.tolist(), strict=True))
        c = WRITTEN_OUT[name][0](a, p, c)
        h = WRITTEN_OUT[name][1](a, p, c)
        state = setting.cell.step(setting.x[t], state, setting.weights)
        assert [float(part) for part in state] == pytest.approx([h, c], rel=1e-13)


def check(setting: Setting, plant: Callable[[Linearisation], Linearisation] | None = None) -> None:
    """Compare all gradients of a setting with those of autograd through the oracle's loop."""
    expected, d_x, d_parameters = setting.reference()
    trajectory = setting.replayed(expected)
    linearisation = setting.linearised(trajectory)
    found = setting.followed(linearisation if plant is None else plant(linearisation))

    def same(actual: torch.Tensor, wanted: torch.Tensor, what: str) -> None:
        assert_close(actual, wanted, setting.steps, FLOAT64, what)

    same(found.d_h.value(), expected.d_h, "d_h")
    same(found.d_h_start.value()[0], expected.d_h0, "d_h0")
    same(found.d_x().value(), d_x, "d_x")
    if setting.cell.has_c:
        same(found.d_c.value(), expected.d_c, "d_c")
        same(found.d_c_start.value()[0], expected.d_c0, "d_c0")
    for name, gradient in setting.d_weights(trajectory, found).items():
        same(gradient, d_parameters[name], f"d_{name}")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
def test_gradients_on_states_input_and_weights(
    kind: tuple[str, bool], shape: tuple[int, int, int]
) -> None:
    steps, batch, hidden = shape
    check(Setting(kind[0], projected=kind[1], steps=steps, batch=batch, hidden=hidden))


@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
def test_gradients_without_biases(kind: tuple[str, bool]) -> None:
    check(Setting(kind[0], projected=kind[1], steps=4, bias=False))


@pytest.mark.parametrize("steps", [1, 10, 64])
@pytest.mark.parametrize("kind", LSTM_KINDS, ids=kind_id)
def test_float32(kind: tuple[str, bool], steps: int) -> None:
    setting = Setting(kind[0], projected=kind[1], steps=steps)
    expected, d_x, d_parameters = setting.reference()
    trajectory = setting.replayed(expected, torch.float32)
    linearisation = setting.linearised(trajectory, dtype=torch.float32)
    found = setting.followed(linearisation, torch.float32)
    pairs = {
        "h": (trajectory.h, expected.h),
        "c": (trajectory.c, expected.c),
        "d_h": (found.d_h.value(), expected.d_h),
        "d_c": (found.d_c.value(), expected.d_c),
        "d_h0": (found.d_h_start.value()[0], expected.d_h0),
        "d_c0": (found.d_c_start.value()[0], expected.d_c0),
        "d_x": (found.d_x().value(), d_x),
    }
    for name, gradient in setting.d_weights(trajectory, found).items():
        pairs[f"d_{name}"] = (gradient, d_parameters[name])
    for what, (actual, wanted) in pairs.items():
        assert actual.dtype == torch.float32
        assert_close(actual, wanted, steps, torch.float32, what)


# Every number of the derivative: (part, row), for each variant.
PLACES = [
    (name, part, row)
    for name in LSTMS
    for part, rows in (
        ("from_c", range(1 + sum(gate != "o" for gate in CELLS[name].gates))),
        ("from_h", range(int("o" in CELLS[name].gates))),
        ("c_from_h", [None]),
    )
    for row in rows
]


@pytest.mark.parametrize(("name", "part", "row"), PLACES)
def test_a_sign_error_in_the_derivative_is_noticed(name: str, part: str, row: int | None) -> None:
    def plant(linearisation: Linearisation) -> Linearisation:
        tensor = getattr(linearisation, part).clone()
        where = tensor if row is None else tensor[..., row, :]
        assert where.any(), f"{part}[{row}] is zero throughout: nothing would be planted"
        where *= -1
        return replace(linearisation, **{part: tensor})

    setting = Setting(name, steps=4)
    check(setting, lambda linearisation: linearisation)
    with pytest.raises(AssertionError, match="off by"):
        check(setting, plant)


@pytest.mark.parametrize(
    ("name", "gate"), [(name, gate) for name in LSTMS for gate in CELLS[name].peepholes]
)
def test_a_sign_error_in_a_peephole_is_noticed(name: str, gate: str) -> None:
    """One peephole of the wrong sign, in the derivative only."""
    setting = Setting(name, steps=4)
    expected, _, _ = setting.reference()
    trajectory = setting.replayed(expected)

    def plant(_: Linearisation) -> Linearisation:
        peephole = setting.tensors["weight_peephole"].clone()
        peephole[setting.cell.peepholes.index(gate)] *= -1
        return setting.cell.linearise(trajectory, replace(setting.weights, peephole=peephole))

    with pytest.raises(AssertionError, match="off by"):
        check(setting, plant)


# Rows that no paper names: whatever the parts are, the equations and derivatives hold.
NEW_ROWS = [
    (
        Variant("coupled with peepholes", ("i", "g", "o"), coupled=True, peephole=True),
        Kind("igo", peepholes=True, keep=lambda gates: 1 - gates["i"]),
    ),
    (
        Variant(
            "coupled without output gate",
            ("i", "g"),
            coupled=True,
            peephole=True,
            cell_input="logistic",
            cell_output="identity",
        ),
        Kind(
            "ig",
            peepholes=True,
            keep=lambda gates: 1 - gates["i"],
            show=lambda _: 1.0,
            squash_in=lambda a: 4 * torch.sigmoid(a) - 2,
            squash_out=lambda c: c,
        ),
    ),
    (
        Variant("nothing but g", ("g",), peephole=True, cell_output="logistic"),
        Kind(
            "g",
            keep=lambda _: 1.0,
            write=lambda _: 1.0,
            show=lambda _: 1.0,
            squash_out=lambda c: 2 * torch.sigmoid(c) - 1,
        ),
    ),
    (
        Variant("forgets only", ("f", "g"), peephole=True, cell_input="identity"),
        Kind(
            "fg",
            peepholes=True,
            write=lambda _: 1.0,
            show=lambda _: 1.0,
            squash_in=lambda a: a,
        ),
    ),
]


@pytest.mark.parametrize("projected", [False, True], ids=["plain", "projected"])
@pytest.mark.parametrize(("row", "kind"), NEW_ROWS, ids=lambda value: getattr(value, "name", ""))
def test_a_new_variant_is_a_row(
    row: Variant, kind: Kind, monkeypatch: pytest.MonkeyPatch, *, projected: bool
) -> None:
    monkeypatch.setitem(CELLS, row.cell_name, cell_of(row))
    monkeypatch.setitem(ORACLE, row.cell_name, "lstm_new")
    monkeypatch.setitem(LSTM, "lstm_new", kind)
    setting = Setting(row.cell_name, projected=projected, steps=6)
    check(setting)
    expected, _, _ = setting.reference()
    trajectory = setting.replayed(expected)
    found = setting.cell.pre_activations(setting.x, trajectory, setting.weights)
    for gate in row.gates:
        assert_close(found[gate], expected.pre_activations[gate], 6, FLOAT64, gate)
    state = setting.start
    for t in range(6):
        state = setting.cell.step(setting.x[t], state, setting.weights)
    assert_close(state[0], expected.h[-1], 6, FLOAT64, "h")
    assert_close(state[1], expected.c[-1], 6, FLOAT64, "c")


WRONG_ROWS = [
    (("f", "i", "g", "o"), {}, r"i, f, g and o, in this order"),
    (("i", "f", "o"), {}, r"has i, f, o"),
    (("i", "f", "g", "o", "z"), {}, r"has i, f, g, o, z"),
    (("i", "f", "g", "o"), {"coupled": True}, r"f = 1 - i"),
    (("g", "o"), {"coupled": True}, r"f = 1 - i"),
    (("i", "g"), {"cell_input": "relu"}, r"'relu'.*tanh, logistic, identity"),
    (("i", "g"), {"cell_output": "relu"}, r"'relu'.*tanh, logistic, identity"),
]


@pytest.mark.parametrize(("gates", "options", "message"), WRONG_ROWS, ids=str)
def test_a_row_that_is_no_lstm(gates: tuple[str, ...], options: dict, message: str) -> None:
    with pytest.raises(CarouselError, match=message):
        Variant("wrong", gates, **options)


@pytest.mark.parametrize("peephole", [None, torch.zeros(2, H, dtype=FLOAT64)], ids=["none", "two"])
def test_peephole_weights_that_are_not_there(peephole: torch.Tensor | None) -> None:
    setting = Setting("LSTM peephole")
    weights = replace(setting.weights, peephole=peephole)
    with pytest.raises(CarouselError, match=r"LSTM peephole needs peephole weights \[3, H\].*got"):
        setting.cell.step(setting.x[0], setting.start, weights)


def test_cifg_forgets_what_it_does_not_write() -> None:
    """f + i = 1: to c_{t-1} = 0.7 and g = 0.7 everywhere, nothing ever happens."""
    setting = Setting("LSTM cifg", steps=50)
    c = math.atanh(0.7)
    setting.tensors["weight_ih"][H : 2 * H] = setting.tensors["weight_hh"][H : 2 * H] = 0.0
    setting.tensors["bias_ih"][H : 2 * H] = c
    setting.tensors["bias_hh"][H : 2 * H] = 0.0
    setting.c0 = torch.full_like(setting.c0, 0.7)
    expected, _, _ = setting.reference()
    trajectory = setting.replayed(expected)
    assert_close(trajectory.c, torch.full_like(trajectory.c, 0.7), 50, FLOAT64, "c")
    carry = setting.linearised(trajectory).from_c[..., 0, :]
    one = torch.ones_like(carry)
    assert_close(carry + trajectory.gates["i"], one, 50, FLOAT64, "f + i")


def widened(weights: Weights, gates: tuple[str, ...], make: Callable[..., torch.Tensor]) -> Weights:
    """The weights of a cell with all four gates: ``make(gate, rows of w, of which tensor)``."""

    def full(tensor: torch.Tensor, which: str) -> torch.Tensor:
        own = dict(zip(gates, tensor.chunk(len(gates)), strict=True))
        like = next(iter(own.values()))
        parts = [own[gate] if gate in own else make(gate, own, like, which) for gate in "ifgo"]
        return torch.cat(parts)

    changed = {
        name: full(getattr(weights, name), name) for name in ("w_ih", "w_hh", "b_ih", "b_hh")
    }
    return replace(weights, **changed)


def always_open(_gate: str, _own: dict, like: torch.Tensor, which: str) -> torch.Tensor:
    """Weights and biases under which a gate is exactly 1."""
    return torch.full_like(like, 1e4 if which == "b_ih" else 0.0)


def against_i(gate: str, own: dict, _like: torch.Tensor, _which: str) -> torch.Tensor:
    """sigmoid(-a_i) = 1 - i."""
    assert gate == "f"
    return -own["i"]


@pytest.mark.parametrize(
    ("name", "larger", "make"),
    [
        ("LSTM 1997", "LSTM", always_open),
        ("LSTM cifg", "LSTM", against_i),
        ("LSTM nig", "LSTM peephole", always_open),
        ("LSTM nfg", "LSTM peephole", always_open),
        ("LSTM nog", "LSTM peephole", always_open),
    ],
)
def test_an_ablation_is_the_larger_cell_with_a_gate_held(
    name: str, larger: str, make: Callable[..., torch.Tensor]
) -> None:
    setting, other = Setting(name, steps=9), CELLS[larger]
    weights = widened(setting.weights, setting.cell.gates, make)
    if other.peepholes:
        own = dict(zip(setting.cell.peepholes, setting.weights.peephole, strict=True))
        peephole = [own.get(gate, torch.zeros(H, dtype=FLOAT64)) for gate in "ifo"]
        weights = replace(weights, peephole=torch.stack(peephole))
    expected, _, _ = setting.reference()
    trajectory = setting.replayed(expected)
    found = setting.followed(setting.linearised(trajectory))
    h_prev = torch.cat([setting.h0.unsqueeze(0), expected.h[:-1]])
    whole = other.replay(setting.x, h_prev, setting.start, weights)
    up_h, up_c = Scaled(setting.up_h), Scaled(setting.up_c)
    followed = adjoint(other.linearise(whole, weights), up_h, up_c)
    assert_close(trajectory.h, whole.h, 9, FLOAT64, "h")
    assert_close(trajectory.c, whole.c, 9, FLOAT64, "c")
    assert_close(found.d_h_start.value(), followed.d_h_start.value(), 9, FLOAT64, "d_h0")
    assert_close(found.d_c_start.value(), followed.d_c_start.value(), 9, FLOAT64, "d_c0")
    assert_close(found.d_x().value(), followed.d_x().value(), 9, FLOAT64, "d_x")


@pytest.mark.parametrize("name", ["LSTM 1997", "LSTM 1997 squashed", "LSTM nfg"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_constant_error_carousel(name: str, dtype: torch.dtype) -> None:
    """Without W_hh and peepholes dc_T/dc_0 is the identity: 1 000 steps, to the last bit."""
    setting = Setting(name, steps=1000)
    setting.tensors["weight_hh"].zero_()
    if setting.cell.peepholes:
        setting.tensors["weight_peephole"].zero_()
    setting.up_h.zero_()
    setting.up_c[:-1] = 0.0
    h_prev = torch.randn(1000, *setting.h0.shape, generator=setting.generator, dtype=FLOAT64)
    weights = setting.weights.map(lambda tensor: tensor.to(dtype))
    start = tuple(part.to(dtype) for part in setting.start)
    trajectory = setting.cell.replay(setting.x.to(dtype), h_prev.to(dtype), start, weights)
    found = setting.followed(setting.linearised(trajectory, dtype=dtype), dtype)
    last = setting.up_c[-1].to(dtype)
    assert torch.equal(found.d_c_start.value()[0], last)
    assert torch.equal(found.d_c.value(), last.expand_as(found.d_c.value()))
    assert not found.d_h.value().any()


def test_what_the_squashers_are_at_the_ends() -> None:
    """g = 4 sigmoid - 2 goes to +-2, and c is shown as 2 sigmoid - 1, from -1 to 1."""
    cell = CELLS["LSTM 1997 squashed"]
    weights = Weights(torch.zeros(3, INPUTS), torch.zeros(3, 1), torch.tensor([50.0, 50.0, 50.0]))
    x, h, c = torch.zeros(1, INPUTS), torch.zeros(1, 1), torch.zeros(1, 1)
    h, c = cell.step(x, (h, c), weights)
    assert float(c) == 2.0
    assert float(h) == pytest.approx(2 / (1 + math.exp(-2)) - 1, rel=1e-6)
