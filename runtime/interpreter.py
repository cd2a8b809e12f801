"""The command that starts Python with this process's options, such as `-O`, `-X dev` and `-P`."""

from __future__ import annotations

import subprocess
import sys


def command(*words: str, python: str = "") -> list[str]:
    """The interpreter (or `python`), the options of this process, and the given words."""
    # multiprocessing uses it for its children; the standard library has no public function.
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [python or sys.executable, *options, *words]
