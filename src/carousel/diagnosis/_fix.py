"""From a sick model to the remedy that was proved to help it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from carousel._errors import CarouselError
from carousel.diagnosis._adam import LEARNING_RATE, adam_on
from carousel.diagnosis._choice import candidates, folds_over, promises
from carousel.diagnosis._diagnose import diagnose
from carousel.diagnosis._finding import Finding
from carousel.diagnosis._outcome import Outcome
from carousel.diagnosis._trial import TrainStep
from carousel.diagnosis._verify import Proof
from carousel.diagnosis.remedies import Applied, Remedy
from carousel.diagnosis.rules._vanishing import LITTLE_LEFT
from carousel.flow import Flow, measure
from carousel.trace import find_recurrent

__all__ = ["Cure", "Refused", "fix"]

MOST = 4  # remedies that are tried; each takes as long as the training itself
# What is wrong beside the way back in time: the data, the steps of the optimizer, the way down
# through a stack; and a default of a gate, with which nothing vanishes where it stands alone. It is
# shown, and by itself is no reason to train anything.
BESIDE_THE_LAG = frozenset({"padding", "clipping", "starved", "forget-gate-default"})
# With these the gradient does not reach the lag.
AT_THE_LAG = frozenset({"vanishing", "truncation", "nonfinite"})


@dataclass(frozen=True)
class Refused:
    """A remedy that could not be tried, and why."""

    remedy: Remedy
    reason: str


@dataclass(frozen=True, eq=False)
class Cure:
    """What was wrong, what was tried, and what is best. ``str()`` is the whole story.

    Attributes:
        flow: of the model as it came.
        lag_steps: the lag that it was held against.
        lag_given: whether somebody named it; else it is the longest that the batch has.
        training: the training step, in words.
        findings: of ``diagnose`` for this lag, errors and warnings; () where nothing was wrong.
        outcomes: of the remedies that were tried, in their order.
        refused: those that could not be tried.
        best: the kept outcome that is best; None where no remedy was kept.
        applied: how to take the best one back from the model.
    """

    flow: Flow
    lag_steps: int
    lag_given: bool
    training: str
    findings: tuple[Finding, ...]
    outcomes: tuple[Outcome, ...] = ()
    refused: tuple[Refused, ...] = ()
    best: Outcome | None = None
    applied: Applied | None = field(default=None, repr=False)

    @property
    def healthy(self) -> bool:
        """Whether nothing that was found bears on the lag."""
        return all(finding.rule in BESIDE_THE_LAG for finding in self.findings)

    @property
    def cured(self) -> bool:
        """Whether a remedy was kept with which the gradient reaches the lag."""
        if self.best is None or not reaches(self.best, self.lag_steps):
            return False
        left = diagnose(self.best.after.last.flow, self.lag_steps)
        return not any(each.rule in AT_THE_LAG and each.severity != "info" for each in left)

    @property
    def code(self) -> str:
        """The lines to paste; "" where there is nothing to change."""
        return "" if self.best is None else self.best.remedy.code()

    @property
    def summary(self) -> str:
        """The conclusion in a sentence or two."""
        lag = f"{self.lag_steps} steps"
        if not self.lag_given:
            lag += " (the longest lag of the batch, for none was named)"
        if self.healthy:
            return f"Nothing to cure: the gradient reaches back over {lag}."
        if self.best is None:
            tried = ", ".join(each.remedy.name for each in self.outcomes) or "none"
            return f"No remedy was kept for a lag of {lag}. Tried: {tried}."
        reaches_back = "reaches" if self.cured else "does not yet reach"
        return (
            f"{self.best.remedy.name} is kept: with it the gradient {reaches_back} back over "
            f"{lag}; {self.best.reason}."
        )

    def __str__(self) -> str:
        parts = [str(finding) for finding in self.findings]
        parts += [str(outcome) for outcome in self.outcomes]
        parts += [f"{each.remedy.name} was not tried: {each.reason}" for each in self.refused]
        parts += [self.summary]
        return "\n\n".join(parts + ([self.code] if self.code else []))


def fix(  # noqa: PLR0913 - each changes what is tried, and all have a name at the call
    model: nn.Module,
    batch: Any,
    loss_fn: Callable[..., Tensor] | None = None,
    train_step: TrainStep | None = None,
    *,
    lag: int | None = None,
    steps: int = 200,
    seed: int = 0,
    trained: bool = False,
    most: int = MOST,
    progress: Callable[[str, float, str], None] | None = None,
) -> Cure:
    """Try the remedies for what is wrong in the order of what they promise, and keep the best.

    Each is proved as ``carousel.verify`` proves one. It ends with the first that is kept and makes
    the gradient reach the lag. The best one is applied to the model, if it changes the model.

    Args:
        model: the model to be cured.
        batch: as ``carousel.measure`` takes it.
        loss_fn: likewise.
        train_step: as ``carousel.verify`` takes it; None: Adam on this one batch, again and again.
        lag: how many steps back the task needs to see; None: as many as the batch has.
        steps: training steps for each trial.
        seed: of all generators in each trial.
        trained: the weights are worth keeping: only remedies that keep them are tried.
        most: how many remedies are tried.
        progress: told what is being tried, how much of it is done from 0 to 1, and a few words.

    Raises:
        CarouselError: the model cannot be measured, the lag is longer than the sequences, or the
            training step cannot be used. The model is as it was; so it is after an interrupt.
    """
    if type(most) is not int or most < 1:
        raise CarouselError(f"Expected most to be a whole number from 1 on, got {most!r}.")
    flow = measure(model, batch, loss_fn)
    lag_steps = _lag(flow, lag)
    found = tuple(each for each in diagnose(flow, lag_steps) if each.severity != "info")
    training = "the training step that was given"
    if train_step is None:
        train_step = adam_on(batch, loss_fn)
        training = (
            f"Adam (learning rate {LEARNING_RATE:g}) on the one batch that was given, so the loss "
            "is that of learning it by heart: a train_step with new data says more"
        )
    story = Cure(flow, lag_steps, lag is not None, f"{steps} steps of {training}", found)
    if story.healthy:
        return story
    measured = {layer.trace.path for layer in flow.layers.values()}
    whole = set(find_recurrent(model)[0].values()) <= measured
    remedies = candidates(found, flow, trained=trained, whole=whole)
    proof = Proof(model, train_step, steps, lag=lag_steps, seed=seed, trained=trained)
    if progress is not None:
        tell = progress
        proof.progress = lambda name, done: tell(name, done / steps, "")
    proof.without()  # what is wrong with the training step itself is said before all remedies
    outcomes: list[Outcome] = []
    refused: list[Refused] = []
    for remedy in promises(model, batch, loss_fn, remedies, lag_steps)[:most]:
        try:
            outcomes.append(proof.of(remedy, apply=False))
        except CarouselError as error:
            refused.append(Refused(remedy, str(error)))
            continue
        if outcomes[-1].kept and reaches(outcomes[-1], lag_steps):
            break
    kept = [outcome for outcome in outcomes if outcome.kept]
    best = min(kept, key=lambda o: (not reaches(o, lag_steps), o.after.final_loss), default=None)
    applied = best.remedy.apply(model) if best is not None and best.remedy.in_model else None
    return Cure(
        flow=flow,
        lag_steps=lag_steps,
        lag_given=lag is not None,
        training=story.training,
        findings=found,
        outcomes=tuple(outcomes),
        refused=tuple(refused),
        best=best,
        applied=applied,
    )


def reaches(outcome: Outcome, lag_steps: int) -> bool:
    """Whether enough is left at the lag after the training, by the threshold of "vanishing".

    A gradient that grows reaches back too: whether it does harm is for the loss to say.
    """
    return folds_over(outcome.after.last.layer(outcome.layer), lag_steps) >= math.log(LITTLE_LEFT)


def _lag(flow: Flow, lag: int | None) -> int:
    longest = max(int(layer.lengths.max()) for layer in flow.layers.values()) - 1
    if longest < 1:
        raise CarouselError(
            "The batch holds sequences of one step, over which no gradient goes back in time. "
            "Give a batch with longer sequences."
        )
    if lag is None:
        return longest
    if type(lag) is not int or not 1 <= lag <= longest:
        raise CarouselError(
            f"Expected a lag from 1 to {longest}, for the longest sequence of the batch has "
            f"{longest + 1} steps; got {lag!r}. Give a batch with longer sequences, or ask for a "
            "shorter lag."
        )
    return lag
