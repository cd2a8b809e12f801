"""The command that runs Python as this process was started: with the same options, such as `-O`, `-X dev`, `-W error` and `-P`."""

from __future__ import annotations

import subprocess
import sys


def command(*words: str, python: str = "") -> list[str]:
    """The interpreter (or another one, `python`), the options of this one, and the words that follow them."""
    # What multiprocessing starts its own children with; the standard library has no public name for it.
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [python or sys.executable, *options, *words]
