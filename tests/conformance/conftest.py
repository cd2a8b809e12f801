"""The pair of client style and backend that a promise is tried on."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator

import pytest
from processes import Fleet, ServerProcess
from promises import STYLES, Pair, pairs


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pair" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("client_styles")
        metafunc.parametrize("pair", pairs(mark.args if mark else tuple(STYLES)), indirect=True)


@pytest.fixture
def pair(request: pytest.FixtureRequest, running_server: Callable[..., ServerProcess]) -> Pair:
    return Pair(*request.param, running_server)


@pytest.fixture(scope="session")
def _fleets() -> Iterator[dict[str, Fleet]]:
    fleets: dict[str, Fleet] = {}
    yield fleets
    for fleet in fleets.values():
        fleet.close()


@pytest.fixture
def fleet(pair: Pair, _fleets: dict[str, Fleet]) -> Fleet:
    """Three servers of this backend; what a test does to them is made good for the next."""
    if pair.backend not in _fleets:
        _fleets[pair.backend] = Fleet(pair.backend)
    _fleets[pair.backend].renew()
    return _fleets[pair.backend]


@pytest.fixture
def key() -> str:
    """A key for marks that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """`logged()`: all that was logged in this process, by Twisted too."""
    from twisted.python.log import PythonLoggingObserver

    observer = PythonLoggingObserver("twisted")
    observer.start()
    with caplog.at_level(logging.INFO):
        yield lambda: caplog.text
    observer.stop()
