"""One picture: how many times faster, by the number of units."""

from __future__ import annotations

from pathlib import Path

from harness._groups import Group, Row

__all__ = ["plot"]

COLUMNS = 3
MARKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.2, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200)
STEPS = 100  # the length at which B and H vary


def plot(path: Path, measured: dict[Group, list[Row]], subtitle: str) -> None:
    """Draw a panel for each group that compares with a peer, and a line for each B.

    Bars are the intervals of 95 %. The grey line is the peer's own speed, the green one the target
    of the geometric mean.

    Raises:
        SystemExit: none of the groups compares with a peer.
    """
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415 - only where it is asked for

    groups = [group for group, rows in measured.items() if group.plotted and rows]
    if not groups:
        raise SystemExit("Nothing to plot: none of these groups compares with a peer.")
    lines = -(-len(groups) // COLUMNS)
    canvas = Canvas(figsize=(4.2 * min(COLUMNS, len(groups)), 3.4 * lines), layout="constrained")
    panels = list(canvas.subplots(lines, min(COLUMNS, len(groups)), squeeze=False).flat)
    for group, panel in zip(groups, panels, strict=False):
        _panel(panel, group, measured[group])
    for panel in panels[len(groups) :]:
        panel.set_visible(False)
    canvas.suptitle(f"Speed by the number of units, T = {STEPS}\n{subtitle}", fontsize=10)
    canvas.savefig(path, dpi=130)


def _panel(panel, group: Group, rows: list[Row]) -> None:
    found = [row for row in rows if row.shape.T == STEPS and group.plotted in row.ratios]
    for B in sorted({row.shape.B for row in found}):
        line = sorted((row for row in found if row.shape.B == B), key=lambda row: row.shape.H)
        ratios = [row.ratios[group.plotted] for row in line]
        bars = [
            [ratio.median - ratio.low for ratio in ratios],
            [ratio.high - ratio.median for ratio in ratios],
        ]
        panel.errorbar(
            [row.shape.H for row in line],
            [ratio.median for ratio in ratios],
            yerr=bars,
            marker="o",
            markersize=4,
            capsize=2,
            label=f"B = {B}",
        )
    panel.axhline(1.0, color="grey", linewidth=1)
    for target in group.targets:
        if target.label == group.plotted and target.mean is not None:
            panel.axhline(target.mean, color="green", linewidth=1, linestyle="--")
            panel.annotate(
                f"target {target.mean:g}x",
                (1, target.mean),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                color="green",
                fontsize=8,
            )
    sizes = sorted({row.shape.H for row in found})
    panel.set_xscale("log", base=2)
    panel.set_xticks(sizes, [str(size) for size in sizes])
    panel.set_yscale("log")
    lowest, highest = panel.get_ylim()
    marks = [mark for mark in MARKS if lowest <= mark <= highest]
    panel.set_yticks(marks, [f"{mark:g}x" for mark in marks])
    panel.set_yticks([], minor=True)
    panel.set_xlabel("hidden units H")
    panel.set_ylabel(f"times faster ({group.plotted})")
    panel.set_title(group.title, fontsize=9)
    panel.grid(visible=True, alpha=0.3)
    panel.legend(fontsize=8)
