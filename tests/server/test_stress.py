"""A hundred thousand calls in bursts: every reply is the right one, and nothing hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from processes import ServerProcess

CALLS = 100_000
BURST = 5_000
# Seconds for all of them on a machine that has much else to do.
DEADLINE = 150

pytestmark = pytest.mark.timeout(DEADLINE + 30)


def test_fired_from_a_thread(
    backend: str, running_server: Callable[..., ServerProcess], connected
) -> None:
    client = connected(running_server(backend).endpoint, timeout=float(DEADLINE))
    wrong: list[object] = []
    answered = 0
    done = threading.Event()

    def check(number: int) -> Callable[[object], None]:
        def callback(result: object) -> None:
            nonlocal answered
            answered += 1
            if result != number:
                wrong.append((number, result))
            if answered == CALLS:
                done.set()

        return callback

    for number in range(CALLS):
        client.fire("add_inline", number, 0, callback=check(number), errback=wrong.append)
    assert done.wait(DEADLINE), f"{answered} of {CALLS} were answered; {wrong[:3]}"
    assert wrong == []


def test_awaited_on_an_asyncio_loop(
    backend: str, running_server: Callable[..., ServerProcess]
) -> None:
    from ringback.clients.asyncio import connect

    async def main() -> None:
        async with connect(running_server(backend).endpoint, timeout=float(DEADLINE)) as client:
            for begin in range(0, CALLS, BURST):
                numbers = range(begin, begin + BURST)
                results = await asyncio.gather(*(client.call("add_inline", n, 0) for n in numbers))
                assert results == list(numbers)

    asyncio.run(asyncio.wait_for(main(), DEADLINE))


def test_called_by_many_threads_at_once(
    backend: str, running_server: Callable[..., ServerProcess], connected
) -> None:
    client = connected(running_server(backend).endpoint, timeout=float(DEADLINE))
    wrong: list[object] = []

    def caller(first: int) -> None:
        try:
            for number in range(first, first + 1000):
                method = "add_inline" if number % 10 else "add"
                if (got := client.call(method, number, 0)) != number:
                    wrong.append((number, got))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=caller, args=(1000 * n,), daemon=True) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
