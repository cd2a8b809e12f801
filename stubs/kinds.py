"""Converts JSON Schema to Python types: expressions for annotations, and the classes that they
name.

A type describes the values on the wire, which a client may send. An enumeration is a `Literal` of
its values; an object with properties is a data class.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .classes import has_class, names_of, tag_of, write_class
from .description import MethodSchema, Schema
from .names import Names, is_literal, literal

_BUILTIN = {"boolean": "bool", "integer": "int", "number": "float"}
_FORMATS = {
    "binary": "builtins.bytes",
    "date": "datetime.date",
    "date-time": "datetime.datetime",
    "decimal": "decimal.Decimal",
    "duration": "datetime.timedelta",
    "time": "datetime.time",
    "uuid": "uuid.UUID",
}
# Types of the defaults that can be written as literals, by the type of the schema.
_SCALARS: dict[Any, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    None: (type(None), bool, int, float, str),
}

# Maximum nesting of an expression, and its maximum characters.
_DEPTH, _LENGTH = 40, 20_000


class Definitions(NamedTuple):
    """The definitions to which the schemas of one method may refer, by name."""

    schemas: Mapping[str, Schema]
    tags: Mapping[str, str]  # the property that distinguishes it in a union

    def followed(self, schema: Schema | bool) -> Schema | bool:
        """Resolve a reference."""
        if isinstance(schema, Schema) and schema.ref is not None:
            return self.schemas.get(schema.name, True)
        return schema

    def reached(self, schema: Schema) -> dict[str, Schema]:
        """All definitions to which a schema refers, directly or not."""
        found: dict[str, Schema] = {}
        waiting = [schema]
        while waiting:
            names = {part.name for part in _parts(waiting.pop()) if part.ref is not None}
            for name in sorted(names & self.schemas.keys() - found.keys()):
                found[name] = self.schemas[name]
                waiting.append(found[name])
        return found


class Kinds:
    """The types of one module.

    `members` are the attribute names of its classes, `schemas` those of all methods.
    """

    def __init__(self, members: Collection[str], schemas: Sequence[MethodSchema]) -> None:
        properties = [
            part.properties for each in schemas for part in _parts_of(each) if part.properties
        ]
        fields = {name for each in properties for names in names_of(each).items() for name in names}
        self.names = Names({*members, *fields})
        self._depth = 0
        self._identities: dict[
            tuple[int, str], str
        ] = {}  # by the id of the schema, which lives as long, and the name
        self.classes: dict[str, str] = {}  # the text of each class, by name
        self._tags = {tagged: tag for each in schemas for tagged, tag in _tags(each)}
        self._named: dict[str, str] = {}  # the expression, by identity (see `_identity`)

    def definitions(self, schema: MethodSchema) -> Definitions:
        """The definitions to which the schemas of a method may refer."""
        named = {name: repr((name, each)) for name, each in schema.definitions.items()}
        tags = {name: self._tags[each] for name, each in named.items() if each in self._tags}
        return Definitions(schema.definitions, tags)

    def expression(self, schema: Schema | bool | None, definitions: Definitions) -> str:
        """The type for the schema; `Any` if Python's types cannot express it, or only at great
        length."""
        if not isinstance(schema, Schema) or self._depth == _DEPTH:
            return self.names.use("typing.Any")
        self._depth += 1
        try:
            found = self._expression(schema, definitions)
        finally:
            self._depth -= 1
        return found if len(found) <= _LENGTH else self.names.use("typing.Any")

    def _expression(self, schema: Schema, definitions: Definitions) -> str:
        if schema.ref is not None:
            return self._definition(schema.name, definitions)
        if schema.all_of is not None and len(schema.all_of) == 1:
            return self.expression(schema.all_of[0], definitions)
        if schema.options is not None:
            return self._union(schema, definitions)
        if schema.values is not None:
            return self._literal(schema.values)
        if schema.type == "null":
            return "None"
        if schema.type == "array":
            return self._array(schema, definitions)
        if schema.type == "object" and has_class(schema):
            return self._class(schema, definitions)
        if schema.type == "object":
            return self._map(schema, definitions)
        if schema.type == "string":
            known = _FORMATS.get(str(schema.format), "builtins.str")
            return self.names.use(
                "builtins.bytes" if schema.content_encoding is not None else known
            )
        kind = _BUILTIN.get(str(schema.type))
        return self.names.use("typing.Any" if kind is None else f"builtins.{kind}")

    def default(self, schema: Schema, definitions: Definitions) -> str | None:
        """The default of a schema as an expression; None if it has none or it cannot be written."""
        value = schema.default
        if not is_literal(value):
            return None
        for option in map(definitions.followed, schema.options or [schema]):
            if not isinstance(option, Schema):
                continue
            if option.values is not None:
                fits = (type(value), value) in [(type(each), each) for each in option.values]
            else:
                plain = (
                    option.format is None and option.content_encoding is None and option.ref is None
                )
                known = option.type if isinstance(option.type, str) else None
                fits = plain and option.options is None and type(value) in _SCALARS.get(known, ())
            if fits:
                return literal(value)
        return None

    def _definition(self, name: str, definitions: Definitions) -> str:
        schema = definitions.schemas.get(name)
        if schema is None:
            return self.names.use("typing.Any")
        if has_class(schema) or schema.enum is not None:
            return self._class(schema, definitions, name)
        identity = self._identity(name, schema, definitions)
        if identity not in self._named:
            self._named[identity] = self.names.use("typing.Any")  # for a recursive definition
            self._named[identity] = self.expression(schema, definitions)
        return self._named[identity]

    def _identity(self, name: str, schema: Schema, definitions: Definitions) -> str:
        """Distinguishes definitions of the same name: the schema with all that it refers to."""
        place = (id(schema), name)
        if place not in self._identities:
            self._identities[place] = repr((name, schema, definitions.reached(schema)))
        return self._identities[place]

    def _class(self, schema: Schema, definitions: Definitions, name: str = "") -> str:
        """The name of a class or an enumeration, which is written at its first use."""
        wanted = name.rpartition(".")[2] if "." in name else schema.title or name
        identity = self._identity(wanted, schema, definitions)
        if identity in self._named:
            return self._named[identity]
        self._named[identity] = own = self.names.reserve(wanted)
        self.classes[own] = ""  # reserves its position before the classes that it names
        if schema.enum is not None:
            self.classes[own] = (
                f"{own}: {self.names.use('typing.TypeAlias')} = {self._literal(schema.enum)}"
            )
        else:
            self.classes[own] = write_class(
                own,
                schema,
                definitions.tags.get(name),
                self.names,
                lambda part: self.expression(part, definitions),
                lambda part: self.default(part, definitions),
            )
        return own

    def _literal(self, values: list[Any]) -> str:
        if values and all(type(value) is bool for value in values):
            return self.names.use("builtins.bool")
        if values and all(
            type(value) in (type(None), int, str) and is_literal(value) for value in values
        ):
            return f"{self.names.use('typing.Literal')}[{', '.join(map(literal, values))}]"
        return self.names.use("typing.Any")

    def _array(self, schema: Schema, definitions: Definitions) -> str:
        if schema.prefix_items is not None:
            parts = ", ".join(self.expression(part, definitions) for part in schema.prefix_items)
            return f"{self.names.use('builtins.tuple')}[{parts or '()'}]"
        # A set is an array on the wire. Unhashable items can only be in a list.
        kind = "set" if schema.unique_items and _has_hash(schema.items, definitions) else "list"
        return f"{self.names.use(f'builtins.{kind}')}[{self.expression(schema.items, definitions)}]"

    def _map(self, schema: Schema, definitions: Definitions) -> str:
        string = self.names.use("builtins.str")
        keys = string if schema.keys is None else self.expression(schema.keys, definitions)
        values = self.expression(schema.additional_properties, definitions)
        return f"{self.names.use('builtins.dict')}[{keys}, {values}]"

    def _union(self, schema: Schema, definitions: Definitions) -> str:
        """`Any` if a decoder could not decide which option a value is."""
        options = list(_options(schema))
        forms = [_form(option, definitions) for option in options]
        if not forms or "" in forms or any(forms.count(form) > 1 for form in {*forms} - {"tagged"}):
            return self.names.use("typing.Any")
        if "tagged" in forms and ("object" in forms or not _told_apart(options, definitions)):
            return self.names.use("typing.Any")
        return " | ".join(dict.fromkeys(self.expression(option, definitions) for option in options))


def _parts(schema: Schema | bool | None) -> Iterator[Schema]:
    """A schema and all schemas within it."""
    waiting: list[Schema | bool | None] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Schema):
            yield part
            waiting += [
                part.items,
                part.additional_properties,
                part.keys,
                *(part.properties or {}).values(),
            ]
            for several in (part.any_of, part.one_of, part.all_of, part.prefix_items):
                waiting += several or []


def _parts_of(schema: MethodSchema) -> Iterator[Schema]:
    for each in (schema.arguments, schema.result, schema.item, *schema.definitions.values()):
        yield from _parts(each)


def _tags(schema: MethodSchema) -> Iterator[tuple[str, str]]:
    """The definitions that need a tag in a union, by name, and the property of the tag."""
    for part in _parts_of(schema):
        if part.discriminator is not None:
            for ref in part.discriminator.mapping.values():
                name = ref.rpartition("/")[2]
                field = part.discriminator.property_name
                if (
                    name in schema.definitions
                    and tag_of(schema.definitions[name], field) is not None
                ):
                    yield repr((name, schema.definitions[name])), field


def _options(schema: Schema | bool) -> Iterator[Schema | bool]:
    if isinstance(schema, Schema) and schema.options is not None and schema.ref is None:
        for each in schema.options:
            yield from _options(each)
    else:
        yield schema


def _told_apart(options: Sequence[Schema | bool], definitions: Definitions) -> bool:
    """Whether the tagged options share one tag field and each has its own tag."""
    names = [
        each.name for each in options if isinstance(each, Schema) and each.name in definitions.tags
    ]
    fields = {definitions.tags[name] for name in names}
    tags = {tag_of(definitions.schemas[name], field) for name in names for field in fields}
    return len(fields) == 1 and len(tags) == len({*names})


def _has_hash(schema: Schema | bool | None, definitions: Definitions) -> bool:
    """Whether a decoder makes hashable values of it."""
    found = None if schema is None else definitions.followed(schema)
    if not isinstance(found, Schema):
        return False
    parts = found.options or found.prefix_items
    if parts is not None:
        return all(_has_hash(part, definitions) for part in parts)
    return found.values is not None or found.type in (
        "string",
        "integer",
        "number",
        "boolean",
        "null",
    )


def _form(schema: Schema | bool, definitions: Definitions) -> str:
    """The form of a value as a decoder sees it; "" if it could be anything."""
    if isinstance(schema, Schema) and schema.ref is not None and schema.name in definitions.tags:
        return "tagged"
    found = definitions.followed(schema)
    if not isinstance(found, Schema) or found.options is not None:
        return ""
    if found.values is not None:
        kinds = {type(value) for value in found.values}
        return "string" if kinds == {str} else "integer" if kinds == {int} else ""
    return found.type if isinstance(found.type, str) else ""
