"""``module:factory``: a user's own model, its batch and its loss."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carousel._errors import CarouselError, kind_of

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Target", "load_target"]

HOW = (
    "TARGET is module:factory, where factory() returns (model, batch, loss_fn), "
    "for example nets:make for the function make in nets.py"
)


@dataclass(frozen=True)
class Target:
    """What a factory gave."""

    model: nn.Module
    batch: Any
    loss_fn: Callable[..., Any]
    train_step: Callable[..., Any] | None = None  # a fourth thing, for ``carousel fix`` alone


def load_target(target: str) -> Target:
    """Import a factory, with the current directory on the path, and call it.

    Raises:
        CarouselError: the target is no module:factory, there is no such module or function, it
            raised, or it did not return a model, a batch and a loss function.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise CarouselError(f"Expected module:factory, got {target!r}. {HOW}.")
    if module_name.endswith(".py") or "/" in module_name or "\\" in module_name:
        raise CarouselError(
            f"Expected the name of a module before the colon, got the file {module_name!r}. "
            f"Go to its folder and name it {Path(module_name).stem}:{path}."
        )
    factory = resolve(import_module(module_name), path, target)
    if not callable(factory):
        raise CarouselError(f"Expected {target} to be a function, got {kind_of(factory)}. {HOW}.")
    try:
        made = factory()
    except (Exception, SystemExit) as error:
        raise CarouselError(raised(f"{target} raised", error)) from error
    return checked(made, target)


def import_module(name: str) -> Any:
    """The module of that name, found in the current directory too."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise CarouselError(
                f"There is no module {error.name!r}, neither installed nor in {here}. {HOW}."
            ) from error
        raise CarouselError(raised(f"Importing {name} raised", error)) from error
    except (Exception, SystemExit) as error:
        raise CarouselError(raised(f"Importing {name} raised", error)) from error


def resolve(module: Any, path: str, target: str) -> Any:
    """What a dotted path within a module leads to."""
    found = module
    for part in path.split("."):
        if not hasattr(found, part):
            there = [
                name
                for name, value in vars(module).items()
                if callable(value)
                and getattr(value, "__module__", None) == module.__name__
                and not name.startswith("_")
            ]
            hint = f" It has: {', '.join(there)}." if there else ""
            raise CarouselError(
                f"There is no {path!r} in the module {module.__name__!r}, asked for by {target}."
                f"{hint}"
            )
        found = getattr(found, part)
    return found


def checked(made: object, target: str) -> Target:
    """The three things that a factory has to return, and the fourth that it may."""
    if not isinstance(made, (tuple, list)):
        raise CarouselError(
            f"Expected {target} to return (model, batch, loss_fn), got {kind_of(made)}."
        )
    if len(made) not in (3, 4):
        inside = ", ".join(type(part).__name__ for part in made)
        raise CarouselError(
            f"Expected {target} to return three things, (model, batch, loss_fn), got {len(made)}: "
            f"({inside}). A fourth may be the train_step of carousel fix."
        )
    from torch import nn  # the user's module has imported it by now

    model, batch, loss_fn, *rest = made
    if not isinstance(model, nn.Module):
        raise CarouselError(
            f"Expected {target} to return a torch.nn.Module first, got {kind_of(model)}. "
            "The order is (model, batch, loss_fn)."
        )
    if not callable(loss_fn):
        raise CarouselError(
            f"Expected {target} to return a callable loss_fn third, got "
            f"{kind_of(loss_fn)}. The order is (model, batch, loss_fn)."
        )
    if rest and not callable(rest[0]):
        raise CarouselError(
            f"Expected {target} to return a callable train_step fourth, got "
            f"{kind_of(rest[0])}. The order is (model, batch, loss_fn, train_step)."
        )
    return Target(model, batch, loss_fn, *rest)


def raised(what: str, error: BaseException) -> str:
    """An error in a user's code, and what it says."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{what} {said}"
