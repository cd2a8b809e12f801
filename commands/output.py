"""What a command ends with: its result as JSON, or one clear line and never a traceback; and its exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from ..errors import CallError, UsageError


def print_json(value: Any, indent: int | None = None) -> None:
    """Print as JSON; what JSON has not (bytes, dates) as msgspec writes it."""
    import msgspec

    text = msgspec.json.encode(value)
    typer.echo(msgspec.json.format(text, indent=indent) if indent else text)


def run_command(command: Callable[..., Any], args: Sequence[str] | None) -> int:
    """Run a typer app or command, with every error as its one line."""
    try:
        status = command(args=args, standalone_mode=False)
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except typer.TyperException as error:
        return _show_usage(error)
    except UsageError as error:
        return _fail(str(error))
    except CallError as error:
        return _fail(f"{error.code}: {error}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: no word at exit
        return 1
    return status if isinstance(status, int) else 0


def _show_usage(error: Any) -> int:
    error.show()  # a usage line and the reason
    status: int = error.exit_code
    return status


def _fail(text: str) -> int:
    print(f"ringback: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201
    return 1
