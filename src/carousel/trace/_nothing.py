"""Why a recorder has nothing to give: which of several mistakes was made, where it is known."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Met"]

GENERAL = (
    "Run the forward pass and loss.backward() inside `with carousel.watch(model) as watcher:`, "
    "with gradients enabled, and let the loss depend on the output of a recurrent module; then "
    "read watcher.flow."
)


@dataclass
class Met:
    """What a recorder has met so far; it changes as the recorder listens."""

    entered: bool = False
    recorded: int = 0  # calls of recurrent modules
    without_gradient: int = 0  # calls with gradients disabled
    empty: int = 0  # calls on no data

    def why_nothing(self, *, listening: bool) -> str:
        """Why no backward pass was recorded by a watcher, and what to do.

        Args:
            listening: whether the context is still open.
        """
        return f"No backward pass has been recorded{self._cause(listening)} {GENERAL}"

    def why_nothing_measured(self) -> str:
        """The same for ``measure``, which runs the backward pass itself."""
        if self.recorded:
            return (
                "The loss does not depend on the output of a recurrent module of the model, though "
                f"{_calls(self.recorded)} while it was computed. Compute the loss from the model's "
                "output, and do not detach it."
            )
        if self.without_gradient:
            return (
                f"While the loss was computed, {_calls(self.without_gradient)}, but with gradients "
                "disabled, so the loss does not depend on it. Do not compute the model's output "
                "under torch.no_grad() or torch.inference_mode()."
            )
        if self.empty:
            return "The batch holds no sequence or no step. Measure one that has data."
        return (
            "No recurrent module of the model was called while the loss was computed, so the loss "
            "does not depend on any. Call the model that is given to measure, and compute the loss "
            "from its output. In code that was compiled or traced before (torch.compile, "
            "torch.jit.trace) no hook runs: measure the model itself."
        )

    def _cause(self, listening: bool) -> str:
        if not self.entered:
            return ": this watcher was never entered, and listens only inside its `with` block."
        if self.recorded and listening:
            return (
                f" yet: {_calls(self.recorded)}, and no backward pass has come through. Call "
                "loss.backward() first."
            )
        if self.recorded:
            return (
                f": {_calls(self.recorded)}, but no backward pass came through before the `with` "
                "block ended. Either loss.backward() was called after it, or the loss does not "
                "depend on the output."
            )
        if self.without_gradient:
            return (
                f": {_calls(self.without_gradient)} with gradients disabled (torch.no_grad() or "
                "torch.inference_mode()), so there is no way back."
            )
        if self.empty:
            return f": {_calls(self.empty)} on a batch without data."
        return (
            ": no recurrent module of the model was called inside the `with` block. A forward pass "
            "before it is not heard, nor is code that was compiled or traced (torch.compile, "
            "torch.jit.trace)."
        )


def _calls(count: int) -> str:
    times = "once" if count == 1 else f"{count} times"
    return f"a recurrent module was called {times}"
