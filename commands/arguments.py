"""Parsing of command-line words: call arguments, metadata, and the service that a target names."""

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
    """Parse the arguments of a call into positional and named ones.

    An argument is JSON, or a string where it is not JSON or where the parameter is a string.
    `NAME=` names a parameter only if the method has one of that name. Raises UsageError.
    """
    names = {
        p["name"]
        for p in parameters
        if p["kind"] not in ("positional_only", "var_positional", "var_keyword")
    }
    any_name = any(p["kind"] == "var_keyword" for p in parameters)
    types = {p["name"]: p["type"] for p in parameters}
    in_order = [
        p["type"]
        for p in parameters
        if p["kind"].startswith("positional") or p["kind"] == "var_positional"
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
            raise UsageError(f"argument {text!r} must come before the named ones")
        else:
            kind = in_order[min(len(args), len(in_order) - 1)] if in_order else None
            args.append(parse_value(text, kind))
    return args, kwargs


def parse_value(text: str, kind: str | None = None) -> Any:
    """The JSON value, or the text itself if it is not JSON.

    For a parameter of type `str`, the text itself unless the JSON is a string.
    """
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if kind == "str" and not isinstance(value, str) else value


def parse_metadata(words: Sequence[str]) -> dict[str, Any]:
    """Parse words of the form `NAME=JSON`. Raises ValueError."""
    metadata = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise ValueError(f'must be NAME=JSON, such as user="ann", not {word!r}')
        metadata[name] = parse_value(value)
    return metadata


def load_service(target: str) -> Service:
    """The service that `MODULE_OR_FILE:ATTRIBUTE` names. Raises UsageError, which says what is
    missing."""
    from ..server.declare.service import Service

    found = find(target)
    if not isinstance(found, Service):
        raise UsageError(f"{target} is a {type(found).__name__}, not a ringback.Service")
    return found
