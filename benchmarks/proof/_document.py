"""``docs/evidence.md``: the numbers, where they fail, and which cases those are."""

from __future__ import annotations

import math
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from proof._cured import REACHED
from proof._foretell import scores
from proof._statistics import Interval, area, difference, share
from proof._training import LEARNT, Recipe

__all__ = ["document"]

Row = dict[str, Any]

COMMAND = "python benchmarks/evidence.py --write"
CANDIDATES = ("closeness", "reach")  # the tuning seeds choose between them
DECADES = (0.5, 1, 2, 4, 8)  # borders of the table by what is left at the lag
NEAR, FAR = 1.0, 4.0  # decades: where learning is foretold, where it is denied
LEAST = 5  # learnt ones, and not learnt ones, below which an area says nothing
TARGETS = {"area": 0.9, "rule": 0.95, "cure": 0.8}


def document(rows: Iterable[Row], recipe: Recipe) -> str:
    """The whole page, from the lines of the results file."""
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        parts[row["case"].split(":", maxsplit=1)[0]].append(row)
    sections = [HEAD.format(command=COMMAND)]
    if parts["foretell"]:
        sections += foretold(parts["foretell"], recipe)
    if parts["lengthen"]:
        sections += lengthened(parts["lengthen"])
    if parts["diagnose"]:
        sections += diagnosed(parts["diagnose"])
    if parts["cure"]:
        sections += cured(parts["cure"], recipe)
    return "\n\n".join(sections) + "\n"


HEAD = """# What the diagnoses are worth

    {command}

This page is written by that command: it makes models whose faults and fates are known, asks
Carousel about them, and counts. A run that was broken off goes on where it stopped. Seeds are held
apart: rules, thresholds and scores were looked at on the tuning seeds, and every number here is
from the testing seeds, unless it says otherwise. Intervals are 95 %."""


def paragraph(text: str) -> str:
    """Words in lines of one width."""
    return textwrap.fill(
        " ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False
    )


# ---- what horizons foretell


def foretold(rows: Sequence[Row], recipe: Recipe) -> list[str]:
    """The section on horizons."""
    tuning = [row for row in rows if row["part"] == "tuning"]
    testing = [row for row in rows if row["part"] == "testing"]
    found = {name: area_of(tuning, name).value for name in CANDIDATES}
    chosen = max(CANDIDATES, key=lambda name: found[name])
    setting = paragraph(
        f"""Each network (H = 32) is measured before any training, on the task's own inputs, and
        then trained by Adam (learning rate {recipe.learning_rate:g}, gradient norm clipped at
        {recipe.clip_norm:g}) on batches of {recipe.batch} new sequences, {recipe.updates} updates
        at most. It has learnt the task when its loss on 1024 new sequences is at most {LEARNT:g} of
        that without memory, which takes both of the things that adding and temporal order ask for.
        The lag is the longest one of the task's sequences."""
    )
    scoring = paragraph(
        f"""The score is the power of ten between the gradient at the lag and its full size:
        `rate * lag / ln 10`, with the rate of `layer.horizon()`. *closeness* takes its distance
        from zero, either way; *reach* counts growing as reaching. The tuning seeds chose
        *{chosen}* (closeness {found["closeness"]:.3f}, reach {found["reach"]:.3f}, of
        {len(tuning)} settings). The area under the ROC curve is the probability that a setting
        that was learnt scores above one that was not; its interval is a bootstrap over settings,
        the seeds of one setting together."""
    )
    head = "## Does the horizon foretell what is learnt?"
    failures = foretelling_failures(testing)
    return [head, setting, scoring, areas(testing, chosen), shares(testing), failures]


def area_of(rows: Sequence[Row], score: str) -> Interval:
    """The area of one score."""
    return area(
        [scores(row)[score] for row in rows],
        [row["learnt"] for row in rows],
        [(row["network"], row["task"], row["lag_steps"]) for row in rows],
    )


def areas(rows: Sequence[Row], chosen: str) -> str:
    """The areas by task and by lag, and those of other scores."""
    groups = {"**all tasks and lags**": list(rows)}
    for column in ("task", "lag_steps"):
        for value in sorted({row[column] for row in rows}):
            word = f"lag {value}" if column == "lag_steps" else value
            groups[word] = [row for row in rows if row[column] == value]
    table = ["| | settings | learnt | area |", "|---|--:|--:|---|"]
    for name, part in groups.items():
        learnt = sum(row["learnt"] for row in part)
        few = min(learnt, len(part) - learnt) < LEAST
        found = "too few of one kind" if few else area_of(part, chosen)
        table.append(f"| {name} | {len(part)} | {learnt} | {found} |")
    verdict = "is met" if area_of(rows, chosen).value >= TARGETS["area"] else "is missed"
    others = [f"{name} {area_of(rows, name)}" for name in scores(rows[0]) if name != chosen]
    words = paragraph(
        f"""The aim, an area of {TARGETS["area"]} over all tasks and lags, {verdict}. Other scores,
        over all: {"; ".join(others)}. *Horizon alone* does not know the lag, *lag alone* does not
        know the network; *product at the lag* takes the measured spectral norm over the lag where
        the others take the rate. By how much {chosen} is better than the lag alone, which anybody
        knows: {gain(rows, chosen, ("network", "task", "lag_steps"))}, drawing settings, and
        {gain(rows, chosen, ("network",))}, drawing networks."""
    )
    return "\n".join(table) + "\n\n" + words


def gain(rows: Sequence[Row], score: str, together: Sequence[str]) -> Interval:
    """The area of a score beyond that of the lag alone."""
    return difference(
        [scores(row)[score] for row in rows],
        [scores(row)["lag alone"] for row in rows],
        [row["learnt"] for row in rows],
        [tuple(row[column] for column in together) for row in rows],
    )


def shares(rows: Sequence[Row]) -> str:
    """How many were learnt, by what is left at the lag."""
    lines = [
        "| left at the lag, from full size | settings | share learnt |",
        "|---|--:|---|",
    ]
    low = 0.0
    for high in (*DECADES, float("inf")):
        inside = [row for row in rows if low <= distance(row) < high]
        words = f"{low:g} to {high:g} decades" if high < float("inf") else f"over {low:g} decades"
        learnt = share(sum(row["learnt"] for row in inside), len(inside))
        lines.append(f"| {words} | {len(inside)} | {learnt} |")
        low = high
    return "\n".join(lines)


def distance(row: Row) -> float:
    """Decades from the full size, either way; infinite where there is no rate."""
    found = -scores(row)["closeness"]
    return math.inf if math.isnan(found) else found


def foretelling_failures(rows: Sequence[Row]) -> str:
    """Settings that went against what the horizon said."""
    near = [row for row in rows if distance(row) <= NEAR]
    far = [row for row in rows if distance(row) >= FAR]
    failed = [row for row in near if not row["learnt"]]
    learnt = [row for row in far if row["learnt"]]
    ends = (
        "### Where it fails",
        f"**Not learnt, within {NEAR:g} decade of the full size** ({len(failed)} of {len(near)}):",
        listed(failed),
        f"**Learnt, {FAR:g} decades or more from it** ({len(learnt)} of {len(far)}):",
        listed(learnt),
    )
    return "\n\n".join(ends)


def listed(rows: Sequence[Row]) -> str:
    """Settings, one network and task a line, with lags and seeds."""
    if not rows:
        return "none"
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["network"], row["task"]].append(row)
    lines = []
    for (network, task), part in sorted(groups.items()):
        each = ", ".join(
            f"lag {row['lag_steps']} seed {row['seed']} "
            f"({scores(row)['reach']:+.1f} decades, loss {row['loss']:.2g})"
            for row in sorted(part, key=lambda row: (row["lag_steps"], row["seed"]))
        )
        lines.append(f"- {network}; {task}: {each}")
    return "\n".join(lines)


# ---- what training does to horizons


def lengthened(rows: Sequence[Row]) -> list[str]:
    """Why some are learnt against the horizon: its length before and after the training."""
    intro = paragraph(
        """One reason for the second kind of failure: a horizon is not fixed, and training changes
        it. Where a part of a task lies nearer than its lag (adding: the second marker may stand
        close to the end), it can be learnt first, and the horizon that this takes reaches the rest.
        Delayed recall has no such part. Three networks with short horizons, seed by seed, before
        and after the same training:"""
    )
    table = [
        "| network | task | lag | learnt | horizon before | after |",
        "|---|---|--:|---|--:|--:|",
    ]
    table += [
        f"| {row['network']} | {row['task']} | {row['lag_steps']} | "
        f"{'after ' + str(row['updates']) + ' updates' if row['learnt'] else 'no'} | "
        f"{steps_in_words(row['rate_before'])} | {steps_in_words(row['rate_after'])} |"
        for row in sorted(rows, key=lambda row: (row["task"], row["network"], row["seed"]))
    ]
    return ["### Why", intro, "\n".join(table)]


def steps_in_words(rate: float) -> str:
    """The horizon of a rate."""
    if math.isnan(rate):
        return "not finite"
    return f"{-1 / rate:.1f}" if rate < 0 else f"none, {rate:+.3f} per step"


# ---- what rules find


def diagnosed(rows: Sequence[Row]) -> list[str]:
    """The section on rules."""
    testing = [row for row in rows if row["part"] == "testing"]
    healthy = [row for row in testing if not row["has"]]
    intro = paragraph(
        f"""{len(rows)} cases, {len(testing)} of them with testing seeds
        ({len(testing) - len(healthy)} sick, {len(healthy)} healthy): LSTMs, GRUs and simple RNNs of
        torch and of Carousel, one and two layers, lags of 50 and 100, the three tasks. What a case
        has is how it was made, never what a rule says: the faults stand in
        `benchmarks/proof/_cases.py`, with what may follow from each, which counts neither way. An
        alarm is a finding of severity error or warning; non-normal amplification is told as info,
        and counts as told. *Not counted* are alarms that may follow. Seeds alone are held apart:
        tuning and testing cases are built by the same code, and cases of one fault and cell are
        alike, so the intervals, which take them for independent, are narrower than they should
        be."""
    )
    names = sorted({name for row in testing for name in (*row["has"], *row["found"])})
    table = ["| rule | have it | precision | recall | not counted |", "|---|--:|---|---|--:|"]
    below = []
    for name in names:
        precision, recall, count = rates(testing, name)
        aside = sum(name in row["found"] and name in row["may"] for row in testing)
        table.append(f"| {name} | {count} | {precision} | {recall} | {aside} |")
        if min(precision.value, recall.value) < TARGETS["rule"]:
            below.append(name)
    quiet = share(sum(not alarms_in(row) for row in healthy), len(healthy))
    verdict = f"Below the aim of {TARGETS['rule']}: {', '.join(below) or 'none'}."
    return [
        "## Do the rules find what was planted, and nothing else?",
        intro,
        "\n".join(table),
        f"{verdict} Healthy models without any alarm: {quiet}.",
        "### Where they fail",
        rule_failures(testing),
    ]


def rates(rows: Sequence[Row], name: str) -> tuple[Interval, Interval, int]:
    """Precision, recall, and how many cases have it."""
    counted = [row for row in rows if name not in row["may"]]
    has = [row for row in counted if name in row["has"]]
    told = [row for row in counted if name in row["found"]]
    hits = sum(name in row["found"] for row in has)
    return share(hits, len(told)), share(hits, len(has)), len(has)


def alarms_in(row: Row) -> list[str]:
    """Rules that found something that was not planted and cannot follow."""
    return sorted(set(row["found"]) - set(row["has"]) - set(row["may"]))


def rule_failures(rows: Sequence[Row]) -> str:
    """Every case in which a rule was silent or spoke wrongly."""
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        missed = sorted(set(row["has"]) - set(row["found"]))
        where = (
            f"{row['cell']} of {row['source']}, {row['layers']} layer(s), {row['task']}, "
            f"lag {row['lag_steps']}, seed {row['seed']}"
        )
        for name in missed:
            groups[f"{row['fault']}: **{name}** is silent"].append(where)
        for name in alarms_in(row):
            groups[f"{row['fault']}: **{name}** speaks"].append(where)
    if not groups:
        return "Nowhere in these cases."
    return "\n".join(f"- {what}: {'; '.join(where)}" for what, where in sorted(groups.items()))


# ---- what remedies do


def cured(rows: Sequence[Row], recipe: Recipe) -> list[str]:
    """The section on cures."""
    sick = [row for row in rows if row["sick"]]
    in_need = [row for row in sick if not (row["learnt_before"] or reached(row, "before"))]
    kept = [row for row in rows if row["remedy"] is not None]
    harmed = [row for row in kept if row["worse"]]
    intro = paragraph(
        f"""`carousel.diagnosis.fix` on the {len(sick)} sick models of lag 50 whose fault lies in
        the weights, and on {len(rows) - len(sick)} healthy ones, with trials of 100 steps; then
        each is trained for {recipe.updates} updates at most, as it was and as `fix` left it, on
        the same sequences. Well: it has learnt the task then, or its gradient at the lag is within
        a factor of a hundred of its full size before any training. {len(in_need)} of the sick ones
        are neither without a remedy, and can be cured; the others learn all the same, or their
        fault does not bear on the lag. Worse: a remedy was kept, and the loss is higher than
        without it by more than a tenth of that without memory."""
    )
    counts = {
        "cured, of those not well without": share(
            sum(row["cured"] for row in in_need), len(in_need)
        ),
        "well with what `fix` left, of all sick": share(
            sum(row["cured"] for row in sick), len(sick)
        ),
        "learnt, with the remedy": share(sum(row["learnt_after"] for row in sick), len(sick)),
        "learnt, without": share(sum(row["learnt_before"] for row in sick), len(sick)),
        "remedies kept": share(len(kept), len(rows)),
        "of these, worse": share(len(harmed), len(kept)),
    }
    table = [
        "| | share |",
        "|---|---|",
        *(f"| {name} | {found} |" for name, found in counts.items()),
    ]
    verdict = verdict_on(
        counts["cured, of those not well without"],
        counts["well with what `fix` left, of all sick"],
        len(kept),
        len(harmed),
    )
    won = sum(row["learnt_after"] and not row["learnt_before"] for row in sick)
    lost = sum(row["learnt_before"] and not row["learnt_after"] for row in sick)
    pairs = f"Learnt with the remedy only: {won}; without it only: {lost}."
    return [
        "## Do the remedies cure?",
        intro,
        "\n".join(table),
        paragraph(f"{pairs} {verdict}"),
        "### Where they do not",
        "**Not cured**:",
        cure_lines([row for row in sick if not row["cured"]]),
        "**Kept and worse**:",
        cure_lines(harmed),
    ]


def reached(row: Row, when: str) -> bool:
    """Whether the gradient at the lag is near its full size before any training."""
    return abs(row[f"log10_at_lag_{when}"]) <= REACHED


def verdict_on(strict: Interval, whole: Interval, kept: int, harmed: int) -> str:
    """Both aims; of nothing there is nothing to say."""
    if not strict.count or not kept:
        return "Too few cases to say anything of the aims."
    met = {True: "is met", False: "is missed"}
    return (
        f"The aim of {TARGETS['cure']} {met[whole.value >= TARGETS['cure']]} of all sick models, "
        f"and {met[strict.value >= TARGETS['cure']]} of those that are not well without; that of "
        f"none made worse {met[not harmed]}."
    )


def cure_lines(rows: Sequence[Row]) -> str:
    """One line a case."""
    if not rows:
        return "none"
    return "\n".join(
        f"- {row['fault']}; {row['cell']} of {row['source']}, {row['layers']} layer(s); "
        f"{row['task']}, seed {row['seed']}: {row['remedy'] or 'no remedy kept'}, log10 at the lag "
        f"{row['log10_at_lag_before']:+.1f} -> {row['log10_at_lag_after']:+.1f}, loss "
        f"{row['loss_before']:.3g} -> {row['loss_after']:.3g}"
        + (f"; {row['refusal']}" if row["refusal"] else "")
        for row in rows
    )
