"""Adds keywords that msgspec leaves out of its JSON Schema: the formats of times, and map keys.

JSON maps have only string keys; the keyword `x-keys` holds the schema of other keys.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import inspect

# Keyword for the schema of a map's keys, if they are not strings.
KEYS = "x-keys"

_NAMED = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType, inspect.NamedTupleType)


def add_keywords(
    kinds: Sequence[Any],
    schemas: Sequence[dict[str, Any]],
    definitions: Mapping[str, dict[str, Any]],
) -> None:
    """Add the keywords to the schemas of these types, and to the definitions that they refer to."""
    walk = _Walk(definitions)
    for info, schema in zip(inspect.multi_type_info(kinds), schemas, strict=True):
        walk.visit(info, schema)


class _Walk:
    """Visits types and their schemas side by side, each definition once."""

    def __init__(self, definitions: Mapping[str, dict[str, Any]]) -> None:
        self._definitions = definitions
        self._seen: set[str] = set()

    def visit(self, info: Any, schema: dict[str, Any]) -> None:
        while isinstance(info, inspect.Metadata):
            info = info.type
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name in self._seen or name not in self._definitions:
                return
            self._seen.add(name)
            schema = self._definitions[name]
        if isinstance(info, inspect.DateTimeType):
            schema.setdefault("format", "date-time")
        elif isinstance(info, inspect.EnumType):
            if issubclass(info.cls, enum.Flag) and schema.pop("enum", None) is not None:
                schema["type"] = "integer"  # a value may combine several flags
        elif isinstance(info, inspect.TimeType):
            schema.setdefault("format", "time")
        elif isinstance(info, inspect.UnionType):
            self._visit_union(info, schema)
        elif isinstance(info, inspect.TupleType):
            self._visit_each(info.item_types, schema)
        elif isinstance(info, _NAMED):
            self._visit_fields(info, schema)
        elif hasattr(info, "key_type"):
            if isinstance(info.key_type, inspect.IntType):
                schema[KEYS] = {"type": "integer"}
            elif not isinstance(info.key_type, inspect.StrType):
                schema[KEYS] = {}
            self._visit_part(info.value_type, schema, "additionalProperties")
        elif hasattr(info, "item_type"):
            self._visit_part(info.item_type, schema, "items")

    def _visit_part(self, info: Any, schema: dict[str, Any], name: str) -> None:
        if isinstance(part := schema.get(name), dict):
            self.visit(info, part)

    def _visit_each(self, infos: Sequence[Any], schema: dict[str, Any]) -> None:
        for info, part in zip(infos, schema.get("prefixItems", ()), strict=False):
            self.visit(info, part)

    def _visit_fields(self, info: Any, schema: dict[str, Any]) -> None:
        if "prefixItems" in schema:
            tags = [inspect.AnyType()] if getattr(info, "tag_field", None) is not None else []
            self._visit_each([*tags, *(field.type for field in info.fields)], schema)
            return
        for field in info.fields:
            self._visit_part(field.type, schema.get("properties", {}), field.encode_name)

    def _visit_union(self, info: inspect.UnionType, schema: dict[str, Any]) -> None:
        options = [
            option for each in schema.get("anyOf", ()) for option in (each, *each.get("anyOf", ()))
        ]
        for kind in info.types:
            while isinstance(kind, inspect.Metadata):
                kind = kind.type
            for option in options:
                if self._fits(kind, option):
                    self.visit(kind, option)

    def _fits(self, info: Any, option: dict[str, Any]) -> bool:
        """Whether this option of a union is the schema of this type; no two options are alike."""
        if isinstance(info, (*_NAMED, inspect.EnumType)):
            title = self._definitions.get(option.get("$ref", "").rpartition("/")[2], {}).get(
                "title", ""
            )
            return bool(title) and title.partition("[")[0] == info.cls.__name__
        if isinstance(info, (inspect.DateTimeType, inspect.TimeType)):
            return option.get("type") == "string"
        if hasattr(info, "key_type"):
            return option.get("type") == "object"
        return option.get("type") == "array" and (
            hasattr(info, "item_type") or isinstance(info, inspect.TupleType)
        )
