"""What a command ends with: its result as JSON, or one clear line and never a traceback; and its exit status."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from ..errors import CallError, UsageError
from ..terminal import fail, guarded, printable_json, say

# Exit statuses: what was asked for failed, the command line is wrong, whatever the machine holds, and a server did not start.
FAILED, USAGE, NOT_STARTED = 1, 2, 3


@contextmanager
def exiting(status: int) -> Iterator[None]:
    """What is wrong within is one line, and ends the command with that status."""
    try:
        yield
    except UsageError as error:
        fail(str(error))
        raise typer.Exit(status) from None


class NotJson(Exception):
    """The result has no form in JSON."""


def print_json(value: Any, indent: int | None = None) -> None:
    """Print as JSON; what JSON has not (bytes, dates, sets) as msgspec writes it. Raises NotJson."""
    import msgspec

    try:
        text = json.dumps(
            msgspec.to_builtins(value),
            allow_nan=False,
            ensure_ascii=False,
            indent=indent,
            separators=None if indent else (",", ":"),
        )
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise NotJson(
            "the result has no form in JSON, which knows no NaN, no infinity and no lists as keys: "
            f"call the method from Python ({error})"
        ) from None
    say(printable_json(text))


class Printer:
    """Prints what a callback gets, which must not raise: the first error is kept for `check`."""

    def __init__(self) -> None:
        self._error: Exception | None = None

    def __call__(self, value: Any) -> None:
        if self._error is None:
            try:
                print_json(value)
            except (NotJson, OSError) as error:
                self._error = error

    def check(self) -> None:
        """To be called when all callbacks have run."""
        if self._error is not None:
            raise self._error


def run_command(command: Callable[..., Any], args: Sequence[str] | None) -> int:
    """Run a typer app or command, with every error as its one line."""
    return guarded(lambda: _run(command, args))


def _run(command: Callable[..., Any], args: Sequence[str] | None) -> int:
    try:
        status = command(args=args, standalone_mode=False)
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except typer.TyperException as error:
        return _show_usage(error)
    except (UsageError, NotJson) as error:
        return fail(str(error))
    except CallError as error:
        return fail(f"{error.code}: {error}")
    return status if isinstance(status, int) else 0


def _show_usage(error: Any) -> int:
    error.show()  # a usage line and the reason
    status: int = error.exit_code
    return status
