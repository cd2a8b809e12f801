"""Clients that leave while the server is busy with something else, and calls that are given up."""

from __future__ import annotations

import asyncio
import gc
import time

import ringback
from processes import SOON
from ringback.clients.asyncio import connect
from ringback.server.calls.invocations.invocation import Invocation

NOTES = 300


def test_one_way_calls_of_a_client_that_has_left_before_they_were_read_are_run(
    start_server, connected, backend
):
    """The news of the departure may be read before the last of what was said: a turn of the loop
    takes but so many messages.
    """
    server = start_server(backend)
    client, leaving = connected(server.endpoint), connected(server.endpoint)
    leaving.call("ringback.ping")
    blocked = client.fire("block_inline", 0.5)
    for number in range(NOTES):
        leaving.notify("marked_inline", "departure", number)
    leaving.close()
    blocked.result(SOON)
    deadline = time.monotonic() + SOON
    while len(seen := client.call("marks", "departure")) < NOTES and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen == [f"called with {number}" for number in range(NOTES)]


def test_calls_that_were_given_up_leave_nothing_that_has_to_be_collected():
    service = ringback.Service("patient")

    @service.method
    async def wait() -> None:
        await asyncio.Event().wait()

    async def main() -> int:
        async with (
            ringback.Server(service, "tcp://127.0.0.1:*") as server,
            connect(server.endpoint) as client,
        ):
            waiting = [client.options(timeout=None).fire("wait") for _ in range(50)]
            while (await client.call("ringback.stats"))["in_flight"] < 50:
                await asyncio.sleep(0.01)
            gc.collect()
            gc.disable()
            for call in waiting:
                call.cancel()
            del call, waiting
            while (await client.call("ringback.stats"))["in_flight"]:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)  # the turn in which the last of them has ended
            mine = [each for each in gc.get_objects() if isinstance(each, Invocation)]
            return sum(
                each.method.name == "wait" for each in mine
            )  # and not of other tests of this process

    try:
        assert asyncio.run(main()) == 0
    finally:
        gc.enable()
