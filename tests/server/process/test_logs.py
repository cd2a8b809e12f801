"""What the server says of itself: its form, its fields, and its bound where a peer can cause it."""

from __future__ import annotations

import json
import logging

import pytest
import zmq
from ringback import errors
from ringback.logs.bounded import LINES, Bounded


def lines(server) -> list[dict]:
    return [json.loads(line) for line in server.log.splitlines()]


def test_a_handler_that_raises_is_logged_with_its_fields_and_traceback(start_server, connected, backend):
    server = start_server(backend, "service", "--log-format", "json")
    client = connected(server.endpoint)
    with pytest.raises(errors.RemoteError):
        client.call("fail", "some words")
    assert server.logged("raised for")
    (line,) = [line for line in lines(server) if "raised for" in line["message"]]
    assert (line["level"], line["logger"], line["method"], line["code"]) == (
        "error",
        "ringback.server",
        "fail",
        "UNKNOWN",
    )
    assert "some words" in line["exception"]


def test_a_mistake_of_a_client_leaves_no_traceback(start_server, connected):
    server = start_server("asyncio")
    client = connected(server.endpoint)
    for method, args in (("nosuch", ()), ("add", ("one",)), ("add", (1, 2, 3))):
        with pytest.raises(errors.CallError):
            client.call(method, *args)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.LINGER, 0)
        socket.connect(server.endpoint)
        socket.send(b"nonsense")
        assert server.logged("cut off")
    assert "Traceback" not in server.log


def test_what_peers_cause_is_logged_within_bounds(start_server, connected):
    server = start_server("asyncio")
    client = connected(server.endpoint)
    for _ in range(2000):
        client.notify("nosuch")
    client.call("ringback.ping")
    assert server.logged("dropped")
    assert server.log.count("one-way call to") < 200


def test_nothing_below_the_level_that_was_asked_for_is_written(start_server, connected):
    server = start_server("asyncio", "service", "--log-level", "error")
    connected(server.endpoint).notify("nosuch")
    connected(server.endpoint).call("ringback.ping")
    assert server.stop() == 0
    assert server.log == ""


def test_lines_beyond_the_bound_are_counted(caplog, monkeypatch):
    now = 0.0
    monkeypatch.setattr("ringback.logs.bounded.time.monotonic", lambda: now)
    write = Bounded(logging.getLogger("bounded"))
    for _ in range(LINES + 5):
        write(logging.WARNING, "a line", fields={})
    assert [record.getMessage() for record in caplog.records] == ["a line"] * LINES
    caplog.clear()
    now = 1.0
    write(logging.WARNING, "a line", fields={})
    assert [record.getMessage() for record in caplog.records] == [
        "5 more lines like the last were left out",
        "a line",
    ]
