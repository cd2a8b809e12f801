"""Clients that leave while the server is busy with something else."""

from __future__ import annotations

import time

from processes import SOON

NOTES = 300


def test_one_way_calls_of_a_client_that_has_left_before_they_were_read_are_run(
    start_server, connected, backend
):
    """The news of the departure may be read before the last of what was said: a turn of the loop takes but so many messages."""
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
