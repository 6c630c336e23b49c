"""What ``carousel.diagnose`` says of models whose faults are known, and what its remedies do."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

import carousel
from carousel.diagnosis import ClippingRecord, Finding, diagnose
from carousel.flow import Flow
from carousel.tasks import long_range
from proof._cases import SEQUENCES, Built, Case, cases
from proof._training import Recipe

__all__ = ["cases", "run"]

# What counts as an alarm. Amplification on the way is told as "info", by its nature.
ALARMS = ("error", "warning")
TOLD = frozenset({"non-normal"})
CLIPPED_STEPS = 20


def run(case: Case, _: Recipe) -> dict[str, Any]:
    """Measure and diagnose one case; what it has is written beside what was found."""
    begin = time.perf_counter()
    built = case.build()
    found = findings(case, built, flow_of(built))
    alarms = sorted({finding.rule for finding in found if alarming(finding)})
    return {
        "part": case.part,
        "fault": case.fault.name,
        "cell": case.cell,
        "source": case.source,
        "layers": case.layers,
        "task": case.task,
        "lag_steps": case.lag_steps,
        "seed": case.seed,
        "has": sorted(case.fault.has),
        "may": sorted(case.fault.may - case.fault.has),
        "found": alarms,
        "said": [str(finding) for finding in found if alarming(finding)],
        "seconds": round(time.perf_counter() - begin, 2),
    }


def alarming(finding: Finding) -> bool:
    """Whether a finding says that something is wrong."""
    return finding.severity in ALARMS or finding.rule in TOLD


def flow_of(built: Built) -> Flow:
    """The flow of one batch."""
    return carousel.measure(built.model, (built.inputs, built.targets), built.loss_fn)


def findings(case: Case, built: Built, flow: Flow) -> tuple[Finding, ...]:
    """All findings of a case; where it is about clipping, with the norms of a short training."""
    clipping = None
    if case.fault.clip_norm is not None:
        norms = tuple(islice(gradient_norms(case, built.model), CLIPPED_STEPS))
        clipping = ClippingRecord(case.fault.clip_norm, norms)
    return diagnose(flow, lag=case.said_lag, clipping=clipping)


def gradient_norms(case: Case, model: nn.Module) -> Iterator[float]:
    """What clip_grad_norm_ returns in a training with Adam, step by step."""
    task = long_range(case.task, case.lag_steps)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters)
    for batch in task.batches(SEQUENCES, case.seed):
        optimizer.zero_grad()
        loss: Tensor = task.loss(model(batch.inputs), batch.targets)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, case.fault.clip_norm or math.inf)
        optimizer.step()
        yield norm.item()
