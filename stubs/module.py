"""Writes a typed module for a client style: one Protocol whose methods call, one whose methods
fire."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ..clients.base import Client
from ..clients.calls.fired import CALLBACKS
from .description import Description, Method, Parameter, Schema
from .kinds import Definitions, Kinds
from .names import Names, is_identifier, is_name

# Maximum columns of a line before its parameters are written one per line.
_WIDTH = 100

_POSITIONAL_ONLY: Final = "positional_only"
_KEYWORD_ONLY: Final = "keyword_only"
_VAR_POSITIONAL: Final = "var_positional"
_VAR_KEYWORD: Final = "var_keyword"


class Module(NamedTuple):
    """The text of a module, and the methods left out because Python cannot declare them."""

    text: str
    left_out: list[str]


def module_of(described: Description, style: str, client: type[Client]) -> Module:
    """The module for clients of that style."""
    members = {name for method in described.methods for name in method.name.split(".")}
    kinds = Kinds(members, [method.schema for method in described.methods])
    title = "".join(
        _capital(word) for word in described.name.replace(".", " ").replace("-", " ").split()
    )
    name, fire_name = kinds.names.reserve(title), kinds.names.reserve(f"{title}Fire")
    calls, left_out = _grown(name, described.methods, kinds.names)
    fires, _ = _grown(
        fire_name, [method for method in described.methods if not method.stream], kinds.names
    )
    forms = _Calls(kinds, client), _Fires(kinds, client)
    protocols = [*_protocols(calls, forms[0]), *_protocols(fires, forms[1])]
    lines = [
        (
            f'"""The service {_escaped(described.name)}, for {style} clients: '
            f"`client.typed({calls.name})` calls its methods, and"
        ),
        (
            f"`client.typed({fires.name})` fires them. Written by `ringback stubs`: run it again "
            f"instead of editing this."
        ),
        '"""',
        "",
        "from __future__ import annotations",
        "",
        *kinds.names.imports(),
    ]
    parts = ["\n".join(lines), *kinds.classes.values(), *protocols]
    return Module("\n\n\n".join(part.rstrip() for part in parts) + "\n", left_out)


class _Part:
    """Methods whose names share a prefix, by the rest of their names; names with dots are nested
    parts."""

    def __init__(self, name: str) -> None:
        self.name = name  # the name of its class
        self.methods: dict[str, Method] = {}
        self.parts: dict[str, _Part] = {}

    def find(self, path: list[str], names: Names) -> _Part | None:
        """The part at that path; None if a method has the name of a step."""
        part = self
        for step in path:
            if not is_name(step) or step in part.methods:
                return None
            if step not in part.parts:
                part.parts[step] = _Part(names.reserve(f"{part.name}{_capital(step)}"))
            part = part.parts[step]
        return part


def _grown(name: str, methods: list[Method], names: Names) -> tuple[_Part, list[str]]:
    """The methods in nested parts, and the names of those that fit in none."""
    root, left_out = _Part(name), []
    for method in sorted(methods, key=lambda method: (method.name.count("."), method.name)):
        *path, own = method.name.split(".")
        part = (
            root.find(path, names) if is_name(own) and _can_be_written(method.parameters) else None
        )
        if part is None or own in part.parts:
            left_out.append(method.name)
        else:
            part.methods[own] = method
    return root, left_out


def _can_be_written(parameters: Sequence[Parameter]) -> bool:
    """Whether a method of a class can have these parameters.

    Names with two leading underscores are out, since a class mangles them.
    """
    names = [parameter.name for parameter in parameters]
    if not all(is_identifier(name) and not name.startswith("__") for name in names):
        return False
    empty, optional = inspect.Parameter.empty, None
    try:
        inspect.Signature(
            [
                inspect.Parameter(
                    parameter.name,
                    getattr(inspect.Parameter, parameter.kind.upper()),
                    default=empty
                    if parameter.required or parameter.kind.startswith("var_")
                    else optional,
                )
                for parameter in parameters
            ]
        )
    except ValueError:
        return False
    kinds = [parameter.kind for parameter in parameters]
    return max(
        kinds.count(_VAR_POSITIONAL), kinds.count(_VAR_KEYWORD)
    ) < 2 and CALLBACKS.isdisjoint(names)


def _protocols(part: _Part, form: _Calls) -> Iterator[str]:
    for inner in part.parts.values():
        yield from _protocols(inner, form)
    lines = [f"class {part.name}({form.names.use('typing.Protocol')}):"]
    lines += [f"    {name}: {inner.name}" for name, inner in part.parts.items()]
    for name, method in part.methods.items():
        lines += [*([""] if len(lines) > 1 else []), *form.method(name, method)]
    yield "\n".join(lines if len(lines) > 1 else [*lines, "    pass"])


class _Calls:
    """Writes methods that call."""

    def __init__(self, kinds: Kinds, client: type[Client]) -> None:
        self.names = kinds.names
        self._kinds = kinds
        self._answers = client.answers
        self._future = client.future.replace(":", ".")

    def method(self, name: str, method: Method) -> list[str]:
        """The lines of a method."""
        schema = method.schema
        definitions = self._kinds.definitions(schema)
        result = self._kinds.expression(
            schema.item if method.stream else schema.result, definitions
        )
        begin, returns = self._begin(method), self._returns(result, is_stream=method.stream)
        parameters = self._parameters(method, definitions, result)
        body = _body(method.doc)
        line = f"    {begin} {name}({', '.join(parameters)}) -> {returns}:{body[0]}"
        if len(line) <= _WIDTH:
            return [line, *body[1:]]
        listed = [f"        {parameter}," for parameter in parameters]
        return [f"    {begin} {name}(", *listed, f"    ) -> {returns}:{body[0]}", *body[1:]]

    def _begin(self, method: Method) -> str:
        return "async def" if self._answers == "awaits" and not method.stream else "def"

    def _returns(self, result: str, *, is_stream: bool) -> str:
        if is_stream:
            kind = "Iterator" if self._answers == "blocks" else "AsyncIterator"
            return f"{self.names.use(f'collections.abc.{kind}')}[{result}]"
        return f"{self.names.use(self._future)}[{result}]" if self._answers == "defers" else result

    def _parameters(self, method: Method, definitions: Definitions, result: str) -> list[str]:  # noqa: ARG002
        own = "self"
        while own in {parameter.name for parameter in method.parameters}:
            own = f"_{own}"
        found = [own]
        kinds = [parameter.kind for parameter in method.parameters]
        for at, parameter in enumerate(method.parameters):
            if parameter.kind == _KEYWORD_ONLY and not {_KEYWORD_ONLY, _VAR_POSITIONAL} & {
                *kinds[:at]
            }:
                found.append("*")
            found.append(self._parameter(parameter, method, definitions))
            if parameter.kind == _POSITIONAL_ONLY and _POSITIONAL_ONLY not in kinds[at + 1 :]:
                found.append("/")
        return found

    def _parameter(self, parameter: Parameter, method: Method, definitions: Definitions) -> str:
        schema = (method.schema.arguments.properties or {}).get(parameter.name)
        items = schema.items if isinstance(schema, Schema) else None
        if parameter.kind == _VAR_KEYWORD:
            schema = method.schema.arguments.additional_properties
            return f"**{parameter.name}: {self._kinds.expression(schema, definitions)}"
        if parameter.kind == _VAR_POSITIONAL:
            return f"*{parameter.name}: {self._kinds.expression(items, definitions)}"
        if parameter.stream:
            text = f"{parameter.name}: {self._upload(self._kinds.expression(items, definitions))}"
        else:
            text = f"{parameter.name}: {self._kinds.expression(schema, definitions)}"
        if parameter.required:
            return text
        default = self._kinds.default(schema, definitions) if isinstance(schema, Schema) else None
        return f"{text} = {default or '...'}"

    def _upload(self, item: str) -> str:
        kinds = ["Iterator"] if self._answers == "blocks" else ["Iterator", "AsyncIterator"]
        return " | ".join(f"{self.names.use(f'collections.abc.{kind}')}[{item}]" for kind in kinds)


class _Fires(_Calls):
    """Writes methods that fire."""

    def _begin(self, method: Method) -> str:  # noqa: ARG002
        return "def"

    def _returns(self, result: str, *, is_stream: bool) -> str:  # noqa: ARG002
        return f"{self.names.use(self._future)}[{result}]"

    def _parameters(self, method: Method, definitions: Definitions, result: str) -> list[str]:
        found = super()._parameters(method, definitions, result)
        function = self.names.use("collections.abc.Callable")
        error = self.names.use("builtins.BaseException")
        own = [
            f"callback: {function}[[{result}], object] | None = None",
            f"errback: {function}[[{error}], object] | None = None",
        ]
        kinds = [parameter.kind for parameter in method.parameters]
        if not {_KEYWORD_ONLY, _VAR_POSITIONAL} & {*kinds}:
            own.insert(0, "*")
        at = len(found) - kinds.count(_VAR_KEYWORD)
        return [*found[:at], *own, *found[at:]]


def _body(doc: str) -> list[str]:
    """The lines after the colon: the documentation, if any."""
    first, *others = _escaped(doc.strip()).split("\n")
    if not first and not others:
        return [" ..."]
    if not others:
        return ["", f'        """{first}"""', "        ..."]
    return [
        "",
        f'        """{first}',
        *(f"        {line}".rstrip() for line in others),
        '        """',
        "        ...",
    ]


def _escaped(text: str) -> str:
    """Escape text so that it can stand in a docstring."""
    safe = "".join(
        letter
        if letter.isprintable() or letter == "\n"
        else letter.encode("unicode_escape").decode()
        for letter in text.replace("\\", "\\\\")
    )
    return safe.replace('"""', '\\"\\"\\"') + (" " if safe.endswith('"') else "")


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
