"""A loop and a client style that another package brings, by their entry points: the conformance
suite on them, and the command line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
TESTS = HERE.parent
# (its server is given no keys: the fixtures of CURVE make their own)
PROMISES = (
    "calls",
    "errors",
    "fire",
    "streams",
    "uploads",
    "deadlines",
    "cancelling",
    "options",
    "values",
    "closing",
)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that brings the loop is where Python looks for packages."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("RINGBACK_BACKEND", "fifth")


@pytest.mark.timeout(300)
def test_the_conformance_suite_passes_on_a_fifth_loop(installed: None) -> None:
    files = [str(TESTS / "conformance" / f"test_{name}.py") for name in PROMISES]
    words = ("-q", "-x", "-p", "no:cacheprovider", "-k", "threading-client or fifth-client", *files)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "threading client on fifth" in done.stdout
    assert "fifth client on fifth" in done.stdout


def test_the_command_line_takes_what_is_found(installed: None) -> None:
    words = [
        sys.executable,
        "-m",
        "ringback",
        "serve",
        f"{TESTS}/service.py:service",
        "--backend",
        "sixth",
    ]
    done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert "choose one of asyncio, gevent, threading, twisted, fifth" in done.stderr


def test_the_command_line_calls_by_the_style_that_is_found(
    installed: None, running_server: Any
) -> None:
    words = [
        sys.executable,
        "-m",
        "ringback",
        "call",
        running_server("fifth").endpoint,
        "add",
        "2",
        "3",
    ]
    done = subprocess.run(
        [*words, "--client", "fifth"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("5\n", "", 0)
