"""Idempotency keys: work that is done once per key, with its stored outcome.

A handler claims a key before its work begins, with a lease that is renewed while the work goes on.
The outcome is stored under the key and returned to later calls with the same key
(draft-ietf-httpapi-idempotency-key-header; Stripe, "Idempotent requests"). A claim is interrupted
when its lease has run out or its process has ended: how much was done is then unknown. Unless the
work is repeatable, the outcome of its key becomes `ABORTED` permanently.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from .. import errors
from ..backends import native
from .engines.base import Conflict, Engine, Write
from .engines.off_the_hub import pause
from .locks import presence

if TYPE_CHECKING:
    from .renewals import Renewals
    from .transactions import Transaction

# Lease of a claim in seconds, and the number of renewals within it.
LEASE = 10.0
_RENEW = 4
# Timeout of one store operation, and the time between two attempts to store an outcome, in seconds.
_PATIENCE = 5.0
_AGAIN = 0.05
# Seconds until a renewal is retried if the store did not answer.
_SOON_AGAIN = 0.5
# Maximum remembered claims for which it is unknown whether they were made.
_DOUBTFUL = 1000
# Seconds between two checks whether a renewal is in progress.
_LOOK = 0.001


class KeyOutcome(Struct, array_like=True):
    """The outcome of the work: its result as MessagePack, or an error in wire form.

    The error is its code, type and message.
    """

    result: bytes | None
    error: tuple[str, str, str] | None = None


class Record(Struct, array_like=True):
    """The row of a key. Without an outcome it is a claim.

    `id` identifies the claim, `who` is its process, and `ends` is when its lease ends, by the
    store's clock.
    """

    fingerprint: bytes
    id: bytes
    who: str
    ends: float
    outcome: KeyOutcome | None = None


_record = msgspec.msgpack.Decoder(Record)
_encode = msgspec.msgpack.Encoder().encode

CUT = KeyOutcome(
    None,
    (
        errors.Aborted.code,
        "",
        "the first run under this key was interrupted: how much of its work was done is unknown",
    ),
)


class KeyClaim:
    """The right to do the work of one key, for as long as its lease is renewed."""

    def __init__(self, keys: Keys, row: str, record: Record, revision: int, keep: float) -> None:
        self._keys = keys
        self._row = row
        self._record = record
        self._revision = revision
        self._keep = keep
        self._ended = False
        self._lock = native.allocate_lock()  # excludes a renewal while the claim ends
        self._watch()

    def finish(self, outcome: KeyOutcome, transaction: Transaction | None = None) -> None:
        """Store the outcome together with the writes of the transaction.

        Raises Conflict if data that the transaction read has changed: nothing was written and the
        claim still stands. Raises Aborted if another process owns the claim by now. Raises
        Unavailable if the store does not answer for `LEASE` seconds; attempts then continue in the
        background.
        """
        self._keys.renewals.remove(self)
        end = time.monotonic() + LEASE
        while True:
            try:
                self._finish(outcome, transaction)
                return
            except errors.Unavailable:
                if time.monotonic() > end:
                    self._keys.unstored.add(self._record.id)
                    self._keys.renewals.add(
                        self, _SOON_AGAIN, lambda: self._finish_later(outcome, transaction)
                    )
                    raise
                pause(_AGAIN)

    def _finish(self, outcome: KeyOutcome, transaction: Transaction | None) -> None:
        record = msgspec.structs.replace(self._record, outcome=outcome)
        with self._alone():
            try:
                self._commit(record, transaction)
            except Conflict as conflict:
                if conflict.name != self._row:
                    self._watch()
                    raise
                stored = self._found_again()
                if stored is None:
                    raise errors.Aborted(
                        f"the claim of the key was lost: its lease of {LEASE:g} s ran out"
                    ) from None
                if stored.outcome is None:  # a renewal whose reply was lost
                    raise errors.Unavailable(
                        "the store's reply to a renewal was lost", started=False
                    ) from None
            self._ended = True

    def _finish_later(self, outcome: KeyOutcome, transaction: Transaction | None) -> float | None:
        """Seconds until the next attempt; None when the outcome is stored or the claim is
        another's."""
        try:
            self._finish(outcome, transaction)
        except errors.Unavailable:
            return _SOON_AGAIN
        except Conflict:
            self.give_back()  # nothing was written
        except errors.Aborted:
            pass
        self._keys.unstored.discard(self._record.id)
        return None

    def give_back(self) -> None:
        """Release the claim without any work done, so that the next call may claim the key."""
        self._keys.renewals.remove(self)
        with self._alone():
            self._ended = True
            try:
                self._keys.engine.commit(
                    {self._row: self._revision}, {self._row: Write(None)}, _PATIENCE
                )
            except (Conflict, errors.Unavailable):
                pass  # another process owns it, or may claim it when the lease has run out

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Exclude renewals of this claim.

        It polls the lock: a native thread may hold it, and a greenlet must not block its hub.
        """
        while not self._lock.acquire(False):
            pause(_LOOK)
        try:
            yield
        finally:
            self._lock.release()

    def _watch(self) -> None:
        self._keys.renewals.add(self, LEASE / _RENEW, self._renew)

    def _commit(self, record: Record, transaction: Transaction | None) -> None:
        # A claim's row must outlive its lease, even if the outcome is remembered for less time.
        keep = self._keep if record.outcome is not None else max(self._keep, 2 * LEASE)
        checks, writes = {self._row: self._revision}, {self._row: Write(_encode(record), keep)}
        if transaction is None:
            self._revision = self._keys.engine.commit(checks, writes, _PATIENCE)
        else:
            self._revision = transaction.commit_with(checks, writes, _PATIENCE)

    def _found_again(self) -> Record | None:
        """The claim's record if it is still ours, under any revision: the reply to a write may have
        been lost."""
        (row,), _ = self._keys.engine.read((self._row,), _PATIENCE)
        stored = None if row is None else _record.decode(row.value)
        if row is None or stored is None or stored.id != self._record.id:
            return None
        self._revision = row.revision
        return stored

    def _renew(self) -> float | None:
        """Seconds until the next renewal; None if there is none."""
        with self._alone():
            if self._ended:
                return None  # it ended while this renewal waited for the lock
            try:
                try:
                    self._record.ends = self._keys.engine.read((), _PATIENCE).now + LEASE
                    self._commit(self._record, None)
                except Conflict:
                    return (
                        None if self._found_again() is None else 0.0
                    )  # `finish` reports a lost claim
            except errors.Unavailable:
                return _SOON_AGAIN
            return LEASE / _RENEW


class Keys:
    """The keys of one service in one store."""

    def __init__(
        self,
        engine: Engine,
        renewals: Renewals,
        service: str,
        saw: Callable[[int], object] | None = None,
    ) -> None:
        self.engine = engine
        self._saw = saw  # receives the version of a stored outcome
        self.renewals = renewals
        self._service = service
        self._whole: set[str] = set()  # methods known to work only in their transaction
        self.unstored: set[bytes] = set()  # claims whose outcome is not stored yet
        self._doubtful: dict[str, bytes] = {}  # claims whose reply was lost, by row: they may exist

    def claim(
        self, method: str, key: str, fingerprint: bytes, keep: float, repeatable: bool
    ) -> KeyClaim | KeyOutcome | None:
        """Claim the key, or return its stored outcome; None while another run is in progress.

        `keep` is the time in seconds for which the key is remembered. `repeatable` says whether an
        interrupted run may be repeated. Raises FailedPrecondition if the key was used with other
        arguments.
        """
        row, whole = f"o:{self._service}/{method}/{key}", self._whole_of(method)
        while True:
            (found, known), now = self.engine.read((row, whole), _PATIENCE)
            if known is not None:
                self._whole.add(method)
            record = Record(fingerprint, os.urandom(8), presence.me(), now + LEASE)
            if found is not None:
                earlier = _record.decode(found.value)
                if earlier.fingerprint != fingerprint:
                    raise errors.FailedPrecondition(
                        f"{method}: the key {key!r} was used with other arguments: use a new key "
                        f"for each operation"
                    )
                if earlier.outcome is not None:
                    if self._saw is not None:
                        self._saw(found.revision)
                    return earlier.outcome
                if (
                    self._doubtful.get(row) == earlier.id
                    and self._doubtful.pop(row, None) == earlier.id
                ):
                    return KeyClaim(self, row, earlier, found.revision, keep)
                if earlier.id in self.unstored:
                    return None
                if earlier.ends > now and not presence.gone(earlier.who, self.engine.one_machine):
                    return None
                if not repeatable and known is None:
                    record.outcome = CUT
            checks = {row: 0 if found is None else found.revision}
            try:
                kept = Write(_encode(record), max(keep, 2 * LEASE))
                revision = self.engine.commit(checks, {row: kept}, _PATIENCE)
            except Conflict:
                continue
            except (
                BaseException
            ) as error:  # includes a greenlet killed while it waits for the reply
                lost = not isinstance(error, errors.Unavailable) or error.started is None
                if lost and record.outcome is None:
                    while len(self._doubtful) >= _DOUBTFUL:
                        self._doubtful.pop(next(iter(self._doubtful)), None)
                    self._doubtful[row] = record.id
                raise
            if record.outcome is not None:
                return record.outcome
            return KeyClaim(self, row, record, revision, keep)

    def works_in_transaction(self, method: str, transaction: Transaction) -> None:
        """Record that this method works only in its transaction: an interrupted run has done
        nothing.

        The record is written with the transaction.
        """
        if method not in self._whole:
            transaction.write_beside(self._whole_of(method), Write(b"1"))

    def _whole_of(self, method: str) -> str:
        return f"m:{self._service}/{method}"
