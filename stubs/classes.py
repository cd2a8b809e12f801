"""Writes data classes: a `msgspec.Struct` where a dataclass does not suffice.

A Struct is needed for a tag that distinguishes it from others, for a field that may be missing, and
for a field whose name is not valid in Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .description import Schema
from .names import Names, is_literal, is_name, literal, renamed

# The default of a field that may be missing, if the schema states no default.
_UNSET = "msgspec.UNSET"
# Characters that a Struct's field name cannot have in a message.
_UNSPEAKABLE = re.compile(r'[\\"\0-\x1f\ud800-\udfff]')


class Field(NamedTuple):
    """A field of a data class.

    `name` is its name in Python, `original` its name in messages, `kind` its type. `default` is an
    expression and `factory` the path of a type that makes the default. Without either it is
    required.
    """

    name: str
    original: str
    kind: str
    default: str | None
    factory: str | None = None


def names_of(properties: Iterable[str]) -> dict[str, str]:
    """The Python names of the fields of these properties."""
    taken, names = {*properties}, {}
    for original in properties:
        names[original] = original if is_name(original) else renamed(original, taken)
        taken.add(names[original])
    return names


def tag_of(schema: Schema, field: str) -> str | int | None:
    """The single value of that property, which tags the object. None if it has several values or
    none."""
    part = (schema.properties or {}).get(field)
    values = part.values if isinstance(part, Schema) else None
    if (
        values is None
        or len(values) != 1
        or not isinstance(values[0], (str, int))
        or not is_literal(values[0])
    ):
        return None
    return values[0]


def has_class(schema: Schema) -> bool:
    """Whether a data class can represent the schema."""
    return schema.properties is not None and not any(map(_UNSPEAKABLE.search, schema.properties))


def write_class(
    own: str,
    schema: Schema,
    tag_field: str | None,
    names: Names,
    expression: Callable[[Schema | bool], str],
    default: Callable[[Schema], str | None],
) -> str:
    """The text of the class. `expression` and `default` are those of `Kinds`."""
    properties = schema.properties or {}
    own_names = names_of(properties)
    fields = [
        _field(
            own_names[original],
            original,
            expression(part),
            part,
            original in schema.required,
            default,
        )
        for original, part in properties.items()
        if original != tag_field
    ]
    missing = any(field.default == _UNSET for field in fields)
    given = [field.default is not None or field.factory is not None for field in fields]
    arguments = ["kw_only=True"] if given != sorted(given) else []
    is_struct = (
        tag_field is not None or missing or any(field.name != field.original for field in fields)
    )
    if is_struct:
        arguments += ["omit_defaults=True"] if missing else []
        if tag_field is not None:
            tag = literal(tag_of(schema, tag_field))
            arguments = [f"tag_field={literal(tag_field)}", f"tag={tag}", *arguments]
        lines = [f"class {own}({', '.join([names.use('msgspec.Struct'), *arguments])}):"]
    else:
        decorator = names.use("dataclasses.dataclass")
        lines = [
            f"@{decorator}({', '.join(arguments)})" if arguments else f"@{decorator}",
            f"class {own}:",
        ]
    lines += [f"    {_line(field, names, is_struct=is_struct)}" for field in fields]
    return "\n".join(lines if fields else [*lines, "    pass"])


def _field(
    name: str,
    original: str,
    kind: str,
    part: Schema | bool,
    required: bool,
    default: Callable[[Schema], str | None],
) -> Field:
    if required:
        return Field(name, original, kind, None)
    if isinstance(part, Schema):
        found = default(part)
        if found is not None:
            return Field(name, original, kind, found)
        if part.default == [] and part.type == "array" and part.prefix_items is None:
            return Field(
                name, original, kind, None, "builtins.set" if part.unique_items else "builtins.list"
            )
        if part.default == {} and part.type == "object":
            return Field(name, original, kind, None, "builtins.dict")
    return Field(name, original, kind, _UNSET)


def _line(field: Field, names: Names, *, is_struct: bool) -> str:
    kind, default = field.kind, field.default
    if default == _UNSET:
        kind, default = f"{kind} | {names.use('msgspec.UnsetType')}", names.use(_UNSET)
    options = [f"name={literal(field.original)}"] if field.name != field.original else []
    if field.factory is not None:
        options.append(f"default_factory={names.use(field.factory)}")
    elif default is not None and options:
        options.append(f"default={default}")
    if not options:
        return f"{field.name}: {kind}{'' if default is None else f' = {default}'}"
    function = names.use("msgspec.field" if is_struct else "dataclasses.field")
    return f"{field.name}: {kind} = {function}({', '.join(options)})"
