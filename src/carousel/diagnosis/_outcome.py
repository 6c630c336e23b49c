"""What came of a remedy: before, after, and whether it was kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from carousel.diagnosis._judgement import power
from carousel.diagnosis._trial import Reading, Trial
from carousel.diagnosis.remedies import Applied, Remedy
from carousel.flow import Horizon

__all__ = ["Outcome", "Row"]


@dataclass(frozen=True)
class Row:
    """One training at one moment, in words."""

    training: str  # "without", "with"
    moment: str  # "step 0", "step 199"
    horizon: str
    at_lag: str  # "" without a lag
    loss: str


@dataclass(frozen=True, eq=False)
class Outcome:
    """A remedy, tried: the same steps without it and with it. ``str()`` is a table.

    Attributes:
        remedy: as it was applied; what had to be measured for it stands in it.
        layer: whose flow was looked at; "": the slowest layer's.
        lag_steps: the lag that the task needs; None where nobody said.
        before: the training without the remedy.
        after: the training with it.
        kept: whether the model has it now, or its training loop should get it.
        reason: why.
        applied: how to take it back from the model; None where it was not kept, or where it changes
            the training loop and not the model: then ``remedy.code()`` has the lines.
    """

    remedy: Remedy
    layer: str
    lag_steps: int | None
    before: Trial
    after: Trial
    kept: bool
    reason: str
    applied: Applied | None = field(default=None, repr=False)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The table, row by row: before the first update and after the last step, both ways."""
        return tuple(
            Row(
                training=training,
                moment=f"step {reading.step}",
                horizon=horizon_in_words(reading.layer(self.layer).horizon()),
                at_lag=self._at_lag(reading),
                loss=f"{loss:.4g}",
            )
            for training, trial in (("without", self.before), ("with", self.after))
            for reading, loss in (
                (trial.first, trial.first.loss),
                (trial.last, trial.final_loss),
            )
        )

    def _at_lag(self, reading: Reading) -> str:
        if self.lag_steps is None:
            return ""
        return power(reading.log10_at_lag(self.layer, self.lag_steps) * math.log(10))

    def __str__(self) -> str:
        at_lag = "" if self.lag_steps is None else f"gradient at lag {self.lag_steps}"
        header = ("", "", "horizon", at_lag, "loss")
        cells = [header] + [
            (row.training, row.moment, row.horizon, row.at_lag, row.loss) for row in self.rows
        ]
        widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width)
            for row in cells
        ]
        verdict = "kept" if self.kept else "reverted"
        return "\n".join(
            [
                f"{self.remedy.name}: {self.remedy.sentence()}",
                *map(str.rstrip, lines),
                f"{verdict}: {self.reason}.",
            ]
        )


def horizon_in_words(horizon: Horizon) -> str:
    """A horizon in a few words."""
    if horizon.kind == "decaying" and horizon.steps is not None:
        return f"{horizon.steps:.3g} steps"
    if horizon.kind == "growing":
        return f"grows {horizon.rate:+.3g} per step"
    words = {"level": "longer than can be told", "zero": f"none beyond {horizon.lags} steps"}
    return words.get(horizon.kind, horizon.kind)
