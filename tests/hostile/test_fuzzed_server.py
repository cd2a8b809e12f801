"""Fuzzes a whole server on each backend with generated messages, beside honest clients.

No honest call is lost, wrong or late; each fuzzed call on an open session ends exactly once
(`talking.py`); the server lives on, and ends with status 0. RINGBACK_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
import zmq
from generated import Chance
from processes import ServerProcess
from raw import Honest
from sizes import FULL, size
from talking import Broken, Talk

FRAGILE = Path(__file__).with_name("fragile.py")

MESSAGES = size(1 << 60, 1_000_000)
SECONDS = size(5.0, 3600.0)
# Seconds without attacks, first.
IDLE = size(1.0, 10.0)
# Seconds by which the slowest of a thousand honest calls may be slower than without. (The small run
# is
# too short for its thousandth, and shares a processor with others.)
LATER = size(0.5, 0.1)
CLIENTS = 4
# Messages of one connection.
LENGTH = 2000


@pytest.mark.timeout(size(60, 3600))
def test_whatever_clients_send_ends_their_own_calls_and_harms_no_others(backend, capsys):
    seed = int(os.environ.get("RINGBACK_SEED") or random.randrange(1 << 32))
    chance = Chance(seed)
    options = ("--state", "sqlite:///state.db", "--workers", "48", "--log-level", "error")
    with ServerProcess(backend, "service", *options, path=FRAGILE) as server:
        honest = Honest(server.endpoint)
        try:
            with honest.calling():
                time.sleep(IDLE)
            assert honest.wrong == []
            before = honest.quantile(0.999)
            with honest.calling():
                messages, conversations = _attack(server, chance)
        except BaseException as error:
            error.add_note(f"RINGBACK_SEED={seed}; the server's log: {server.log[-4000:]}")
            raise
        finally:
            honest.close()
        during = honest.quantile(0.999)
        with capsys.disabled():
            print(
                f"\n{backend}, seed {seed}: {messages:,} messages in {conversations:,} "
                f"conversations beside "
                f"{len(honest.took):,} honest calls; their p50 {honest.quantile(0.5) * 1000:.2f} "
                f"ms, p99.9 "
                f"{during * 1000:.1f} ms (before {before * 1000:.1f} ms), worst "
                f"{honest.took[-1] * 1000:.0f} ms"
            )
        assert honest.wrong == []
        assert server.process.poll() is None, server.log
        assert during < before + LATER
        assert server.stop() == 0, server.log


def _attack(server: ServerProcess, chance: Chance) -> tuple[int, int]:
    """How many messages were sent, in how many conversations."""
    end = time.monotonic() + SECONDS
    messages = conversations = 0
    with zmq.Context() as context:
        talks = [Talk(context, server.endpoint, chance) for _ in range(CLIENTS)]
        try:
            while messages < MESSAGES and time.monotonic() < end:
                place = int(chance.random() * CLIENTS)
                talk = talks[place]
                talk.say()
                for each in talks:
                    each.hear()
                if server.process.poll() is not None:
                    raise Broken(f"the server has ended: {[each.told() for each in talks]}")
                if talk.over or talk.messages > LENGTH:
                    messages += talk.messages
                    conversations += 1
                    talk.settle()
                    mutates = chance.one((0.0, 0.0, 0.05, 0.5))
                    talks[place] = Talk(context, server.endpoint, chance, mutates=mutates)
            for talk in talks:
                messages += talk.messages
                talk.settle()
        finally:
            for talk in talks:
                talk.close()
    assert FULL or messages > 1000
    return messages, conversations + CLIENTS
