"""What a handler leaves behind or shares with others harms none of them: timeouts, tasks, futures,
a loop that it stops.
"""

from __future__ import annotations

import pytest
from processes import TESTS, eventually
from ringback import errors
from ringback.clients.threading import connect

LEAVING = TESTS / "leaving.py"


@pytest.fixture
def client(running_server, backend):
    with connect(running_server(backend, "service", LEAVING).endpoint, timeout=10) as client:
        yield client


@pytest.mark.parametrize("wait", [None, 0.01])
def test_a_timeout_that_a_handler_has_left_behind_reaches_no_other_call(client, backend, wait):
    if backend != "gevent":
        pytest.skip("it is gevent's")
    left = [client.fire("leaves_timeout", 0.1, wait) for _ in range(5)]
    others = [client.fire("nap", 0.3) for _ in range(5)]
    assert [one.result() for one in left] == [None] * 5
    assert [one.result() for one in others] == [0.3] * 5


@pytest.mark.parametrize(
    ("method", "told"), [("stops_loop", "stopped"), ("leaves_task_that_exits", "left")]
)
def test_a_loop_that_a_handler_would_end_goes_on(client, method, told):
    for _ in range(3):
        assert client.call(method) == told
        assert client.call("add", 1, 2) == 3


@pytest.fixture
def futures(backend):
    if backend not in ("asyncio", "twisted"):
        pytest.skip("no future of this loop is a result")


@pytest.mark.parametrize("fails", [False, True])
def test_calls_may_wait_for_the_same_future(client, futures, fails):
    key = f"settled, {fails}"
    early = [client.fire("waits", key) for _ in range(3)]
    client.call("settle", key, "done", fails)
    late = [client.fire("waits", key) for _ in range(3)]
    for each in early + late:
        if fails:
            with pytest.raises(errors.Aborted, match="done"):
                each.result()
        else:
            assert each.result() == "done"


def test_a_future_is_cancelled_with_the_last_call_that_waits_for_it(client, futures):
    first, second, third = (client.fire("waits", "b") for _ in range(3))
    client.call("ringback.ping")
    first.cancel()
    assert client.call("is_cancelled", "b") is False
    client.call("settle", "b", "done", fails=False)
    assert [second.result(), third.result()] == ["done", "done"]

    alone, other = (client.fire("waits", "c") for _ in range(2))
    client.call("ringback.ping")
    alone.cancel()
    assert client.call("is_cancelled", "c") is False
    other.cancel()
    eventually(lambda: client.call("is_cancelled", "c"))
