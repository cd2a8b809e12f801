"""What a client counts, in each style: its calls, and those that were sent again."""

from __future__ import annotations

import asyncio
from typing import Any

import counted
import pytest
import ringback
import ringback.metrics
from processes import SOON
from prometheus_client import CollectorRegistry, generate_latest
from ringback import errors
from ringback.testing import serving
from scraping import samples_of


def counts(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    samples = samples_of(generate_latest(registry).decode())
    return {
        labels: value
        for (name, labels), value in samples.items()
        if name.endswith("duration_seconds_count")
    }


def registered(client: Any) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(ringback.metrics.collector(client))
    return registry


@pytest.mark.parametrize("style", ["threading", "gevent"])
def test_a_blocking_client_counts_its_calls(style: Any) -> None:
    with serving(counted.service, client=style) as client:
        registry = registered(client)
        fired = [client.fire("echo", number) for number in range(100)]
        for future in fired:
            assert (
                future.get() is not None if style == "gevent" else future.result(SOON) is not None
            )
        client.options(priority=1).call("work", 1)  # views count for their client
        assert list(client.stream("count", 3)) == [0, 1, 2]
        for method in ("none", "nothing"):
            with pytest.raises(errors.MethodNotFound):
                client.call(method)
        with pytest.raises(errors.DeadlineExceeded):
            client.options(timeout=0.05).call("nap", 5.0)
        assert counts(registry) == {
            ("echo", "OK"): 100,
            ("work", "OK"): 1,
            ("count", "OK"): 1,
            ("_OTHER", "UNIMPLEMENTED"): 2,
            ("nap", "DEADLINE_EXCEEDED"): 1,
        }


def test_an_asyncio_client_counts_its_calls() -> None:
    async def main() -> None:
        async with serving(counted.service, client="asyncio") as client:
            registry = registered(client)
            await asyncio.gather(*(client.call("echo", number) for number in range(100)))
            task = asyncio.ensure_future(client.call("nap", 5.0))
            await client.call("echo", 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert counts(registry) == {("echo", "OK"): 101, ("nap", "CANCELLED"): 1}

    asyncio.run(main())


def test_calls_that_are_sent_again_are_counted_by_service_and_reason(start_server: Any) -> None:
    servers = [start_server("asyncio", "service", path=counted.__file__) for _ in range(2)]
    with ringback.connect(*(server.endpoint for server in servers), policy="round-robin") as client:
        registry = registered(client)
        for _ in range(4):
            client.call("pid")
        servers[0].kill()
        for _ in range(20):
            client.call("pid")
        samples = samples_of(generate_latest(registry).decode())
    retries = {
        labels: value
        for (name, labels), value in samples.items()
        if name == "ringback_client_retries_total"
    }
    assert all(service == "counted" for _, service in retries)
    assert samples["rpc_client_call_duration_seconds_count", ("pid", "OK")] == 24


def test_calls_are_counted_as_their_callers_see_them() -> None:
    def refuse(call: Any) -> Any:
        if call.method == "pid":
            raise errors.PermissionDenied("no")
        try:
            yield
        except errors.MethodNotFound:
            return "fallback"

    connect: Any = {"interceptors": [refuse]}
    with serving(counted.service, connect=connect) as client:
        registry = registered(client)
        with pytest.raises(errors.PermissionDenied):
            client.call("pid")
        assert client.call("none") == "fallback"
        assert counts(registry) == {("pid", "PERMISSION_DENIED"): 1, ("none", "OK"): 1}


def test_calls_that_find_no_room_are_counted() -> None:
    connect: Any = {"max_in_flight": 1}
    with serving(counted.service, connect=connect) as client:
        registry = registered(client)
        client.fire("wait", 0.5)
        with pytest.raises(errors.DeadlineExceeded):
            client.options(timeout=0.1).call("echo", 1)
        assert counts(registry) == {("echo", "DEADLINE_EXCEEDED"): 1}

    async def main() -> None:
        async with serving(counted.service, client="asyncio", connect=connect) as client:
            registry = registered(client)
            running = client.fire("wait", 0.3)
            with pytest.raises(errors.ResourceExhausted):
                await client.fire("echo", 1)
            await running
            assert counts(registry) == {("echo", "RESOURCE_EXHAUSTED"): 1, ("wait", "OK"): 1}

    asyncio.run(main())
