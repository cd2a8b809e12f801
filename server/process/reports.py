"""What the processes of a supervisor report of their calls, for metrics of all of them together.

Each process sends a snapshot twice a second, and a last one at its end, over a socket of its own. What a process that has ended had counted
remains in the sum.
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

# Seconds from one report to the next: a call is counted at most so long after its end.
PAUSE = 0.5
# Seconds for the last report.
_LAST = 2.0

_LENGTH = struct.Struct("!I")
_decode = msgspec.msgpack.Decoder(ServerSnapshot).decode


class Reporter:
    """The end of a process that serves: sends what `report` returns, from a thread of its own, until closed."""

    def __init__(self, descriptor: int, report: Callable[[], ServerSnapshot]) -> None:
        self._descriptor = descriptor
        os.set_inheritable(descriptor, False)
        self._report = report
        self._sent = b""
        self._end = native.allocate_lock()
        self._end.acquire()
        self._thread = native.start_thread(self._run)

    def close(self) -> None:
        """Send the last report."""
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
    """The supervisor's end: the sum of what all processes have reported."""

    def __init__(self) -> None:
        self._gone = ServerSnapshot()  # what processes had counted that have ended
        self._latest: dict[Source, ServerSnapshot] = {}
        self._lock = native.allocate_lock()

    def observe(self) -> Callable[[], ServerSnapshot]:
        """The function that reports the sum, from any thread."""
        return self._total

    def source(self) -> Source:
        """The end of one more process."""
        return Source(self)

    def arrived(self, source: Source, snapshot: ServerSnapshot) -> None:
        """A process has reported."""
        with self._lock:
            self._latest[source] = snapshot

    def gone(self, source: Source) -> None:
        """A process has ended."""
        with self._lock:
            last = self._latest.pop(source, None)
            if last is not None:
                self._gone.add_counters(last)

    def _total(self) -> ServerSnapshot:
        with self._lock:
            return total((self._gone, *self._latest.values()))


class Source:
    """What one process sends. `theirs` is its end, until it has been started."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._data = bytearray()
        self.socket, self.theirs = socket.socketpair()
        self.socket.setblocking(False)

    def receive(self) -> bool:
        """Take what has come. Whether there may be more later."""
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
        """The process has ended: take what it has sent before."""
        self.receive()
        self.socket.close()
        self._reports.gone(self)
