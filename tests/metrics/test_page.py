"""The page at which metrics are served, as HTTP."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from processes import SOON
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families
from ringback.errors import UsageError
from ringback.metrics.page import MetricsPage


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("seen", "What was seen", registry=registry).inc(3)
    return registry


@pytest.fixture
def page(registry: CollectorRegistry) -> Iterator[MetricsPage]:
    page = MetricsPage("127.0.0.1:0", registry)
    yield page
    page.close()


def ask(
    page: MetricsPage, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, str, str]:
    place = urlsplit(page.url)
    assert place.hostname is not None
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=SOON)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, response.headers["Content-Type"], body


def test_the_metrics_are_there(page: MetricsPage) -> None:
    status, kind, text = ask(page)
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    samples = {
        each.name: each.value
        for one in text_string_to_metric_families(text)
        for each in one.samples
    }
    assert samples["seen_total"] == 3.0
    status, kind, text = ask(
        page, "/metrics?x=1", Accept="application/openmetrics-text; version=1.0.0"
    )
    assert (status, kind.partition(";")[0], text.endswith("# EOF\n")) == (
        200,
        "application/openmetrics-text",
        True,
    )
    assert ask(page, method="HEAD")[::2] == (200, "")


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/metrics", "POST", 405)]
)
def test_another_request_is_refused(page: MetricsPage, path: str, method: str, status: int) -> None:
    assert ask(page, path, method)[0] == status


@pytest.mark.parametrize(
    "request_bytes",
    [b"", b"\r\n\r\n", b"GET\r\n\r\n", b"\0\xff" * 10_000, b"GET /metrics HTTP/2\r\n\r\n"],
)
def test_what_is_no_request_harms_nothing(page: MetricsPage, request_bytes: bytes) -> None:
    place = urlsplit(page.url)
    with socket.create_connection((place.hostname, place.port), SOON) as connection:
        connection.settimeout(SOON)
        try:
            connection.sendall(request_bytes)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
        except OSError:  # it was too long, and not read to its end
            answer = b"HTTP/1.1 400 "
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert ask(page)[0] == 200


def test_slow_connections_keep_nobody_waiting_for_long(page: MetricsPage) -> None:
    place = urlsplit(page.url)
    slow = [socket.create_connection((place.hostname, place.port), SOON) for _ in range(8)]
    over = threading.Event()

    def trickle() -> None:
        while not over.wait(0.2):
            for connection in slow:
                with suppress(OSError):
                    connection.sendall(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert ask(page)[0] == 200
    finally:
        over.set()
        thread.join()
        for connection in slow:
            connection.close()


def test_silent_connections_keep_nobody_waiting_for_long(page: MetricsPage) -> None:
    place = urlsplit(page.url)
    silent = [socket.create_connection((place.hostname, place.port), SOON) for _ in range(10)]
    assert ask(page)[0] == 200
    for connection in silent:
        connection.close()


def test_an_address_that_cannot_be_had_is_one_line(
    page: MetricsPage, registry: CollectorRegistry
) -> None:
    place = urlsplit(page.url)
    with pytest.raises(
        UsageError, match=rf"metrics: cannot listen at 127.0.0.1:{place.port}: Address already"
    ):
        MetricsPage(f"127.0.0.1:{place.port}", registry)
    with pytest.raises(UsageError, match=r"metrics: cannot listen at nowhere\.invalid:1"):
        MetricsPage("nowhere.invalid:1", registry)
    page.close()
    MetricsPage(f"127.0.0.1:{place.port}", registry).close()
