"""What is built and installed: the wheel in a fresh environment without extras, its imports, and
what it must not contain.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)  # a wheel is built and installed, with its dependencies

ROOT = Path(__file__).resolve().parent.parent

NOT_INSTALLED = ("tests", "docs", "examples", "benchmarks")
# tox builds an sdist for each environment, and setuptools puts its files together in
# ringback-VERSION/, here in the checkout:
# with environments in parallel, such a directory may appear and be gone at any time.
PASSING = "ringback-*"
NOT_COPIED = (".*", "build", "dist", "*.egg-info", "__pycache__", PASSING)

SERVICE = """
import ringback

service = ringback.Service("calc")


@service.method
def add(a: int, b: int) -> int:
    return a + b


readers = ringback.Service("readers")
readers.method(readonly=True)(add)
"""

# What a message's bytes may pass through, from the socket to the handler and back.
WIRE_PATH = sorted(
    [
        *ROOT.glob("protocol/*.py"),
        *(
            path
            for room in ("connections", "calls", "declare")
            for path in ROOT.glob(f"server/{room}/*.py")
        ),
        *(path for path in ROOT.glob("clients/**/*.py") if path.name != "scripts.py"),
        *ROOT.glob("balancing/*.py"),
        ROOT / "errors.py",
    ]
)


def packages() -> list[str]:
    """The packages of the source tree, as they are to be imported."""
    folders = (
        path
        for path in ROOT.iterdir()
        if path.name not in NOT_INSTALLED
        and not any(path.match(pattern) for pattern in NOT_COPIED)
        and (path / "__init__.py").exists()
    )
    found = (made.parent for folder in folders for made in folder.rglob("__init__.py"))
    return [
        "ringback",
        *sorted(".".join(("ringback", *path.relative_to(ROOT).parts)) for path in found),
    ]


def environment() -> dict[str, str]:
    """Without what would let the checkout, or this environment, be seen from the fresh one."""
    hidden = (
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONSAFEPATH",
        "VIRTUAL_ENV",
    )
    return {name: value for name, value in os.environ.items() if name not in hidden}


def run(*command: str | Path, cwd: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def checked(*command: str | Path, cwd: Path, timeout: float = 60) -> str:
    done = run(*command, cwd=cwd, timeout=timeout)
    assert done.returncode == 0, f"{done.args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree so that nothing is left in the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    tree = directory / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED))
    checked(
        *(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", directory, "."),
        cwd=tree,
        timeout=240,
    )
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that holds the wheel and what it requires, and no
    extras.
    """
    directory = tmp_path_factory.mktemp("fresh")
    checked(sys.executable, "-m", "venv", directory / "venv", cwd=directory)
    interpreter = directory / "venv" / "bin" / "python"
    checked(interpreter, "-m", "pip", "install", wheel, cwd=directory, timeout=240)
    return interpreter


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory outside the checkout, with a service."""
    directory = tmp_path_factory.mktemp("home")
    (directory / "calc.py").write_text(SERVICE, encoding="utf-8")
    return directory


# The wheel


def test_every_package_of_the_source_tree_is_imported_from_the_wheel(
    python: Path, home: Path
) -> None:
    names = packages()
    assert {
        "ringback",
        "ringback.protocol",
        "ringback.backends",
        "ringback.server",
        "ringback.clients",
    } <= {*names}
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    print(importlib.import_module(name).__file__)\n"
    )
    files = checked(python, "-c", code, *names, cwd=home).splitlines()
    assert len(files) == len(names)
    assert [file for file in files if not Path(file).is_relative_to(python.parent.parent)] == []


def test_every_module_of_the_source_tree_is_in_the_wheel(wheel: Path) -> None:
    expected = {
        str(Path("ringback", path.relative_to(ROOT)))
        for name in packages()
        for path in ROOT.joinpath(*name.split(".")[1:]).glob("*.py")
    }
    with zipfile.ZipFile(wheel) as archive:
        assert expected - set(archive.namelist()) == set()


def test_the_wheel_is_marked_as_typed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert "ringback/py.typed" in archive.namelist()


def test_tests_docs_examples_and_benchmarks_are_not_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        paths = [Path(name) for name in archive.namelist()]
    tops = {path.parts[0] for path in paths if not path.parts[0].endswith(".dist-info")}
    assert tops == {"ringback"}
    directories = {
        path.parts[1] for path in paths if path.parts[0] == "ringback" and len(path.parts) > 2
    }
    assert directories <= {name.split(".")[1] for name in packages() if "." in name}
    assert directories & {*NOT_INSTALLED} == set()


def test_the_wheel_is_for_any_python_and_platform(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_installed_commands_run(python: Path, home: Path) -> None:
    assert "Usage:" in checked(python.parent / "ringback", "--help", cwd=home)
    assert "Usage:" in checked(python, "-m", "ringback", "--help", cwd=home)


def test_wrong_usage_ends_with_2_where_only_the_requirements_are_installed(
    python: Path, home: Path
) -> None:
    done = run(python, "-m", "ringback", "--nosuch", cwd=home)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.skipif(
    "TOX_ENV_NAME" not in os.environ, reason="only tox promises to test what is installed"
)
def test_tox_tests_the_installed_package_and_not_the_checkout() -> None:
    import ringback

    assert Path(str(ringback.__file__)).is_relative_to(sysconfig.get_path("purelib"))


# What an import costs


def best_of(count: int, *command: str | Path, cwd: Path) -> float:
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        checked(*command, cwd=cwd)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def test_importing_ringback_costs_under_150_ms(python: Path, home: Path) -> None:
    checked(python, "-c", "import ringback", cwd=home)  # compiles
    bare = best_of(5, python, "-c", "pass", cwd=home)
    ours = best_of(5, python, "-c", "import ringback", cwd=home)
    assert ours - bare < 0.150


def test_importing_ringback_imports_no_event_loop_and_no_command_line(
    python: Path, home: Path
) -> None:
    code = "import sys, ringback; print(*sorted(sys.modules))"
    imported = set(checked(python, "-c", code, cwd=home).split())
    assert "ringback" in imported
    assert imported & {"asyncio", "gevent", "twisted", "typer", "rich", "uvloop"} == set()


def test_every_public_name_is_there_at_first_use(python: Path, home: Path) -> None:
    checked(
        python,
        "-c",
        "import ringback\nfor name in ringback.__all__: getattr(ringback, name)",
        cwd=home,
    )


# What is not installed is one line that names the extra


@pytest.mark.parametrize(
    ("args", "extra"),
    [
        (["serve", "calc:service", "--bind", "tcp://127.0.0.1:*", "--backend", "gevent"], "gevent"),
        (
            ["serve", "calc:service", "--bind", "tcp://127.0.0.1:*", "--backend", "twisted"],
            "twisted",
        ),
        (["serve", "calc:service", "--bind", "tcp://127.0.0.1:*", "--uvloop"], "uvloop"),
        (
            ["serve", "calc:service", "--bind", "tcp://127.0.0.1:*", "--executor", "process"],
            "process",
        ),
        (
            [
                "serve",
                "calc:readers",
                "--bind",
                "tcp://127.0.0.1:*",
                "--executor",
                "dask",
                "--dask",
                "tcp://127.0.0.1:1",
            ],
            "dask",
        ),
        (["call", "tcp://127.0.0.1:1", "add", "--client", "gevent", "--timeout", "1"], "gevent"),
        (["call", "tcp://127.0.0.1:1", "add", "--client", "twisted", "--timeout", "1"], "twisted"),
        (["compare"], "compare"),
        (["tune", "calc:service", "--scenario", "calc.py"], "tune"),
    ],
    ids=[
        *(
            "serve on gevent",
            "serve on twisted",
            "serve on uvloop",
            "serve from processes",
            "serve from Dask",
        ),
        *("call with gevent", "call with twisted", "compare", "tune"),
    ],
)
def test_what_needs_an_extra_says_in_one_line_which(
    args: list[str], extra: str, python: Path, home: Path
) -> None:
    done = run(python, "-m", "ringback", *args, cwd=home)
    assert done.returncode == (3 if args[0] == "serve" else 1), done
    assert done.stdout == "", done
    assert re.fullmatch(rf"ringback: [^\n]*ringback\[{extra}\][^\n]*\n", done.stderr), done.stderr


# The wire path runs no code that a message names


FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "importlib",
    "runpy",
}
# Names that others may have, too.
FORBIDDEN_IMPORTS = FORBIDDEN_MODULES | {"code", "imp", "subprocess"}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__", "import_module"}


def forbidden(tree: ast.AST) -> list[str]:
    """The uses of what turns data into code, each as `line: name`."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [
                f"{node.lineno}: {a.name}"
                for a in node.names
                if a.name.split(".")[0] in FORBIDDEN_IMPORTS
            ]
        elif isinstance(node, ast.ImportFrom):
            if not node.level and (node.module or "").split(".")[0] in FORBIDDEN_IMPORTS:
                found.append(f"{node.lineno}: {node.module}")
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES | FORBIDDEN_MODULES:
            found.append(f"{node.lineno}: {node.id}")
        elif isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_NAMES - {"compile"}:
            found.append(f"{node.lineno}: .{node.attr}")  # re.compile is no harm
        elif isinstance(node, ast.Attribute) and node.attr.startswith("__reduce"):
            found.append(f"{node.lineno}: .{node.attr}")
    return found


def test_the_scan_of_the_wire_path_finds_what_it_looks_for() -> None:
    for code in (
        "import pickle",
        "from pickle import loads",
        "import importlib.util",
        "eval(x)",
        "__import__(x)",
        "builtins.exec(x)",
        "from importlib import import_module as load",
    ):
        assert forbidden(ast.parse(code)), code
    assert not forbidden(ast.parse("import re\nre.compile('x')\nfrom .codec import loads"))


@pytest.mark.parametrize("path", WIRE_PATH, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_on_the_wire_path_turns_data_into_code(path: Path) -> None:
    assert forbidden(ast.parse(path.read_text(encoding="utf-8"), str(path))) == []
