"""`--processes N`: one port, N processes, and one that watches over them."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import SOON, ServerProcess, ended, eventually
from ringback import errors

SERVICE = """
import asyncio, os, time
import ringback

service = ringback.Service("many")


@service.method(readonly=True)
def whoami() -> list[int]:
    return [os.getpid(), VERSION]


@service.method
async def nap(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()
"""


# The first process that loads it asks for new ones, more than once.
ASKS_FOR_ANOTHER = """
import pathlib, signal

loaded = pathlib.Path(__file__).with_suffix(".loaded")
if not loaded.exists():
    loaded.touch()
    for _ in range(3):
        os.kill(os.getppid(), signal.SIGHUP)
"""


@pytest.fixture
def start(tmp_path: Path, start_server, backend: str) -> Callable[..., ServerProcess]:
    path = tmp_path / "many.py"
    write(path, 1)

    def start(*options: str, **more: object) -> ServerProcess:
        return start_server(backend, "service", "--processes", "2", *options, path=path, **more)

    return start


def write(path: Path, version: int) -> None:
    path.write_text(f"VERSION = {version}\n{SERVICE}")


def seen(server: ServerProcess, connected, clients: int = 40) -> set[tuple[int, int]]:
    """Who answers, asked over many connections."""
    many = [connected(server.endpoint, timeout=SOON) for _ in range(clients)]
    answers = {tuple(client.call("whoami")) for client in many}
    for client in many:
        client.close(now=True)
    return answers


def test_all_processes_serve_one_port_and_end_together(start, connected):
    server = start()
    pids = {pid for pid, _ in seen(server, connected)}
    assert len(pids) == 2
    assert server.process.pid not in pids
    assert server.stop() == 0
    eventually(lambda: all(map(ended, pids)))


def test_what_all_have_accepted_is_answered_at_sigterm(start, connected):
    server = start()
    clients = [connected(server.endpoint) for _ in range(10)]
    for client in clients:
        client.call("whoami")
    futures = [client.fire("nap", 0.3) for client in clients for _ in range(20)]
    for client in clients:
        client.call("whoami")  # what it fired before has been read
    server.send_signal(signal.SIGTERM)
    assert len([future.result(SOON) for future in futures]) == 200
    assert server.wait(SOON) == 0


def test_a_process_that_dies_is_replaced(start, connected):
    server = start()
    first = {pid for pid, _ in seen(server, connected)}
    victim = min(first)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len({pid for pid, _ in seen(server, connected, 20)} - {victim}) == 2)
    assert f"process {victim} was killed by SIGKILL" in server.log
    assert server.stop() == 0


def test_sighup_replaces_the_processes_without_a_failed_call(start, connected, tmp_path):
    server = start()
    clients = [connected(server.endpoint, timeout=SOON) for _ in range(8)]
    naps = [client.fire("nap", 0.5) for client in clients]
    before = {client.call("whoami")[0] for client in clients}
    write(
        tmp_path / "many.py", 22
    )  # longer: by size and second Python would take the old bytecode for it
    server.send_signal(signal.SIGHUP)
    answers: set[tuple[int, int]] = set()
    deadline = time.monotonic() + 2 * SOON
    while {version for _, version in answers} != {22}:
        assert time.monotonic() < deadline
        answers = {tuple(client.call("whoami")) for client in clients}
    assert not before & {pid for pid, _ in answers}
    assert {nap.result(SOON) for nap in naps} <= before
    eventually(lambda: all(map(ended, before)))
    assert server.stop() == 0


def test_sighup_while_they_start_replaces_once_they_serve_those_that_were_there(
    start, connected, tmp_path
):
    with (tmp_path / "many.py").open("a") as service:
        service.write(ASKS_FOR_ANOTHER)
    server = start()
    eventually(lambda: " takes over from " in server.log)
    assert (
        server.log.count("replacing 1 processes") == 1
    )  # the second was started after the last of them
    first = {int(pid) for pid in re.findall(r"takes over from process (\d+)", server.log)}
    eventually(lambda: all(map(ended, first)))
    assert len({pid for pid, _ in seen(server, connected)}) == 2
    assert server.stop() == 0


def test_a_successor_that_does_not_start_leaves_the_old_ones_serving(start, connected, tmp_path):
    server = start()
    before = {pid for pid, _ in seen(server, connected)}
    (tmp_path / "many.py").write_text("import nosuch")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "replacement failed before it served" in server.log)
    assert {pid for pid, _ in seen(server, connected)} == before
    assert server.stop() == 0


def test_the_end_of_a_successor_that_is_starting_is_no_error(start, tmp_path):
    server = start()
    (tmp_path / "many.py").write_text("import time\ntime.sleep(60)")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.log.count(" started") == 3)
    assert server.stop() == 0
    assert "killed by SIGTERM" in server.log
    assert " ERROR " not in server.log


def test_processes_whose_supervisor_is_killed_end(start, connected):
    server = start()
    pids = {pid for pid, _ in seen(server, connected)}
    server.send_signal(signal.SIGKILL)
    eventually(lambda: all(map(ended, pids)))


def test_processes_share_an_ipc_path(start, connected, tmp_path):
    endpoint = f"ipc://{tmp_path}/many"
    server = start(bind=(endpoint,))
    assert connected(endpoint).call("whoami")[1] == 1
    assert server.stop() == 0
    assert not Path(f"{tmp_path}/many").exists()


def run(run_program, *words: str) -> tuple[int, str]:
    ran = run_program("-m", "ringback.server", *words)
    return ran.status, ran.err


def test_a_service_that_cannot_be_loaded_is_one_line(run_program, tmp_path):
    (tmp_path / "broken.py").write_text("service = 1")
    words = (f"{tmp_path}/broken.py:service", "--processes", "3", "--bind", "tcp://127.0.0.1:*")
    status, said = run(run_program, *words)
    assert (status, said.count("ringback: ")) == (3, 1), said


def test_a_port_in_use_is_refused(start, run_program, tmp_path):
    server = start()
    words = (f"{tmp_path}/many.py:service", "--processes", "2", "--bind", server.endpoint)
    assert run(run_program, *words) == (
        3,
        (
            f"ringback: {server.endpoint} is in use: stop the program there, or --bind another "
            f"endpoint\n"
        ),
    )


def test_inproc_is_for_one_process(run_program):
    status, said = run(run_program, "nosuch:thing", "--processes", "2", "--bind", "inproc://here")
    assert (status, said) == (
        2,
        "ringback: inproc://here: several processes can share only a tcp port or an ipc path\n",
    )


def test_a_client_is_told_of_its_state(start, connected):
    server = start()
    client = connected(server.endpoint)
    states: list[str] = []
    client.on_state(states.append)
    assert client.state == "idle"
    client.call("whoami")
    eventually(lambda: states[-1:] == ["ready"])
    server.stop()
    with pytest.raises(errors.Unavailable):
        client.options(timeout=1.0).call("whoami")
    eventually(lambda: states[-1:] == ["down"])
    assert client.state == "down"
    client.close()
    assert client.state == "closed"


def test_a_drain_may_take_for_ever(start, connected):
    server = start("--drain-timeout", "inf")
    client = connected(server.endpoint, timeout=SOON)
    future = client.fire("nap", 1.0)
    pid, _ = client.call("whoami")  # after the other, in the same process
    server.send_signal(signal.SIGTERM)
    assert future.result(SOON) == pid
    assert server.wait() == 0


def test_the_processes_run_as_their_supervisor_does(tmp_path, start_server, backend, connected):
    path = tmp_path / "flagged.py"
    path.write_text(
        "import sys, ringback\n"
        "service = ringback.Service('flagged')\n"
        "@service.method\n"
        "def options() -> list: return [sys.flags.optimize, sys.flags.dev_mode, 'error' in "
        "sys.warnoptions]\n"
    )
    options = ("-O", "-X", "dev", "-W", "error")
    server = start_server(backend, "service", "--processes", "1", path=path, python=options)
    assert connected(server.endpoint, timeout=SOON).call("options") == [1, True, True]
    assert server.stop() == 0


# Runs a command as the first process of a container is run: it gets the children of those that have
# ended.
AS_INIT = """
import ctypes, os, sys

assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
os.execv(sys.argv[1], sys.argv[1:])
"""

ORPHANS = """
import subprocess
import ringback

service = ringback.Service("orphans")


@service.method
def leave() -> int:
    "A process whose parent has ended before it."
    command = "import subprocess as s; print(s.Popen(['sleep', '0.2'], stdout=s.DEVNULL).pid)"
    return int(subprocess.run([sys.executable, "-c", command], capture_output=True, check=True).stdout)
"""


def test_the_supervisor_takes_care_of_orphans(tmp_path, start_server, backend, connected):
    path = tmp_path / "orphans.py"
    path.write_text(f"import sys\n{ORPHANS}")
    server = start_server(
        backend, "service", "--processes", "1", path=path, inside=(sys.executable, "-c", AS_INIT)
    )
    client = connected(server.endpoint, timeout=SOON)
    orphans = [client.call("leave") for _ in range(3)]
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))
    assert client.call("leave")
    assert server.stop() == 0


# A virtual environment by another name, which may go and come back.
BY_ANOTHER_NAME = "import os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"


def test_where_no_process_can_be_started_the_others_go_on(start, connected, tmp_path):
    home = tmp_path / "venv"
    home.symlink_to(sys.prefix)
    server = start(inside=(str(home / "bin" / "python"), "-c", BY_ANOTHER_NAME))
    before = {pid for pid, _ in seen(server, connected)}
    home.unlink()
    server.send_signal(signal.SIGHUP)
    assert server.logged("no process can be started: ")
    assert {pid for pid, _ in seen(server, connected)} == before
    home.symlink_to(sys.prefix)
    eventually(lambda: all(map(ended, before)))
    assert server.stop() == 0


def test_a_store_in_memory_is_refused_for_many_processes(start):
    with pytest.raises(
        AssertionError, match="ended with 2: ringback: memory:// is a store of one process"
    ):
        start("--state", "memory://")
