"""A person's own model on the page: what ``carousel check --web`` measured, layer by layer.

The flow stays in the process that measured it. The page asks for one layer at a time, by its key,
and for what costs more (maps of all sequences, products of Jacobians) where somebody looks at it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from carousel._errors import CarouselError
from carousel.flow import Flow, LayerFlow
from carousel.learn._request import Text
from carousel.report import (
    ELSEWHERE,
    FindingSummary,
    LayerSummary,
    Measured,
    RemedySummary,
    Report,
    horizon_in_short,
    identity,
)

__all__ = [
    "ModelCure",
    "ModelEntry",
    "ModelFinding",
    "ModelLayerRequest",
    "ModelOverview",
    "ModelPlace",
    "ModelRemedy",
    "ModelRequest",
    "ModelView",
    "model_overview",
]

HOW = (
    "Here stands a model of your own, once it was measured: carousel check module:factory --web "
    "opens this page with it, where factory() returns (model, batch, loss_fn). Nothing leaves "
    "your machine."
)
LONGEST_KEY = 300  # characters; a layer with a longer name goes by its number

TITLES = {
    "nonfinite": "NaN or infinity",
    "axes": "time and batch swapped",
    "padding": "padding that counts as data",
    "truncation": "backward pass shorter than the lag",
    "carry": "state not carried on between calls",
    "injected-only": "a gradient that is never carried",
    "vanishing": "vanishing gradient",
    "growing": "growing gradient",
    "forget-gate-default": "forget gate at its default",
    "contraction": "contraction by a small recurrent weight",
    "saturated": "gates saturated or shut",
    "dead-relu": "dead relu units",
    "double-forget-bias": "forget bias set twice",
    "double-chrono": "chrono initialisation applied twice",
    "stacked-orthogonal": "orthogonal as a stack, not by gate",
    "starved": "layers starved by those above",
    "clipping": "clipping that cuts nearly every step",
    "underflow": "underflow",
    "non-normal": "non-normal amplification",
}

LayerKey = Annotated[str, Text(LONGEST_KEY)]


@dataclass(frozen=True)
class ModelRequest:
    """The overview: there is nothing to choose."""


@dataclass(frozen=True)
class ModelLayerRequest:
    """One layer."""

    layer: LayerKey


@dataclass(frozen=True)
class ModelEntry:
    """A layer in the tree."""

    key: str  # what it is asked for by: its name, where that is short and printable
    name: str  # module path and torch's suffix
    identity: str
    horizon: str  # in a few words
    severity: str  # of the worst finding; "" where there is none


@dataclass(frozen=True)
class ModelPlace:
    """Where a finding was made, and its numbers there."""

    layer: str  # key; "" for the model as a whole
    name: str
    sentence: str
    evidence: tuple[Measured, ...]
    threshold: float | None


@dataclass(frozen=True)
class ModelCure:
    """A remedy as it is for one layer, or for all that the finding is of."""

    name: str  # of the layer; "" for all of them, or for the model as a whole
    sentence: str
    code: str


@dataclass(frozen=True)
class ModelRemedy:
    """What can be done about a finding."""

    name: str
    keeps_weights: bool
    cures: tuple[ModelCure, ...]  # one, or one for each layer after that for all of them


@dataclass(frozen=True)
class ModelFinding:
    """One finding, at all layers that have it; what is the same everywhere stands here once."""

    rule: str
    title: str  # the rule in a few words
    severity: str
    source: str
    places: tuple[ModelPlace, ...]
    remedies: tuple[ModelRemedy, ...]


@dataclass(frozen=True)
class ModelOverview:
    """What is known without looking at a single layer."""

    target: str | None  # None: no model is served
    said: str  # the conclusion in a sentence, or how to get one
    lag: int | None
    layers: tuple[ModelEntry, ...]
    faults: tuple[str, ...]  # what is wrong and is no finding
    remarks: tuple[str, ...]  # what concerns no single layer
    findings: tuple[ModelFinding, ...]


@dataclass(frozen=True, eq=False)
class ModelView:
    """What the server answers from; the report is on ``flow``, with what was found in it."""

    target: str
    flow: Flow
    report: Report
    lag: int | None = None
    known: dict[object, object] = field(default_factory=dict)  # answers that were given already

    def keys(self) -> dict[str, str]:
        """The layers' names by key."""
        return {key_of(at, name): name for at, name in enumerate(self.flow.layers)}

    def layer(self, key: str) -> LayerFlow:
        """A layer by its key.

        Raises:
            CarouselError: there is none.
        """
        keys = self.keys()
        if key not in keys:
            shown = ", ".join(list(keys)[:12]) + (", ..." if len(keys) > 12 else "")
            raise CarouselError(f"There is no layer {key!r}. The layers are: {shown}.")
        return self.flow[keys[key]]

    def summary(self, name: str) -> LayerSummary:
        """What the report says of a layer."""
        return next(one for one in self.report.data.flows[0].layers if one.name == name)


def model_overview(
    request: ModelRequest, proceed: Callable[[], None], view: ModelView | None
) -> ModelOverview:
    """The tree and the findings; without a model, how to get one."""
    del request, proceed
    if view is None:
        return ModelOverview(None, HOW, None, (), (), (), ())
    data = view.report.data
    (flow,) = data.flows
    keys = {name: key for key, name in view.keys().items()}
    return ModelOverview(
        target=view.target,
        said=data.summary,
        lag=view.lag,
        layers=tuple(
            ModelEntry(
                key=keys[layer.name],
                name=layer.name,
                identity=identity(layer),
                horizon=horizon_in_short(layer.horizon),
                severity=worst(flow.findings, layer.name),
            )
            for layer in flow.layers
        ),
        faults=beside(data.faults, flow.findings),
        remarks=tuple(view.flow.remarks),
        findings=grouped(flow.findings, keys),
    )


def beside(faults: Sequence[str], findings: Sequence[FindingSummary]) -> tuple[str, ...]:
    """The faults that no finding says, and what goes with one that a finding says."""
    told = [fault for fault in faults if not any(fault.endswith(f.sentence) for f in findings)]
    if len(told) == len(faults):
        return tuple(told)
    return tuple(fault for fault in told if ELSEWHERE not in fault)


def served(view: ModelView | None) -> ModelView:
    """The model.

    Raises:
        CarouselError: none is served.
    """
    if view is None:
        raise CarouselError("No model is served here. " + HOW)
    return view


def key_of(at: int, name: str) -> str:
    """What a layer is asked for by: a name may hold anything, and be of any length."""
    fits = bool(name) and len(name) <= LONGEST_KEY and name.isprintable()
    return name if fits else f"layer {at + 1}"


def worst(findings: tuple[FindingSummary, ...], layer: str) -> str:
    """The severity of a layer's worst finding, which comes first; "" without one."""
    return next((found.severity for found in findings if found.layer == layer), "")


def grouped(findings: tuple[FindingSummary, ...], keys: dict[str, str]) -> tuple[ModelFinding, ...]:
    """The findings in their order, those of one rule, severity and source together."""
    groups: dict[tuple[str, str, str], list[FindingSummary]] = {}
    for found in findings:
        groups.setdefault((found.severity, found.rule, found.source), []).append(found)
    return tuple(
        ModelFinding(
            rule=rule,
            title=TITLES.get(rule, rule),
            severity=severity,
            source=source,
            places=tuple(
                ModelPlace(
                    layer=keys.get(found.layer, ""),
                    name=found.layer,
                    sentence=found.sentence.removeprefix(f"{found.layer}: "),
                    evidence=found.evidence,
                    threshold=found.threshold,
                )
                for found in group
            ),
            remedies=remedies_of(group),
        )
        for (severity, rule, source), group in groups.items()
    )


def remedies_of(findings: list[FindingSummary]) -> tuple[ModelRemedy, ...]:
    """Each remedy once by its name; the same code is not told again for another layer."""
    known: dict[str, dict[str, tuple[str, RemedySummary]]] = {}
    for found in findings:
        for remedy in found.remedies:
            known.setdefault(remedy.name, {}).setdefault(remedy.code, (found.layer, remedy))
    return tuple(
        ModelRemedy(
            name, all(one.keeps_weights for _, one in by.values()), cures(list(by.values()))
        )
        for name, by in known.items()
    )


def cures(remedies: list[tuple[str, RemedySummary]]) -> tuple[ModelCure, ...]:
    """By layer; where nothing has to be undone after a training, first that for all of them."""
    single = tuple(ModelCure(layer, one.sentence, one.code) for layer, one in remedies)
    undone = any(".undo()" in cure.code for cure in single)
    if len(single) < 2 or undone:
        return single
    lines = [line for cure in single for line in cure.code.splitlines() if line]
    imports = [line for line in dict.fromkeys(lines) if line.startswith(("import ", "from "))]
    body = [line for line in lines if not line.startswith(("import ", "from "))]
    layers = ", ".join(cure.name for cure in single)
    together = ModelCure(
        "", f"Of {len(single)} layers: {layers}.", "\n".join([*imports, "", *body])
    )
    return (together, *single)
