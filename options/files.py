"""Options in files: pyproject.toml in the working directory, overridden by the file of `--config`.

# In pyproject.toml. A file of --config has [serve], or no table for the command that reads it.
[tool.ringback.serve]
workers = 64
bind = ["tcp://127.0.0.1:5555"]
resource = {db = 4}
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UsageError
from .option import Option, hint

PROJECT = Path("pyproject.toml")

# Environment variable that makes a process ignore pyproject.toml.
ISOLATED = "RINGBACK_ISOLATED"


class Found(NamedTuple):
    """The words of an option and their source."""

    words: str | list[str] | bool
    where: str


def options_in_files(
    command: str, options: Mapping[str, Option], commands: Sequence[str], file: str | None
) -> dict[str, Found]:
    """The options that the files set, by name.

    Raises UsageError for an unreadable file, an unknown option, and a table that is not one of the
    `commands`.
    """
    found: dict[str, Found] = {}
    if ISOLATED not in os.environ and PROJECT.is_file():
        ours = _ours(_read(PROJECT), str(PROJECT))
        _check_tables(ours, commands, f"{PROJECT} [tool.ringback]")
        found |= _options(ours.get(command, {}), options, f"{PROJECT} [tool.ringback.{command}]")
    if file is not None:
        content = _read(Path(file))
        if "tool" in content:
            content, file = _ours(content, file), f"{file} [tool.ringback]"
        flags = {option.flag for option in options.values()}
        plain = {name: value for name, value in content.items() if name.replace("_", "-") in flags}
        tables = {name: value for name, value in content.items() if name not in plain}
        _check_tables(tables, commands, file, options=flags)
        found |= _options(plain, options, file)
        found |= _options(tables.get(command, {}), options, f"{file} [{command}]")
    return found


def _ours(content: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The table [tool.ringback]."""
    table: Any = content
    for name in ("tool", "ringback"):
        table = table.get(name, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise UsageError(f"{file}: tool.ringback must be a table, with one for each command")
    return table


def _check_tables(
    tables: Mapping[str, Any], commands: Sequence[str], where: str, options: Iterable[str] = ()
) -> None:
    for name, value in tables.items():
        known = name in commands
        if known and isinstance(value, dict):
            continue
        if known:
            raise UsageError(f"{where}: {name} must be a table of options, not {value!r}")
        kind = "command" if isinstance(value, dict) else "option"
        raise _unknown(where, kind, name, commands if kind == "command" else options)


def _unknown(where: str, kind: str, name: str, known: Iterable[str]) -> UsageError:
    return UsageError(f"{where}: there is no {kind} {name!r}{hint(name.replace('_', '-'), known)}")


def isolated(environment: Mapping[str, str], command: str) -> dict[str, str]:
    """The environment for a process whose command must ignore the user's options.

    The process uses only the options it receives on its command line.
    """
    own = f"RINGBACK_{command.upper()}_"
    return {name: value for name, value in environment.items() if not name.startswith(own)} | {
        ISOLATED: "1"
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # includes UnicodeDecodeError
        raise UsageError(f"{file} is not TOML: {error}") from None


def _options(
    table: Mapping[str, Any], options: Mapping[str, Option], where: str
) -> dict[str, Found]:
    found = {}
    by_flag = {option.flag: option for option in options.values()}
    for key, value in table.items():
        option = by_flag.get(key.replace("_", "-"))
        if option is None:
            raise _unknown(where, "option", key, by_flag)
        found[option.name] = Found(_words(option, value, f"{where}: {key}"), f"{where}: {key}")
    return found


def _words(option: Option, value: Any, where: str) -> str | list[str] | bool:
    """The value in the form that the command line has."""
    if option.kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{where} must be true or false, not {value!r}")
        return value
    if option.repeated:
        if isinstance(value, dict):
            return [f"{name}={json.dumps(each, default=str)}" for name, each in value.items()]
        return [str(each) for each in (value if isinstance(value, list) else [value])]
    if isinstance(value, (list, dict)):
        raise UsageError(f"{where} must be one value, not {value!r}")
    return str(value)
