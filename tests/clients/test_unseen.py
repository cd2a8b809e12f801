"""Errors of fired calls that nobody looks at: few lines, and none is missing from their count."""

from __future__ import annotations

import re

import pytest
from processes import chosen_backends

CALLS = 5000


@pytest.mark.parametrize("style", ["threading", "gevent"])
def test_a_killed_server_makes_few_lines_also_at_the_end_of_the_program(
    start_server, run_program, style
):
    server = start_server(chosen_backends()[0])
    done = run_program(
        "-c",
        f"""
import os, signal
from ringback.clients.{style} import connect
client = connect({server.endpoint!r})
client.call("ringback.ping")
for number in range({CALLS}):
    client.fire("nap", 60.0)
client.call("ringback.ping")
os.kill({server.process.pid}, signal.SIGKILL)
client.close()
""",
    )
    lines = [
        line for line in done.err.splitlines() if "unhandled error of a fired call: nap" in line
    ]
    more = [re.search(r"\(and ([\d,]+) more\)", line) for line in lines]
    assert done.status == 0, done
    assert len(lines) <= 10
    assert sum(1 + int(each[1].replace(",", "")) if each else 1 for each in more) == CALLS


@pytest.mark.parametrize("style", ["threading", "gevent"])
def test_an_error_that_is_held_to_the_end_of_the_interpreter_is_one_line(
    start_server, run_program, style
):
    server = start_server(chosen_backends()[0])
    done = run_program(
        "-c",
        f"""
import logging
from ringback.clients.{style} import connect
logging.basicConfig()
client = connect({server.endpoint!r})
kept = client.fire("no such method")  # until the interpreter takes its modules apart
client.close()
""",
    )
    assert done.status == 0
    (line,) = done.err.splitlines()
    assert line.startswith(
        "ERROR:ringback.client:unhandled error of a fired call: no such method: MethodNotFound"
    )
