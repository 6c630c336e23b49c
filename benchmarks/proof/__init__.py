"""The bench of sick and healthy models, and what horizons foretell; ``evidence.py`` runs it."""

from proof._document import document
from proof._statistics import check as check_statistics
from proof._store import Store
from proof._training import Recipe

__all__ = ["PARTS", "Recipe", "Store", "check_statistics", "document"]

# Modules with ``cases()`` and ``run(case, recipe)``, in the order in which they run.
PARTS = {
    "foretell": "proof._foretell",
    "lengthen": "proof._lengthen",
    "diagnose": "proof._diagnosed",
    "cure": "proof._cured",
}
