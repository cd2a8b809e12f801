"""Targets name the user's objects on a command line: `MODULE:ATTRIBUTE` or `FILE.py:ATTRIBUTE`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UsageError
from .logs.tracebacks import is_installed, located, location


def split(target: str) -> tuple[str, str]:
    """Split into the module or file and the attribute. Raises UsageError for an invalid target."""
    where, _, attribute = target.rpartition(":")
    if not where or not attribute:
        raise UsageError(f"bad target {target!r}: it must be MODULE:ATTRIBUTE or FILE.py:ATTRIBUTE")
    return where, attribute


def find(target: str) -> Any:
    """Import and return the object that the target names. Raises UsageError, which says what is
    missing."""
    where, attribute = split(target)
    found = (
        _load_file(Path(where)) if where.endswith(".py") or os.sep in where else _load_module(where)
    )
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UsageError(f"{where} has no {attribute!r}")
        found = getattr(found, name)
    return found


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    _check_name(path)
    sys.path.insert(0, str(path.parent.resolve()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    with _importing(str(path), f"python {path}"):
        spec.loader.exec_module(module)
    return module


def _check_name(path: Path) -> None:
    """Raise UsageError for a file that would shadow a module that others import by name."""
    name = path.stem
    if name in sys.stdlib_module_names and name != "test":
        whose = "a module of Python's standard library"
    elif name == __package__ or _is_installed(name):
        whose = "an installed package"
    else:
        return
    raise UsageError(f"{path} has the name of {whose} and would replace it: rename the file")


def _is_installed(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        return False
    return spec is not None and is_installed(spec.origin or "")


def _load_module(name: str) -> Any:
    sys.path.insert(0, os.getcwd())
    with _importing(name, f"python -c 'import {name}'"):
        return importlib.import_module(name)


@contextmanager
def _importing(what: str, command: str) -> Iterator[None]:
    """Turn exceptions of the user's code, even SystemExit, into a UsageError with their place."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except UsageError as error:
        where = location(error)
        raise UsageError(f"{error} ({where})" if where else str(error)) from error
    except SystemExit as error:
        raise UsageError(
            f"{what} ended the program when it was imported: {located(error)}: "
            "put the script's code under if __name__ == '__main__'"
        ) from error
    except BaseException as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and (what == missing or what.startswith(f"{missing}.")):
            raise UsageError(f"there is no module {what!r}") from None
        remedy = (
            f"install the package that has {missing}"
            if missing
            else f"{command} shows the traceback"
        )
        raise UsageError(f"{what} cannot be imported: {located(error)}: {remedy}") from error
