"""Lists each promise of docs/reliability.md with its tests.

Run `python tests/promised.py` or `make promises`. The exit status is 1 if a promise names no
command, or a command names no existing file or test.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"

_COMMAND = re.compile(r"`((?:pytest|python|tox|tests/)[^`]*)`")


class Promise(NamedTuple):
    """A row of one of the page's tables, and the commands that it names."""

    text: str
    commands: list[str]


def promises(page: str) -> Iterator[Promise]:
    """The promises of a page: the rows of its tables that begin with a column "promise"."""
    table = False
    for line in page.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            table = False
        elif cells[0] == "promise":
            table = True
        elif table and not set(cells[0]) <= set("-: "):
            commands = [
                f"pytest {command}" if command.startswith("tests/") else command
                for command in _COMMAND.findall(line)
            ]
            yield Promise(cells[0], commands)


def collected() -> list[str]:
    """The names of all tests."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "--no-header", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if "::" in line and line.startswith("tests/")]


def missing(command: str, tests: Collection[str]) -> str:
    """Why the command runs no test, or ""."""
    program, *words = shlex.split(command)
    paths = [word for word in words if "/" in word and not word.startswith("-")]
    for path in paths:
        if not (ROOT / path.split("::")[0]).exists():
            return f"there is no {path}"
    if program != "pytest":
        return ""
    wanted = words[words.index("-k") + 1].split(" or ") if "-k" in words else [""]
    for word in wanted:
        if not any(word in test and test.startswith(tuple(paths)) for test in tests):
            return (
                f"no test of {' '.join(paths)} has {word!r} in its name"
                if word
                else f"{paths} has no test"
            )
    return ""


def main() -> int:
    tests = collected()
    assert tests, "no test was collected"
    status = 0
    for promise in promises(PAGE.read_text()):
        print(f"- {promise.text}")
        problems = [missing(command, tests) for command in promise.commands]
        if not promise.commands:
            problems = ["it names no command"]
        for command in promise.commands:
            print(f"    {command}")
        for problem in filter(None, problems):
            print(f"    WRONG: {problem}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
