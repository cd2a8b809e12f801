"""`--processes N`: a supervisor for many server processes of one service on one port.

The supervisor only supervises: it imports neither the service nor zmq. The server processes
("workers" in this file) inherit its listening sockets, and each starts as a fresh process. A
channel to each of them reports to the supervisor that the worker is ready, and to the worker that
the supervisor has died.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ...metrics import expose
from ...terminal import announce
from ...transport.listening import InheritedSocket, listen
from ...transport.paths import OwnedPaths
from . import systemd
from .reports import Reports

log = logging.getLogger("ringback.supervisor")

# Seconds before a dead worker is replaced, and their maximum; they double with each worker that
# dies within a second of being ready.
RESTART_AFTER = 0.1
RESTART_AFTER_AT_MOST = 10.0
# Seconds after the drain timeout before a worker is killed.
GRACE = 5.0
# The message of a worker that asks for its replacement.
REPLACE = b"replace\n"
# Longest wait in seconds: epoll takes at most 24 days.
LONGEST_WAIT = 86_400.0


class Worker:
    """One server process.

    `place`: index of its listening sockets. `generation`: number of reloads before its start.
    """

    def __init__(
        self,
        command: Sequence[str],
        place: int,
        generation: int,
        listeners: dict[str, socket.socket],
        reports: Reports | None,
    ) -> None:
        self.place = place
        self.generation = generation
        self.channel, theirs = socket.socketpair()
        descriptors = [theirs.fileno(), *(one.fileno() for one in listeners.values())]
        words = ["--supervised", str(theirs.fileno())]
        self.source = None if reports is None else reports.source()
        if self.source is not None:
            descriptors.append(self.source.theirs.fileno())
            words += ["--reports-to", str(descriptors[-1])]
        for endpoint, listener in listeners.items():
            words += ["--inherited", str(InheritedSocket(endpoint, listener.fileno()))]
        try:
            # Its own session: the supervisor passes Ctrl-C on.
            self.process = subprocess.Popen(
                [*command, *words],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,
                env=systemd.without_own(os.environ),
            )
        except BaseException:
            self.channel.close()
            if self.source is not None:
                self.source.close()
            raise
        finally:
            theirs.close()
            if self.source is not None:
                self.source.theirs.close()
        self.ready_since: float | None = None
        self.ready_lines = ""
        self.told = b""
        self.replaces: Worker | None = None
        self.asks = False  # asks for its replacement
        self.leaving = False

    @property
    def pid(self) -> int:
        return self.process.pid


class Supervisor:
    """Keeps `processes` workers serving at the endpoints until a signal.

    SIGTERM and SIGINT drain all workers (a second one stops them at once). SIGHUP replaces them one
    after the other. A worker that dies is replaced. Raises UsageError for endpoints that cannot be
    bound.
    """

    def __init__(
        self,
        command: Sequence[str],
        endpoints: Sequence[str | InheritedSocket],
        processes: int,
        *,
        drain_timeout: float,
        metrics: str | None = None,
    ) -> None:
        """`metrics`: HOST:PORT that serves the metrics of all workers."""
        self._command = command
        self._processes = processes
        self._drain_timeout = drain_timeout
        self._workers: dict[int, Worker] = {}
        self._generation = 0  # workers of an earlier one need replacement
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._delay = RESTART_AFTER
        self._serving = False  # once all workers have been ready
        self._stopping = False
        self._reloading = False  # the state that the service manager knows
        self._status = 0
        self._paths = OwnedPaths()
        self._listeners: dict[str, list[socket.socket]] = {}  # by endpoint, one per place
        self._reports: Reports | None = None  # of the workers, if metrics are served
        self._hide: Callable[[], object] = lambda: None  # stops serving metrics
        try:
            for endpoint in endpoints:
                if isinstance(endpoint, InheritedSocket):
                    self._listeners[endpoint.endpoint] = [
                        socket.socket(fileno=endpoint.descriptor)
                    ] * processes
                    continue
                self._paths.take(endpoint)
                real, listeners = listen(endpoint, processes)
                self._paths.keep(endpoint)
                self._listeners[real] = listeners
            if metrics is not None:
                self._reports = Reports()
                self._hide = expose(metrics, self._reports)
        except BaseException:
            self._release()
            raise

    def run(self) -> int:
        """Supervise until the end. Returns 0 if every worker answered all its accepted calls."""
        woken, wakes = socket.socketpair()
        for one in (woken, wakes):
            one.setblocking(False)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(
            woken, selectors.EVENT_READ, lambda: self._signalled(woken.recv(4096))
        )
        self._live()
        try:
            self._start(0)  # the others once it serves: they would fail for the same reason
            while self._workers or not self._stopping:
                for key, _ in self._selector.select(self._seconds_to_wait()):
                    if (
                        self._selector.get_map().get(key.fd) is key
                    ):  # else an earlier one removed it
                        key.data()
                self._run_timers()
        finally:
            for worker in self._workers.values():
                worker.process.kill()
            self._release()
        return self._status

    # Workers

    def _start(self, place: int, replaces: Worker | None = None) -> None:
        listeners = {endpoint: shared[place] for endpoint, shared in self._listeners.items()}
        try:
            worker = Worker(self._command, place, self._generation, listeners, self._reports)
        except OSError as error:  # too many processes, or out of memory
            if not self._serving:
                raise
            log.error("no process can be started: %s", error)
            again = partial(self._restart, place) if replaces is None else self._replace_next
            self._after(RESTART_AFTER_AT_MOST, again)
            return
        worker.replaces = replaces
        self._workers[worker.pid] = worker
        self._selector.register(worker.channel, selectors.EVENT_READ, lambda: self._heard(worker))
        if worker.source is not None:
            self._selector.register(
                worker.source.socket, selectors.EVENT_READ, lambda: self._reported(worker)
            )
        log.info("process %d started", worker.pid)

    def _heard(self, worker: Worker) -> None:
        """Read a worker's channel.

        First come its endpoint lines, ended by an empty one; later, requests for replacement. EOF
        is the end of the process.
        """
        try:
            told = worker.channel.recv(65536)
        except OSError:
            told = b""
        worker.told += told
        if not told:
            self._selector.unregister(worker.channel)
            worker.channel.close()
        if worker.ready_since is None and b"\n\n" in worker.told:
            lines, _, worker.told = worker.told.partition(b"\n\n")
            worker.ready_since, worker.ready_lines = time.monotonic(), lines.decode()
            self._ready(worker)
        if worker.ready_since is not None and REPLACE in worker.told:
            worker.told = b""
            worker.asks = True
            self._replace_next()

    def _reported(self, worker: Worker) -> None:
        assert worker.source is not None
        if not worker.source.receive():
            self._selector.unregister(worker.source.socket)

    def _ready(self, worker: Worker) -> None:
        log.info("process %d is ready", worker.pid)
        if not self._serving and not self._stopping:
            while len(self._workers) < self._processes:
                self._start(len(self._workers))
            if all(one.ready_since is not None for one in self._workers.values()):
                self._serving = True
                announce(worker.ready_lines)
                systemd.notify(systemd.READY)
                if any(one.generation < self._generation for one in self._workers.values()):
                    self._reload()  # for a SIGHUP during the start
        old, worker.replaces = worker.replaces, None
        if old is not None:
            log.info("process %d takes over from process %d", worker.pid, old.pid)
            if old.pid not in self._workers:
                self._replace_next()  # the old one died meanwhile
            elif not old.leaving:
                self._tell_to_leave(old)

    def _reap(self) -> None:
        for worker in list(self._workers.values()):
            status = worker.process.poll()
            if status is not None:
                del self._workers[worker.pid]
                if worker.source is not None:
                    with suppress(KeyError):  # unregistered at EOF
                        self._selector.unregister(worker.source.socket)
                    worker.source.close()
                self._ended(worker, status)
        self._reap_orphans()

    def _reap_orphans(self) -> None:
        """As PID 1 of a container, reap the children of ended processes."""
        with suppress(ChildProcessError):  # no child at all
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid in self._workers:
                    break  # a worker that ended just now; its SIGCHLD follows
                os.waitpid(ended.si_pid, 0)

    def _ended(self, worker: Worker, status: int) -> None:
        how = (
            f"ended with status {status}"
            if status >= 0
            else f"was killed by {signal.Signals(-status).name}"
        )
        # Before a process serves, SIGTERM ends it as it would any program.
        expected = (0,) if worker.ready_since is not None else (0, -signal.SIGTERM)
        level = logging.INFO if worker.leaving and status in expected else logging.ERROR
        log.log(level, "process %d %s", worker.pid, how)
        if self._stopping:
            # A replacement that never served owes no reply.
            if worker.ready_since is not None or not self._serving:
                self._status = self._status or (status if status >= 0 else 1)
        elif not self._serving:
            self._status = status if status > 0 else 1
            self._stop(signal.SIGTERM)
        elif worker.replaces is not None:
            if worker.replaces.pid in self._workers:
                log.error("replacement failed before it served: the old processes go on")
                for each in self._workers.values():  # until the next reload
                    each.generation, each.asks = max(each.generation, worker.generation), False
            else:
                self._restart_later(worker)  # the old one died meanwhile
            self._replace_next()
        elif any(other.replaces is worker for other in self._workers.values()):
            pass  # its replacement is starting
        elif not worker.leaving:
            self._restart_later(worker)
        else:
            self._replace_next()

    def _restart_later(self, worker: Worker) -> None:
        """Start a worker in the place of a dead one, after a delay."""
        lived = worker.ready_since is not None and time.monotonic() - worker.ready_since > 1.0
        self._delay = RESTART_AFTER if lived else min(2 * self._delay, RESTART_AFTER_AT_MOST)
        log.info("starting another process in %.1f s", self._delay)
        self._after(self._delay, lambda: self._restart(worker.place))

    def _restart(self, place: int) -> None:
        if not self._stopping:
            self._start(place)

    def _replace_next(self) -> None:
        """Start the replacement of the next worker that needs one; one at a time."""
        workers = self._workers.values()
        if (
            self._stopping
            or not self._serving
            or any(one.leaving or one.replaces for one in workers)
        ):
            return
        old = next((one for one in workers if one.generation < self._generation or one.asks), None)
        if old is not None:
            self._start(old.place, replaces=old)
        elif self._reloading:
            self._reloading = False
            systemd.notify(systemd.READY)

    # Signals and time

    def _signalled(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP:
                self._renew()
            else:
                self._stop(number)

    def _renew(self) -> None:
        """Replace all current workers once they serve, as some may have loaded the old code."""
        self._generation += 1
        if self._serving and not self._stopping:
            self._reload()

    def _reload(self) -> None:
        old = sum(one.generation < self._generation for one in self._workers.values())
        log.info("replacing %d processes, one after the other", old)
        self._reloading = True
        systemd.reloading()
        self._replace_next()

    def _stop(self, number: int) -> None:
        if self._workers:
            log.info("stopping %d processes (%s)", len(self._workers), signal.Signals(number).name)
        again, self._stopping = self._stopping, True
        systemd.notify(systemd.STOPPING)
        for worker in self._workers.values():
            if again or not worker.leaving:
                self._tell_to_leave(worker)

    def _tell_to_leave(self, worker: Worker) -> None:
        worker.leaving = True
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGTERM)

        def kill() -> None:
            if worker.process.poll() is None:
                log.error("process %d did not end in time: killing it", worker.pid)
                worker.process.kill()

        self._after(self._drain_timeout + GRACE, kill)

    def _live(self) -> None:
        """Notify the service manager's watchdog, if it expects that."""
        interval = systemd.watchdog_interval()
        if interval is not None:
            systemd.notify(systemd.ALIVE)
            self._after(interval, self._live)

    def _after(self, seconds: float, function: Callable[[], None]) -> None:
        self._timers.append((time.monotonic() + seconds, function))

    def _seconds_to_wait(self) -> float | None:
        if not self._timers:
            return None
        return min(max(0.0, min(when for when, _ in self._timers) - time.monotonic()), LONGEST_WAIT)

    def _run_timers(self) -> None:
        now = time.monotonic()
        due = [function for when, function in self._timers if when <= now]
        self._timers = [(when, function) for when, function in self._timers if when > now]
        for function in due:
            function()

    def _release(self) -> None:
        self._hide()
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.close()
        self._paths.release()


class Channel:
    """The worker's end of the channel: reports readiness, and detects the supervisor's death."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        os.set_inheritable(descriptor, False)

    def ready(self, lines: Sequence[str]) -> None:
        os.write(self.descriptor, ("\n".join(lines) + "\n\n").encode())

    def replace(self) -> None:
        """Ask the supervisor to replace this process."""
        os.write(self.descriptor, REPLACE)

    def watch(self, loop: Any, gone: Callable[[], object]) -> None:
        """Call `gone` on the loop when the supervisor dies: nothing else would end this process."""

        def readable() -> None:
            handle.cancel()
            gone()

        handle = loop.watch(self.descriptor, readable)
