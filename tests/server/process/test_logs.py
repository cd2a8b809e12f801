"""What the server says of itself: its form, its fields, and its bound where a peer can cause it."""

from __future__ import annotations

import json
import logging

import pytest
import zmq
from processes import ServerProcess
from ringback import errors
from ringback.logs.bounded import LINES, Bounded
from ringback.server.process import logs


def lines(server) -> list[dict]:
    return [json.loads(line) for line in server.log.splitlines()]


def test_a_handler_that_raises_is_logged_with_its_fields_and_traceback(
    start_server, connected, backend
):
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


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_peer_has_chosen_reaches_no_terminal_as_it_is(start_server, connected, form):
    server = start_server("asyncio", "service", "--log-format", form)
    client = connected(server.endpoint)
    nasty = "\x1b[2J\x07 \x9b31m \u202e evil\u2066"
    with pytest.raises(errors.RemoteError):
        client.call("fail", nasty)
    client.notify(nasty, 1)
    client.notify("add", nasty)
    client.call("ringback.ping")
    assert server.logged("raised for")
    assert server.logged("one-way call")
    assert "evil" in server.log
    assert not {*server.log} & {
        *nasty.replace(" ", "").replace("[2J", "").replace("31m", "").replace("evil", "")
    }


def test_a_line_with_surrogates_is_written():
    record = logging.LogRecord("x", logging.ERROR, "", 0, "file \udc80 is gone", (), None)
    record.peer = "\ud800"
    line = json.loads(logs.JsonFormatter().format(record))
    assert (line["message"], line["peer"]) == ("file \\udc80 is gone", "\\ud800")


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
        "5 similar lines dropped",
        "a line",
    ]


CONFIGURED = {
    "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
    "formatters": {"own": {"format": "OWN %(levelname)s %(message)s"}},
    "root": {"level": "INFO", "handlers": ["own"]},
}
IN_TOML = """
[handlers.own]
class = "logging.StreamHandler"
formatter = "own"
[formatters.own]
format = "OWN %(levelname)s %(message)s"
[root]
level = "INFO"
handlers = ["own"]
"""
IN_INI = """
[loggers]
keys = root
[handlers]
keys = own
[formatters]
keys = own
[logger_root]
level = INFO
handlers = own
[handler_own]
class = StreamHandler
formatter = own
[formatter_own]
format = OWN %(levelname)s %(message)s
"""


@pytest.mark.parametrize(
    ("name", "content"),
    [("log.json", json.dumps(CONFIGURED)), ("log.toml", IN_TOML), ("log.ini", IN_INI)],
)
@pytest.mark.parametrize("options", [(), ("--processes", "1")], ids=["one", "many"])
def test_a_file_says_how_to_log(start_server, connected, tmp_path, name, content, options):
    (tmp_path / name).write_text(content)
    server = start_server("asyncio", "service", "--log-config", str(tmp_path / name), *options)
    connected(server.endpoint).notify("nosuch")
    assert server.logged("OWN WARNING one-way call to 'nosuch'")
    assert server.stop() == 0
    assert all(line.startswith("OWN ") for line in server.log.splitlines())


@pytest.mark.parametrize(
    ("name", "content", "options", "says"),
    [
        ("log.json", "{", (), "--log-config .*log.json: Expecting property name"),
        ("log.json", '{"root": {"handlers": ["none"]}}', (), "--log-config .*log.json: "),
        ("log.ini", "", (), "--log-config .*log.ini: "),
        (
            "log.toml",
            IN_TOML,
            ("--log-level", "info"),
            "--log-config replaces --log-level and --log-format",
        ),
    ],
)
def test_a_file_that_says_nothing_of_use_is_refused_in_one_line(
    tmp_path, name, content, options, says
):
    (tmp_path / name).write_text(content)
    with pytest.raises(AssertionError, match=f"ended with 2: ringback: {says}") as refused:
        ServerProcess("asyncio", "service", "--log-config", str(tmp_path / name), *options)
    assert "Traceback" not in str(refused.value)
