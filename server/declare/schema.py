"""JSON Schema (draft 2020-12) of a method's arguments and result, from annotations, by msgspec."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec

from .arguments import Arguments
from .keywords import KEYS, add_keywords
from .results import result_type

Mode = Literal["validation", "serialization"]

_REFERENCE = "#/$defs/{name}"


def schema_of(arguments: Arguments, *, is_stream: bool) -> dict[str, Any]:
    """The schemas of a method: `arguments`, `result` (for a stream `item`), and their `$defs`.

    `arguments` is an object with a property for each parameter. A streamed argument has the schema
    of an array of its items. An annotation without a form in JSON Schema allows every value.
    """
    parameters = arguments.signature.parameters.values()
    returns = result_type(arguments.returns, is_stream=is_stream)
    kinds = [arguments.types[each.name] for each in parameters]
    schemas, definitions = _schemas(kinds, "validation")
    (result,), of_result = _schemas([returns], "serialization")
    properties: dict[str, Any] = {}
    more: Any = False
    for parameter, schema in zip(parameters, schemas, strict=True):
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            more = schema
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            properties[parameter.name] = {"type": "array", "items": schema}
        else:
            properties[parameter.name] = schema | _default(parameter.default)
    return {
        "arguments": {
            "type": "object",
            "properties": properties,
            "required": arguments.required,
            "additionalProperties": more,
        },
        "item" if is_stream else "result": result,
        "$defs": {**of_result, **definitions},
    }


def _schemas(kinds: Sequence[Any], mode: Mode) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
    try:
        return _made(kinds, mode)
    except Exception:  # one type has no schema: replace it by Any
        return _made([kind if _has_schema(kind, mode) else Any for kind in kinds], mode)


def _made(kinds: Sequence[Any], mode: Mode) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    schemas, definitions = msgspec.json.schema_components(
        kinds, schema_hook=partial(_of_model, mode), ref_template=_REFERENCE
    )
    add_keywords(kinds, schemas, definitions)
    found = dict(definitions)
    _lift([*schemas, *definitions.values()], found)
    return list(schemas), found


def _lift(part: Any, found: dict[str, Any]) -> None:
    """Move the `$defs` of pydantic models, at any depth of a schema, into `found`."""
    if isinstance(part, dict):
        own = part.pop("$defs", {})
        found |= own
        part = [*part.values(), *own.values()]
    if isinstance(part, list):
        for each in part:
            _lift(each, found)


def _has_schema(kind: Any, mode: Mode) -> bool:
    try:
        _made([kind], mode)
    except Exception:
        return False
    return True


def _of_model(mode: Mode, kind: Any) -> dict[str, Any]:
    """The schema of a pydantic model, for validation or for serialization.

    The model's name prefixes the names of its definitions; `.result` follows it if the two modes
    differ. Raises NotImplementedError for other types.
    """
    make = getattr(kind, "model_json_schema", None)
    if make is None:
        raise NotImplementedError
    name = kind.__qualname__
    if mode == "serialization" and make(mode="validation") != make(mode=mode):
        name = f"{name}.result"
    schema: dict[str, Any] = make(
        mode=mode, ref_template=_REFERENCE.format(name=f"{name}.{{model}}")
    )
    schema["$defs"] = {f"{name}.{own}": each for own, each in schema.pop("$defs", {}).items()}
    _mark_maps(schema)
    return schema


def _mark_maps(part: Any) -> None:
    """Allow keys of any type in maps: a model's schema does not describe keys."""
    if isinstance(part, dict):
        if isinstance(part.get("additionalProperties"), dict) and part.get("type") == "object":
            part.setdefault(KEYS, {})
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            _mark_maps(each)


def _default(value: Any) -> dict[str, Any]:
    if value is inspect.Parameter.empty:
        return {}
    try:
        default = msgspec.json.decode(msgspec.json.encode(value))
        msgspec.msgpack.encode(default)
    except Exception:  # leave out a default that has no JSON form
        return {}
    # JSON encodes values that it lacks, such as infinity, as null.
    return {"default": default} if default is not None or value is None else {}
