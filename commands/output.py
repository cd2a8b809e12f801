"""How commands end: a JSON result, or one clear line without a traceback; and an exit status."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from ..errors import CallError, UsageError
from ..terminal import fail, guarded, printable_json, say

# Exit statuses: the request failed, the command line is wrong regardless of the machine, the server
# did not start.
FAILED, USAGE, NOT_STARTED = 1, 2, 3


@contextmanager
def exiting(status: int) -> Iterator[None]:
    """Turn a UsageError into one line on standard error and exit with that status."""
    try:
        yield
    except UsageError as error:
        fail(str(error))
        raise typer.Exit(status) from None


class NotJson(Exception):
    """The result cannot be represented in JSON."""


def print_json(value: Any, indent: int | None = None) -> None:
    """Print the value as JSON; types that JSON lacks (bytes, dates, sets) as msgspec encodes them.

    Raises NotJson.
    """
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
            "the result cannot be written as JSON, which has no NaN, no infinity and no lists as "
            "keys: "
            f"call the method from Python ({error})"
        ) from None
    say(printable_json(text))


class Printer:
    """A callback that prints values. It must not raise, so it keeps its first error for `check`."""

    def __init__(self) -> None:
        self._error: Exception | None = None

    def __call__(self, value: Any) -> None:
        if self._error is None:
            try:
                print_json(value)
            except (NotJson, OSError) as error:
                self._error = error

    def check(self) -> None:
        """Raise the first error. Call it when all callbacks have run."""
        if self._error is not None:
            raise self._error


def run_command(command: Callable[..., Any], args: Sequence[str] | None) -> int:
    """Run a typer app or command and print each error as one line. Returns the exit status."""
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
