"""Proof that a remedy worked: the user's own training, without it and with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from carousel._errors import CarouselError
from carousel.diagnosis._judgement import judged
from carousel.diagnosis._outcome import Outcome
from carousel.diagnosis._trial import Reading, TrainStep, Trial, run_trial
from carousel.diagnosis.remedies import Clipping, Remedy

__all__ = ["Proof", "verify"]

# How far apart the first losses of two trainings from the same seed may be, relative to the larger:
# on a GPU sums are taken in any order, and float32 holds 7 digits of each term.
SAME_LOSS = 1e-4
SEEDS = 2**63  # as many as torch takes
CHECKED = 3  # steps that are run again to see whether the data are the same


def verify(
    model: nn.Module,
    remedy: Remedy,
    train_step: TrainStep,
    steps: int = 200,
    *,
    lag: int | None = None,
    seed: int = 0,
    trained: bool = False,
) -> Outcome:
    """Train with and without a remedy from the same seed, and keep it only if that is better.

    Both trainings run on copies. If the remedy is kept and changes the model, it is applied to the
    model itself, whose weights are otherwise those from before; ``outcome.applied.undo()`` takes it
    back, bit for bit. If it changes the training loop, the model stays as it is, and
    ``outcome.remedy.code()`` has the lines for the loop.

        def train_step(model):
            optimizer = torch.optim.Adam(model.parameters())
            data = batches(seed=0)

            def step():
                optimizer.zero_grad()
                x, y = next(data)
                loss = loss_fn(model(x), y)
                loss.backward()
                optimizer.step()
                return loss

            return step

        outcome = carousel.verify(model, remedy, train_step, steps=200, lag=100)

    The optimizer and the data are built inside, so that they belong to the copy and begin anew. A
    step without an optimizer can be given as it is: ``train_step(model) -> loss``, or
    ``train_step(model, number)``.

    Args:
        model: the model to be cured.
        remedy: to be tried, such as one of ``finding.remedies``.
        train_step: see above.
        steps: training steps for each of both.
        lag: how many steps back the task needs to see, where it is known.
        seed: of all generators, for both trainings; they are afterwards as they were.
        trained: the weights are worth keeping: a remedy that overwrites them is refused.

    Returns:
        What was measured, and whether the remedy was kept.

    Raises:
        CarouselError: the remedy does not fit, would overwrite what is to be kept, the training
            step cannot be used, or the lag is longer than the sequences. The model is as it was;
            so it is after an interrupt.
    """
    return Proof(model, train_step, steps, lag=lag, seed=seed, trained=trained).of(remedy)


class Proof:
    """Several remedies for one model, held against one training without any."""

    def __init__(
        self,
        model: nn.Module,
        train_step: TrainStep,
        steps: int = 200,
        *,
        lag: int | None = None,
        seed: int = 0,
        trained: bool = False,
    ) -> None:
        for name, value in (("steps", steps), ("lag", lag)):
            if value is not None and (type(value) is not int or value < 1):
                raise CarouselError(
                    f"Expected {name} to be a whole number from 1 on, got {value!r}."
                )
        if type(seed) is not int or not 0 <= seed < SEEDS:
            raise CarouselError(
                f"Expected seed to be a whole number from 0 to 2**63 - 1, got {seed!r}."
            )
        self.model, self.train_step, self.steps = model, train_step, steps
        self.lag_steps, self.seed, self.trained = lag, seed, trained
        self.progress: Callable[[str, int], None] | None = None
        self._without: Trial | None = None

    def without(self) -> Trial:
        """The training without any remedy, run when it is first asked for."""
        if self._without is None:
            with _untouched(self.model):
                trial = self._trial(None)
                self._refuse_long_lag(trial.first)
                again = self._trial(None, steps=min(self.steps, CHECKED))
                for number in range(len(again.losses)):
                    _refuse_other_data(_said(trial, number), _said(again, number))
            self._without = trial
        return self._without

    def of(self, remedy: Remedy, *, apply: bool = True) -> Outcome:
        """Try a remedy.

        Args:
            remedy: to be tried.
            apply: to the model, if it is kept and changes it.
        """
        if not isinstance(remedy, Remedy):
            raise CarouselError(f"Expected a Remedy, got {type(remedy).__name__}.")
        if self.trained and not remedy.keeps_weights:
            raise CarouselError(
                f"The remedy {remedy.name!r} overwrites weights, and those of this model are said "
                "to be trained. Only remedies with keeps_weights can be tried on it: clipping, "
                "truncation-length, carry-state, state-dtype, omega, flossing."
            )
        before = self.without()
        if isinstance(remedy, Clipping):
            remedy = remedy.fitted(before.gradient_norms)
        with _untouched(self.model):
            after = self._trial(remedy)
        # A remedy changes what comes of the data, and where a model acts on a world of its own even
        # the data: not what it is shown first.
        _refuse_other_data(before.shown[0][:1], after.shown[0][:1])
        found = judged(before, after, remedy.layer, self.lag_steps)
        outcome = Outcome(
            remedy=remedy,
            layer=remedy.layer,
            lag_steps=self.lag_steps,
            before=before,
            after=after,
            kept=found.kept,
            reason=found.reason,
        )
        if apply and outcome.kept and remedy.in_model:
            outcome = replace(outcome, applied=remedy.apply(self.model))
        return outcome

    def _trial(self, remedy: Remedy | None, steps: int | None = None) -> Trial:
        def tell(done: int) -> None:
            if self.progress is not None and steps is None:
                self.progress("without a remedy" if remedy is None else remedy.name, done)

        steps_here = self.steps if steps is None else steps
        return run_trial(
            self.model,
            remedy,
            self.train_step,
            steps_here,
            self.seed,
            tell,
            learns=steps is None,
        )

    def _refuse_long_lag(self, first: Reading) -> None:
        longest = max(int(layer.lengths.max()) for layer in first.flow.layers.values())
        if self.lag_steps is not None and self.lag_steps >= longest:
            raise CarouselError(
                f"Expected a lag below {longest}, the steps of the longest sequence that the "
                f"training step shows the model, got {self.lag_steps}. Train on longer sequences, "
                "or ask for a shorter lag."
            )


def _said(trial: Trial, number: int) -> tuple[float, ...]:
    """What a step was shown, and its loss."""
    return *trial.shown[number], trial.losses[number]


def _refuse_other_data(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    """Hold what the model was given, and its losses, in two trainings against each other."""
    if len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=SAME_LOSS, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
        for a, b in zip(one, other, strict=True)
    ):
        return
    raise CarouselError(
        "Two trainings from the same seed are shown other data, or come to other losses at once, "
        "so what they come to in the end cannot be compared. Build the data inside "
        "train_step(model), from a generator or an iterator that begins anew there."
    )


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Put a model back to what it was, bit for bit, and refuse a training that changed it.

    Raises:
        CarouselError: the training step changed the model itself instead of its copy.
    """
    tensors = [*model.parameters(), *model.buffers()]
    saved = [
        (tensor, tensor.data, tensor.detach().clone(), tensor.grad, _copy(tensor.grad))
        for tensor in tensors
    ]
    mode = [(module, module.training) for module in model.modules()]
    changed, cause = False, None
    try:
        yield
    except CarouselError as error:  # what follows from training another model than the copy
        cause = error
        raise
    finally:
        with torch.no_grad():
            for tensor, memory, numbers, grad, grad_numbers in saved:
                same = tensor.data_ptr() == memory.data_ptr() and _equal_bits(tensor, numbers)
                if not same:
                    changed = True
                    memory.copy_(numbers)
                    tensor.data = memory
                if grad is not None and grad_numbers is not None:
                    grad.copy_(grad_numbers)
                tensor.grad = grad
        for module, training in mode:
            module.training = training
        if changed and cause is not None:
            raise _trained_itself() from cause
    if changed:
        raise _trained_itself()


def _trained_itself() -> CarouselError:
    return CarouselError(
        "The training step trained the model itself and not the copy that it was given: its "
        "optimizer was built outside and holds the parameters of the model. Build it inside: "
        "`def train_step(model): optimizer = Adam(model.parameters()); def step(): ..; return "
        "step`. The model is as it was."
    )


def _copy(grad: Tensor | None) -> Tensor | None:
    return None if grad is None else grad.detach().clone()


def _equal_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same bits; a NaN equals itself."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(
        one.detach().contiguous().view(-1).view(torch.uint8),
        other.contiguous().view(-1).view(torch.uint8),
    )
