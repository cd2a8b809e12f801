"""Runs a handler once per key: claims the key, runs, stores the outcome; or returns a stored one.

A handler runs at most once: an interrupted run leaves its key `Aborted`. A handler that does all
its work in the call's transaction runs exactly once: the transaction commits together with the
key's outcome, so an interrupted run has no effect and runs again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from msgspec import Raw

from ... import errors
from ...protocol.bounds import FRAME_BYTES
from ...protocol.collisions import Chosen
from ...protocol.messages import Call, Notify
from ...protocol.order import ordered
from ...protocol.values import Unpacker, whole
from ...state.engines.base import Conflict
from ...state.engines.off_the_hub import pause
from ...state.once import CUT, KeyClaim, KeyOutcome, Keys
from ...state.pauses import LATEST, SOON
from ...state.store import State
from ...state.transactions import Overtaken, Transaction
from ..declare.service import Method

# Errors that give the key back if the run had no effect: the next call may try again.
_NOTHING_DONE = (errors.Unavailable, errors.DeadlineExceeded, Overtaken)


class RunOnce(Protocol):
    """The part of a call that a run needs."""

    @property
    def args(self) -> tuple[Any, ...]: ...

    @property
    def kwargs(self) -> dict[str, Any]: ...

    def pack(self, result: Any) -> Raw:
        """Pack the result for the wire. Raises CallError."""

    def fitting(self, value: Raw) -> Raw:
        """Return a stored result. Raises ResourceExhausted if it is too large for the caller."""


class Once:
    """One method whose calls run once for each key."""

    def __init__(self, method: Method, keys: Keys, state: State) -> None:
        assert method.once is not None
        self.method = method
        self.keys = keys
        self.state = state
        self.keep = method.once

    def run_of(self, message: Call | Notify, values: Unpacker, size: int) -> KeyedRun:
        """The run of one call.

        Raises InvalidArgument if the key is missing or the arguments cannot be compared.
        """
        key = None if message.options is None else message.options.key
        if not key or len(key) > 255:
            raise errors.InvalidArgument(
                f"{self.method.name} runs once for each key: give an idempotency key of 1 to 255 "
                f"characters"
            )
        try:
            return KeyedRun(
                self, key, _fingerprint(message, values, size, self.method.arguments.keys)
            )
        except Exception as error:
            raise errors.InvalidArgument(
                f"{self.method.name}: the arguments cannot be compared: {errors.described(error)}"
            ) from None


class KeyedRun:
    """Runs one call under its key, in a worker (`work`) or on an asyncio loop (`work_async`)."""

    __slots__ = ("_claim", "_fingerprint", "_once", "key", "pause", "transaction")

    def __init__(self, once: Once, key: str, fingerprint: bytes) -> None:
        self._once = once
        self._fingerprint = fingerprint
        self._claim: KeyClaim | None = None
        self.key = key
        self.pause = SOON
        self.transaction: Transaction | None = None

    def open(self) -> Transaction:
        """The transaction of this run; it commits after the handler returns."""
        if self.transaction is None:
            self.transaction = Transaction(self._once.state)
            self._once.keys.works_in_transaction(self._once.method.name, self.transaction)
        return self.transaction

    def work(self, call: RunOnce) -> tuple[bool, Any]:
        """Return `(True, packed result)`, or `(False, None)` while another run holds the key.

        In the second case, call it again after `pause` seconds. Raises the handler's exception,
        from this run or from the first one.
        """
        claimed = self._claimed()
        if claimed is None:
            self._wait_longer()
            return False, None
        if isinstance(claimed, KeyOutcome):
            return True, call.fitting(_told(claimed))
        try:
            for seconds in self._once.state.attempts(None):
                self.transaction = None
                result = self._once.method.function(*call.args, **call.kwargs)
                if isinstance(result, concurrent.futures.Future):
                    while not result.done():
                        pause(SOON)
                    result = result.result()
                result = call.pack(result)
                try:
                    self._finish(claimed, KeyOutcome(whole(result)))
                except Conflict as conflict:
                    if seconds is None:
                        raise Overtaken(conflict.name) from None
                    pause(seconds)
                else:
                    return True, result
        except BaseException as error:
            self._failed(claimed, error)
            raise
        raise AssertionError("the last attempt has no pause")

    async def work_async(self, call: RunOnce) -> Any:
        """Like `work`, but waits for the key. Returns the packed result."""
        run = self._once.state.run
        try:
            while (claimed := await _to_its_end(run(self._claimed))) is None:
                await asyncio.sleep(self.pause)
                self._wait_longer()
        except asyncio.CancelledError:
            if self._claim is not None:  # the claim succeeded after the cancellation
                await _to_its_end(run(self._claim.give_back))
            raise
        if isinstance(claimed, KeyOutcome):
            return call.fitting(_told(claimed))
        try:
            for seconds in self._once.state.attempts(None):
                self.transaction = None
                result = call.pack(await self._once.method.function(*call.args, **call.kwargs))
                try:
                    await _to_its_end(run(self._finish, claimed, KeyOutcome(whole(result))))
                except Conflict as conflict:
                    if seconds is None:
                        raise Overtaken(conflict.name) from None
                    await asyncio.sleep(seconds)
                else:
                    return result
        except BaseException as error:
            await _to_its_end(run(self._failed, claimed, error))
            raise
        raise AssertionError("the last attempt has no pause")

    def _claimed(self) -> KeyClaim | KeyOutcome | None:
        once = self._once
        repeatable = once.method.flags.idempotent
        claimed = once.keys.claim(
            once.method.name, self.key, self._fingerprint, once.keep, repeatable
        )
        if isinstance(claimed, KeyClaim):
            self._claim = claimed
        return claimed

    def _finish(self, claim: KeyClaim, outcome: KeyOutcome) -> None:
        self._claim = None  # this outcome stands, even if the store fails
        try:
            claim.finish(outcome, self.transaction)
        except Conflict:
            self._claim = claim
            raise

    def _failed(self, claim: KeyClaim, error: BaseException) -> None:
        """The run failed: store the error as the outcome, or give the key back for another try."""
        if self._claim is None:
            return  # the outcome is stored; another step failed
        self._claim = None
        cut = _was_stopped(error)
        harmless = self.transaction is not None or self._once.method.flags.idempotent
        if harmless and (cut or errors.is_a(error, _NOTHING_DONE)):
            claim.give_back()
            return
        outcome = CUT if cut else KeyOutcome(None, errors.to_wire(error))
        try:
            claim.finish(outcome)
        except errors.CallError:
            pass  # the claim then expires, and its key is `Aborted`

    def _wait_longer(self) -> None:
        self.pause = min(self.pause * 1.5, LATEST)


def _was_stopped(error: BaseException) -> bool:
    """Whether the error shows that the handler was stopped from outside (as task or greenlet)."""
    return errors.is_a(error, (asyncio.CancelledError, GeneratorExit)) or any(
        kind.__name__ == "GreenletExit" for kind in type(error).__mro__
    )


def _told(outcome: KeyOutcome) -> Raw:
    if outcome.error is not None:
        raise errors.from_wire(*outcome.error)
    assert outcome.result is not None
    return Raw(outcome.result)


def _fingerprint(message: Call | Notify, values: Unpacker, size: int, keys: Chosen) -> bytes:
    """A hash of the arguments that ignores the order of map entries.

    Large values may be references to numbered frames of one batch: their content is hashed instead.
    """
    told: Callable[[Raw], bytes] = bytes
    if size >= FRAME_BYTES:
        told = lambda raw: whole(values.plain(raw, keys))  # noqa: E731
    found = hashlib.blake2b(ordered(told(message.args)), digest_size=16)
    for name, value in sorted((message.kwargs or {}).items()):
        found.update(b"\0" + name.encode() + b"\0" + ordered(told(value)))
    return found.digest()


async def _to_its_end(work: Awaitable[Any]) -> Any:
    """Await the work to its end, even if the caller is cancelled."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
