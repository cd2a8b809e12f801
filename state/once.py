"""Keys under which work is done once: who has claimed one, and what came of it.

A key is claimed before its work begins, with a lease that is renewed while it goes on; what comes of it is stored under the key, and
given to whoever comes with the same key later (draft-ietf-httpapi-idempotency-key-header; Stripe, "Idempotent requests"). A claim
whose lease has run out, or whose process is gone, was cut: nobody knows how far it came. Unless it may be repeated, its key is
`ABORTED` for good.
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

# Seconds for which a claim counts when nothing more is heard of it; and the parts of it after which it is renewed.
LEASE = 10.0
_RENEW = 4
# Seconds that one step may take, and from one try to store an outcome to the next.
_PATIENCE = 5.0
_AGAIN = 0.05
# Seconds to the next try to renew a claim, where the store did not answer.
_SOON_AGAIN = 0.5
# Claims of which it is not known whether they were made, that are remembered.
_DOUBTFUL = 1000
# Seconds from one look to the next whether it is renewed at the moment.
_LOOK = 0.001


class KeyOutcome(Struct, array_like=True):
    """What came of the work: its result as MessagePack, or an error as it goes over the wire: code, kind and message."""

    result: bytes | None
    error: tuple[str, str, str] | None = None


class Record(Struct, array_like=True):
    """What is stored under a key. Without an outcome it is a claim, told from others by its `id`: of `who`, until `ends` by the store's
    clock."""

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
        "the first run under this key was cut before its end: nobody knows what it has done",
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
        self._lock = native.allocate_lock()  # between what renews and what ends it
        self._watch()

    def finish(self, outcome: KeyOutcome, transaction: Transaction | None = None) -> None:
        """Store what came of it, together with what the transaction has written. Raises Conflict where what that has read has changed:
        nothing was written, and the claim still stands; Aborted where the claim was another's by then; Unavailable where the store does not
        answer for long: then it is tried on, in the background."""
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
                if stored.outcome is None:  # renewed, though nobody told us
                    raise errors.Unavailable("the answer to a renewal was lost", started=False) from None
            self._ended = True

    def _finish_later(self, outcome: KeyOutcome, transaction: Transaction | None) -> float | None:
        """Seconds until the next try; None when it is stored, or another's."""
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
        """Nothing was done: the next who comes may."""
        self._keys.renewals.remove(self)
        with self._alone():
            self._ended = True
            try:
                self._keys.engine.commit({self._row: self._revision}, {self._row: Write(None)}, _PATIENCE)
            except (Conflict, errors.Unavailable):
                pass  # it is another's, or will be when the lease has run out

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Not beside what renews it. (Waiting by looks: the lock may be held by a native thread, and a greenlet must not stop its hub.)"""
        while not self._lock.acquire(False):
            pause(_LOOK)
        try:
            yield
        finally:
            self._lock.release()

    def _watch(self) -> None:
        self._keys.renewals.add(self, LEASE / _RENEW, self._renew)

    def _commit(self, record: Record, transaction: Transaction | None) -> None:
        # (a claim counts as long as it is renewed, for however short a time its outcome is remembered)
        keep = self._keep if record.outcome is not None else max(self._keep, 2 * LEASE)
        checks, writes = {self._row: self._revision}, {self._row: Write(_encode(record), keep)}
        if transaction is None:
            self._revision = self._keys.engine.commit(checks, writes, _PATIENCE)
        else:
            self._revision = transaction.commit_with(checks, writes, _PATIENCE)

    def _found_again(self) -> Record | None:
        """The row, where it is ours still, under whatever revision: the answer to a write may have been lost."""
        (row,), _ = self._keys.engine.read((self._row,), _PATIENCE)
        stored = None if row is None else _record.decode(row.value)
        if row is None or stored is None or stored.id != self._record.id:
            return None
        self._revision = row.revision
        return stored

    def _renew(self) -> float | None:
        """Seconds until the next time; None where there is none."""
        with self._alone():
            if self._ended:
                return None  # it was on its way here when that came
            try:
                try:
                    self._record.ends = self._keys.engine.read((), _PATIENCE).now + LEASE
                    self._commit(self._record, None)
                except Conflict:
                    return (
                        None if self._found_again() is None else 0.0
                    )  # if it is lost, `finish` will find out
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
        self._saw = saw  # told of the version at which what came of a key was stored
        self.renewals = renewals
        self._service = service
        self._whole: set[str] = set()  # methods that are known to do all their work in their transaction
        self.unstored: set[bytes] = set()  # claims whose outcome is still to be stored
        self._doubtful: dict[str, bytes] = {}  # claims whose answer was lost: they may have been made

    def claim(
        self, method: str, key: str, fingerprint: bytes, keep: float, repeatable: bool
    ) -> KeyClaim | KeyOutcome | None:
        """The right to do the work, or what came of it; None while somebody else does it. `keep`: seconds for which the key is
        remembered. `repeatable`: whether what was cut may be done again. Raises FailedPrecondition where the key was used with other
        arguments."""
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
                        f"{method}: the key {key!r} was used with other arguments: give each piece of work a key of its own"
                    )
                if earlier.outcome is not None:
                    if self._saw is not None:
                        self._saw(found.revision)
                    return earlier.outcome
                if self._doubtful.get(row) == earlier.id and self._doubtful.pop(row, None) == earlier.id:
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
            except BaseException as error:  # also where a greenlet is stopped that waits for the answer
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
        """Remember, with what it writes, that this method does all its work in its transaction: what is cut has done nothing."""
        if method not in self._whole:
            transaction.write_beside(self._whole_of(method), Write(b"1"))

    def _whole_of(self, method: str) -> str:
        return f"m:{self._service}/{method}"
