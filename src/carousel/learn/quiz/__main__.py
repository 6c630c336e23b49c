"""``python -m carousel.learn.quiz``: print what is wrong with the bank; 1 if anything is."""

from __future__ import annotations

import sys

from carousel.learn.quiz import bank, numbers, problems, recompute


def main() -> int:
    """Check the texts, the links and the numbers."""
    found = problems(bank())
    for question, marks in numbers().items():
        for number in marks:
            value = recompute(number)
            if not number.agrees(value):
                found.append(f"{question}: {number.text} is written, {value:.6g} is computed.")
    count = len(bank().questions)
    told = "\n".join(found) or f"{count} questions, and nothing wrong with them."
    sys.stdout.write(f"{told}\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
