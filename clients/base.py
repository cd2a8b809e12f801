"""The code that the four client styles share: options, making calls, interceptors, listeners.
It knows no event loop."""

from __future__ import annotations

import copy
import sys
import time
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, TypeVar, Unpack

from .. import errors
from ..backends.native import get_ident
from ..balancing.versions import Both, SeenVersions, Versions
from ..handling import Handling, handled, handling
from ..options.signatures import takes
from ..protocol.messages import Call, Notify
from ..protocol.values import NOTHING, size_of_arguments
from ..runtime import forks
from ..transport import chosen
from .callbacks.running import Event, in_context, listening, run_callback, subscribe
from .calls.arguments import WEIGHTY, pack_arguments, plain_name, without_stream
from .calls.fired import Callback, Errback, FiredCall
from .calls.intercepted import enter
from .calls.maps import MapCalls, Row, rows_of
from .calls.prepared import PreparedMethod
from .calls.traced import traced
from .connections.core import ClientCore
from .conversation.calls import OutgoingCall, Span, Upload
from .options import ClientOptions, ConnectOptions, ViewOptions, split_options
from .shared import Shared, balancing_of, keys_of
from .typed import typed_methods

if TYPE_CHECKING:
    from ..metrics.snapshot import ClientSnapshot
    from .calls.cached import ResultCache
    from .conversation.links import Link


class Answer(NamedTuple):
    """The reply of one server to `call_all`: a result or an error."""

    endpoint: str
    result: Any
    error: BaseException | None


class Methods:
    """The service's methods as attributes.
    `client.methods.add(1, 2)` is `client.call("add", 1, 2)`. A dot in a method's name is a dot
    here."""

    __slots__ = ("_client", "_name")

    def __init__(self, client: Client, name: str = "") -> None:
        self._client = client
        self._name = name

    def __getattr__(self, name: str) -> Methods:
        if name.startswith("__"):
            raise AttributeError(name)
        return Methods(self._client, f"{self._name}.{name}" if self._name else name)

    def __dir__(self) -> list[str]:
        """The methods that the connected servers have announced, for completion at a prompt."""
        core = self._client._shared.core
        told = {name for link in (core.machine.links if core else ()) for name in link.methods}
        start = f"{self._name}." if self._name else ""
        return sorted(
            {name[len(start) :].partition(".")[0] for name in told if name.startswith(start)}
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._name:
            raise TypeError(
                "client.methods is not a method: name one, as in client.methods.add(1, 2)"
            )
        return self._client.call(self._name, *args, **kwargs)


# Maximum seconds of the outer call's time that a nested call leaves, if it has no server, so that
# the outer call can still report this.
FOR_WORDS = 0.1

C = TypeVar("C", bound=OutgoingCall)
F = TypeVar("F", bound=FiredCall)
P = TypeVar("P")


class Client(ABC):
    """A client of one service, on one or many servers.
    Creating it does no I/O; it connects at first use."""

    answers: ClassVar[Literal["blocks", "awaits", "defers"]]  # how a call delivers its result
    _fired_kind: ClassVar[type[FiredCall]]
    future: ClassVar[str]  # what `fire` returns: a generic class, as MODULE:NAME

    def __init__(self, *endpoints: str, **options: Unpack[ConnectOptions]) -> None:
        """`endpoints`: the servers, or the sources that list them. Raises UsageError.
        A source is `dns://NAME:PORT`, `valkey://HOST:PORT/0?service=NAME` or the like."""
        if not endpoints:
            raise errors.UsageError("connect needs an endpoint, such as tcp://127.0.0.1:5555")
        of_views, own = split_options(options)
        self._shared = Shared(
            endpoints,
            balancing_of(own["policy"], own["zone"], own["ejection"]),
            own["interceptors"],
            keys_of(own["server_key"], own["secret_key"], endpoints),
            chosen(own["transport"], own["context"]),
            {
                "max_size": own["max_size"],
                "max_in_flight": own["max_in_flight"],
                "max_bytes_in_flight": own["max_bytes_in_flight"],
            },
            own["trace"],
        )
        self._options = ClientOptions(30.0, self._shared.max_size).merged(of_views)
        # Whether its calls pass no interceptors and no cache.
        self._plain = not self._shared.interceptors and self._options.cache is None
        self._is_view = False
        self._origin: Client | None = None
        self._only: Link | None = None  # in a view whose calls all go to one server

    @classmethod
    @abstractmethod
    def run_program(cls, main: Coroutine[Any, Any, None]) -> None:
        """Run a command to its end on a loop of this style. Ctrl-C ends it with KeyboardInterrupt.
        A blocking style has no loop, and its commands await nothing."""

    # The interface. Each style gives `fire`, `call` and `stream` their own types.

    @abstractmethod
    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...

    @abstractmethod
    def fire(
        self,
        method: str,
        /,
        *args: Any,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **kwargs: Any,
    ) -> Any: ...

    @abstractmethod
    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...

    @abstractmethod
    def map(self, method: str, /, *iterables: Iterable[Any], chunksize: int = 1000) -> Any: ...

    def fire_map(
        self,
        method: str,
        /,
        *iterables: Iterable[Any],
        chunksize: int = 1000,
        callback: Callback | None = None,
        errback: Errback | None = None,
    ) -> Any:
        """Make the calls of `map` and return a future of the list of results at once.
        In the list, a failed call is its error. `callback(list)` runs once, where callbacks run;
        `errback(error)` runs instead if nothing was sent or the client is closed first. Raises
        TypeError and ValueError."""
        rows = list(rows_of(iterables, chunksize))
        return self._fire_rows(method, rows, 0, chunksize, callback, errback)

    @abstractmethod
    def call_all(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...

    @abstractmethod
    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> None: ...

    @abstractmethod
    def close(self, timeout: float | None = 30.0, *, now: bool = False) -> Any: ...

    @takes(ViewOptions, merged=True)
    def options(self, **changes: Unpack[ViewOptions]) -> Self:
        """A light view of the same client; its calls have these options on top of the client's.
        Raises TypeError."""
        # First, as it may raise: `__del__` would take a copy that is not yet a view for a dropped
        # client.
        options = self._options.merged(changes)
        view = copy.copy(self)
        view._options = options
        view._plain = not self._shared.interceptors and options.cache is None
        view._is_view = True
        view._origin = self  # keeps the client alive while a view is in use
        return view

    def typed(self, protocol: Callable[..., P]) -> P:
        """The methods of a Protocol class, with arguments and results that a type checker knows.
        Results are decoded as the types that the Protocol names. The Protocol has the form of this
        style: `def` for blocking clients, `async def` for asyncio, `-> Deferred[T]` for Twisted;
        streams are `-> Iterator[T]` or `-> AsyncIterator[T]`. A method that takes `callback` or
        `errback`, or returns a future, is fired. Raises UsageError for another form, and for a type
        that no result can have."""
        methods: P = typed_methods(self, protocol)
        return methods

    @property
    def methods(self) -> Methods:
        """The service's methods as attributes."""
        return Methods(self)

    def method(self, name: str) -> PreparedMethod:
        """A prepared method for frequent calls, with this client's options.
        Raises TypeError if the name is not a string."""
        return PreparedMethod(self, name)

    def describe(self) -> Any:
        """Get the service's name, methods, signatures, docstrings and flags.
        Returns what `call` returns."""
        return self.call("ringback.describe")

    def observe(self) -> Callable[[], ClientSnapshot]:
        """Count the calls of this client and its views from now on, by method and code, with
        durations. Returns the function that reports the counts, callable from any thread.
        `ringback.metrics` uses it."""
        shared = self._shared
        if shared.recorder is None:
            from .calls.recorded import ClientRecorder  # few clients need it

            shared.recorder = ClientRecorder()
            if shared.core is not None:
                shared.core.machine.table.recorder = shared.recorder
        return shared.recorder.report

    def listen(
        self, listener: Callable[[Event], object], method: str | None = None
    ) -> Callable[[], None]:
        """Give the outcome of every fired call to the listener, as an `Event`, where callbacks run.
        `method`: the listener receives only calls of this method. Returns the function that
        unsubscribes."""
        return subscribe(self._shared.listeners, (listening(listener), method))

    def invalidate(self, *tags: str) -> None:
        """Drop the cached results of all views that carry one of these tags, or all without tags.
        The name of its method is one of a result's tags. Any thread may call this."""
        if self._shared.results is not None:
            self._shared.results.invalidate(tags)

    def cache_stats(self) -> dict[str, int]:
        """Cache statistics of all views of this client.
        `hits`, `stale` (served a stale result), `misses`, `shared` (got the result of another
        call), `evictions`, and the present `entries` and `bytes`."""
        return (self._shared.results or _new_results()).counts()

    @property
    def endpoints(self) -> list[str]:
        """The endpoints and sources that were passed to `connect`."""
        return list(self._shared.places)

    @property
    def versions(self) -> dict[str, int]:
        """The versions of replicated services that this client has seen, by service name.
        For `options(session=...)` of a client in another process."""
        shared, session = self._shared, self._options.session
        if isinstance(session, Versions):
            return dict(session.versions)
        return {} if shared.core is None else dict(shared.core.machine.versions.versions)

    @property
    def state(self) -> str:
        """The state of the best connection.

        "idle" before the first use, "connecting", "ready", "busy" (the server is alive, but does
        not answer yet), "stalled" (it sends nothing), "draining" (it is leaving, and the client
        tries another connection), "down" (and the client retries), "closed". A blocking client
        checks its connections when it is used, and every 30 s.
        """
        shared = self._shared
        if shared.closed:
            return "closed"
        return "idle" if shared.core is None else shared.core.machine.state

    def on_state(self, listener: Callable[[str], object]) -> Callable[[], None]:
        """Give every new `state` to the listener, where callbacks run.
        Returns the function that unsubscribes."""
        return subscribe(self._shared.state_listeners, listening(listener))

    def __repr__(self) -> str:
        return f"<{type(self).__module__} client of {', '.join(self._shared.places)}>"

    def __del__(self) -> None:
        """Dropped without `close`: calls in flight finish, then the client frees its resources."""
        if getattr(self, "_is_view", True) or sys.is_finalizing():
            return
        shared = self._shared
        if (
            shared.core is not None
            and not shared.core.closed
            and shared.generation == forks.generation
        ):
            self._drop(shared.core)
            if not shared.closed:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=1, source=self)

    # For the styles

    def _drop(self, core: ClientCore) -> None:
        """Have the core closed where that is allowed.
        Called in a finaliser: it takes no lock and does not wait."""
        if core.loop.closed:
            core.let_go()
        else:
            core.post(core.leave)

    def _check_usable(self) -> None:
        shared = self._shared
        if shared.generation != forks.generation:
            raise RuntimeError(
                "this client was made before a fork: connect again in the child process"
            )
        if shared.closed:
            raise RuntimeError("this client is closed")

    def _check_closable(self) -> None:
        if self._is_view:
            raise RuntimeError("this is a view that client.options() made: close the client itself")

    def _make_core(
        self, loop: Any, prepare: Callable[[ClientCore], object] | None = None
    ) -> ClientCore:
        """Open a core. `prepare` gets it before any other caller may use it."""
        shared = self._shared
        core = shared.new_core(loop)
        client: Client = self
        while client._origin is not None:
            client = client._origin
        # The loop holds the core. It must not hold the client, or the client could never be
        # dropped.
        tell = weakref.WeakMethod(client._tell_state)
        core.state_changed = lambda state: tell_state(state) if (tell_state := tell()) else None
        thread = get_ident()
        if prepare is not None:
            prepare(core)
        try:
            core.open()
            shared.core = core
            shared.owner = thread  # last: a thread that sees it set relies on the core
        except BaseException:
            core.abandon()
            shared.core = None
            raise
        return core

    def _outgoing(
        self,
        kind: type[C],
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        credit: int = 0,
        *,
        uploads: bool = True,
    ) -> C:
        """The call, ready for the core. `uploads`: whether an argument may stream.
        Raises InvalidArgument or ResourceExhausted for arguments that cannot be sent."""
        options = self._options
        iterator = None
        if type(method) is not str:
            method = plain_name(method)
        try:
            packed, packed_kwargs = pack_arguments(method, args, kwargs, options.room)
        except errors.InvalidArgument:
            iterator, args, kwargs = without_stream(method, args, kwargs)
            if iterator is None:
                raise
            if not uploads:
                text = (
                    f"{method}: a map takes no stream as an argument: "
                    "pass a list, or call the method by itself"
                )
                raise errors.InvalidArgument(text) from None
            packed, packed_kwargs = pack_arguments(method, args, kwargs, options.room)
        # A call ends by its own timeout, or by the deadline of the call that this thread is
        # handling.
        timeout, now = options.timeout, time.monotonic()
        deadline = None if timeout is None else now + timeout
        streams = credit or iterator is not None
        time_left = None if streams else options.milliseconds
        outer = None if handling.get() is None else handled()
        latest = None if outer is None else outer.deadline
        inherits = latest is not None and (deadline is None or latest < deadline)
        if latest is not None and inherits:
            # so that the outer caller learns in time of the missing server
            if self.state != "ready":
                latest -= min(FOR_WORDS, (latest - now) * 0.05)
            deadline, time_left = latest, None
        message = Call(0, method, packed, packed_kwargs, time_left, credit, options.options)
        call = kind(message, options, deadline)
        call.sent = call.made = now
        if packed is not args or packed_kwargs is not None:
            size = size_of_arguments(packed, packed_kwargs)
            if size >= WEIGHTY:
                call.extended().size = size
        if options.wishes or outer is not None or self._only is not None:
            self._wish(call, outer)
        if inherits:
            call.extended().inherits = True
        if streams:
            call.extended().latest = latest
            if iterator is not None:
                call.extended().upload = self._upload(call, iterator)
        if self._shared.tracing is not None:
            span = call.extended().span = self._shared.tracing.call(method)
            message.options = traced(message.options, span)
        return call

    def _wish(self, call: OutgoingCall, outer: Handling | None) -> None:
        """Add what its options, or the call being handled, require of the choice of a server."""
        options = self._options
        session: SeenVersions | None = None if outer is None or outer.versions is None else outer
        if options.wishes:
            extras = call.extended()
            extras.affinity, extras.hedged = options.affinity, options.hedge
            if options.session is not None:
                core = self._shared.core
                assert core is not None
                own = (
                    options.session
                    if isinstance(options.session, Versions)
                    else core.machine.versions
                )
                session = own if session is None else Both(own, session)
        if session is not None:
            call.extended().session = session
        if self._only is not None:
            call.extended().only = self._only

    def _time_for_room(self, call: OutgoingCall) -> float | None:
        """Seconds that a call may wait at the bound. Raises DeadlineExceeded if none are left."""
        if call.deadline is None:
            return None
        call.message.timeout = None  # computed anew when the call is sent
        left = call.deadline - time.monotonic()
        if left <= 0:
            assert self._shared.core is not None
            error = errors.DeadlineExceeded(
                f"{call.method}: no room before its deadline: {self._shared.core.bound}"
            )
            self._unsent(call, error)
            raise error
        return left

    def _fired(
        self,
        kind: type[F],
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        callback: Callback | None,
        errback: Errback | None,
    ) -> F:
        """The fired call. If its arguments cannot be sent, it has ended, with that error as
        `failure`."""
        try:
            call = self._outgoing(kind, method, args, kwargs)
        except errors.CallError as error:
            call = kind(Call(0, method, NOTHING), self._options)
            call.fail(error)
        self._call_back(call, callback, errback)
        return call

    def _fire_rows(
        self,
        method: str,
        rows: list[Row],
        first: int,
        chunksize: int,
        callback: Callback | None = None,
        errback: Errback | None = None,
    ) -> Any:
        """A future of the outcomes of these calls.
        `first`: the index of the first row in the whole map."""
        call: FiredCall = self._fired_kind(Call(0, plain_name(method), NOTHING), self._options)
        call.made = call.sent = time.monotonic()
        self._call_back(call, callback, errback)
        call.extended().whole = MapCalls(self, call, rows, first, chunksize)
        return self._fire_whole(call)

    @abstractmethod
    def _fire_whole(self, call: Any) -> Any:
        """Send all calls that this one stands for. Returns its future."""

    def _call_back(
        self, call: FiredCall, callback: Callback | None, errback: Errback | None
    ) -> None:
        """Run the callbacks with the outcome, in the context of the caller."""
        call.client = self
        call.callback = None if callback is None else in_context(callback)
        call.errback = None if errback is None else in_context(errback)

    def _fail_at_bound(self, core: ClientCore, call: FiredCall) -> None:
        """Fail a call at the bound, where the caller cannot wait."""
        error = errors.ResourceExhausted(f"{call.method}: {core.bound}")
        call.fail(error)
        self._unsent(call, error)

    def _start(
        self, core: ClientCore, call: OutgoingCall, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Pass the call through the interceptors and the cache to the core.
        If that raises, for example because the caller's stack is full, the call is no longer in
        flight."""
        options, shared = self._options, self._shared
        try:
            if call.extras is not None and call.extras.whole is not None:
                call.extras.whole.begin(core)
                return
            if self._plain:
                core.start(call)
                return
            if shared.interceptors:
                if not enter(core, shared.interceptors, options, call, args, kwargs):
                    return
                call.message.timeout = None  # computed anew: the interceptors may have taken long
            if options.cache is None or call.streams or options.idempotency_key is not None:
                core.start(call)
                return
            if shared.results is None:
                shared.results = _new_results()
            shared.results.start(core, options.cache, call, args, kwargs)
        except BaseException:
            core.cancel(call, errors.Cancelled(f"{call.method} could not be sent"))
            raise

    def _fan_out(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[tuple[str, Any]]:
        """Fire the call at each known server. Returns pairs of endpoint and future."""
        core = self._shared.core
        assert core is not None
        fired = []
        for link in list(core.machine.links):
            view = self.options(cache=None)
            view._only = link
            fired.append((link.endpoint, view.fire(method, *args, **kwargs)))
        return fired

    def _unsent(self, call: OutgoingCall, error: BaseException) -> None:
        """End the call with this error before the core has received it."""
        call.observe_end(error, self._shared.recorder)

    def _note(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Notify, Span | None]:
        """A one-way call, and its span if the client traces; send it within `sending`."""
        method = plain_name(method)
        options = self._options.options
        packed, packed_kwargs = pack_arguments(method, args, kwargs, self._options.room)
        span = None
        if self._shared.tracing is not None:
            span = self._shared.tracing.call(method)
            options = traced(options, span)
        return Notify(method, packed, packed_kwargs, options), span

    @abstractmethod
    def _upload(self, call: OutgoingCall, iterator: Any) -> Upload:
        """The sender of the items of a streaming argument."""

    def _tell_state(self, state: str) -> None:
        for listener in list(self._shared.state_listeners.values()):
            self._post_state(listener, state)

    def _post_state(self, listener: Callable[[str], object], state: str) -> None:
        """Call a listener where callbacks run: on the loop, unless a style overrides this."""
        assert self._shared.core is not None
        self._shared.core.loop.call_soon(run_callback, "on_state", listener, state)

    def _tell_listeners(self, call: OutgoingCall, result: Any, error: BaseException | None) -> None:
        if self._shared.listeners:
            event = Event(call.method, result, error)
            for listener, method in list(self._shared.listeners.values()):
                if method is None or method == call.method:
                    run_callback(call.method, listener, event)


def _new_results() -> ResultCache:
    from .calls.cached import ResultCache  # few clients need it

    return ResultCache()
