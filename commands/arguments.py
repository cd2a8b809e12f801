"""What the words of a command line stand for: values, amounts, a service; and the options that were given, as words again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..targets import find

if TYPE_CHECKING:
    from ..server.declare.service import Service


def parse_arguments(
    given: Sequence[str], parameters: Sequence[dict[str, Any]]
) -> tuple[list[Any], dict[str, Any]]:
    """JSON where it is JSON, a string where not, or where the parameter is one; `NAME=` only where the method has a parameter of that
    name."""
    names = {
        p["name"] for p in parameters if p["kind"] not in ("positional_only", "var_positional", "var_keyword")
    }
    any_name = any(p["kind"] == "var_keyword" for p in parameters)
    types = {p["name"]: p["type"] for p in parameters}
    in_order = [
        p["type"] for p in parameters if p["kind"].startswith("positional") or p["kind"] == "var_positional"
    ]
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if equals and (name in names or (any_name and name.isidentifier())):
            kwargs[name] = parse_value(value, types.get(name))
        elif kwargs and equals and name.isidentifier() and names:
            raise UsageError(f"there is no parameter {name!r}, only {', '.join(sorted(names))}")
        elif kwargs:
            raise UsageError(f"argument {text!r} comes after a named one")
        else:
            kind = in_order[min(len(args), len(in_order) - 1)] if in_order else None
            args.append(parse_value(text, kind))
    return args, kwargs


def parse_value(text: str, kind: str | None = None) -> Any:
    """The JSON value, or the text itself; for a parameter of that type, the text where it is `str` and the JSON is no string."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if kind == "str" and not isinstance(value, str) else value


def parse_metadata(words: Sequence[str]) -> dict[str, Any]:
    """What `NAME=JSON`, several times, says. Raises ValueError."""
    metadata = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise ValueError(f'must be NAME=JSON, such as user="ann", not {word!r}')
        metadata[name] = parse_value(value)
    return metadata


def load_service(target: str) -> Service:
    """The service that `MODULE_OR_FILE:ATTRIBUTE` names. Raises UsageError that says what is missing where."""
    from ..server.declare.service import Service

    found = find(target)
    if not isinstance(found, Service):
        raise UsageError(f"{target} is a {type(found).__name__}, not a ringback.Service")
    return found
