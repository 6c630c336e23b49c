"""``carousel quiz``: the quiz of the page, in the terminal."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from carousel._errors import CarouselError
from carousel.cli._exits import WRONG, exits

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from carousel.learn.quiz import Asked, Bank, Question

__all__ = ["quiz"]


@exits
def quiz(
    questions: Annotated[
        int | None, typer.Option(min=1, help="How many are asked; by default 10.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="Ask about this alone; may be given more than once. See --list."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="The same seed asks the same; by default another."),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Print the objectives and leave.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON; the rest to standard error.")
    ] = False,
) -> int:
    """Ask questions about gradients through time; type 1 to 4 to answer.

    Leaves with 0 if enough answers were right (70 %), with 1 if not, and with 2 on wrong usage or
    where the input ends before the last question.
    """
    from rich.console import Console

    from carousel.learn.quiz import bank, draw, passed

    known = bank()
    if listed:
        list_objectives(known, as_json=as_json)
        return 0
    chosen = secrets.randbits(32) if seed is None else seed
    attempt = draw(known, questions or known.drawn, chosen, objective or ())
    console = Console(stderr=as_json, highlight=False, markup=False)
    answers = []
    for at, asked in enumerate(attempt):
        heading = f"Question {at + 1} of {len(attempt)}"
        answers.append(ask(known.question(asked.question), asked, heading, console))
    right = sum(answer.right for answer in answers)
    enough = passed(right, len(answers), known.pass_percent)
    conclude(known, answers, console, enough=enough)
    if as_json:
        told = {
            "seed": chosen,
            "right": right,
            "of": len(answers),
            "passed": enough,
            "answers": [
                {"question": one.question.id, "answer": one.text, "right": one.right}
                for one in answers
            ],
        }
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    return 0 if enough else WRONG


@dataclass(frozen=True)
class Answer:
    """What was answered to one question."""

    question: Question
    text: str  # of the option
    right: bool


def ask(question: Question, asked: Asked, heading: str, console: Console) -> Answer:
    """Put one question, and say of every option why it is right or wrong."""
    from carousel.learn.quiz import plain

    console.rule(heading, align="left")
    console.print(plain(question.text), style="bold")
    options = [question.options[at] for at in asked.order]
    choices = grid()
    for number, option in enumerate(options, 1):
        choices.add_row(str(number), plain(option.text))
    console.print(choices)
    picked = read_number(len(options), heading, console)
    chosen = options[picked - 1]
    console.print()
    console.print(
        "Right." if chosen.right else "Not right.", style="green" if chosen.right else "red"
    )
    reasons = grid()
    for number, option in enumerate(options, 1):
        yours = "Your answer. " if number == picked else ""
        verdict = "right" if option.right else "wrong"
        reasons.add_row(f"{number} {verdict}", yours + plain(option.feedback))
    console.print(reasons)
    console.print(f"Source: {plain(question.source)}", style="dim")
    console.print()
    return Answer(question, chosen.text, chosen.right)


def grid() -> Table:
    """Two columns, the second of which wraps within itself."""
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column()
    return table


def read_number(most: int, heading: str, console: Console) -> int:
    """1 to ``most``, asked for until it comes.

    Raises:
        CarouselError: the input has ended.
    """
    prompt = f"Your answer, 1 to {most}: "
    while True:
        console.print(prompt, end="")
        line = sys.stdin.readline()
        if not line:
            console.print()
            raise CarouselError(
                f"The input ended at {heading[0].lower() + heading[1:]}. carousel quiz asks its "
                "questions on a terminal, or takes one number a line; carousel learn has the same "
                "quiz in the browser."
            )
        text = line.strip()
        if text.isascii() and text.isdigit() and 1 <= int(text) <= most:
            return int(text)
        console.print(f"Expected a number from 1 to {most}, got {text!r}.")


def conclude(bank: Bank, answers: list[Answer], console: Console, *, enough: bool) -> None:
    """The score, and by objective what was missed."""
    from rich.table import Table

    right = sum(answer.right for answer in answers)
    console.rule("Result", align="left")
    verdict = "passed" if enough else "not passed"
    console.print(
        f"{right} of {len(answers)} right: {verdict} ({bank.pass_percent} % are needed).",
        style="green" if enough else "red",
    )
    table = Table("Objective", "Right", "Asked", box=None, pad_edge=False)
    for objective in bank.objectives:
        about = [one for one in answers if one.question.objective == objective.id]
        if about:
            table.add_row(objective.name, f"{sum(one.right for one in about)}", f"{len(about)}")
    console.print(table)
    if missed := [one.question for one in answers if not one.right]:
        console.print("\nTo see what was missed, add this to the address of `carousel learn`:")
        for question in missed:
            console.print(f"  #/{question.link}", soft_wrap=True)


def list_objectives(bank: Bank, *, as_json: bool) -> None:
    """The objectives, and how many questions there are about each."""
    rows = [
        {
            "objective": one.id,
            "name": one.name,
            "questions": sum(question.objective == one.id for question in bank.questions),
        }
        for one in bank.objectives
    ]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for row in rows:
        typer.echo(f"{row['objective']:<16}{row['questions']:>3} questions  {row['name']}")
