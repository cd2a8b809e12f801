"""Whether a process is gone: only where that is sure."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ringback.state.locks import presence
from ringback.state.locks.presence import gone, me


def test_this_process_is_there():
    assert not gone(me())


def test_a_process_that_has_ended_is_gone_also_as_a_zombie():
    program = "from ringback.state.locks.presence import me; print(me(), flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    who = child.stdout.readline().strip()
    assert not gone(who)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert gone(who)
    child.communicate()
    assert gone(who)


def test_another_process_with_the_same_number_is_not_the_one_that_was():
    place, _, _ = me().rpartition("@")
    assert gone(f"{place}@1")


@pytest.mark.parametrize("who", ["", "elsewhere/pid:[1]/5@7"])
def test_of_processes_elsewhere_nothing_is_known(who):
    assert not gone(who)


def test_of_a_store_that_one_machine_has_to_itself_all_are_gone_who_were_there_before_it_was_started():
    boot, _, rest = me().partition("/")
    assert gone(f"{boot[:-1]}x/{rest}", one_machine=True)
    assert not gone(f"{boot[:-1]}x/{rest}")


def test_in_another_container_of_this_machine_a_process_may_be_there():
    boot, _, _ = me().partition("/")
    assert not gone(f"{boot}/pid:[1]/5@7", one_machine=True)


def test_a_living_process_that_cannot_be_looked_at_is_not_gone(monkeypatch, tmp_path):
    who = me()
    monkeypatch.setattr(presence, "_PROC", tmp_path)
    assert not gone(who)
