"""``carousel fix``: what it prints and writes, what it refuses, and the code it leaves with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from carousel.cli import app

NETS = """
import torch
from torch import nn
import carousel


class Net(nn.Module):
    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.rnn(x)[0][-1])


def mean_square(output, target):
    return (output - target).square().mean()


def batch():
    x = torch.rand(24, 8, 2)
    return x, x[0, :, :1]


def sick():
    return Net(nn.LSTM(2, 8)), batch(), mean_square


def sound():
    lstm = carousel.init.chrono_(nn.LSTM(2, 8), 500)
    return Net(lstm), batch(), mean_square


def train(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = batch()

    def step():
        optimizer.zero_grad()
        loss = mean_square(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def with_a_step():
    return (*sick(), train)


def stuck(model):
    x, y = batch()

    def step():
        loss = mean_square(model(x), y)
        loss.backward()
        return loss

    return step


def without_learning():
    return (*sick(), stuck)


def hopeless():
    def step(model):
        inner, changed = train(model), bool((model.rnn.bias_hh_l0 == 0).any())
        count = [0]

        def one():
            count[0] += 1
            return inner() + changed * count[0]

        return one

    return (*sick(), step)


def fourth_is_a_number():
    return (*sick(), 3)


def five():
    return (*sick(), train, 1)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a module ``fixnets`` in it, forgotten again after the test."""
    (tmp_path / "fixnets.py").write_text(NETS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "fixnets", raising=False)
    return tmp_path


def fix(*arguments: str) -> Result:
    """Run ``carousel fix``, and forget the module it imported."""
    try:
        return CliRunner().invoke(app, ["fix", *arguments])
    finally:
        sys.modules.pop("fixnets", None)


def test_a_cure_leaves_with_0_and_the_lines_to_paste(here: Path) -> None:
    page = here / "r.html"
    done = fix("fixnets:sick", "--lag", "20", "--steps", "16", "--html", str(page))
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "Remedies for fixnets:sick" in said
    assert "ERROR vanishing · as it came · rnn.l0" in said
    assert "WARNING forget-gate-default · as it came · rnn.l0" in said
    assert "What was tried" in said
    assert said.count("carousel.init.") == 1  # the lines of the remedy that was proved
    assert "Adam (learning rate 0.003) on the one batch" in said
    html = page.read_text(encoding="utf-8")
    assert "<pre><code>import carousel" in html
    assert '<li class="finding error">' in html
    assert "What was tried" in html
    assert "Side by side" in html
    assert "<script" not in html


def test_a_sound_model_leaves_with_0_and_is_not_trained(here: Path) -> None:
    assert here
    done = fix("fixnets:sound", "--lag", "20")
    assert done.exit_code == 0
    assert "Nothing to cure: the gradient reaches back over 20 steps." in done.stdout
    assert "What was tried" not in done.stdout


def test_where_nothing_helps_it_leaves_with_1(here: Path) -> None:
    assert here
    done = fix("fixnets:hopeless", "--lag", "20", "--steps", "16", "--most", "2")
    assert done.exit_code == 1, done.output
    assert "No remedy was kept" in done.stdout
    assert "to paste" not in done.stdout
    assert "ERROR  vanishing · rnn.l0" in done.stdout
    assert "Try chrono" in done.stdout


def test_json_is_all_there_is_on_standard_output(here: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "carousel", "fix", "fixnets:with_a_step", "--json"),
            *("--lag", "20", "--steps", "12", "--most", "1"),
        ],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    assert done.returncode == (found["best"] is None)
    assert found["schema"] == 2
    assert [(each["rule"], each["severity"]) for each in found["findings"]] == [
        ("vanishing", "error"),
        ("forget-gate-default", "warning"),
    ]
    assert found["findings"][0]["remedies"][0]["name"] == "chrono"
    assert found["findings"][0]["evidence"][-1]["name"]
    assert found["lag_steps"] == 20
    assert found["training"] == "12 steps of the training step that was given"
    (tried,) = found["tried"]
    assert tried["kept"] == (found["best"] is not None)
    assert len(tried["without"]["losses"]) == 12
    assert tried["without"]["first"]["log10_gradient_at_lag"] < -3
    assert tried["without"]["first"]["horizon_kind"] == "decaying"
    assert tried["code"]
    assert "without a remedy: 100%" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fixnets:sick", "--lag", "24"), "Expected a lag from 1 to 23"),
        (("fixnets:sick", "--steps", "0"), "Invalid value for '--steps'"),
        (("fixnets:sick", "--most", "0"), "Invalid value for '--most'"),
        (("fixnets:without_learning", "--steps", "2"), "changed no parameter of the model"),
        (("fixnets:fourth_is_a_number",), "callable train_step fourth, got an int"),
        (("fixnets:five",), "three things, (model, batch, loss_fn), got 5"),
        (("fixnets:absent",), "There is no 'absent'"),
    ],
)
def test_wrong_input_leaves_with_2(here: Path, arguments: tuple[str, ...], words: str) -> None:
    assert here
    done = fix(*arguments)
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert not done.stdout


def test_check_takes_a_factory_that_has_a_training_step_too(here: Path) -> None:
    assert here
    try:
        done = CliRunner().invoke(app, ["check", "fixnets:with_a_step"])
    finally:
        sys.modules.pop("fixnets", None)
    assert done.exit_code == 0, done.output
