"""Numbers and sentences as the terminal and the page write them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from carousel.report._schema import (
    CategoryName,
    Certificate,
    FindingSummary,
    HorizonSummary,
    LayerSummary,
    Level,
    Number,
    Series,
)

__all__ = [
    "LABELS",
    "NAMED",
    "SEVERITY",
    "as_ascii",
    "certificate_sentence",
    "clean",
    "course_sentence",
    "end_labels",
    "ends",
    "evidence_in_short",
    "explained",
    "fact_value",
    "findings_told",
    "horizon_in_short",
    "identity",
    "norm",
    "notes",
    "plain",
    "scaled_power",
    "series_label",
]

MOST_CALLS_NAMED = 12
LABELS = {"d_h": "total dL/dh", "d_h_injected": "injected dL/dh", "d_c": "total dL/dc"}
NAMED: dict[CategoryName, str] = {
    "value": "value",
    "zero": "zero",
    "underflow": "underflow",
    "infinite": "infinite",
    "nan": "NaN",
    "padding": "padding",
}
SEVERITY = {"error": "ERROR", "warning": "WARNING", "info": "REMARK"}
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
ASCII = str.maketrans(
    {
        "×": "x",
        "·": "-",
        "–": "-",
        "—": "-",
        "−": "-",
        "\N{NO-BREAK SPACE}": " ",
        "…": "...",
        "‖": "|",
        "∂": "d",
        "≤": "<=",
    }
)


def plain(value: float) -> str:
    """A number of ordinary size: two or three digits that matter, no trailing noise."""
    size = abs(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    if size >= 1000:
        return f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}") if size < 1e6 else f"{value:.2g}"
    if size >= 100:
        return f"{value:.0f}"
    if value == int(value):
        return f"{value:.0f}"
    if size >= 0.95:
        return f"{value:.1f}"
    return f"{value:.3g}"


def fact_value(value: str | float) -> str:
    """The value of a fact as text."""
    return plain(value) if isinstance(value, float) else str(value)


def norm(level: Level) -> str:
    """A norm given by its log10: 0.031, or 2.4×10⁻⁴⁰⁰, or why there is none."""
    if not isinstance(level, float):
        return {"zero": "exactly zero", "nan": "NaN", "padding": "no data"}.get(level, level)
    if -3 <= level < 4:
        return f"{10**level:.2g}" if level < 2 else f"{10**level:.0f}"
    exponent = math.floor(level)
    mantissa = f"{10 ** (level - exponent):.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent + 1
    return f"{mantissa}×{scaled_power(1, exponent)}"


def scaled_power(digit: int, exponent: int) -> str:
    """10⁻⁵ for (1, -5), and 2×10⁻⁵ for (2, -5)."""
    power = f"10{str(exponent).translate(SUPERSCRIPTS)}"
    return power if digit == 1 else f"{digit}×{power}"


def identity(layer: LayerSummary) -> str:
    """What a layer is and how much it was shown, in one line."""
    way = ", from the last step to the first" if layer.direction == "reverse" else ""
    length = (
        f"{layer.steps} {'step' if layer.steps == 1 else 'steps'}"
        if layer.shortest == layer.steps
        else f"{layer.shortest} to {layer.steps} steps"
    )
    sequences = "1 sequence" if layer.batch == 1 else f"{layer.batch} sequences"
    units = "1 unit" if layer.hidden == 1 else f"{layer.hidden} units"
    return f"{layer.kind}, {units}{way} · {length} × {sequences} · {layer.dtype} on {layer.device}"


def ends(layer: LayerSummary) -> tuple[tuple[int, Level], tuple[int, Level]]:
    """Where the gradient enters time and where it leaves it: (step, median level) of both."""
    first, last = (0, layer.at_first_step), (layer.steps - 1, layer.at_last_step)
    return (first, last) if layer.direction == "reverse" else (last, first)


def end_labels(layers: Sequence[LayerSummary]) -> tuple[str, str]:
    """What the two ends of time are called for these layers together."""
    both = {(ends(layer)[0][0], ends(layer)[1][0]) for layer in layers}
    if len(both) > 1:
        return "dL/dh where it begins", "dL/dh where it ends"
    ((start, end),) = both
    return f"dL/dh at step {start}", f"dL/dh at step {end}"


def course_sentence(layer: LayerSummary) -> str:
    """What the total gradient is at both ends of time."""
    (start, begun), (end, left) = ends(layer)
    if start == end:
        return f"The norm of dL/dh is {norm(begun)} (median over the sequences)."
    return (
        f"The norm of dL/dh is {norm(begun)} at step {start} and {norm(left)} at step {end} "
        "(medians over the sequences)."
    )


def horizon_in_short(horizon: HorizonSummary) -> str:
    """The horizon in a cell of a table."""
    if horizon.kind == "level" and horizon.steps_interval is not None:
        low = horizon.steps_interval[0]
        return f"above {plain(low)} steps" if isinstance(low, float) else "no measurable decay"
    if horizon.steps is not None:
        return f"{plain(horizon.steps)} steps{bracket(horizon.steps_interval)}"
    return {
        "growing": "none, it grows",
        "level": "no measurable decay",
        "zero": "exactly zero",
        "nonfinite": "not finite",
        "too short": "too few steps",
    }[horizon.kind]


def bracket(interval: tuple[Number, Number] | None) -> str:
    """Both ends of an interval in brackets, or nothing."""
    if interval is None:
        return ""
    low, high = (plain(end) if isinstance(end, float) else end for end in interval)
    return f" [{low},\N{NO-BREAK SPACE}{high}]"


def notes(layer: LayerSummary) -> tuple[str, ...]:
    """What altered the gradient or limits what was seen, and where the module was called anew."""
    calls = len(layer.boundaries) + 1
    if calls == 1:
        return layer.notes
    if calls > MOST_CALLS_NAMED:
        return (*layer.notes, f"The module was called {calls} times over these steps.")
    steps = ", ".join(str(step) for step in layer.boundaries)
    return (
        *layer.notes,
        f"The module was called {calls} times; later calls begin at step {steps}.",
    )


def certificate_sentence(certificate: Certificate) -> str:
    """How exactly the replay met the module."""
    value = (
        f"{certificate.value:.1e}"
        if isinstance(certificate.value, float)
        else ("NaN" if certificate.value == "nan" else "infinity")
    )
    if certificate.value == 0:
        return "Certificate: the replay met the module's own output exactly."
    if certificate.within:
        return (
            f"Certificate: the replay met the module's own output to {value} "
            f"(limit {certificate.limit:.1e})."
        )
    return (
        f"Certificate: the replay MISSED the module's own output by {value} "
        f"(limit {certificate.limit:.1e}). Do not trust the numbers of this layer: where states "
        "are chaotic, rounding grows from step to step. Measure in float64 (model.double())."
    )


def findings_told(
    findings: Sequence[FindingSummary], faults: Sequence[str]
) -> tuple[FindingSummary, ...]:
    """The findings whose sentence does not stand among the faults already."""
    return tuple(
        finding
        for finding in findings
        if not any(fault.endswith(finding.sentence) for fault in faults)
    )


def evidence_in_short(finding: FindingSummary) -> str:
    """The numbers behind a finding, the threshold and the source, in one line."""
    parts = [
        f"{measured.name.replace('_', ' ')} "
        f"{plain(measured.value) if isinstance(measured.value, float) else measured.value}"
        for measured in finding.evidence
    ]
    if finding.threshold is not None:
        parts.append(f"held against {plain(finding.threshold)}")
    return f"{' · '.join(parts)}. {finding.source}." if parts else f"{finding.source}."


def explained(category: CategoryName, layer: LayerSummary) -> str:
    """What a category means, with the limits of the layer's dtype."""
    return {
        "value": "a number",
        "zero": "exactly zero, not merely small",
        "underflow": f"not zero, but below the smallest normal {layer.dtype}, "
        f"{norm(layer.smallest_log10)}",
        "infinite": f"infinity, or beyond the largest {layer.dtype}, {norm(layer.largest_log10)}",
        "nan": "not a number",
        "padding": "the sequence has ended, nothing is there",
    }[category]


def series_label(series: Series, layer: LayerSummary) -> str:
    """The name of a quantity, and at how many steps it is exactly zero in every sequence."""
    label = LABELS.get(series.quantity, series.quantity)
    zeros = sum(
        layer.last_step[index] + 1 - layer.first_step[index]
        for index, (smallest, largest) in enumerate(
            zip(series.smallest, series.largest, strict=True)
        )
        if smallest == "zero" == largest
    )
    if not zeros:
        return label
    if zeros == layer.steps:
        return f"{label} (exactly zero throughout)"
    return f"{label} (exactly zero at {zeros} of {layer.steps} steps)"


def clean(text: str) -> str:
    """A user's text without control characters, which could drive a terminal."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text)


def as_ascii(text: str) -> str:
    """The same text for an output that knows no more than ASCII."""
    for exponent in sorted(set(exponents(text)), key=len, reverse=True):
        digits = exponent.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        text = text.replace(f"×10{exponent}", f"e{digits}").replace(f"10{exponent}", f"1e{digits}")
    return text.translate(ASCII).encode("ascii", "backslashreplace").decode("ascii")


def exponents(text: str) -> list[str]:
    """The runs of superscript characters in a text."""
    marked = "".join(c if c in "⁻⁰¹²³⁴⁵⁶⁷⁸⁹" else " " for c in text)
    return marked.split()
