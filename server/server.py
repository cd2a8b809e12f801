"""What a user starts: `serve` in the foreground, `Server` inside a running program."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from math import inf
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .. import backends
from ..backends.base import Loop
from ..discovery.announcement import Announcement
from ..endpoints import DEFAULT_ENDPOINT
from ..errors import UsageError
from ..protocol.messages import ROLES, About
from ..runtime import forks
from ..state import Missing, State, open_state
from ..state.engines.replica import START, ReplicaEngine
from ..state.invalidations import Invalidations
from ..terminal import announce
from ..transport import chosen
from ..transport.listening import InheritedSocket
from .admission.rates import checked_rate
from .admission.rules import AccessFile
from .connections.core import ServerCore
from .declare.service import Service
from .executors import ExecutorSettings
from .limits import Limits, checked_drain_timeout
from .methods.table import SchedulingOptions
from .process import settings as process_settings
from .process.logs import warn_of_exposed
from .process.registration import Registration
from .process.supervisor import Channel
from .process.watchdog import Watchdog

if TYPE_CHECKING:
    from ..security.curve import ServerKeys
    from ..transport.libzmq import ZmqContext

log = logging.getLogger("ringback.server")

# Seconds after which a replica looks again for its store.
_AGAIN = 0.1


class Server:
    """A service on its endpoints, embedded in a running program; several may live in one process.

    `with server:` serves in the background, in a thread (`threading`) or on the running hub (`gevent`); `async with server:` on the
    running asyncio loop; with `backend="twisted"` it is an IService. Leaving drains, at most `drain_timeout` seconds; then it may be
    started anew.

    `workers`: the most threads (on gevent: greenlets) that run blocking handlers. `max_size`: the largest value taken or sent, in
    bytes. `max_elements`: the most values, keys, lists and maps in the arguments of one call. `max_messages` and `max_frames`: the most of
    each in one batch, as clients are told. `max_connections`: the most at once, or fewer where the process may not have so many files
    open. `max_in_flight`: the most calls that are being handled or wait for that, `max_bytes_in_flight`: the most memory that their
    arguments take, as estimated from what was sent; one client may have nine times as much of either as it leaves free. Of all clients
    together, `max_unserved` are the bytes that may have come and wait for their turn or for the rest of their message, `max_unsent` the
    bytes of answers that may wait for clients to read them; None: `max_size`, and twice that. A connection has `handshake_timeout`
    seconds to become one, and `hello_timeout` to say something whole. `resources`:
    what there is of what methods need, by name. `limit`: the most calls that run at once, inline ones and streams apart, or "adaptive":
    learned from how long they take, and what would not end in its time is refused. `aging`: seconds of waiting that are worth one
    priority. `max_priority`: the most that callers may ask for. `executor`: where the plain functions run that say nothing of it
    themselves: "thread", "process" or "dask"; there are `worker_processes` (one for each processor), each with `worker_memory` bytes at
    most; `dask` is where the cluster's scheduler is. `state`: the store for methods with `once=True` and `current_call().state`, or its
    URL as `open_state` reads it. Of many servers of one service, clients send this one a share of the calls by its `weight`, prefer it
    where they are in the same `zone`, and send it by its `role` all calls ("primary"), those of `readonly` methods ("replica"), or what
    they would send any other (""). A replica follows the `state`, which is the primary's: it has all its data in memory, takes calls of
    `readonly` methods only, and writes nothing. `register`: the registry in which it announces itself while it answers calls, the URL
    of a state store; under `service_name`, where that is not the service's own, and at the endpoints `advertise`, where those that are
    bound are not what clients reach (port * there is the one that is bound).

    `secret_key`: the file of the server's own key, for CURVE: all is encrypted, and who has none of the `authorized_keys`, a directory of
    files of public keys that may change at any time, is not let in; "any" lets in any key. `insecure`: that there is no CURVE is meant,
    and needs no warning. `access`: a TOML file that says who may call what. `rate`: the calls a second that each client may make, of
    which so many at once as `burst` says, those of a second if it is not given.

    `transport`: "native", which speaks ZeroMQ's wire on the loop's own sockets, or "libzmq", for clients that are trusted; where it is not
    given, $RINGBACK_TRANSPORT, or "native". `context`: a zmq.Context to share, for libzmq, which it selects. Raises UsageError for what
    cannot be served, at once or when it starts.
    """

    def __new__(cls, *args: Any, backend: str = "asyncio", **kwargs: Any) -> Server:  # noqa: ARG004
        service = backends.load(backend).service
        return object.__new__(cls if service is None or issubclass(cls, service) else _both(cls, service))  # type: ignore[arg-type]

    def __init__(
        self,
        service: Service,
        bind: str | Sequence[str | InheritedSocket] = DEFAULT_ENDPOINT,
        *,
        backend: str = "asyncio",
        workers: int | None = None,
        drain_timeout: float = 30.0,
        max_size: int = Limits.max_size,
        max_elements: int = Limits.max_elements,
        max_messages: int = Limits.max_messages,
        max_frames: int = Limits.max_frames,
        max_connections: int = Limits.max_connections,
        max_in_flight: int = Limits.max_in_flight,
        max_bytes_in_flight: int = Limits.max_bytes_in_flight,
        max_unserved: int | None = Limits.max_unserved,
        max_unsent: int | None = Limits.max_unsent,
        handshake_timeout: float = Limits.handshake_timeout,
        hello_timeout: float = Limits.hello_timeout,
        resources: Mapping[str, float] | None = None,
        limit: int | str | None = None,
        aging: float = 1.0,
        max_priority: int = 100,
        executor: str | None = None,
        worker_processes: int | None = None,
        worker_memory: int | None = None,
        dask: str | None = None,
        state: State | str | None = None,
        role: str = "",
        zone: str = "",
        weight: float = 1.0,
        register: str | None = None,
        service_name: str | None = None,
        advertise: str | Sequence[str] | None = None,
        access: str | os.PathLike[str] | None = None,
        rate: float | None = None,
        burst: float | None = None,
        secret_key: str | Path | None = None,
        authorized_keys: str | Path | None = None,
        insecure: bool = False,
        transport: str | None = None,
        context: ZmqContext | None = None,
        uvloop: bool = False,
        reactor: str | None = None,
    ) -> None:
        if not isinstance(service, Service):
            raise UsageError(f"a ringback.Service is needed, not {service!r}")
        if workers is not None and workers < 1:
            raise UsageError(f"workers must be at least 1, not {workers}")
        self.service = service
        self.backend = backend
        self._loop_class = backends.load(backend)
        self._loop_options: dict[str, Any] = {} if workers is None else {"workers": workers}
        for option, value in (("uvloop", uvloop or None), ("reactor", reactor)):
            if value is not None:
                owner = backends.OWNERS[option]
                if backend != owner:
                    raise UsageError(f"{option} is for the {owner} backend, not for {backend}")
                self._loop_options[option] = value
        self._bind: list[str | InheritedSocket] = [bind] if isinstance(bind, str) else list(bind)
        about = _about(role, zone, weight)
        self._registration = Registration.asked_for(
            register, service_name, advertise, service.name, self._bind, about or About(), backend
        )
        self._announcement: Announcement | None = None
        keys = _keys(secret_key, authorized_keys, self._bind)
        if keys is not None and insecure:
            raise UsageError("insecure is for a server without CURVE: give it no secret_key, or leave it out")
        self._warns = keys is None and not insecure
        self._core_options: dict[str, Any] = {
            "transport": chosen(transport, context),
            "keys": keys,
            "limits": Limits(
                max_size=max_size,
                max_elements=max_elements,
                max_messages=max_messages,
                max_frames=max_frames,
                max_connections=max_connections,
                max_in_flight=max_in_flight,
                max_bytes_in_flight=max_bytes_in_flight,
                max_unserved=max_unserved,
                max_unsent=max_unsent,
                handshake_timeout=handshake_timeout,
                hello_timeout=hello_timeout,
            ),
            "about": about,
            "access": None if access is None else AccessFile(access),
            "rate": checked_rate(rate, burst, "the server"),
            "scheduling": SchedulingOptions(
                resources or {},
                limit,
                aging,
                max_priority,
                executor,
                ExecutorSettings(worker_processes, worker_memory, dask),
            ),
        }
        if not (state is None or isinstance(state, (str, State))):
            raise UsageError(f"state must be a State or the URL of one, not {state!r}")
        self._given_state = state
        self._role = role
        if role == "replica" and state is None:
            raise UsageError(
                "a replica needs the state store that it follows: give the server the primary's, as with --state sqlite:///state.db"
            )
        self._state: State | None = None
        self._source: State | None = None  # of a replica: the store that it follows
        self._invalidations: Invalidations | None = None
        self.drain_timeout = checked_drain_timeout(drain_timeout)
        self._loop: Loop | None = None
        self._core: ServerCore | None = None
        self._watchdog: Watchdog | None = None
        self._draining = False
        self._signals = False  # whether SIGTERM and SIGINT are its own

    @property
    def endpoints(self) -> list[str]:
        """What is bound, with real port numbers; empty before the start."""
        return [] if self._core is None else list(self._core.end.endpoints)

    @property
    def endpoint(self) -> str:
        """The first of `endpoints`. Raises RuntimeError before the start."""
        if not self.endpoints:
            raise RuntimeError("the server has not been started: it has no endpoint yet")
        return self.endpoints[0]

    # In the background

    def __enter__(self) -> Server:
        if self._loop_class.entered_with != "with":
            raise self._entered_wrongly("with")
        loop = self._new_loop()
        try:
            loop.enter(partial(self._begin, loop))
        except BaseException:
            self._give_up(loop)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = self._loop
        if loop is not None:  # as it is in a forked child
            loop.leave(self._drain)
            self._close(loop)

    async def __aenter__(self) -> Server:
        if self._loop_class.entered_with != "async with":
            raise self._entered_wrongly("async with")
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError(
                "`async with` needs a running asyncio loop: enter the server in a coroutine of asyncio.run()"
            ) from None
        loop = self._new_loop()
        try:
            await loop.enter_async(partial(self._begin, loop))
        except BaseException:
            self._give_up(loop)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = self._loop
        if loop is not None:  # as it is in a forked child
            await loop.leave_async(self._drain)
            self._close(loop)

    def _entered_wrongly(self, statement: str) -> UsageError:
        return UsageError(
            f"a server on {self.backend} is not entered with `{statement}`, but with {self._loop_class.entered_by}; "
            'for a server in the background of a blocking program give backend="threading"'
        )

    # In the foreground

    def run(
        self,
        ready: Callable[[Server], object] | None = None,
        *,
        signals: bool = True,
        channel: Channel | None = None,
    ) -> int:
        """Serve until SIGTERM or SIGINT, or the end of the supervisor at the other end of the channel; then drain. Calls `ready` when
        calls are answered.

        Returns 0 when every accepted call was answered, 1 when `drain_timeout` was not enough or a second signal came.
        """
        status = 1
        failure: BaseException | None = None
        loop = self._new_loop()

        def started(error: BaseException | None) -> None:
            nonlocal failure
            if error is not None:
                failure = error
                loop.call_soon(loop.stop)
            elif ready is not None:
                ready(self)

        def ended(complete: bool) -> None:
            nonlocal status
            status = 0 if complete else 1
            loop.stop()

        def signalled() -> None:
            if self._core is None:
                loop.stop()
            elif self._draining:
                self._core.close()
                loop.stop()
            else:
                self._drain(ended)

        def start() -> None:
            if signals:
                self._signals = True
                forks.hold_back(signal.SIGTERM, signal.SIGINT)
                loop.on_signal(signal.SIGTERM, signalled)
                loop.on_signal(signal.SIGINT, signalled)
            if channel is not None:
                channel.watch(loop, signalled)
            self._begin(loop, started)

        loop.run(start)
        if self._core is not None:
            self._core.close()
            if self._core.end.closing is not None:
                self._core.end.closing.acquire()
        self._close(loop)
        if failure is not None:
            raise failure
        return status

    # Both

    def _new_loop(self) -> Loop:
        if self._loop is not None:
            raise RuntimeError("this server is running already: make another one for another start")
        self._loop = self._loop_class(**self._loop_options)
        forks.inherit(self)
        return self._loop

    def _begin(
        self, loop: Loop, report: Callable[[BaseException | None], object], waited: float = 0.0
    ) -> None:
        """Start on a running loop; where that fails, nothing stays behind but the loop. A replica has `waited` for its store."""
        if self._loop is not loop:
            return  # who started it has given up meanwhile

        def started(error: BaseException | None) -> None:
            if error is None:
                self._watchdog = Watchdog(loop, self.service)
                if self._warns:
                    warn_of_exposed(self.service.name, self.endpoints)
                if self._announcement is not None and self._registration is not None:
                    self._announcement.start(self._registration.endpoints(self.endpoints))
            report(error)

        self._draining = False
        follows = self._role == "replica"
        try:
            given = self._given_state
            try:
                self._state = open_state(given, create=not follows) if isinstance(given, str) else given
            except Missing as error:
                if waited < START:
                    loop.call_later(_AGAIN, self._begin, loop, report, waited + _AGAIN)
                    return
                raise UsageError(f"{error}, which a replica follows: start its primary first") from None
            if self._registration is not None:
                self._announcement = self._registration.opened()
            replica = None
            if follows:
                assert self._state is not None
                self._source, replica = self._state, ReplicaEngine(self._state.engine)
                self._state = State(replica, self._source.url)
            self._core = ServerCore(self.service, loop, self._bind, state=self._state, **self._core_options)
            if replica is None:
                self._start(started)
            else:
                replica.start(lambda error: loop.call_soon_threadsafe(self._followed, loop, error, started))
        except BaseException as error:
            report(error)

    def forked(self) -> None:
        """In a child: it is a server that was never started, and signals mean what they mean in any program."""
        self._loop = self._core = None
        self._watchdog = self._announcement = self._invalidations = None
        if self._signals:
            self._signals = False
            signal.set_wakeup_fd(-1)  # which asyncio shares with its parent
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _followed(
        self, loop: Loop, error: BaseException | None, started: Callable[[BaseException | None], object]
    ) -> None:
        """A replica has read all that its store has, or could not."""
        if self._loop is not loop:
            return  # who started it has given up meanwhile
        if error is None:
            self._start(started)
        else:
            started(UsageError(f"a replica cannot start without its state store: {error}"))

    def _start(self, started: Callable[[BaseException | None], object]) -> None:
        assert self._core is not None
        try:
            if self._state is not None and self.service.caches:
                # (heard through the replica: when its data is as new, and what is computed anew is computed from that)
                self._invalidations = Invalidations(
                    self._state, self.service.name, self.service.forget, told_to=self._source
                )
                self._invalidations.start()
                self.service.invalidated.append(self._invalidations.tell)
            self._core.start(started)
        except BaseException as error:
            started(error)

    def _drain(self, ended: Callable[[bool], object]) -> None:
        assert self._core is not None
        self._draining = True
        if self._announcement is not None:
            self._announcement.draining()
        self._core.drain(self.drain_timeout, ended)

    def _give_up(self, loop: Loop) -> None:
        """A start has failed, or was cut short."""
        if self._core is not None:
            self._core.close()
        self._close(loop)

    def _close(self, loop: Loop) -> None:
        """After the end: it may be started anew."""
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None
        loop.close()
        self._loop = None
        if self._announcement is not None:
            self._announcement.close()
            self._announcement = None
        if self._invalidations is not None:
            if self._invalidations.tell in self.service.invalidated:
                self.service.invalidated.remove(self._invalidations.tell)
            self._invalidations.close()
            self._invalidations = None
        for state in (self._state, self._source):  # the replica first, which follows the other
            if state is not None and state is not self._given_state:
                state.close()
        self._state = self._source = None


@cache
def _both(server: type[Server], service: type) -> type[Server]:
    """A server that is what its loop's programs expect of a service, too."""
    return type(
        server.__name__, (server, service), {"__doc__": server.__doc__, "__module__": server.__module__}
    )


def _about(role: str, zone: str, weight: float) -> About | None:
    """What clients are told; None where there is nothing to tell. Raises UsageError."""
    if role not in ("", *ROLES):
        raise UsageError(f"role must be one of {', '.join(ROLES)}, or empty, not {role!r}")
    if not isinstance(zone, str):
        raise UsageError(f"zone must be a string, not {zone!r}")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < inf:
        raise UsageError(f"weight must be a number above 0, not {weight!r}")
    about = About(role, zone, float(weight))
    return None if about == About() else about


def _keys(
    secret_key: str | Path | None, authorized_keys: str | Path | None, places: Sequence[str | InheritedSocket]
) -> ServerKeys | None:
    """What is read of the keys. Raises UsageError."""
    if secret_key is None and authorized_keys is None:
        return None
    from ..security.curve import ServerKeys, check_encrypts  # few servers need it

    for place in places:
        check_encrypts(str(place))
    return ServerKeys.asked_for(secret_key, authorized_keys)


def serve(
    service: Service,
    bind: str | Sequence[str | InheritedSocket] = DEFAULT_ENDPOINT,
    *,
    backend: str = "asyncio",
    channel: Channel | None = None,
    **options: Any,
) -> int:
    """Serve in the foreground, in the main thread, until SIGTERM or SIGINT; the options are those of `Server`.

    Prints one line per endpoint on standard output when it answers calls (with a `channel`, tells its supervisor). Returns the
    exit status that tells how it ended: 0 when every accepted call was answered. Raises UsageError for bad options, and where it
    cannot start.
    """
    return run(Server(service, bind, backend=backend, **options), channel)


def run(server: Server, channel: Channel | None = None) -> int:
    """`serve`, with the server made already. Raises UsageError where it cannot start."""

    def ready(server: Server) -> None:
        process_settings.settle()
        name, backend = server.service.name, server.backend
        lines = [f"ringback: {name} on {endpoint} ({backend})" for endpoint in server.endpoints]
        if channel is not None:
            channel.ready(lines)
        else:
            announce("\n".join(lines))

    process_settings.prepare()
    main = threading.current_thread() is threading.main_thread()
    return server.run(ready, signals=main, channel=channel)
