"""Calls gather, and are started together: once each, also where one that fails has others started."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from processes import SOON, eventually
from ringback.clients.asyncio import connect
from ringback.clients.conversation.calls import CallSettings, OutgoingCall, Upload
from ringback.protocol.messages import Call, Notify
from ringback.protocol.values import NOTHING


class Loud(OutgoingCall):
    """A call at whose end a one-way call is sent: what gathers is started first."""

    core: Any

    def finish(self, result: Any, error: BaseException | None) -> None:
        self.core.notify(Notify("told", NOTHING))


class Counted(Upload):
    begun = 0

    def begin(self) -> None:
        self.begun += 1

    def credit(self, items: int) -> None: ...
    def go_on(self) -> None: ...
    def stop(self) -> None: ...


def test_an_upload_begins_once_where_a_call_before_it_fails():
    async def main() -> int:
        async with connect("tcp://127.0.0.1:1") as client, asyncio.timeout(SOON):
            while client.state != "down":
                await asyncio.sleep(0.01)
            core = client._shared.core
            impatient = CallSettings()
            impatient.wait_for_ready = False
            fails = Loud(Call(0, "fails", NOTHING), impatient)
            fails.core = core
            streams = Loud(Call(0, "streams", NOTHING), CallSettings())
            streams.core = core
            streams.extended().upload = upload = Counted()
            core.start(fails)
            core.start(streams)
            core.flush()
            assert (fails.ended, streams.ended, len(core.gathered)) == (True, False, 0)
            core.cancel(streams, Exception())
            await client.close(now=True)
            return upload.begun

    assert asyncio.run(main()) == 1


def test_the_reading_thread_rests_beside_a_call_that_was_not_fired(
    running_server, backend, connected
):
    """Its caller reads the answer by itself."""
    client = connected(running_server(backend).endpoint)
    client.call("echo", 0)
    waiting = threading.Thread(target=client.call, args=("nap", 2.0))
    waiting.start()
    eventually(lambda: len(client._shared.core.calls) == 1)
    assert client.fire("echo", 1).result(SOON) == 1
    eventually(lambda: not client._shared.threads.driving)
    assert len(client._shared.core.calls) == 1
    waiting.join(SOON)
