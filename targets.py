"""Targets: `MODULE:ATTRIBUTE` or `FILE.py:ATTRIBUTE`, how a command names something of the user's code."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from .errors import UsageError


def find(target: str) -> Any:
    """What the target names. Raises UsageError that says what is missing where."""
    where, _, attribute = target.rpartition(":")
    if not where or not attribute:
        raise UsageError(f"bad target {target!r}: it must be MODULE:ATTRIBUTE or FILE.py:ATTRIBUTE")
    found = _load_file(Path(where)) if where.endswith(".py") or os.sep in where else _load_module(where)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UsageError(f"{where} has no {attribute!r}")
        found = getattr(found, name)
    return found


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    sys.path.insert(0, str(path.parent.resolve()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _load_module(name: str) -> Any:
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except UsageError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise UsageError(f"there is no module {name!r}") from None
        raise UsageError(f"{name} cannot be imported: {error}") from error
    except Exception as error:
        raise UsageError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
