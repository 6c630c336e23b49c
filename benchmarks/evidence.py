"""What Carousel's diagnoses are worth: measured on models whose faults and fates are known.

    python benchmarks/evidence.py [--only PART] [--again PART] [--results PATH] [--write]

Four parts: *foretell* asks whether the horizon at initialisation tells which networks will learn a
task of a given lag; *lengthen* how training changes it; *diagnose* holds the findings against
faults that were planted; *cure* trains the sick models as they are and as
``carousel.diagnosis.fix`` leaves them.

Each case is one line in the results file; a run that was broken off goes on where it stopped, and
what is there is not run again: after a change of what a part measures, ``--again`` forgets its
lines first. ``--write`` writes ``docs/evidence.md`` from what is there at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from proof import PARTS, Recipe, Store, check_statistics, document

from carousel.cli._progress import announced

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run what has not been run, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, help="this part alone")
    parser.add_argument(
        "--again", choices=PARTS, default=[], nargs="+", help="forget their results"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "evidence.jsonl")
    parser.add_argument("--write", action="store_true", help="docs/evidence.md")
    options = parser.parse_args()
    torch.set_num_threads(1)  # small networks: more threads would cost more than they give
    check_statistics()
    recipe = Recipe()
    store = Store(options.results, repr(recipe))
    for part in options.again:
        store.drop(part)
    with announced() as progress:
        for part in [options.only] if options.only else PARTS:
            # Loaded when its turn comes: no part needs what another one measures.
            run_all(part, import_module(PARTS[part]), recipe, store, progress)
    page = document(store.rows.values(), recipe)
    if options.write:
        (ROOT / "docs" / "evidence.md").write_text(page, encoding="utf-8")
    else:
        print(page)


def run_all(
    part: str,
    module: ModuleType,
    recipe: Recipe,
    store: Store,
    progress: Callable[[str, float, str], None],
) -> None:
    """The cases of one part that the store does not have yet."""
    cases = list(module.cases())
    for done, case in enumerate(cases, start=1):
        name = f"{part}: {case}"
        if name not in store:
            store.add(name, module.run(case, recipe))
        progress(part, done / len(cases), f"{done} of {len(cases)}")


if __name__ == "__main__":
    main()
