"""The scripts that the explorer hands out give the numbers that it draws."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from carousel.learn import (
    CodeRequest,
    MatrixRequest,
    Network,
    Settings,
    code,
    explore,
    matrix,
    products,
    spectra,
)
from carousel.learn._settings import applied, network
from carousel.report import Level, level

CASES = {
    "usual": Settings(),
    "initialised": Settings(
        Network("rnn-relu", 9, init="identity", gain=1.02),
        Network("gru", 9, init="orthogonal"),
        steps=30,
        signal="pulse",
        seed=3,
    ),
    "biases": Settings(
        Network("lstm", 9, init="chrono"),
        Network("lstm-peephole", 9, forget_bias=2.5, gain=0.7),
        steps=30,
        signal="wave",
        loss="every",
    ),
    "1997": Settings(
        Network("lstm-1997", 9, gradient="1997"),
        Network("lstm-1997", 9, init="orthogonal", gain=2),
        steps=31,
        loss="middle",
        seed=9999,
    ),
    "what does not apply": Settings(
        Network("gru", 9, init="identity", forget_bias=1.0, gradient="1997"),
        Network("rnn-tanh", 9, init="chrono"),
        steps=12,
        signal="zeros",
    ),
    "one step": Settings(Network("gru", 1), Network("lstm", 1, init="chrono"), steps=1),
}

Figure = Literal["gradients", "products", "spectra", "itemised"]


def run(settings: Settings, figure: Figure) -> dict[str, Any]:
    """What the script leaves, run as it stands."""
    names: dict[str, Any] = {}
    exec(compile(code(CodeRequest(settings, figure)).text, "script", "exec"), names)  # noqa: S102
    return names


def near(found: Any, expected: tuple[Level, ...]) -> None:
    values = [level(value) for value in found.tolist()]
    assert len(values) == len(expected)
    for value, other in zip(values, expected, strict=True):
        if isinstance(value, float) and isinstance(other, float):
            assert value == pytest.approx(other, abs=2e-5)
        else:
            assert value == other


@pytest.mark.parametrize("case", CASES)
def test_gradients(case: str) -> None:
    settings = CASES[case]
    curves, expected = run(settings, "gradients")["curves"], explore(settings)
    for name, one in (("first", expected.first), ("second", expected.second)):
        near(curves[name, "d_h"], one.d_h)
        for what in ("d_c", "carousel"):
            assert ((name, what) in curves) == bool(getattr(one, what))
            if (name, what) in curves:
                near(curves[name, what], getattr(one, what))


@pytest.mark.parametrize("case", CASES)
def test_what_torch_has_is_of_torch(case: str) -> None:
    """The numbers of these cases are compared above, so torch draws the same weights."""
    settings = CASES[case]
    text = code(CodeRequest(settings)).text
    for name, one in (("first", settings.first), ("second", settings.second)):
        kind = type(network(one, settings.steps, settings.seed))
        plain = applied(one)
        known = plain.cell in {"rnn-tanh", "rnn-relu", "lstm", "gru"} and plain.gradient == "full"
        home = "torch.nn" if known else "carousel"
        assert f"\n{name} = {home}.{kind.__name__}(" in text
        assert (f"{name} = torch.nn." in text) == known


@pytest.mark.parametrize("case", ["biases", "one step"])
def test_products(case: str) -> None:
    settings = CASES[case]
    names, expected = run(settings, "products"), products(settings)
    for name, one in (("first", expected.first), ("second", expected.second)):
        near(names["norms"][name], one.log10_by_lag)
        for values in one.singular:
            near(names["singular"][name, values.lag], values.log10)


def test_spectra() -> None:
    settings = CASES["biases"]
    names, expected = run(settings, "spectra"), spectra(settings)
    assert str(names["spectra"]["first"]) == expected.first.sentence
    near(names["spectra"]["second"].exponents, expected.second.exponents)


def test_itemised() -> None:
    settings = CASES["biases"]
    found = run(settings, "itemised")["matrices"]["second"]
    expected = matrix(MatrixRequest(settings, "second"))
    for row in (0, 13, 29):
        near(found[row, : row + 1], expected.log10[30 * row : 30 * row + row + 1])
