"""The store as a service, for programs that can reach it only by calls.

Start it with `ringback serve ringback.state.service:service --state sqlite:///state.db`. Its
methods are those of `State`; a lock's `fence` is its name and token. Locks are not renewed
automatically: the holder, another process, calls `renew` within each lease.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from msgspec import Meta

from ..context import current_call
from ..errors import Aborted, DeadlineExceeded
from ..server.declare.service import Service
from .aio import AsyncState
from .locks.leases import Fence
from .operations import Changed, Versioned

service = Service("state", needs_state=True)

Seconds = Annotated[float, Meta(gt=0)]


def _state() -> AsyncState:
    return current_call().state.aio


@service.method(readonly=True)
async def get(key: str, default: Any = None) -> Any:
    "The value of a key."
    return await _state().get(key, default)


@service.method(readonly=True)
async def read(key: str) -> Versioned:
    "[value, version] of a key; the version is 0 if it does not exist."
    return await _state().read(key)


@service.method
async def put(
    key: str,
    value: Any,
    version: int | None = None,
    fence: Fence | None = None,
    ttl: Seconds | None = None,
) -> int:
    "Write a value if the key has that version and the lock is held; returns the new version."
    return await _state().put(key, value, version=version, fence=fence, ttl=ttl)


@service.method
async def delete(key: str, version: int | None = None, fence: Fence | None = None) -> int:
    "Remove a key under the same conditions; returns the version of the removal."
    return await _state().delete(key, version=version, fence=fence)


@service.method
async def transact(
    versions: dict[str, int],
    puts: dict[str, Any],
    deletes: list[str] = [],  # noqa: B006 - never changed
    fences: list[Fence] = [],  # noqa: B006
) -> int:
    "Write and remove several keys atomically, if keys have these versions and locks are held."
    tx = _state().transaction()
    for key, version in versions.items():
        tx.expect(key, version)
    for key, value in puts.items():
        tx.put(key, value)
    for key in deletes:
        tx.delete(key)
    for fence in fences:
        tx.fence(fence)
    async with tx:
        pass
    return tx.version


@service.method(readonly=True)
async def version() -> int:
    "The newest version in the store."
    return await _state().version()


@service.method(readonly=True)
async def changes(prefix: str = "", since: int = 0) -> list[Changed]:
    "[key, value, version, deleted] of each key changed after that version, about 1,000 at most."
    return await _state().changes(prefix, since=since)


@service.method(readonly=True)
async def watch(prefix: str = "", since: int | None = None) -> AsyncIterator[Changed]:
    "Changes from now on, or after that version, without end."
    async for change in _state().watch(prefix, since=since):
        yield change


@service.method
async def acquire(
    name: str, lease: Seconds = 10.0, timeout: Annotated[float, Meta(ge=0)] | None = None
) -> int:
    "Wait for a lock, at most `timeout` seconds; returns its token, valid for `lease` seconds."
    lock = _state().lock(name, lease=lease, timeout=timeout, renewed=False)
    if not await lock.aacquire():
        raise DeadlineExceeded(f"lock {name!r} was not free in time")
    return lock.token


@service.method
async def renew(name: str, token: int, lease: Seconds = 10.0) -> None:
    "Extend a lock to `lease` seconds from now."
    if not await _state().renew(Fence(name, token), lease):
        raise Aborted(f"lock {name!r} is no longer held with token {token}")


@service.method(idempotent=True)
async def release(name: str, token: int) -> bool:
    "Release a lock; false if it was no longer held with that token."
    return await _state().release(Fence(name, token))
