"""The variants of the LSTM: one table. A variant is a row, never a copy of the equations.

Sources: Hochreiter & Schmidhuber 1997 (``1997``); Gers, Schmidhuber & Cummins 2000 (``forget``);
Gers & Schmidhuber 2000 (peepholes); Greff et al. 2015, "LSTM: a search space odyssey", section V
(``peephole``, there "vanilla", and the six ablations that take one thing away from it).
"""

from __future__ import annotations

from dataclasses import dataclass

from carousel._errors import CarouselError
from carousel.cells import _codes
from carousel.cells.lstm._squashers import INPUT, OUTPUT

__all__ = ["VARIANTS", "Variant"]


@dataclass(frozen=True)
class Variant:
    """What one LSTM has and what it lacks; see the head of ``_equations.py`` for the symbols.

    Raises:
        CarouselError: the parts do not make an LSTM.
    """

    name: str
    gates: tuple[str, ...]  # among i, f, g, o, in this order: the rows of the weights
    coupled: bool = False  # f = 1 - i; else a gate that is not there is 1
    peephole: bool = False  # every gate that is there sees c: i and f c_{t-1}, o c_t
    cell_input: str = "tanh"  # a key of _squashers.INPUT
    cell_output: str = "tanh"  # a key of _squashers.OUTPUT

    def __post_init__(self) -> None:
        in_order = self.gates == tuple(gate for gate in "ifgo" if gate in self.gates)
        if not in_order or "g" not in self.gates:
            raise CarouselError(
                f"The gates of an LSTM are i, f, g and o, in this order, less some of i, f and o; "
                f"the variant {self.name!r} has {', '.join(self.gates)}."
            )
        if self.coupled and ("i" not in self.gates or "f" in self.gates):
            raise CarouselError(
                f"The coupled gate f = 1 - i needs the gate i and takes the place of f; "
                f"the variant {self.name!r} has {', '.join(self.gates)}."
            )
        for table, squasher in ((INPUT, self.cell_input), (OUTPUT, self.cell_output)):
            if squasher not in table:
                raise CarouselError(
                    f"The variant {self.name!r} squashes with {squasher!r}. "
                    f"Expected one of: {', '.join(table)}."
                )

    @property
    def cell_name(self) -> str:
        """The name in the table of all cells; the one with a forget gate is torch's "LSTM"."""
        return "LSTM" if self.name == "forget" else f"LSTM {self.name}"

    @property
    def peepholes(self) -> tuple[str, ...]:
        """The gates that see c, in the order of the rows of their weights."""
        return tuple(gate for gate in self.gates if gate != "g") if self.peephole else ()

    @property
    def native_code(self) -> int:
        """What the native core calls this variant."""
        code = _codes.LSTM | INPUT[self.cell_input].native_code
        code |= OUTPUT[self.cell_output].native_code
        for gate, bit in (("i", _codes.NO_I), ("f", _codes.NO_F), ("o", _codes.NO_O)):
            code |= 0 if gate in self.gates else bit
        code |= _codes.COUPLED if self.coupled else 0
        return code | (_codes.PEEPHOLE if self.peephole else 0)


ALL = ("i", "f", "g", "o")
NO_I, NO_F, NO_O = ("f", "g", "o"), ("i", "g", "o"), ("i", "f", "g")

VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("forget", ALL),
        Variant("1997", NO_F),
        Variant("1997 squashed", NO_F, cell_input="logistic", cell_output="logistic"),
        Variant("peephole", ALL, peephole=True),
        Variant("cifg", NO_F, coupled=True),
        Variant("nig", NO_I, peephole=True),
        Variant("nfg", NO_F, peephole=True),
        Variant("nog", NO_O, peephole=True),
        Variant("niaf", ALL, peephole=True, cell_input="identity"),
        Variant("noaf", ALL, peephole=True, cell_output="identity"),
    )
}
