"""The service of the tests of replicas: every kind of handler that reads and writes the state, and
says what it has run.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import ringback
from ringback.handling import handled

service = ringback.Service("copied", needs_state=True)

_runs: Counter[str] = Counter()


def state() -> ringback.State:
    return ringback.current_call().state


@service.method
def put(key: str, value: Any) -> int:
    return state().put(key, value)


@service.method(inline=True)
def put_inline(key: str, value: Any) -> int:
    return state().put(key, value)


@service.method
async def put_coroutine(key: str, value: Any) -> int:
    return await state().aio.put(key, value)


@service.method(once=True)
def put_once(key: str, value: Any) -> None:
    ringback.current_call().transaction.put(key, value)


@service.method
def put_stream(key: str, value: Any) -> Iterator[int]:
    yield state().put(key, value)


@service.method
def put_and_fail(key: str, value: Any) -> None:
    state().put(key, value)
    raise ringback.errors.Aborted("after it was written")


@service.method
def delete(key: str) -> int:
    return state().delete(key)


@service.method(readonly=True)
def get(key: str) -> Any:
    return state().get(key)


@service.method(readonly=True, inline=True)
def get_inline(key: str) -> Any:
    return state().get(key)


@service.method(readonly=True)
async def get_coroutine(key: str) -> Any:
    return await state().aio.get(key)


@service.method(readonly=True)
def get_stream(key: str) -> Iterator[Any]:
    yield state().get(key)


@service.method(readonly=True)
async def get_async_stream(key: str) -> AsyncIterator[Any]:
    yield await state().aio.get(key)


@service.method(readonly=True, cache=60)
def get_cached(key: str) -> Any:
    _runs[key] += 1
    return state().get(key)


@service.method(readonly=True, cache=60, inline=True)
def get_cached_inline(key: str) -> Any:
    _runs[key] += 1
    return state().get(key)


@service.method(readonly=True, inline=True)
def runs(key: str) -> int:
    return _runs[key]


@service.method(readonly=True)
def nested(versions: dict[str, int]) -> dict[str, int] | None:
    "As a handler whose own calls were answered with these."
    call = handled()
    thread = threading.Thread(target=call.saw, args=(versions,))
    thread.start()
    thread.join()
    seen = ringback.current_call().versions
    return None if seen is None else dict(seen)


@service.method(readonly=True, inline=True)
def nested_inline(versions: dict[str, int]) -> dict[str, int] | None:
    handled().saw(versions)
    seen = ringback.current_call().versions
    return None if seen is None else dict(seen)
