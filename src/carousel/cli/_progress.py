"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["Announce", "announced"]

# What is being done, how much of it is done (0 to 1), and a few words on how it goes.
Announce = Callable[[str, float, str], None]
LINES = 4  # lines for one task where there is no terminal: after each quarter


@contextlib.contextmanager
def announced() -> Iterator[Announce]:
    """A function that tells the progress of tasks by their names, one after the other."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield plain_lines(console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=console) as bars:
        tasks = {}

        def announce(name: str, fraction: float, words: str) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=1.0, words="")
            bars.update(tasks[name], completed=fraction, words=words)

        yield announce


def plain_lines(console: Console) -> Announce:
    """Progress for a pipe or a log file."""
    quarters: dict[str, int] = {}  # told so far, by task

    def announce(name: str, fraction: float, words: str) -> None:
        quarter = int(fraction * LINES)
        if quarters.get(name, 0) < quarter:
            quarters[name] = quarter
            line = f"{name}: {fraction:.0%}{', ' if words else ''}{words}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    return announce
