"""TypeScript for what goes over the wire, from the dataclasses that it is in Python.

    python -m carousel.serve._typescript > web/src/lib/schema.ts

An interface for each dataclass; for each request also its fields with their limits and defaults:
the page makes its sliders of them, and checks what the address bar says as the server would.
"""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from carousel.learn import Items, Range, Text
from carousel.serve._api import ENDPOINTS

__all__ = ["typescript"]

PLAIN = {int: "number", float: "number", str: "string", bool: "boolean", NoneType: "null"}


def typescript() -> str:
    """The whole file."""
    kinds: dict[str, type] = {}
    requests: dict[str, type] = {}
    for endpoint in ENDPOINTS.values():
        collect(endpoint.request, requests)
        collect(endpoint.result, kinds)
    lines = ["// Written by `make web` from the dataclasses in Python: change those.", ""]
    for kind in (requests | kinds).values():
        lines += interface(kind)
    lines += field_kinds()
    for kind in requests.values():
        lines += limits(kind)
    lines.append("export interface Endpoints {")
    for name, endpoint in ENDPOINTS.items():
        request, result = endpoint.request.__name__, endpoint.result.__name__
        lines.append(f"  {name}: {{ request: {request}; result: {result} }};")
    return "\n".join([*lines, "}", ""])


def collect(kind: type, found: dict[str, type]) -> None:
    """A dataclass and all that it is made of, the parts first."""
    for hint in get_type_hints(kind, include_extras=False).values():
        for inner in reached(hint):
            if inner.__name__ not in found:
                collect(inner, found)
    found[kind.__name__] = kind


def reached(hint: Any) -> list[type]:
    """The dataclasses within an annotation."""
    if is_dataclass(hint):
        return [hint]  # type: ignore[list-item]
    return [one for argument in get_args(hint) for one in reached(argument)]


def interface(kind: type) -> list[str]:
    """One dataclass."""
    hints = get_type_hints(kind)
    members = [f"  readonly {field.name}: {spelled(hints[field.name])};" for field in fields(kind)]
    return [f"export interface {kind.__name__} {{", *members, "}", ""]


def spelled(hint: Any) -> str:
    """One annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return spelled(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(spelled(one) for one in arguments)
    if origin is Literal:
        return " | ".join(json.dumps(one) for one in arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            inner = spelled(arguments[0])
            return f"readonly ({inner})[]" if " " in inner else f"readonly {inner}[]"
        return f"readonly [{', '.join(spelled(one) for one in arguments)}]"
    return hint.__name__ if is_dataclass(hint) else PLAIN[hint]  # type: ignore[union-attr]


def field_kinds() -> list[str]:
    """The type of the limits."""
    return [
        "export type FieldKind =",
        '  | { kind: "int" | "float"; low: number; high: number; step: number; optional: boolean }',
        '  | { kind: "choice"; choices: readonly string[]; optional: boolean }',
        '  | { kind: "flag"; optional: boolean }',
        '  | { kind: "text"; most: number; optional: boolean }',
        '  | { kind: "list"; least: number; most: number; of: FieldKind; optional: boolean }',
        '  | { kind: "group"; fields: Fields; optional: boolean };',
        "export type Fields = Readonly<Record<string, FieldKind>>;",
        "",
    ]


def limits(kind: type) -> list[str]:
    """The fields of a request, and its defaults."""
    hints = get_type_hints(kind, include_extras=True)
    described = {name: description(hint) for name, hint in hints.items()}
    name = constant(kind.__name__)
    shown = json.dumps(described, indent=2)
    lines = [f"export const {name}_FIELDS = {shown} as const satisfies Fields;", ""]
    defaults = {field.name: default(field) for field in fields(kind)}
    if MISSING not in defaults.values():
        told = json.dumps(defaults, indent=2, default=vars)
        lines += [f"export const {name}_DEFAULTS: {kind.__name__} = {told};", ""]
    return lines


def default(field: Field[Any]) -> Any:
    """What a field has where nothing is said."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def constant(name: str) -> str:
    """SentenceSpec as SENTENCE_SPEC."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


def description(hint: Any, *, optional: bool = False) -> dict[str, Any]:
    """One field's limits."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (inner,) = (one for one in arguments if one is not NoneType)
        return description(inner, optional=True)
    found: dict[str, Any]
    if origin is Literal:
        found = {"kind": "choice", "choices": list(arguments)}
    elif is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        found = {"kind": "group", "fields": {name: description(one) for name, one in hints.items()}}
    elif hint is bool:
        found = {"kind": "flag"}
    else:
        plain, limit = arguments
        found = {"kind": plain.__name__} if plain in (int, float) else {}
        if isinstance(limit, Range):
            found |= {"low": limit.low, "high": limit.high, "step": limit.step}
        elif isinstance(limit, Text):
            found |= {"kind": "text", "most": limit.most}
        else:
            assert isinstance(limit, Items)
            inner = description(get_args(plain)[0])
            found |= {"kind": "list", "least": limit.least, "most": limit.most, "of": inner}
    return found | {"optional": optional}


if __name__ == "__main__":
    print(typescript(), end="")  # noqa: T201 - into the file that the command names
