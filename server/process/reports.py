"""Metrics snapshots from server processes to their supervisor, which sums them.

Each process sends a snapshot twice a second and at its end, over its own socket. The counts of
ended processes remain in the sum.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable

import msgspec

from ...backends import native
from ...metrics.snapshot import ServerSnapshot, total

# Seconds between two reports, so the longest delay before an ended call is counted.
PAUSE = 0.5
# Timeout of the last report, in seconds.
_LAST = 2.0

_LENGTH = struct.Struct("!I")
_decode = msgspec.msgpack.Decoder(ServerSnapshot).decode


class Reporter:
    """Server process's end: a thread sends the snapshots that `report` returns, until closed."""

    def __init__(self, descriptor: int, report: Callable[[], ServerSnapshot]) -> None:
        self._descriptor = descriptor
        os.set_inheritable(descriptor, False)
        self._report = report
        self._sent = b""
        self._end = native.allocate_lock()
        self._end.acquire()
        self._thread = native.start_thread(self._run)

    def close(self) -> None:
        """Send the last report, and end the thread."""
        self._end.release()
        native.join([self._thread], time.monotonic() + _LAST)

    def _run(self) -> None:
        try:
            while not self._end.acquire(timeout=PAUSE):
                self._send()
            self._send()
        except OSError:
            pass  # the supervisor is gone, and this process ends too

    def _send(self) -> None:
        data = msgspec.msgpack.encode(self._report())
        if data == self._sent:
            return
        self._sent = data
        rest = memoryview(_LENGTH.pack(len(data)) + data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


class Reports:
    """The supervisor's end: the sum of the snapshots of all processes."""

    def __init__(self) -> None:
        self._gone = ServerSnapshot()  # counts of ended processes
        self._latest: dict[Source, ServerSnapshot] = {}
        self._lock = native.allocate_lock()

    def observe(self) -> Callable[[], ServerSnapshot]:
        """A function that returns the sum, from any thread."""
        return self._total

    def source(self) -> Source:
        """Open a socket for one more process."""
        return Source(self)

    def arrived(self, source: Source, snapshot: ServerSnapshot) -> None:
        """Keep the latest snapshot of a process."""
        with self._lock:
            self._latest[source] = snapshot

    def gone(self, source: Source) -> None:
        """Add the counters of an ended process to the sum for good."""
        with self._lock:
            last = self._latest.pop(source, None)
            if last is not None:
                self._gone.add_counters(last)

    def _total(self) -> ServerSnapshot:
        with self._lock:
            return total((self._gone, *self._latest.values()))


class Source:
    """Receives one process's snapshots. `theirs`: the process's end, needed until its start."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._data = bytearray()
        self.socket, self.theirs = socket.socketpair()
        self.socket.setblocking(False)

    def receive(self) -> bool:
        """Read all available data. Returns whether more may follow."""
        while True:
            try:
                data = self.socket.recv(1 << 20)
            except BlockingIOError:
                return True
            except OSError:
                data = b""
            if not data:
                return False
            self._data += data
            self._read()

    def _read(self) -> None:
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            end = _LENGTH.size + length
            if len(self._data) < end:
                return
            snapshot = _decode(bytes(self._data[_LENGTH.size : end]))
            del self._data[:end]
            self._reports.arrived(self, snapshot)

    def close(self) -> None:
        """Read the rest of an ended process's data, and close the socket."""
        self.receive()
        self.socket.close()
        self._reports.gone(self)
