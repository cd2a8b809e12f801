"""The parts of a `describe` reply that a typed module needs."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, field

from ..errors import UsageError
from ..server.declare.keywords import KEYS


class Discriminator(msgspec.Struct, frozen=True, rename="camel"):
    """The property that distinguishes the options of a union, and where each option is defined."""

    property_name: str
    mapping: dict[Any, str] = {}


class Schema(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """JSON Schema as `msgspec` and pydantic write it."""

    ref: str | None = field(name="$ref", default=None)
    title: str = ""
    type: Any = None
    format: Any = None
    content_encoding: Any = None
    enum: list[Any] | None = None
    const: Any = UNSET
    default: Any = UNSET
    any_of: list[Schema | bool] | None = None
    one_of: list[Schema | bool] | None = None
    all_of: list[Schema | bool] | None = None
    discriminator: Discriminator | None = None
    items: Schema | bool | None = None
    prefix_items: list[Schema | bool] | None = None
    unique_items: bool = False
    properties: dict[str, Schema | bool] | None = None
    required: list[str] = []
    additional_properties: Schema | bool | None = None
    keys: Schema | bool | None = field(name=KEYS, default=None)

    @property
    def name(self) -> str:
        """The name of the definition that it refers to."""
        return (self.ref or "").rpartition("/")[2]

    @property
    def options(self) -> list[Schema | bool] | None:
        """The options of a union."""
        return self.any_of if self.any_of is not None else self.one_of

    @property
    def values(self) -> list[Any] | None:
        """All allowed values, if the schema lists them."""
        return [self.const] if self.const is not UNSET else self.enum


ANYTHING = Schema()


class MethodSchema(msgspec.Struct, frozen=True, kw_only=True):
    """The schemas of a method's arguments, result and item, and their definitions."""

    arguments: Schema = ANYTHING
    result: Schema = ANYTHING
    item: Schema = ANYTHING
    definitions: dict[str, Schema] = field(name="$defs", default={})


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of a method; `kind` is `inspect`'s name in lower case."""

    name: str
    kind: Literal[
        "positional_only", "positional_or_keyword", "var_positional", "keyword_only", "var_keyword"
    ]
    required: bool
    stream: bool = False


class Method(msgspec.Struct, frozen=True):
    """A method of the service."""

    name: str
    parameters: list[Parameter]
    stream: bool
    doc: str = ""
    schema: MethodSchema = MethodSchema()


class Description(msgspec.Struct, frozen=True):
    """A service."""

    name: str
    methods: list[Method]


def read(described: Any) -> Description:
    """Read plain data. Raises UsageError for an invalid description."""
    try:
        return msgspec.convert(described, Description)
    except (msgspec.ValidationError, RecursionError) as error:
        raise UsageError(f"the description of the service cannot be read: {error}") from None
