"""From a flow to what is wrong with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from carousel.diagnosis._cures import remedies_for
from carousel.diagnosis._finding import SEVERITIES, Finding
from carousel.diagnosis._subject import ClippingRecord, subject_of
from carousel.diagnosis.remedies._places import without_number
from carousel.diagnosis.rules import RULES
from carousel.flow import Flow

__all__ = ["diagnose"]


def diagnose(
    flow: Flow,
    lag: int | None = None,
    *,
    lengths: Tensor | Sequence[int] | None = None,
    clipping: ClippingRecord | None = None,
) -> tuple[Finding, ...]:
    """What is wrong with the gradient's way through time, the worst first.

    Every rule holds a rate per step, a share or a ratio against a threshold, never a norm by
    itself. Nothing is drawn at random: the same flow has the same findings.

    Args:
        flow: of one backward pass.
        lag: the number of steps that the task needs, where it is known. Without it nothing about
            memory is an error.
        lengths: the valid steps of each sequence [B], where a batch was padded and not packed.
        clipping: how the training clips, which a flow of one pass cannot know.

    Returns:
        The findings, errors first, then warnings; within a severity in the order of the rules. What
        several calls of one module have in common is said once, of the first of them.

    Raises:
        CarouselError: the arguments are not what they should be.

    >>> import torch
    >>> import carousel
    >>> _ = torch.manual_seed(0)
    >>> lstm, x = torch.nn.LSTM(3, 32), torch.randn(60, 4, 3)
    >>> flow = carousel.measure(lstm, lambda: lstm(x)[0][-1].square().sum())
    >>> [(finding.severity, finding.rule) for finding in diagnose(flow, lag=50)]
    [('error', 'vanishing'), ('warning', 'forget-gate-default')]
    """
    subject = subject_of(flow, lag, lengths, clipping)
    found = [
        replace(finding, remedies=remedies_for(finding, subject))
        for rule in RULES.values()
        for finding in rule(subject)
    ]
    return tuple(
        sorted(_once_a_module(found), key=lambda finding: SEVERITIES.index(finding.severity))
    )


def _once_a_module(findings: Sequence[Finding]) -> list[Finding]:
    """Of several unrelated calls of one module the one met worst stands for all."""
    alike: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        alike[finding.rule, without_number(finding.layer)].append(finding)
    told = []
    for same in alike.values():
        worst = min(same, key=lambda finding: SEVERITIES.index(finding.severity))
        calls = {each.layer for each in same} - {worst.layer}
        if not calls:
            told += same
            continue
        more = f"{len(calls)} other call{'s' * (len(calls) > 1)} of it"
        told.append(replace(worst, sentence=f"{worst.sentence} Found in {more} too."))
    return told
