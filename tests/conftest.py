"""What every test may ask for: servers on each backend, a blocking client, a program run to its
end, a Valkey server.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from processes import SERVICES, SOON, ServerProcess, chosen_backends
from ringback.clients.threading import ThreadingClient, connect

if TYPE_CHECKING:
    from stores import Valkey

# By client style and backend, what became of the promises.
_outcomes: dict[tuple[str, str], Counter[str]] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", chosen_backends(), scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """pytest-twisted would run every test inside the reactor, where no other loop can be trusted;
    the tests that need the
    reactor switch to it themselves (`pytest_twisted.blockon`)."""
    names = pyfuncitem._fixtureinfo.argnames
    pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    return True


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A real Valkey server that tests share, each with its own part of it."""
    pytest.importorskip("redis")
    from stores import Valkey  # few tests need it

    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.close()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server for this test alone."""
    pytest.importorskip("redis")
    from stores import Valkey  # few tests need it

    server = Valkey(tmp_path / "valkey")
    yield server
    server.close()


@pytest.fixture(scope="session")
def running_server() -> Iterator[Callable[..., ServerProcess]]:
    """`running_server(backend, service)`: a server shared by all tests; it must end with status 0
    when they are over.
    """
    servers: dict[tuple[str, str, Path], ServerProcess] = {}

    def get(backend: str, service: str = "service", path: Path = SERVICES) -> ServerProcess:
        if (backend, service, path) not in servers:
            servers[backend, service, path] = ServerProcess(backend, service, path=path)
        return servers[backend, service, path]

    yield get
    try:
        statuses = {name: server.stop() for name, server in servers.items()}
        assert statuses == dict.fromkeys(servers, 0)
    finally:
        for server in servers.values():
            server.kill()


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """`start_server(backend, service, *options, bind=...)`: a server for this test alone."""
    servers: list[ServerProcess] = []

    def start(*args: str, **kwargs: object) -> ServerProcess:
        servers.append(ServerProcess(*args, **kwargs))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def connected() -> Iterator[Callable[..., ThreadingClient]]:
    """`connected(endpoint, **options)`: a blocking client that is closed when the test is over."""
    clients: list[ThreadingClient] = []

    def make(*endpoints: str, **options: object) -> ThreadingClient:
        clients.append(connect(*endpoints, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close(now=True)


class Ran:
    """How a program ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def __repr__(self) -> str:
        return f"status {self.status}, stdout {self.out!r}, stderr {self.err!r}"


@pytest.fixture
def run_program(tmp_path: Path) -> Callable[..., Ran]:
    """`run_program("-m", "ringback", ...)`: run Python to its end, outside the checkout."""

    def run(*words: str, within: float = 2 * SOON, env: dict[str, str] | None = None) -> Ran:
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            timeout=within,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    pair = re.search(r"(\w+)-client-on-(\w+)-server", report.nodeid)
    if pair is not None and (report.when == "call" or report.outcome != "passed"):
        _outcomes.setdefault((pair[2], pair[1]), Counter())[report.outcome] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _outcomes:
        terminalreporter.section("conformance: every promise, each client style on each backend")
    for (backend, style), outcomes in sorted(_outcomes.items()):
        counts = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
        terminalreporter.line(f"{style:>9} client on {backend:<9} : {counts}")
