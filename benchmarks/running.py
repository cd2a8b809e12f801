"""Shared parts of the benchmarks: options, and servers that they start and stop."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
BACKENDS = ("asyncio", "gevent", "threading", "twisted")


def options_of(doc: str | None) -> argparse.ArgumentParser:
    """A parser with `--backend`, which may be repeated."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", action="append", choices=BACKENDS)
    return parser


@contextmanager
def program(
    *command: str, python: str = sys.executable
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a Python program during the `with`. Yields the process and its first line of output."""
    process = subprocess.Popen([python, *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.terminate()
        process.wait()


@contextmanager
def server(
    backend: str, *options: str, python: str = sys.executable
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server of the benchmark service. Yields the process and its endpoint.

    `python` is the interpreter of an environment that has ringback.
    """
    words = ("--backend", backend, "--bind", "tcp://127.0.0.1:*", "--log-level", "error", *options)
    command = ("-m", "ringback.server", f"{HERE / 'service.py'}:service", *words)
    with program(*command, python=python) as (process, line):
        yield process, line.split()[-2]


@contextmanager
def bare_echo(endpoint: str) -> Iterator[subprocess.Popen[str]]:
    """Run the baseline: a ROUTER that echoes its messages."""
    with program(str(HERE / "bare.py"), endpoint) as (process, _):
        yield process
