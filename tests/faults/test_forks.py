"""Forks: nothing spins, nothing hangs, a child answers no call of its parent's, and the parent goes
on as if there were none.

Clients are tried in the style that is named as the backend, servers with handlers of each kind.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import SOON, ServerProcess
from ringback import errors
from ringback.clients.threading import ThreadingClient

HERE = Path(__file__).parent
FORKER, FORKING = HERE / "forker.py", HERE / "forking.py"

KINDS = ("inline", "worker", "thread", "coroutine", "stream", "async_stream")

# The exit status of a child: of one that comes back, 1.
STATUSES = {"return": 1, "raise": 1, "exit": 7, "leave": 5, "exec": 6, "again": 11}


def told(run_program, *words: str) -> tuple[dict[str, list[object]], str]:
    """What the program has told, by name; and its standard error."""
    done = run_program(str(FORKER), *words, within=4 * SOON)
    assert done.status == 0, done
    facts: dict[str, list[object]] = {}
    for line in done.lines:
        for name, fact in json.loads(line).items():
            facts.setdefault(name, []).append(fact)
    return facts, done.err


def check(facts: dict[str, list[object]], status: int) -> None:
    """The parent has found everything as it was, and the child has ended soon."""
    assert facts["parent"] == [True]
    assert facts["called_by_parent"] == [True, True]
    assert facts["after"] == [[True] * 4]
    check_ended(facts, status)


def check_ended(facts: dict[str, list[object]], status: int) -> None:
    assert facts["status"] == [status], facts
    [seconds] = facts["seconds"]
    assert isinstance(seconds, float)
    assert seconds < 2.0


# Beside clients


@pytest.mark.parametrize("where", ["apart", "embedded"])
@pytest.mark.parametrize(
    ("ending", "status"), [("return", 0), ("exit", 7), ("exec", 7), ("again", 7)]
)
def test_a_child_ends_as_in_any_program(
    run_program, running_server, backend, where, ending, status
):
    endpoint = "embedded" if where == "embedded" else running_server(backend).endpoint
    facts, said = told(run_program, backend, endpoint, ending)
    check(facts, status)
    assert facts.get("grandchild") == ([3] if ending == "again" else None)
    assert "was forked" not in said


def test_every_use_of_a_parents_client_says_what_is_wrong(run_program, running_server, backend):
    facts, _ = told(run_program, backend, running_server(backend).endpoint, "use")
    check(facts, 7)
    message = "this client was made before a fork: connect again in the child process"
    assert facts["said"] == [[message] * 12]


def test_who_waits_in_the_child_for_a_call_of_the_parent_is_told(
    run_program, running_server, backend
):
    facts, _ = told(run_program, backend, running_server(backend).endpoint, "wait")
    check(facts, 7)
    assert ["before a fork" in str(said) for said in facts["said"]] == [True, True]


def test_a_child_connects_anew(run_program, running_server, backend):
    facts, _ = told(run_program, backend, running_server(backend).endpoint, "anew")
    check(facts, 7)
    assert facts["anew"] == [True]


def test_processes_of_a_pool_connect_anew(run_program, running_server, backend):
    facts, _ = told(run_program, backend, running_server(backend).endpoint, "pool")
    assert facts["pool"] == [[3] * 4]
    assert facts["after"] == [[True] * 4]


@pytest.mark.parametrize(("ending", "status"), [("callback", 1), ("callback-exit", 7)])
def test_a_child_that_comes_back_from_a_callback_ends(
    run_program, running_server, backend, ending, status
):
    facts, said = told(run_program, backend, running_server(backend).endpoint, ending)
    check_ended(facts, status)
    assert said.count("was forked in a callback, came back and was ended") == (status == 1)


# In handlers


def called(client, kind: str, what: str, how: str) -> object:
    if "stream" in kind:
        items = list(client.stream(kind, what, how))
        assert len(items) == 2
        return items[1]
    return client.call(kind, what, how)


@pytest.fixture
def server(running_server, backend: str) -> ServerProcess:
    """One for all these tests; it must end with status 0 when they are over, as if there had been
    no children.
    """
    return running_server(backend, path=FORKING)


@pytest.fixture
def client(server: ServerProcess, connected) -> Iterator[ThreadingClient]:
    """After the test, nobody but the server itself has done what is asked of it."""
    yield connected(server.endpoint, timeout=2 * SOON)
    assert asked(server.log) == {server.process.pid}


def asked(log: str) -> set[int]:
    """Which processes have answered."""
    return {int(line.split()[1]) for line in log.splitlines() if line.startswith("asked ")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_of_a_handler_ends(server, client, kind):
    before = len(server.log)
    for ending, status in STATUSES.items():
        answers = [client.fire("pid") for _ in range(10)]
        assert called(client, kind, "fork", ending) == status, (ending, server.log)
        assert {answer.result(SOON) for answer in answers} == {server.process.pid}
    assert server.log[before:].count("was forked in") == 3, (
        server.log
    )  # "return", "raise" and the second of "again"


def test_calls_in_one_batch_with_one_that_forks_are_answered_once(start_server, connected, backend):
    server = start_server(backend, path=FORKING)
    client = connected(server.endpoint, timeout=SOON)
    for ending in ("return", "exit"):
        fired = []
        for _ in range(5):  # the child has the rest of the batch before it
            fired.append(client.fire("inline", "fork", ending))
            fired.extend(client.fire("pid") for _ in range(20))
        answers = [one.result(SOON) for one in fired]
        assert set(answers) == {STATUSES[ending], server.process.pid}
    assert asked(server.log) == {server.process.pid}
    assert server.log.count("asked ") == 2 * 5 * 20
    assert server.stop() == 0


def test_a_child_that_waits_on_the_loop_of_its_parent_ends(server, client):
    assert client.call("coroutine", "fork", "wait") == 1
    assert "was forked in coroutine, came back" in server.log


@pytest.mark.parametrize("kind", ["worker", "thread", "coroutine"])
def test_handlers_have_processes_of_multiprocessing(server, client, kind):
    for method in ("fork", "spawn") if kind == "worker" else ("fork",):
        assert client.call(kind, "process", method) == [True, 0], server.log
    assert client.call(kind, "terminate", "fork") == [-15], server.log


def test_a_pool_of_processes_works_or_says_why_not(client, backend):
    for method in ("fork", "forkserver"):
        if backend == "gevent":
            with pytest.raises(errors.RemoteError, match=r'would hang .* executor="process"'):
                client.call("worker", "pool", method)
        else:
            assert client.call("worker", "pool", method) == [2, 4, 6]


@pytest.mark.parametrize("kind", ["worker", "thread", "coroutine"])
def test_handlers_run_commands(server, client, kind):
    printed = ["0", 0, "1", 1, "2", 2]
    assert client.call(kind, "commands", "") == [*printed, "late", "missing"], server.log
    if kind == "coroutine":
        assert client.call(kind, "commands", "asyncio") == printed


def test_commands_of_all_kinds_at_once_have_their_own_statuses(client):
    kinds = ("worker", "thread", "coroutine")
    commands = [client.fire(kind, "commands", "") for kind in kinds for _ in range(3)]
    forks = [client.fire(kind, "fork", "leave") for kind in kinds for _ in range(3)]
    assert {tuple(one.result(2 * SOON)) for one in commands} == {
        ("0", 0, "1", 1, "2", 2, "late", "missing")
    }
    assert {one.result(2 * SOON) for one in forks} == {5}


def test_a_program_that_has_used_a_client_forks_and_serves(running_server, connected, backend):
    endpoint = running_server(backend, path=FORKING).endpoint
    with subprocess.Popen(
        [sys.executable, str(FORKING), endpoint, backend],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as master:
        assert master.stdin is not None
        assert master.stdout is not None
        try:
            ready = [master.stdout.readline().split() for _ in range(2)]
            pids = {connected(words[3], timeout=SOON).call("pid") for words in ready}
            assert len(pids) == 2
            assert master.pid not in pids
            master.stdin.write("\n")
            master.stdin.flush()
            assert master.stdout.readline() == "[0, 0]\n"
            assert master.wait(SOON) == 0
        finally:
            master.kill()
