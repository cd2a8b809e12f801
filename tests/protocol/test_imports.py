"""Values are data: nothing on the wire path can run code, or import what a message names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import ringback

ROOT = Path(ringback.__file__).parent
WIRE = sorted(
    [
        *ROOT.glob("protocol/*.py"),
        *ROOT.glob("balancing/*.py"),
        ROOT / "errors.py",
        ROOT / "server" / "arguments.py",
    ]
)
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "importlib",
    "runpy",
    "code",
    "subprocess",
    "imp",
}
CALLS = {"eval", "exec", "compile", "__import__", "import_module"}


def _names(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name):
                found.add(f"{function.id}()")
            elif isinstance(function, ast.Attribute) and function.attr in {"__import__", "import_module"}:
                found.add(f"{function.attr}()")
    return found


@pytest.mark.parametrize("path", WIRE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_wire_path_runs_no_code_and_imports_nothing_by_name(path):
    names = _names(ast.parse(path.read_text(encoding="utf-8")))
    assert not names & (MODULES | {f"{name}()" for name in CALLS})
