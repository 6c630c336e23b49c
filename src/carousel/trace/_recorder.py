"""Listening to a live model: which calls a backward pass reached, and what it brought them.

Nothing is put on the model itself. Two hooks of ``torch.nn`` that hear every module pick out the
recurrent ones of this model; from there tensor hooks wait for the gradients of a call's outputs.
A call is kept alive by its own graph and by the last recorded pass, by nothing else.
"""

from __future__ import annotations

import weakref
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor, is_legacy_batchedtensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.modules.module import (
    _global_forward_hooks_with_kwargs,
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.nn.utils.rnn import PackedSequence
from torch.utils.hooks import RemovableHandle

from carousel._errors import CarouselError
from carousel.cells import Weights, offer, withdraw
from carousel.layers import Recurrent
from carousel.trace._call import Arithmetic, Call, Gradients, WeightCopy
from carousel.trace._cuts import starts_where
from carousel.trace._layerwise import forward_layerwise, masks_readable
from carousel.trace._layout import layout_of
from carousel.trace._modules import Spec, find_recurrent, spec_of, weights_of
from carousel.trace._nothing import Met
from carousel.trace._recorded import Listener
from carousel.trace._timelines import traces_of
from carousel.trace._timepath import Edge, TimePath, edge_of
from carousel.trace._trace import Trace

__all__ = ["Recorder"]


class Recorder:
    """Records the calls of a model's recurrent modules and the gradients that come back to them.

    Use as a context manager; outside of it nothing listens. Only calls made with gradients enabled
    can be recorded, and only those that a backward pass reaches belong to it.

    Args:
        model: any module that holds ``torch.nn.RNN``, ``LSTM``, ``GRU`` or one of their cells.
        every: record the first backward pass and then each ``every``-th.
        keep_outputs: collect in ``outputs`` where the outputs of recorded calls stand in the graph,
            until the context ends.

    Raises:
        CarouselError: there is nothing in the model that can be watched.
    """

    def __init__(self, model: nn.Module, *, every: int = 1, keep_outputs: bool = False) -> None:
        if type(every) is not int or every < 1:
            raise CarouselError(
                f"Expected every to be a whole number of backward passes from 1 on, got {every!r}."
            )
        self._names, self.left_out = find_recurrent(model)
        self._every = every
        self._keep_outputs = keep_outputs
        self.outputs: list[tuple[Call, str, GradientEdge]] = []
        self._passes_begun = 0
        self._passes_recorded = 0
        self._pass_id: int | None = None
        self._pass_recorded = False
        self._last: dict[Call, Gradients] = {}
        self._serial = 0
        self.met = Met()
        self._calls: weakref.WeakSet[Call] = weakref.WeakSet()
        self._produced: weakref.WeakValueDictionary[Edge, Call] = weakref.WeakValueDictionary()
        self._rng_states: dict[nn.Module, Tensor] = {}
        self._hooked: dict[nn.Module, list[bool]] = {}  # states of the call that is running
        self._listeners: dict[nn.Module, Listener] = {}
        self._ends: dict[nn.Module, list[Tensor]] = {}  # the states that its last call put out
        self._handles: list[RemovableHandle] = []
        self._counters: list[RemovableHandle] = []  # on outputs that are not recorded

    def __enter__(self) -> Self:
        if self._handles:
            raise CarouselError(
                "This watcher is already listening. Enter it once, or make another one."
            )
        self.met.entered = True
        self._handles = [
            register_module_forward_pre_hook(self._before_forward),  # type: ignore[arg-type]
            register_module_forward_hook(self._after_forward, with_kwargs=True),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
            _global_forward_hooks_with_kwargs.pop(handle.id, None)  # which torch leaves behind
        for handle in self._counters:
            handle.remove()
        self._handles, self._counters = [], []
        for call in list(self._calls):
            call.stop_listening()
        self.outputs.clear()
        self._rng_states.clear()
        self._hooked.clear()
        self._listeners.clear()
        self._ends.clear()
        withdraw(self)

    @property
    def passes_recorded(self) -> int:
        """How many backward passes have been recorded so far."""
        return self._passes_recorded

    def traces(self) -> list[Trace]:
        """The traces of the last recorded backward pass, replayed from what was recorded."""
        if not self._last:
            raise CarouselError(self.met.why_nothing(listening=bool(self._handles)))
        return traces_of(self._last)

    # Forward.

    def _recording(self) -> bool:
        if self._pass_id is not None and _engine_run() == self._pass_id:
            return self._pass_recorded  # run again by checkpointing, within that pass
        return self._passes_begun % self._every == 0

    def _before_forward(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if module not in self._names or not torch.is_grad_enabled() or not self._recording():
            self.met.without_gradient += module in self._names and not torch.is_grad_enabled()
            return None
        if isinstance(module, nn.RNNBase) and spec_of(module).dropout > 0:
            self._rng_states[module] = torch.get_rng_state()
        if isinstance(module, Recurrent):
            self._listeners[module] = Listener()
            offer(module, self._listeners[module], self)
        if len(args) < 2 or args[1] is None:
            return None
        self._hooked[module] = [_has_hooks(state) for state in _as_tuple(args[1])]
        # An alias that nobody else reads: its gradient is exactly what this call sends back.
        aliases = tuple(_alias(state) for state in _as_tuple(args[1]))
        return (args[0], aliases[0] if isinstance(args[1], Tensor) else aliases, *args[2:])

    def _after_forward(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Any:
        if module not in self._names or not torch.is_grad_enabled():
            return None
        if is_functorch_wrapped_tensor(_named_outputs(module, result)["output"]):
            return None  # torch.func has transforms of its own, in which no hook is called
        ends, self._ends[module] = self._ends.get(module, []), _end_states(module, result)
        if not self._recording():
            if _engine_run() is not None:
                return None  # run again within a backward pass, which is counted already
            result = _with_gradient(result)
            for tensor in _named_outputs(module, result).values():
                self._counters.append(tensor.register_hook(self._count))
            return result
        x = args[0] if args else kwargs["input"]
        if _data(x).numel() == 0:
            self.met.empty += 1
            return None  # torch accepts an empty batch; there is nothing in it to record
        state = args[1] if len(args) > 1 else kwargs.get("hx")
        states = _as_tuple(state)
        spec = spec_of(module)
        layout = layout_of(spec, x)
        rng_state, masks = self._rng_states.pop(module, None), None
        listener = self._listeners.pop(module, None)
        runs, weights = ([], []) if listener is None else (listener.runs, listener.weights)
        weights = weights or weights_of(module)
        if len(runs) != spec.layers * spec.directions:
            runs = []  # some were not heard: the call is replayed
        if not runs and spec.dropout > 0 and not masks_readable(_data(x)):
            like = _named_outputs(module, result)["output"]
            result, masks = forward_layerwise(weights, spec, layout, _data(x), states, like)
        result = _with_own_c(_with_gradient(result), spec)
        hooked = self._hooked.pop(module, [False] * len(states))
        paths, before, lost, unheard, carrying = self._paths(self._names[module], states, hooked)
        call = Call(
            serial=self._serial,
            name=self._names[module],
            spec=spec,
            layout=layout,
            weights=_weight_copy(weights, before),
            arithmetic=_arithmetic(spec, _data(x), _named_outputs(module, result)["output"]),
            x=_data(x).detach().clone(),
            start=tuple(state.detach().clone() for state in states),
            outputs={},
            rng_state=rng_state if masks is None else None,
            masks=masks,
            carrying=carrying,
            continues=all(s.grad_fn is None for s in states) and starts_where(states, ends),
            by_keyword=len(args) < 2 and bool(states),
            before=before,
            lost=lost,
            unheard=unheard,
            hooked=any(
                path.hooked is not None and path.hooked not in path.targets for path in paths
            ),
            made_in=_engine_run(),
            paths=paths,
            runs=runs,
        )
        self._serial += 1
        self.met.recorded += 1
        self._listen(call, _named_outputs(module, result))
        self._calls.add(call)
        return result

    def _paths(
        self, name: str, states: tuple[Tensor, ...], hooked: list[bool]
    ) -> tuple[list[TimePath], Call | None, bool, frozenset[int], frozenset[int]]:
        """How the states came from an earlier call of the same module.

        Returns:
            The ways that can be listened to, the call, whether a search gave up, which of the
            states came from the call in a way that cannot be listened to, and which came at all.
        """

        def owner_of(edge: Edge) -> str | None:
            call = self._produced.get(edge)
            return None if call is None else call.name

        paths: list[TimePath] = []
        sources: list[Call] = []
        lost, unheard, carrying = False, set(), set()
        for index, (state, with_hooks) in enumerate(zip(states, hooked, strict=True)):
            edge = edge_of(state)
            if edge is None:
                continue
            if edge in self._produced:  # given by keyword: there is no node in between
                if owner_of(edge) == name:
                    sources.append(self._produced[edge])
                    unheard.add(index)
                    carrying.add(index)
                continue
            path = TimePath.from_state(state, owner_of, name, self._carry, hooked=with_hooks)
            if path.targets:
                paths.append(path)
                carrying.add(index)
                sources += [self._produced[edge] for edge in path.targets]
            lost = lost or (path.cut and not path.targets)
        before = max(sources, key=_serial, default=None)
        return paths, before, lost, frozenset(unheard), frozenset(carrying)

    def _listen(self, call: Call, outputs: dict[str, Tensor]) -> None:
        for output, tensor in outputs.items():
            call.outputs[output] = tensor.detach().clone()
            if self._keep_outputs:
                self.outputs.append((call, output, get_gradient_edge(tensor)))
            call.handles.append(tensor.register_hook(partial(self._arrive, call, output)))
            edge = edge_of(tensor)
            if tensor.grad_fn is None or edge is None:
                continue
            entering = partial(self._enter, call, output, tensor.output_nr)
            call.handles.append(tensor.grad_fn.register_prehook(entering))
            call.edges[edge] = output
            self._produced[edge] = call

    # Backward.

    def _count(self, gradient: Tensor | None) -> None:
        if gradient is not None:
            self._begin_pass(_engine_run(), recorded=False)

    def _begin_pass(self, pass_id: int | None, *, recorded: bool) -> None:
        if pass_id == self._pass_id:
            return
        self._pass_id, self._pass_recorded = pass_id, recorded
        self._passes_begun += 1
        for handle in self._counters:
            handle.remove()
        self._counters.clear()
        if recorded:
            self._passes_recorded += 1
            self._last = {}

    def _arrive(self, call: Call, output: str, gradient: Tensor | None) -> None:
        if gradient is None:  # the node has several outputs, and this one the loss does not use
            return
        if is_legacy_batchedtensor(gradient):  # is_grads_batched: many passes in one
            return
        # A call made within a backward pass, by reentrant checkpointing, belongs to that pass.
        pass_id = _engine_run() if call.made_in is None else call.made_in
        self._begin_pass(pass_id, recorded=True)
        heard = self._last.setdefault(call, Gradients(pass_id=_engine_run()))
        heard.arrived[output] = gradient
        if call.differentiated_in not in (None, pass_id):
            call.twice = True
        if torch.is_grad_enabled():  # only under create_graph
            call.differentiated_in = pass_id

    def _enter(
        self, call: Call, output: str, place: int, gradients: tuple[Tensor | None, ...]
    ) -> None:
        """What enters the module's own backward: what arrived, after the user's own hooks."""
        self.take(call, output, gradients[place])

    def take(self, call: Call, output: str, gradient: Tensor | None) -> None:
        """Let ``gradient`` stand for what arrived at an output, where a hook has changed it."""
        heard = self._last.get(call)
        if heard is None or gradient is None or output not in heard.arrived:
            return
        before = heard.arrived[output]
        if before is not gradient and not torch.equal(before, gradient):
            heard.arrived[output] = gradient
            call.altered = True
            carried = heard.carried.get(output)
            if carried is not None and torch.equal(carried, before):
                heard.carried[output] = gradient  # nothing else arrived: all of it was carried

    def _carry(self, edge: Edge, gradient: Tensor) -> None:
        call = self._produced.get(edge)
        if call is not None and not is_legacy_batchedtensor(gradient):
            heard = self._last.setdefault(call, Gradients(pass_id=_engine_run()))
            heard.add_carried(call.edges[edge], gradient)


def _engine_run() -> int | None:
    """The number of the backward pass that is running, the same in all of its hooks."""
    number: int = torch._C._current_graph_task_id()
    return None if number < 0 else number


def _serial(call: Call) -> int:
    return call.serial


def _as_tuple(state: Any) -> tuple[Tensor, ...]:
    """A given state as (h_0,) or (h_0, c_0); () for none."""
    if state is None:
        return ()
    return (state,) if isinstance(state, Tensor) else tuple(state)


def _has_hooks(state: Any) -> bool:
    """Whether somebody listens to a state's gradient, and may change it."""
    return isinstance(state, Tensor) and bool(state._backward_hooks)


def _alias(state: Any) -> Any:
    tracked = isinstance(state, Tensor) and state.grad_fn is not None
    return state.view_as(state) if tracked else state


def _data(x: Tensor | PackedSequence) -> Tensor:
    return x.data if isinstance(x, PackedSequence) else x


def _named_outputs(module: nn.Module, result: Any) -> dict[str, Tensor]:
    """The tensors of a module's result by the names that torch's documentation gives them."""
    if isinstance(module, nn.LSTMCell):
        return {"output": result[0], "c_n": result[1]}
    if isinstance(module, nn.RNNCellBase):
        return {"output": result}
    output, state = result
    if isinstance(state, tuple):
        return {"output": _data(output), "h_n": state[0], "c_n": state[1]}
    return {"output": _data(output), "h_n": state}


def _end_states(module: nn.Module, result: Any) -> list[Tensor]:
    """The states that a call put out, without their graph; no copies."""
    named = _named_outputs(module, result)
    if not isinstance(module, nn.RNNCellBase):
        del named["output"]
    return [state.detach() for state in named.values()]


def _weight_copy(weights: list[Weights], before: Call | None) -> WeightCopy:
    """A copy of the weights that a call used; shared with the call before where none changed.

    Only a call whose state came from the one before may share: between unrelated calls weights may
    be written through ``.data``, which leaves no mark on a tensor.
    """
    mark = tuple(
        (tensor.data_ptr(), tensor._version) for layer in weights for tensor in layer.tensors()
    )
    if before is not None and before.weights.mark == mark:
        return before.weights
    copies = [layer.map(lambda tensor: tensor.detach().clone()) for layer in weights]
    return WeightCopy(copies, mark)


def _with_gradient(result: Any) -> Any:
    """The result, with a gradient to listen to where autograd would not compute any.

    With frozen weights and a plain input no gradient enters the module, though it has one. A copy
    that starts a graph of its own makes autograd bring it this far.
    """
    if isinstance(result, Tensor):
        return result if result.requires_grad else result.detach().requires_grad_().clone()
    if isinstance(result, PackedSequence):
        return result._replace(data=_with_gradient(result.data))
    if _requires_grad(result):
        return result
    return tuple(_with_gradient(part) for part in result)


def _with_own_c(result: Any, spec: Spec) -> Any:
    """The result of an LSTMCell with c in a copy.

    Where the cell is not one fused kernel, its own h is computed from the very c that it returns,
    and a hook there would hear that too. A copy hears what comes from outside alone; a view would
    not do, since writing into it in place takes it out of the graph.
    """
    if not (spec.is_cell and spec.cell.has_c):
        return result
    h, c = result
    return h, c.clone()


def _requires_grad(result: Any) -> bool:
    first = result[0] if isinstance(result, tuple) else result
    return bool(_data(first).requires_grad)


def _arithmetic(spec: Spec, x: Tensor, output: Tensor) -> Arithmetic:
    device = x.device
    autocast = torch.is_autocast_enabled(device.type)
    if spec.own:  # these put out the dtype that they computed in
        autocast = autocast and output.dtype == torch.get_autocast_dtype(device.type)
    dtype = torch.get_autocast_dtype(device.type) if autocast else output.dtype
    if output.dtype == torch.float64:
        autocast, dtype = False, output.dtype  # autocast leaves float64 alone
    return Arithmetic(dtype, device, autocast)
