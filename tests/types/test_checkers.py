"""Programs of users, and the modules that `ringback stubs` writes, under `mypy --strict` and
pyright: each finds the lines that are wrong,
and no others."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ringback

PROGRAMS = Path(__file__).with_name("programs")
# A service with all that a module can say, and the styles for which it is written.
SHOP = Path(__file__).parent.parent / "stubs" / "shop.py"
STYLES = ("asyncio", "gevent", "threading", "twisted")
NAMES = sorted(path.name for path in PROGRAMS.glob("*.py")) + [
    f"written_{style}.py" for style in STYLES
]


def wrong(path: Path) -> set[int]:
    """The numbers of the lines that are marked as wrong."""
    lines = path.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs and the modules, and beside them the package that is installed, which no checker
    finds where it is editable.
    """
    home = tmp_path_factory.mktemp("types")
    shutil.copytree(PROGRAMS, home, dirs_exist_ok=True)
    (home / "installed").mkdir()
    (home / "installed" / "ringback").symlink_to(Path(ringback.__file__).parent)
    for style in STYLES:
        words = ["stubs", f"{SHOP}:service", "--client", style, "--output", f"written_{style}.py"]
        subprocess.run([sys.executable, "-m", "ringback", *words], cwd=home, check=True)
    return home


def by_mypy(home: Path) -> Iterator[tuple[str, int]]:
    """The lines that mypy refuses."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", *NAMES],
        capture_output=True,
        text=True,
        cwd=home,
        env={**os.environ, "MYPYPATH": str(home / "installed")},
        check=False,
    )
    assert done.stderr == "", done
    for found in re.finditer(r"^(\w+\.py):(\d+): error", done.stdout, re.MULTILINE):
        yield found[1], int(found[2])


def by_pyright(home: Path) -> Iterator[tuple[str, int]]:
    """The lines that pyright refuses."""
    settings = {
        "typeCheckingMode": "strict",
        "extraPaths": ["installed"],
        "include": NAMES,
        "reportMissingTypeStubs": False,
    }
    (home / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
        cwd=home,
        check=False,
    )
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        if found["severity"] == "error":
            yield Path(found["file"]).name, found["range"]["start"]["line"] + 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("checker", "module"), [(by_mypy, "mypy"), (by_pyright, "basedpyright")])
def test_a_checker_finds_what_is_wrong_and_nothing_else(checker, module: str, home: Path) -> None:
    pytest.importorskip(module, reason=f"{module} is not installed; tox -e types has it")
    found: dict[str, set[int]] = {name: set() for name in NAMES}
    for name, line in checker(home):
        found[name].add(line)
    assert found == {name: wrong(home / name) for name in NAMES}
    assert sum(map(len, found.values())) > 60
