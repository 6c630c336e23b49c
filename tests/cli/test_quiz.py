"""``carousel quiz``: answered on a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from carousel.learn.quiz import bank, draw

COMMAND = [sys.executable, "-m", "carousel", "quiz"]


def run(*arguments: str, answers: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], input=answers, capture_output=True, text=True, check=False
    )


def lines(seed: int, right: int, count: int = 10) -> str:
    """Answers to an attempt, so many of them right."""
    found = []
    for at, asked in enumerate(draw(bank(), count, seed)):
        options = [bank().question(asked.question).options[place].right for place in asked.order]
        place = options.index(at < right)
        found.append(f"{place + 1}\n")
    return "".join(found)


@pytest.mark.parametrize(("right", "code", "verdict"), [(7, 0, "passed"), (6, 1, "not passed")])
def test_seven_of_ten_pass_and_six_do_not(right: int, code: int, verdict: str) -> None:
    done = run("--seed", "3", answers=lines(3, right))
    assert done.returncode == code, done.stderr
    assert f"{right} of 10 right: {verdict} (70 % are needed)." in done.stdout
    assert done.stdout.count("Not right.") == 10 - right
    assert "add this to the address of `carousel learn`:" in done.stdout


def test_the_result_as_json() -> None:
    done = run("--seed", "3", "--questions", "4", "--json", answers=lines(3, 2, 4))
    told = json.loads(done.stdout)
    assert (told["seed"], told["right"], told["of"], told["passed"]) == (3, 2, 4, False)
    asked = draw(bank(), 4, 3)
    assert [one["question"] for one in told["answers"]] == [one.question for one in asked]
    assert [one["right"] for one in told["answers"]] == [True, True, False, False]
    assert "Question 4 of 4" in done.stderr
    assert done.returncode == 1


def test_one_objective() -> None:
    done = run("--objective", "gates", "--seed", "0", "--json", answers="1\n" * 6)
    asked = [one["question"] for one in json.loads(done.stdout)["answers"]]
    assert sorted(asked) == sorted(one.id for one in bank().questions if one.objective == "gates")


def test_without_input_it_says_what_it_needs() -> None:
    done = run("--seed", "1")
    assert done.returncode == 2
    assert "The input ended at question 1 of 10." in done.stderr
    assert "on a terminal" in done.stderr


def test_what_is_no_answer_is_asked_for_again() -> None:
    done = run("--seed", "3", "--questions", "1", answers="5\n\nx\n²\n" + lines(3, 1, 1))
    assert done.stdout.count("Expected a number from 1 to 4") == 4
    assert done.returncode == 0


def test_an_unknown_objective_is_refused() -> None:
    done = run("--objective", "cooking")
    assert done.returncode == 2
    assert "There is no objective 'cooking'. Expected one of: vanishing" in done.stderr


def test_the_objectives_are_listed() -> None:
    done = run("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        one.id for one in bank().objectives
    ]
    told = json.loads(run("--list", "--json").stdout)
    assert sum(one["questions"] for one in told) == len(bank().questions)


def test_no_mark_of_the_bank_is_printed() -> None:
    done = run("--seed", "1", "--questions", str(len(bank().questions)), answers="1\n" * 60)
    assert "[[" not in done.stdout
    assert "_{" not in done.stdout
    assert f"Question {len(bank().questions)} of" in done.stdout


def test_a_terminal_is_asked_and_may_interrupt() -> None:
    ours, theirs = pty.openpty()
    # What runs in the background of a shell ignores Ctrl-C, and so would what it starts.
    heed = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv"
    running = subprocess.Popen(
        [sys.executable, "-c", f"{heed}(sys.argv[1], sys.argv[1:])", *COMMAND, "--seed", "1"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    try:
        seen = read_until(ours, "Your answer, 1 to 4:")
        assert "Question 1 of 10" in seen
        os.write(ours, b"1\n")
        read_until(ours, "Question 2 of 10", "Your answer, 1 to 4:")  # they may come in one piece
        running.send_signal(signal.SIGINT)
        assert "carousel: interrupted" in read_until(ours, "interrupted")
        assert running.wait(20) == 130
    finally:
        running.kill()
        running.wait(10)
        os.close(ours)


def read_until(terminal: int, *texts: str, most_s: float = 60) -> str:
    """What the terminal shows until all the texts have come."""
    seen, end = "", time.monotonic() + most_s
    while not all(text in seen for text in texts) and time.monotonic() < end:
        if select.select([terminal], [], [], 1.0)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
    assert all(text in seen for text in texts), seen
    return seen
