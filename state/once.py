"""Keys under which work is done once: who has claimed one, and what came of it.

A key is claimed before its work begins, with a lease that is renewed while it goes on; what comes of it is stored under the key, and
given to whoever comes with the same key later (draft-ietf-httpapi-idempotency-key-header; Stripe, "Idempotent requests"). A claim
whose lease has run out, or whose process is gone, was cut: nobody knows how far it came. Unless it may be repeated, its key is
`ABORTED` for good.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from .. import errors
from ..backends import native
from . import presence
from .engine import Conflict, Engine, Write

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
# Seconds from one look to the next whether it is renewed at the moment.
_LOOK = 0.001


class Outcome(Struct, array_like=True):
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
    outcome: Outcome | None = None


_record = msgspec.msgpack.Decoder(Record)
_encode = msgspec.msgpack.Encoder().encode

CUT = Outcome(
    None,
    (
        errors.Aborted.code,
        "",
        "the first run under this key was cut before its end: nobody knows what it has done",
    ),
)


class Claim:
    """The right to do the work of one key, for as long as its lease is renewed."""

    def __init__(self, keys: Keys, row: str, record: Record, revision: int, keep: float) -> None:
        self._keys = keys
        self._row = row
        self._record = record
        self._revision = revision
        self._keep = keep
        self._lock = native.allocate_lock()  # between what renews and what ends it
        self._watch()

    def finish(self, outcome: Outcome, transaction: Transaction | None = None) -> None:
        """Store what came of it, together with what the transaction has written. Raises Conflict where what that has read has changed:
        nothing was written; Aborted where the claim was another's by then; Unavailable where the store does not answer for long."""
        self._keys.renewals.remove(self)
        record = msgspec.structs.replace(self._record, outcome=outcome)
        end = time.monotonic() + LEASE
        with self._alone():
            while True:
                try:
                    try:
                        self._commit(record, transaction)
                        return
                    except Conflict as conflict:
                        if conflict.name != self._row:
                            self._watch()
                            raise
                        stored = self._found_again()
                        if stored is None:
                            raise errors.Aborted(
                                f"the claim of the key was lost: its lease of {LEASE:g} s ran out"
                            ) from None
                        if stored.outcome is not None:
                            return  # by a try whose answer was lost
                except errors.Unavailable:
                    if time.monotonic() > end:
                        raise
                    time.sleep(_AGAIN)

    def give_back(self) -> None:
        """Nothing was done: the next who comes may."""
        self._keys.renewals.remove(self)
        with self._alone():
            try:
                self._keys.engine.commit({self._row: self._revision}, {self._row: Write(None)}, _PATIENCE)
            except (Conflict, errors.Unavailable):
                pass  # it is another's, or will be when the lease has run out

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Not beside what renews it. (Waiting by looks: the lock may be held by a native thread, and a greenlet must not stop its hub.)"""
        while not self._lock.acquire(False):
            time.sleep(_LOOK)
        try:
            yield
        finally:
            self._lock.release()

    def _watch(self) -> None:
        self._keys.renewals.add(self, LEASE / _RENEW, self._renew)

    def _commit(self, record: Record, transaction: Transaction | None) -> None:
        checks, writes = {self._row: self._revision}, {self._row: Write(_encode(record), self._keep)}
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

    def __init__(self, engine: Engine, renewals: Renewals, service: str) -> None:
        self.engine = engine
        self.renewals = renewals
        self._service = service
        self._whole: set[str] = set()  # methods that are known to do all their work in their transaction
        self._doubtful: dict[str, bytes] = {}  # claims whose answer was lost: they may have been made

    def claim(
        self, method: str, key: str, fingerprint: bytes, keep: float, repeatable: bool
    ) -> Claim | Outcome | None:
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
                    return earlier.outcome
                if self._doubtful.get(row) == earlier.id:
                    del self._doubtful[row]
                    return Claim(self, row, earlier, found.revision, keep)
                if earlier.ends > now and not presence.gone(earlier.who):
                    return None
                if not repeatable and known is None:
                    record.outcome = CUT
            checks = {row: 0 if found is None else found.revision}
            try:
                revision = self.engine.commit(checks, {row: Write(_encode(record), keep)}, _PATIENCE)
            except Conflict:
                continue
            except BaseException as error:  # also where a greenlet is stopped that waits for the answer
                lost = not isinstance(error, errors.Unavailable) or error.started is None
                if lost and record.outcome is None:
                    self._doubtful[row] = record.id
                raise
            if record.outcome is not None:
                return record.outcome
            return Claim(self, row, record, revision, keep)

    def works_in_transaction(self, method: str, transaction: Transaction) -> None:
        """Remember, with what it writes, that this method does all its work in its transaction: what is cut has done nothing."""
        if method not in self._whole:
            transaction.write_beside(self._whole_of(method), Write(b"1"))

    def _whole_of(self, method: str) -> str:
        return f"m:{self._service}/{method}"
