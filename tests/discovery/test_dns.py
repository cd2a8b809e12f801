"""Names: all their addresses, asked again and again, and kept where there is no answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import SOON, eventually
from ringback.discovery import source_of

LOOKING, GREENLETS = (Path(__file__).with_name(name) for name in ("looking.py", "greenlets.py"))


@pytest.mark.parametrize(
    ("place", "endpoint"),
    [
        ("dns://127.0.0.1:5555", "tcp://127.0.0.1:5555"),
        ("dns://[::1]:5555", "tcp://[::1]:5555"),
    ],
)
def test_a_numeric_address_is_its_own_name(watched, place, endpoint):
    watched(source=source_of(place)).until(endpoint)


def test_a_name_is_all_its_addresses(watched):
    watch = watched(source=source_of("dns://localhost:5555"))
    eventually(lambda: watch.lists)
    (found,) = watch.lists
    assert "tcp://127.0.0.1:5555" in found
    assert set(found) <= {"tcp://127.0.0.1:5555", "tcp://[::1]:5555"}


def test_a_name_that_is_none_says_so(watched):
    watch = watched(source=source_of("dns://nowhere.invalid:5555"))
    assert watch.source.reason
    eventually(lambda: "the name nowhere.invalid has no address: " in watch.source.reason)
    assert watch.lists == []


def test_a_name_is_looked_up_in_a_program_that_gevent_has_patched(run_program):
    pytest.importorskip("gevent")
    ran = run_program(str(GREENLETS), "dns://127.0.0.1:5555")
    assert ran.lines == ["tcp://127.0.0.1:5555"], ran


class Hosts:
    """A file of names that the machine of `looking.py` goes by."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def say(self, *addresses: str) -> None:
        """In place: it is mounted."""
        lines = "".join(f"{address} calc.internal\n" for address in addresses)
        self.path.write_text(f"127.0.0.1 localhost\n{lines}")


@pytest.fixture
def hosts(tmp_path):
    allowed = shutil.which("unshare") and os.geteuid() == 0
    if (
        not allowed
        or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip(
            "names are changed in a mount namespace, which only root may have, and not everywhere"
        )
    return Hosts(tmp_path / "hosts")


@pytest.fixture
def told(hosts):
    """What is told of calc.internal, looked up every 0.1 s."""
    hosts.say("127.0.0.1", "127.0.0.2")
    program = subprocess.Popen(
        [
            "unshare",
            "-m",
            sys.executable,
            str(LOOKING),
            "dns://calc.internal:5555?refresh=0.1",
            str(hosts.path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lists, log = [], []
    readers = [
        threading.Thread(target=lambda: lists.extend(map(json.loads, program.stdout))),
        threading.Thread(target=lambda: log.extend(program.stderr)),
    ]
    for each in readers:
        each.start()
    yield lists, log
    program.stdin.close()
    program.wait(SOON)
    for each in readers:
        each.join()
    program.stdout.close()
    program.stderr.close()


def endpoints(*numbers: int) -> list[str]:
    return [f"tcp://127.0.0.{number}:5555" for number in numbers]


def test_addresses_that_come_and_go_are_told_and_the_last_are_kept(hosts, told):
    lists, log = told
    eventually(lambda: lists == [endpoints(1, 2)])
    hosts.say("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1")
    eventually(lambda: lists[1:] == [endpoints(1, 2, 3)])
    hosts.say()
    eventually(lambda: any("the name calc.internal has no address" in line for line in log))
    hosts.say("127.0.0.3")
    eventually(lambda: lists[2:] == [endpoints(3)])
