"""Calls that have waited for a server are sent with rising ids, as a server passes over one that is
not above the last it has seen.
"""

from __future__ import annotations

from exchange import LIMIT, WELCOME, call
from ringback.clients.conversation.machine import ClientMachine
from ringback.protocol.messages import Call
from ringback.protocol.values import Unpacker


def test_who_is_looked_at_while_it_waits_keeps_its_place():
    machine = ClientMachine([f"tcp://host:{number}" for number in range(2)], b"c" * 16, LIMIT)
    one, other = machine.links
    for impatient in (True, False, True, False):
        asked = call()
        asked.settings.wait_for_ready = not impatient
        machine.start_all([asked], 0.0)
    machine.link_failed(
        one, "nobody is there"
    )  # those that do not wait may still hope for the other
    machine.link_up(other)
    other.outbox.clear()
    machine.receive(other, [WELCOME], Unpacker(), 0.0)
    ids = [message.id for message in other.outbox if isinstance(message, Call)]
    assert len(ids) == 4
    assert ids == sorted(ids)
