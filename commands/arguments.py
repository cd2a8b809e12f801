"""What the words of a command line stand for: values, amounts, a service; and the options that were given, as words again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from ..errors import UsageError
from ..targets import find

if TYPE_CHECKING:
    from ..server.declare.service import Service


NoWait = Annotated[bool, typer.Option("--no-wait", help="fail at once where no server is")]


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


class MethodCommand(TyperCommand):
    """A command whose words are arguments of a method: -1 is one, but a word that begins with -- is an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = ["--help", *(word for option in self.params for word in option.opts if word[:1] == "-")]
        for word in takewhile(lambda word: word != "--", args):
            name = word.partition("=")[0]
            if name.startswith("--") and name not in options:
                close = get_close_matches(name, options, 1)
                raise typer.BadParameter(
                    f"there is no option {name}{f', did you mean {close[0]}?' if close else ''}; "
                    "what is an argument goes after --",
                    ctx=ctx,
                )
        return super().parse_args(ctx, args)


def parse_value(text: str, kind: str | None = None) -> Any:
    """The JSON value, or the text itself; for a parameter of that type, the text where it is `str` and the JSON is no string."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if kind == "str" and not isinstance(value, str) else value


def parse_metadata(words: Sequence[str]) -> dict[str, Any]:
    """What `NAME=JSON`, several times, says. Raises UsageError."""
    metadata = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise UsageError(f'--metadata must be NAME=JSON, such as user="ann", not {word!r}')
        metadata[name] = parse_value(value)
    return metadata


def parse_amount(word: str) -> tuple[str, float]:
    """What `NAME=AMOUNT` says. Raises UsageError."""
    name, _, amount = word.partition("=")
    try:
        return name, float(amount)
    except ValueError:
        raise UsageError(f"--resource must be NAME=AMOUNT, such as db=4, not {word!r}") from None


def one_of(words: Sequence[str], word: str, option: str) -> None:
    """Raises UsageError for another word."""
    if word not in words:
        raise UsageError(f"{option} must be one of {', '.join(words)}, not {word!r}")


def load_service(target: str) -> Service:
    """The service that `MODULE_OR_FILE:ATTRIBUTE` names. Raises UsageError that says what is missing where."""
    from ..server.declare.service import Service

    found = find(target)
    if not isinstance(found, Service):
        raise UsageError(f"{target} is a {type(found).__name__}, not a ringback.Service")
    return found


def given_options(context: typer.Context, *without: str) -> list[str]:
    """The options that this command was given, as they are given to another of its kind."""
    words: list[str] = []
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if (
            option.param_type_name != "option"
            or name in without
            or source is None
            or source.name != "COMMANDLINE"
        ):
            continue
        value = context.params[name]
        for each in value if isinstance(value, (list, tuple)) else [value]:
            words += [option.opts[0]] if each is True else [option.opts[0], str(each)]
    return words
