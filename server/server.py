"""`Server`: a service on its endpoints, embedded in a program or run in the foreground."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Sequence
from functools import cache, partial
from math import inf
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from .. import backends
from ..backends import native
from ..backends.base import Loop
from ..discovery.announcement import Announcement
from ..endpoints import DEFAULT_ENDPOINT, host_and_port
from ..errors import UsageError
from ..metrics import expose
from ..metrics.recorder import CallRecorder, Histogram
from ..metrics.snapshot import Calls, ServerSnapshot
from ..options.option import completed
from ..options.signatures import takes
from ..protocol.messages import About
from ..runtime import forks
from ..state import Missing, State, open_state
from ..state.engines.replica import START, ReplicaEngine
from ..state.invalidations import Invalidations
from ..tracing import tracing_of
from ..transport import chosen
from ..transport.listening import InheritedSocket
from .admission.rates import checked_rate
from .admission.rules import AccessFile
from .connections.core import ServerCore
from .declare.service import Service, checked_executor, checked_limit
from .limits import check_together
from .options import ServerOptions, longest
from .process.logs import warn_of_exposed
from .process.registration import Registration
from .process.supervisor import Channel
from .process.watchdog import Watchdog
from .scheduling.resources import checked

if TYPE_CHECKING:
    from ..security.curve import ServerKeys

log = logging.getLogger("ringback.server")

# Seconds between a replica's attempts to open its store.
_AGAIN = 0.1


def nothing(*_: object) -> None:
    """Default callback: does nothing."""


@takes(ServerOptions)
class Server:
    """A service on its endpoints, embedded in a running program; one process may hold several.

    `with server:` serves in the background, in a thread (`threading`) or on the running hub
    (`gevent`). `async with server:` serves on the running asyncio loop. With `backend="twisted"`
    the server is an IService. Leaving the block drains for at most `drain_timeout` seconds; then
    the server may start again.

    `bind`: an endpoint, or several. Raises UsageError for bad options, at once or at the start.
    """

    def __new__(cls, *args: Any, backend: str = "asyncio", **kwargs: Any) -> Server:  # noqa: ARG004
        service = backends.load(backend).service
        if service is not None and not issubclass(cls, service):
            cls = _both(cls, service)  # type: ignore[arg-type]
        return object.__new__(cls)

    def __init__(
        self,
        service: Service,
        bind: str | Sequence[str | InheritedSocket] = DEFAULT_ENDPOINT,
        **options: Unpack[ServerOptions],
    ) -> None:
        if not isinstance(service, Service):
            raise UsageError(f"service must be a ringback.Service, not {service!r}")
        given = completed(ServerOptions, options, "ringback.Server")
        _check(given)
        self.service = service
        self.backend = given["backend"]
        self._loop_class = backends.load(self.backend)
        self._loop_options = _loop_options(given)
        self._bind: list[str | InheritedSocket] = [bind] if isinstance(bind, str) else list(bind)
        about = _about(given["role"], given["zone"], given["weight"])
        self._registration = Registration.asked_for(
            given["register"],
            given["service_name"],
            given["advertise"],
            service.name,
            self._bind,
            about or About(),
            self.backend,
        )
        self._announcement: Announcement | None = None
        keys = _keys(given["secret_key"], given["authorized_keys"], self._bind)
        if keys is not None and given["insecure"]:
            raise UsageError(
                "insecure is for a server without CURVE: leave out insecure or secret_key"
            )
        self._warns = keys is None and not given["insecure"]
        self._core_options: dict[str, Any] = {
            "transport": chosen(given["transport"], given["context"]),
            "keys": keys,
            "limits": given,
            "scheduling": given,
            "about": about,
            "access": None if given["access"] is None else AccessFile(given["access"]),
            "rate": checked_rate(given["rate"], given["burst"], "the server"),
            "tracing": tracing_of(given["trace"]),
        }
        self._metrics = given["metrics"]
        self._exposed: Callable[[], object] = nothing  # stops serving metrics
        self._recorder: CallRecorder | None = None
        self._lag = Histogram()
        self._given_state = given["state"]
        self._role = given["role"]
        self.drain_timeout = longest(given["drain_timeout"])
        self._state: State | None = None
        self._source: State | None = None  # the store that a replica follows
        self._invalidations: Invalidations | None = None
        self._loop: Loop | None = None
        self._core: ServerCore | None = None
        self._watchdog: Watchdog | None = None
        self._draining = False
        self._leave: Callable[[], object] = nothing
        self._signals = False  # whether it handles SIGTERM and SIGINT

    @property
    def endpoints(self) -> list[str]:
        """The bound endpoints, with real port numbers; empty before the start."""
        return [] if self._core is None else list(self._core.end.endpoints)

    @property
    def endpoint(self) -> str:
        """The first of `endpoints`. Raises RuntimeError before the start."""
        if not self.endpoints:
            raise RuntimeError("the server has no endpoint yet: start it first")
        return self.endpoints[0]

    if TYPE_CHECKING:  # with `backend="twisted"`; see `backends/twisted/service.py`

        def startService(self) -> Any: ...  # noqa: N802 - Twisted's name

        def stopService(self) -> Any: ...  # noqa: N802

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
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        loop = self._loop
        if loop is not None:  # None in a forked child
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
                "`async with` needs a running asyncio loop: enter the server in a coroutine of "
                "asyncio.run()"
            ) from None
        loop = self._new_loop()
        try:
            await loop.enter_async(partial(self._begin, loop))
        except BaseException:
            self._give_up(loop)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        loop = self._loop
        if loop is not None:  # None in a forked child
            await loop.leave_async(self._drain)
            self._close(loop)

    def _entered_wrongly(self, statement: str) -> UsageError:
        return UsageError(
            f"a server on {self.backend} is not entered with `{statement}`, but with "
            f"{self._loop_class.entered_by}; "
            'for a server in the background of a blocking program give backend="threading"'
        )

    # In the foreground

    def run(
        self,
        ready: Callable[[Server], object] = nothing,
        leaving: Callable[[Server], object] = nothing,
        *,
        signals: bool = True,
        channel: Channel | None = None,
    ) -> int:
        """Serve until SIGTERM, SIGINT or the death of the supervisor behind `channel`; then drain.

        Calls `ready` once it answers calls, and `leaving` when it begins to drain. Returns 0 if it
        answered every accepted call, 1 if `drain_timeout` was too short or a second signal came.
        """
        status = 1
        failure: BaseException | None = None
        signalled_before = False
        loop = self._new_loop()

        def started(error: BaseException | None) -> None:
            nonlocal failure
            if error is not None:
                failure = error
                loop.call_soon(loop.stop)
            else:
                ready(self)

        def ended(complete: bool) -> None:
            nonlocal status
            status = 0 if complete else 1
            loop.stop()

        def drain() -> None:
            if not self._draining:
                leaving(self)
                self._drain(ended)

        def signalled() -> None:
            nonlocal signalled_before
            if self._core is None:
                loop.stop()
            elif signalled_before:
                self._core.close()
                loop.stop()
            else:
                signalled_before = True
                drain()

        def start() -> None:
            self._leave = drain
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

    @property
    def calls(self) -> int:
        """Number of ended calls of the service's methods."""
        return 0 if self._core is None else self._core.calls

    def observe(self) -> Callable[[], ServerSnapshot]:
        """Start to count calls by method and code, with durations, for `ringback.metrics`.

        Returns a function that takes a snapshot of these counts and the server's state from any
        thread.
        """
        if self._recorder is None:
            self._recorder = CallRecorder()
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._record)
        return self._report

    def _record(self) -> None:
        """Pass the recorder to the core. Runs on the event loop."""
        if self._core is not None and self._recorder is not None:
            self._core.observe(self._recorder)
            if self._watchdog is not None:
                self._watchdog.lag = self._lag

    def _report(self) -> ServerSnapshot:
        assert self._recorder is not None
        core = self._core
        snapshot = ServerSnapshot(Calls.of(self._recorder), lag={self.backend: self._lag.copy()})
        while core is not None:
            try:
                core.report(snapshot)
                break
            except RuntimeError:  # the loop changed a dict during the read: read again
                native.sleep(0.001)
        return snapshot

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> None:
        """Call the function on the server's event loop, if it still serves then."""
        if self._loop is not None:
            self._loop.call_later(seconds, function, *args)

    def leave(self) -> None:
        """Drain and end, as on the first SIGTERM. From any thread, while `run` serves."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._leave)

    # Both

    def _new_loop(self) -> Loop:
        if self._loop is not None:
            raise RuntimeError(
                "this server is running already: make another Server for another start"
            )
        self._loop = self._loop_class(**self._loop_options)
        forks.inherit(self)
        return self._loop

    def _begin(
        self, loop: Loop, report: Callable[[BaseException | None], object], waited: float = 0.0
    ) -> None:
        """Start on a running loop; a failed start leaves only the loop behind.

        `waited`: seconds that a replica has waited for its store.
        """
        if self._loop is not loop:
            return  # the start was given up meanwhile

        def started(error: BaseException | None) -> None:
            if error is None:
                lag = None if self._recorder is None else self._lag
                self._watchdog = Watchdog(loop, self.service, lag)
                if self._warns:
                    warn_of_exposed(self.service.name, self.endpoints)
                if self._announcement is not None and self._registration is not None:
                    self._announcement.start(self._registration.endpoints(self.endpoints))
            report(error)

        self._draining = False
        follows = self._role == "replica"
        try:
            if self._metrics is not None and self._exposed is nothing:
                self._exposed = expose(self._metrics, self)
            given = self._given_state
            try:
                self._state = (
                    open_state(given, create=not follows) if isinstance(given, str) else given
                )
            except Missing as error:
                if waited < START:
                    loop.call_later(_AGAIN, self._begin, loop, report, waited + _AGAIN)
                    return
                raise UsageError(
                    f"{error}, which a replica follows: start its primary first"
                ) from None
            if self._registration is not None:
                self._announcement = self._registration.opened()
            replica = None
            if follows:
                assert self._state is not None
                self._source, replica = self._state, ReplicaEngine(self._state.engine)
                self._state = State(replica, self._source.url)
            self._core = ServerCore(
                self.service, loop, self._bind, state=self._state, **self._core_options
            )
            self._record()
            if replica is None:
                self._start(started)
            else:
                replica.start(
                    lambda error: loop.call_soon_threadsafe(self._followed, loop, error, started)
                )
        except BaseException as error:
            report(error)

    def forked(self) -> None:
        """In a forked child: become a server that never started; restore the default signals."""
        self._loop = self._core = None
        self._watchdog = self._announcement = self._invalidations = None
        self._exposed = nothing  # the page is the parent's
        if self._signals:
            self._signals = False
            signal.set_wakeup_fd(-1)  # asyncio shares it with the parent
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _followed(
        self,
        loop: Loop,
        error: BaseException | None,
        started: Callable[[BaseException | None], object],
    ) -> None:
        """A replica has read its whole store, or failed to."""
        if self._loop is not loop:
            return  # the start was given up meanwhile
        if error is None:
            self._start(started)
        else:
            started(UsageError(f"a replica cannot start without its state store: {error}"))

    def _start(self, started: Callable[[BaseException | None], object]) -> None:
        assert self._core is not None
        try:
            if self._state is not None and self.service.caches:
                # A replica reads invalidations from its own copy, so that it recomputes a result
                # from data at least as new.
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
        """Clean up after a start that failed or was interrupted."""
        if self._core is not None:
            self._core.close()
        self._close(loop)

    def _close(self, loop: Loop) -> None:
        """Clean up after the end; the server may then start again."""
        self._exposed()
        self._exposed = nothing
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
        for state in (self._state, self._source):  # the replica first: it follows the other
            if state is not None and state is not self._given_state:
                state.close()
        self._state = self._source = None


@cache
def _both(server: type[Server], service: type) -> type[Server]:
    """A Server class that also has the service base class of its event loop."""
    return type(
        server.__name__,
        (server, service),
        {"__doc__": server.__doc__, "__module__": server.__module__},
    )


def _check(options: ServerOptions) -> None:
    """Check options that depend on each other. Raises UsageError."""
    check_together(options)
    checked(options["resources"] or {}, "the server")
    checked_limit(options["limit"], "the server")
    checked_executor(options["executor"], "the server")
    if isinstance(options["metrics"], str):
        host_and_port(options["metrics"], "metrics")
    state = options["state"]
    if not (state is None or isinstance(state, (str, State))):
        raise UsageError(f"state must be a State or the URL of one, not {state!r}")
    if options["role"] == "replica" and state is None:
        raise UsageError(
            "a replica needs the primary's state store: give the server its URL, such as "
            "--state sqlite:///state.db"
        )


def _loop_options(options: ServerOptions) -> dict[str, Any]:
    """The options of the event loop. Raises UsageError for an option of another loop."""
    asked: dict[str, Any] = {"uvloop": options["uvloop"] or None, "reactor": options["reactor"]}
    for option, owner in backends.OWNERS.items():
        if asked[option] is not None and options["backend"] != owner:
            raise UsageError(f"{option} is for the {owner} backend, not for {options['backend']}")
    asked["workers"] = options["workers"]
    return {name: value for name, value in asked.items() if value is not None}


def _about(role: str, zone: str, weight: float) -> About | None:
    """The server's description for clients; None if it has only defaults. Raises UsageError."""
    if weight == inf:
        raise UsageError("weight must be a finite number")
    about = About(role, zone, float(weight))
    return None if about == About() else about


def _keys(
    secret_key: str | Path | None,
    authorized_keys: str | Path | None,
    places: Sequence[str | InheritedSocket],
) -> ServerKeys | None:
    """Read the CURVE keys. Raises UsageError."""
    if secret_key is None and authorized_keys is None:
        return None
    from ..security.curve import ServerKeys, check_encrypts  # few servers need it

    for place in places:
        check_encrypts(str(place))
    return ServerKeys.asked_for(secret_key, authorized_keys)
