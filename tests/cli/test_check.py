"""``carousel check``: what it prints, what it refuses, and the code it leaves with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from carousel.cli import app

NETS = """
import os
import sys
import torch
from torch import nn

print("said while importing")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(2, 3)

    def forward(self, x):
        return self.rnn(x)[0]


def last(output, target):
    return (output[-1] - target).square().mean()


def batch():
    return torch.ones(30, 4, 2), torch.zeros(4, 3)


def good():
    print("said by the factory")
    os.system("echo said by a program")
    return Net(), batch(), last


def with_nan():
    x, y = batch()
    x[5, 1] = float("nan")
    return Net(), (x, y), last


def raises():
    raise ValueError("no data today")


def leaves():
    sys.exit("goodbye")


def interrupted():
    raise KeyboardInterrupt


def two():
    return Net(), batch()


def number():
    return 3


def swapped():
    return batch(), Net(), last


def no_loss():
    return Net(), batch(), 3


def no_rnn():
    return nn.Linear(2, 3), batch(), last


def does_not_fit():
    return Net(), (torch.ones(30, 4, 7), torch.zeros(4, 3)), last


def forgetful():
    torch.manual_seed(0)
    model = nn.LSTM(2, 16)
    return model, torch.randn(120, 4, 2), lambda model, batch: model(batch)[0][-1].sum()


def remembering():
    import carousel

    model, batch, loss_fn = forgetful()
    return carousel.init.chrono_(model, 100), batch, loss_fn


class Holder:
    make = staticmethod(good)


value = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a module ``nets`` in it, forgotten again after the test."""
    (tmp_path / "nets.py").write_text(NETS, encoding="utf-8")
    (tmp_path / "broken.py").write_text("import no_such_dependency\n", encoding="utf-8")
    (tmp_path / "typo.py").write_text("def make(:\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name in ("nets", "broken", "typo"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def check(*arguments: str) -> Result:
    """Run ``carousel check``, and forget the module it imported."""
    try:
        return CliRunner().invoke(app, ["check", *arguments])
    finally:
        sys.modules.pop("nets", None)


def test_a_sound_model_leaves_with_0(here: Path) -> None:
    done = check("nets:good")
    assert done.exit_code == 0, done.output
    assert "Gradients through time in nets:good" in done.stdout
    assert "rnn.l0" in done.stdout
    assert "Certificate" in done.stdout
    assert "said" not in done.stdout
    assert not list(here.glob("*.html"))


def test_a_dotted_path_leads_to_the_factory(here: Path) -> None:
    assert here
    assert check("nets:Holder.make").exit_code == 0


def test_nan_leaves_with_1_and_says_where(here: Path) -> None:
    done = check("nets:with_nan")
    assert here
    assert done.exit_code == 1
    assert "forward pass at step 5, sequence 1" in " ".join(done.stdout.split())


def test_json_is_all_there_is_on_standard_output(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "carousel", "check", "nets:good", "--json", "--html", "r.html"],
        cwd=here,
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert report["schema"] == 1
    assert report["flows"][0]["layers"][0]["name"] == "rnn.l0"
    for words in ("said while importing", "said by the factory", "said by a program", "r.html"):
        assert words in done.stderr
    assert (here / "r.html").read_text(encoding="utf-8").lstrip().startswith("<!DOCTYPE html>")


def test_json_says_what_is_wrong(here: Path) -> None:
    done = check("nets:with_nan", "--json")
    assert here
    assert done.exit_code == 1
    assert json.loads(done.stdout)["faults"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nets", "Expected module:factory, got 'nets'"),
        (":good", "Expected module:factory"),
        ("nets:", "Expected module:factory"),
        ("nets.py:good", "name it nets:good"),
        ("nowhere:good", "There is no module 'nowhere'"),
        ("nets.deeper:good", "There is no module 'nets.deeper'"),
        ("broken:make", "Importing broken raised ModuleNotFoundError: No module named 'no_such"),
        ("typo:make", "Importing typo raised SyntaxError"),
        ("nets:absent", "There is no 'absent' in the module 'nets'"),
        ("nets:absent", "good, with_nan"),
        ("nets:value", "Expected nets:value to be a function, got an int"),
        ("nets:raises", "nets:raises raised ValueError: no data today\n  at "),
        ("nets:raises", "in raises"),
        ("nets:leaves", "nets:leaves raised SystemExit: goodbye"),
        ("nets:two", "three things, (model, batch, loss_fn), got 2: (Net, tuple)"),
        ("nets:number", "to return (model, batch, loss_fn), got an int"),
        ("nets:swapped", "torch.nn.Module first, got a tuple"),
        ("nets:no_loss", "callable loss_fn third, got an int"),
        ("nets:no_rnn", "no recurrent module"),
        ("nets:does_not_fit", "did not accept the batch"),
    ],
)
def test_wrong_input_leaves_with_2_and_one_clean_message(
    here: Path, target: str, words: str
) -> None:
    assert here
    done = check(target)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "carousel: " in done.stderr
    assert "Traceback" not in done.output
    assert not done.stdout


def test_an_unwritable_report_leaves_with_2(here: Path) -> None:
    done = check("nets:good", "--html", str(here / "nowhere" / "r.html"))
    assert done.exit_code == 2
    assert "cannot be written" in done.stderr


def test_ctrl_c_leaves_with_130(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "carousel", "check", "nets:interrupted"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_a_lag_makes_an_error_of_what_is_forgotten(here: Path) -> None:
    assert here
    done = check("nets:forgetful", "--lag", "100")
    assert done.exit_code == 1
    text = " ".join(done.stdout.split())
    assert "ERROR vanishing · l0 The gradient halves every " in text
    assert "your task needs 100" in text
    assert "Diagnosis for a task that needs 100 steps: 1 error" in text


def test_without_a_lag_it_is_a_remark(here: Path) -> None:
    assert here
    done = check("nets:forgetful")
    assert done.exit_code == 0
    assert "No lag was given" in " ".join(done.stdout.split())
    assert "REMARK  vanishing" in done.stdout
    assert "ERROR" not in done.stdout


def test_a_model_that_reaches_the_lag_leaves_with_0(here: Path) -> None:
    assert here
    done = check("nets:remembering", "--lag", "100", "--json")
    assert done.exit_code == 0, done.output
    (flow,) = json.loads(done.stdout)["flows"]
    assert not [found for found in flow["findings"] if found["severity"] != "info"]


def test_findings_are_in_the_json(here: Path) -> None:
    assert here
    done = check("nets:forgetful", "--lag", "100", "--json")
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    (flow,) = report["flows"]
    first = flow["findings"][0]
    assert (first["rule"], first["severity"]) == ("vanishing", "error")
    assert {"rate_per_step", "horizon_steps"} <= {m["name"] for m in first["evidence"]}
    assert not report["faults"]


@pytest.mark.parametrize("lag", ["0", "-3", "many"])
def test_a_lag_that_is_none_leaves_with_2(here: Path, lag: str) -> None:
    assert here
    assert check("nets:good", "--lag", lag).exit_code == 2
