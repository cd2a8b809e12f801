"""Described options on the command line: flags, environment variables, files, and grouped help."""

from __future__ import annotations

import inspect
import os
import shlex
import typing
from collections.abc import Callable, Mapping, MutableMapping
from difflib import get_close_matches
from itertools import takewhile
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ..errors import UsageError
from ..options.files import ISOLATED, Found, options_in_files
from ..options.option import Option, options_of, with_defaults
from .output import USAGE, exiting

# Our options, by the flags that other tools have for the same thing.
_HABITS = {
    "--bind ENDPOINT": ("--port", "--host", "--listen", "--address", "--endpoint", "-p", "-b"),
    "--backend NAME": ("--loop", "--worker-class", "-k"),
    "--workers N": ("--threads", "--concurrency", "--pool-size"),
    "--processes N": ("--procs", "--jobs", "--num-processes", "-w"),
    "--log-level debug": ("--verbose", "--debug", "-v"),
    "--log-level error": ("--quiet", "-q"),
    "--drain-timeout SECONDS": (
        "--graceful-timeout",
        "--timeout-graceful-shutdown",
        "--shutdown-timeout",
    ),
    "--max-connections N": ("--max-clients", "--limit-concurrency"),
    "--secret-key FILE": ("--certfile", "--keyfile", "--tls", "--ssl"),
    "--config FILE": ("--settings", "--conf", "-c"),
    "--no-wait": ("--fail-fast",),
    "--client NAME": ("--style",),
}
# Keys of a context's `meta`: the options found in files, and those given in any way.
_FILES, _GIVEN = "ringback.files", "ringback.given"
# All commands that read options from files.
COMMANDS = (
    *(
        "serve",
        "call",
        "describe",
        "stubs",
        "servers",
        "health",
        "top",
        "compare",
        "report",
        "tune",
    ),
    *("request-reply", "fire-and-callback"),
)
# The options of each command.
DESCRIBED: dict[str, dict[str, Option]] = {}

_SWITCH = Option("", kind=bool)

# Maximum columns of the flags in help.
_WIDTH = 30


class Command(TyperCommand):
    """A command that groups its options in help and suggests ours for flags of other tools."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            name = getattr(error, "option_name", None)
            if name is None or not hasattr(error, "possibilities"):
                raise
            error.message, error.possibilities = self.unknown(name, error.possibilities or ()), None
            raise

    def unknown(self, name: str, close: typing.Sequence[str]) -> str:
        """The error for an unknown option."""
        there = {word for param in self.params for word in param.opts}
        known = [
            usual
            for usual, others in _HABITS.items()
            if name in others and usual.split()[0] in there
        ]
        hint = " or ".join(known or get_close_matches(name, close, 1))
        return f"there is no option {name}{f', did you mean {hint}?' if hint else ''}"

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if param.param_type_name == "argument":
                if text := getattr(param, "help", None):
                    groups.setdefault("Arguments", []).append(
                        (param.metavar or param.name.upper(), text)
                    )
            elif (record := param.get_help_record(ctx)) is not None:
                option = DESCRIBED.get(self.name or "", {}).get(param.name)
                is_off = param.secondary_opts and not (option and option.default)
                flag = param.opts[0] if is_off else record[0]
                title = getattr(param, "rich_help_panel", None) or "Options"
                groups.setdefault(title, []).append((flag, record[1]))
        width = min(_WIDTH, max(len(flag) for rows in groups.values() for flag, _ in rows))
        for title in sorted(
            groups, key=lambda title: title == "Options"
        ):  # the options of all commands come last
            with formatter.section(title):
                formatter.write_dl(
                    [(flag.ljust(width), text) for flag, text in groups[title]], col_max=_WIDTH
                )


class MethodCommand(Command):
    """A command whose words are arguments of a method: -1 is one, but --word is an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = [
            "--help",
            *(word for option in self.params for word in option.opts if word[:1] == "-"),
        ]
        for word in takewhile(lambda word: word != "--", args):
            name = word.partition("=")[0]
            if name.startswith("--") and name not in options:
                text = f"{self.unknown(name, options)}; put arguments after --"
                raise typer.BadParameter(text, ctx=ctx)
        return super().parse_args(ctx, args)


def takes(
    command: str,
    *kinds: Any,
    groups: typing.Sequence[str] = (),
    first: typing.Sequence[str] = (),
    argument: str = "",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the function is the command of that name and takes the options of these
    TypedDicts.

    `groups` is the order of the groups in help; `first` lists the options that help shows first.
    `argument` is the argument that the environment and files may set, too.
    """
    described = {name: option for kind in kinds for name, option in options_of(kind).items()}
    order = [*groups, *(option.group for option in described.values())]
    names = [*first, *described]
    described = {name: described[name] for name in sorted(described, key=names.index)}
    described = dict(sorted(described.items(), key=lambda item: order.index(item[1].group)))
    assert command in COMMANDS
    DESCRIBED[command] = described
    return taking(command, described, argument)


def taking(
    command: str, described: dict[str, Option], argument: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: pass these options to the function as its parameter `options`.

    Each comes from a flag, from a variable RINGBACK_<COMMAND>_<OPTION>, or from a file, in this
    order of precedence. A parameter `context` of the function is typer's.
    """
    options = {name: option for name, option in described.items() if option.in_command}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        hints = typing.get_type_hints(function, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(function).parameters.values()
            if parameter.name not in ("options", "context")
        ]
        wants_context = "context" in hints
        in_files = {argument: Option("", name=argument, flag=argument)} if argument else {}

        def run(context: typer.Context, **values: Any) -> Any:
            with exiting(USAGE):
                given = context.meta[_GIVEN] = _given(context, command, options, values)
                read = {name: options[name].parse(*found) for name, found in given.items()}
            own_values = {name: value for name, value in values.items() if name not in options}
            del own_values["config"]
            if wants_context:
                own_values["context"] = context
            return function(**own_values, options=with_defaults(described, read))

        parameters = [
            inspect.Parameter(
                "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
            ),
            *own,
            *(_parameter(option) for option in options.values()),
            _keyword("config", _config(command, options | in_files, argument), None),
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        return run

    return decorate


def variable(option: Option, command: str) -> str:
    """The environment variable that sets the option for that command."""
    return f"RINGBACK_{command}_{option.flag}".upper().replace("-", "_")


def words_of(context: typer.Context, *without: str, flags_alone: bool = False) -> list[str]:
    """The options that this command was given, as flags for another command of its kind.

    `without` names options to leave out. `flags_alone` takes only options given as flags.
    """
    words: list[str] = []
    given: dict[str, Found] = context.meta[_GIVEN]
    for param in context.command.params:
        found = given.get(param.name or "")
        if (
            found is None
            or param.name in without
            or (flags_alone and not found.where.startswith("-"))
        ):
            continue
        if isinstance(found.words, list):
            words += [word for each in found.words for word in (param.opts[0], each)]
        elif param.secondary_opts:
            on = _SWITCH.parse(found.words, found.where)
            words.append(param.opts[0] if on else param.secondary_opts[0])
        else:
            words += [param.opts[0], str(found.words)]
    return words


def freeze(context: typer.Context, command: str, environment: MutableMapping[str, str]) -> None:
    """Put the options from files into the environment of child processes.

    They keep these values even if the files change.
    """
    given: dict[str, Found] = context.meta[_GIVEN]
    for name, found in given.items():
        if found == context.meta[_FILES].get(name):
            words = found.words
            text = shlex.join(words) if isinstance(words, list) else str(words)
            environment[variable(DESCRIBED[command][name], command)] = text
    environment[ISOLATED] = "1"


def _given(
    context: typer.Context, command: str, options: Mapping[str, Option], values: Mapping[str, Any]
) -> dict[str, Found]:
    """The words of each given option, from the source with the highest precedence."""
    given = {}
    for name, option in options.items():
        if values[name] is not None and values[name] != []:
            given[name] = Found(values[name], f"--{option.flag}")
            continue
        for named in (variable(option, command), option.variable):
            text = os.environ.get(named) if named else None
            if text:
                given[name] = Found(_split(text, named) if option.repeated else text, named)
                break
        else:
            if name in context.meta[_FILES]:
                given[name] = context.meta[_FILES][name]
    return given


def _split(text: str, where: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def _parameter(option: Option) -> inspect.Parameter:
    kind: Any = str | None
    flag = f"--{option.flag}"
    if option.kind is bool:
        kind, flag = bool | None, f"{flag}/--no-{option.flag}"
    elif option.repeated:
        kind = list[str] | None
    described = typer.Option(
        flag,
        help=option.line,
        metavar=option.metavar or None,
        show_default=False,
        rich_help_panel=option.group,
        autocompletion=(lambda: list(option.words)) if option.choices else None,
    )
    return _keyword(option.name, Annotated[kind, described], None)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _config(command: str, options: dict[str, Option], argument: str) -> Any:
    """The option `--config`, which is read before all others."""

    def read(context: typer.Context, file: str | None) -> str | None:
        if context.resilient_parsing:
            return file
        with exiting(USAGE):
            found = options_in_files(command, options, COMMANDS, file)
        context.default_map = {argument: found[argument].words} if argument in found else {}
        context.meta[_FILES] = found
        return file

    return Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="FILE",
            is_eager=True,
            callback=read,
            envvar=f"RINGBACK_{command}_CONFIG".upper().replace("-", "_"),
            show_envvar=False,
            help="TOML file with options; environment variables override it",
        ),
    ]
