"""What the four client styles share: options, names, the making of a call, listeners. It knows no event loop."""

from __future__ import annotations

import copy
import logging
import sys
import time
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context, copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from msgspec import Raw

from .. import errors, forks
from ..backends.native import get_ident
from ..backends.turns import CUT
from ..balancing import Ejection, Policy
from ..balancing.outliers import ejection_of
from ..balancing.policies import policy_of
from ..context import Handling, handling
from ..endpoints import connectable
from ..errorlog import log_error
from ..interceptors import Interception, Interceptor
from ..interceptors import checked as checked_interceptor
from ..protocol.calls import OutgoingCall, Session, Upload
from ..protocol.messages import Call, Notify
from ..protocol.values import (
    NOTHING,
    STREAM,
    checked_max_size,
    pack,
    pack_args,
    size_of_arguments,
)
from ..protocol.versions import Both, Versions
from ..transport import chosen
from ..transport.base import Transport
from .core import ClientCore
from .options import Options
from .uploads import is_stream

if TYPE_CHECKING:
    from ..discovery.source import Source
    from ..protocol.links import Link
    from ..security.curve import ClientKeys
    from ..transport.libzmq import ZmqContext
    from .cached import Kept

log = logging.getLogger("ringback.client")

# Bytes of arguments from which on they count for the bound.
WEIGHTY = 4096

# Characters of a method's name at most.
LONGEST_NAME = 65_536

Callback = Callable[[Any], object]
Errback = Callable[[BaseException], object]
# A call, or the name of its method; what is to be called, and with what.
Entry = tuple[OutgoingCall | str, Callable[[Any], object], Any]


class Event:
    """What a listener gets for each fired call: `method`, and either `result` or `error`."""

    __slots__ = ("error", "method", "result")

    def __init__(self, method: str, result: Any, error: BaseException | None) -> None:
        self.method = method
        self.result = result
        self.error = error

    def __repr__(self) -> str:
        outcome = f"error={self.error!r}" if self.error is not None else f"result={self.result!r}"
        return f"Event(method={self.method!r}, {outcome})"


class Answer(NamedTuple):
    """What one of many servers answered to `call_all`: a result, or the error."""

    endpoint: str
    result: Any
    error: BaseException | None


class ClientCall:
    """A call as the client's interceptors see it. `metadata` may be changed before the yield, and travels with the call."""

    __slots__ = ("args", "kwargs", "metadata", "method", "timeout")

    def __init__(
        self,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
        metadata: dict[str, Any],
    ) -> None:
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.timeout = timeout
        self.metadata = metadata


class Methods:
    """`client.methods.add(1, 2)` is `client.call("add", 1, 2)`; dots in a method's name are dots here."""

    __slots__ = ("_client", "_name")

    def __init__(self, client: Client, name: str = "") -> None:
        self._client = client
        self._name = name

    def __getattr__(self, name: str) -> Methods:
        if name.startswith("__"):
            raise AttributeError(name)
        return Methods(self._client, f"{self._name}.{name}" if self._name else name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._name:
            raise TypeError("client.methods is not a method: name one, as in client.methods.add(1, 2)")
        return self._client.call(self._name, *args, **kwargs)


C = TypeVar("C", bound=OutgoingCall)
T = TypeVar("T")


class Shared:
    """What a client and the views of it have in common."""

    def __init__(
        self,
        places: Sequence[str],
        balancing: dict[str, Any],
        interceptors: Sequence[Interceptor],
        keys: ClientKeys | None,
        transport: Transport,
        max_size: int,
        max_in_flight: int,
        max_bytes_in_flight: int,
    ) -> None:
        self.places = places
        self.keys = keys
        self.sources: list[Source] = []
        self.endpoints: list[str] = []
        for place in places:
            source = _source(place)
            if source is None:
                self.endpoints.append(connectable(place))
            else:
                self.sources.append(source)
        self.balancing = balancing
        self.interceptors = [checked_interceptor(interceptor) for interceptor in interceptors]
        self.transport = transport
        self.max_size = max_size
        self.max_in_flight = max_in_flight
        self.max_bytes_in_flight = max_bytes_in_flight
        self.listeners: dict[object, tuple[Callable[[Event], object], str | None]] = {}
        self.state_listeners: dict[object, Callable[[str], object]] = {}
        self.generation = forks.generation
        self.owner = 0  # the thread that may use the core, as long as it may
        self.loop: Any = None
        self.threads: Any = None  # the blocking client's own
        self.kept: Kept | None = None  # results, once a view of it has a cache
        self.entries = 0
        self.warned = False
        self.closed = False
        self.core: ClientCore | None = None
        forks.inherit(self)

    def close(self) -> None:
        self.closed = True
        self.owner = 0

    def forked(self) -> None:
        """In a child: nothing is left to be closed, and nobody is called back."""
        self.close()
        if self.core is not None:
            self.core.forked()
        if self.threads is not None:
            self.threads.forked()


def give_up(shared: weakref.ref[Shared], loop: weakref.ref[Any]) -> None:
    """A turn of the client's loop was cut half-way: end all its calls, and let the next one connect anew."""
    there = shared()
    if there is not None and there.core is not None and there.core.loop is loop():
        there.core.give_up(CUT)
        if there.threads is not None:
            there.threads.give_up()
        there.owner, there.kept, there.core = 0, None, None


class Client(ABC):
    """A client of one service, on one server or on many. Making one does no I/O; it connects at first use."""

    def __init__(
        self,
        *endpoints: str,
        timeout: float | None = 30.0,
        policy: str | Policy | None = None,
        zone: str = "",
        ejection: Ejection | bool = True,
        interceptors: Sequence[Interceptor] = (),
        server_key: str | bytes | Path | None = None,
        secret_key: str | Path | None = None,
        transport: str | None = None,
        context: ZmqContext | None = None,
        max_size: int = 16 * 1024 * 1024,
        max_in_flight: int = 10_000,
        max_bytes_in_flight: int = 64 * 1024 * 1024,
        **options: Any,
    ) -> None:
        """`endpoints`: the servers, or where to find them: `dns://NAME:PORT`, `valkey://HOST:PORT/0?service=NAME`. `timeout`: seconds a
        call may take, None for no limit. `policy`: which of many servers gets a call, "least-in-flight" if you say nothing, "two-choices",
        "peak-ewma", "round-robin", or one of your own; servers in the same `zone` are preferred; `ejection`: when one gets no calls for a
        while, False for never. `max_size`: the largest value sent or taken, in bytes. `max_in_flight`: the bound of calls in flight;
        `max_bytes_in_flight`: from so many bytes of arguments on, counted where a call has 4 KiB or more, no further call is in flight.
        `server_key`: the public key of the servers, one for all, as text or as the file that has it; then all is encrypted, and
        `secret_key` is the file of this client's own key, without which it makes a new one, for servers that let in any. `transport`:
        "native", which speaks ZeroMQ's wire on the loop's own sockets, or "libzmq"; where it is not given, $RINGBACK_TRANSPORT, or
        "native". `context`: a zmq.Context to share, for libzmq, which it selects. Further options are those of `options()`."""
        if not endpoints:
            raise errors.UsageError("connect needs an endpoint, such as tcp://127.0.0.1:5555")
        if max_in_flight < 1:
            raise errors.UsageError(f"max_in_flight must be at least 1, not {max_in_flight}")
        if max_bytes_in_flight < 1:
            raise errors.UsageError(f"max_bytes_in_flight must be at least 1, not {max_bytes_in_flight}")
        self._shared = Shared(
            endpoints,
            {"policy": policy_of(policy), "zone": _zone(zone), "ejection": ejection_of(ejection)},
            interceptors,
            _keys(server_key, secret_key, endpoints),
            chosen(transport, context),
            checked_max_size(max_size),
            max_in_flight,
            max_bytes_in_flight,
        )
        self._options = Options(30.0, self._shared.max_size).merged({"timeout": timeout, **options})
        self._is_view = False
        self._origin: Client | None = None
        self._only: Link | None = None  # of a view all whose calls go to one server

    # The interface, but for `fire`, `call` and `stream`, whose types are each style's own

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
    def call_all(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...

    @abstractmethod
    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> None: ...

    @abstractmethod
    def close(self, timeout: float | None = 30.0, *, now: bool = False) -> Any: ...

    def options(self, **changes: Any) -> Self:
        """A light view of the same client whose calls have these options, merged into those it has.

        `timeout`: seconds, None for no limit; for a stream, between items. `metadata`: a mapping of strings to values, for the
        handler and the interceptors. `returns`: the type that results are to have. `wait_for_ready=False`: fail at once, and
        not at the timeout, when there is no server. `attempts`: how often a call is sent at most, 5 if not told otherwise; again
        only where it surely has not begun, or where its method is idempotent, readonly or once. `priority`, `idempotency_key`: told to the
        server. `cache`: seconds for which results of `call` and `fire` are kept in the memory of this client, or a `ringback.Cache`.

        Of many servers: calls with equal `affinity`, a string, go to the same one. `hedge=True`: a call of a readonly method that takes
        longer than 95 of 100 is sent to a second server too, and the first answer counts. `session=True`: no replica answers with what
        is older than what this client has seen, also through services in between; what `versions` of another client gave in its place
        begins with that.
        """
        view = copy.copy(self)
        view._options = self._options.merged(changes)
        view._is_view = True
        view._origin = self  # which must not be taken for forgotten while a view of it is in use
        return view

    @property
    def methods(self) -> Methods:
        """The service's methods as attributes."""
        return Methods(self)

    def describe(self) -> Any:
        """The service's name, methods, signatures, docstrings and flags, as `call` would return it."""
        return self.call("ringback.describe")

    def listen(self, listener: Callable[[Event], object], method: str | None = None) -> Callable[[], None]:
        """Give the outcome of every fired call (of one method, or of all) to the listener, as an `Event`, where
        callbacks run. Returns the function that ends this."""
        return _subscribed(self._shared.listeners, (_listening(listener), method))

    def invalidate(self, *tags: str) -> None:
        """Forget the results that views with a cache have kept under one of these tags, of which the name of its method is one; without
        any, all. From any thread."""
        if self._shared.kept is not None:
            self._shared.kept.invalidate(tags)

    def cache_stats(self) -> dict[str, int]:
        """What has been kept for all views of this client: `hits`, `stale` (answered with it), `misses`, `shared` (answered by the call of
        another), `evictions`, and `entries` and `bytes` at the moment."""
        return (self._shared.kept or _kept()).counts()

    @property
    def versions(self) -> dict[str, int]:
        """What has been seen of services with replicas, by name: for `options(session=...)` of a client in another process."""
        shared, session = self._shared, self._options.session
        if isinstance(session, Versions):
            return dict(session.versions)
        return {} if shared.core is None else dict(shared.core.machine.versions.versions)

    @property
    def state(self) -> str:
        """Of the best connection: "idle" before the first use, "connecting", "ready", "draining" (the server is going, and another
        connection is tried), "down" (and tried again), "closed". A blocking client looks when it is used, and every 30 s."""
        shared = self._shared
        if shared.closed:
            return "closed"
        return "idle" if shared.core is None else shared.core.machine.state

    def on_state(self, listener: Callable[[str], object]) -> Callable[[], None]:
        """Give every new `state` to the listener, where callbacks run. Returns the function that ends this."""
        return _subscribed(self._shared.state_listeners, _listening(listener))

    def __repr__(self) -> str:
        return f"<{type(self).__module__} client of {', '.join(self._shared.places)}>"

    def __del__(self) -> None:
        """Dropped without `close`: what is in flight ends, then all that the client holds is given back."""
        if getattr(self, "_is_view", True) or sys.is_finalizing():
            return
        shared = self._shared
        if shared.core is not None and not shared.core.closed and shared.generation == forks.generation:
            self._drop(shared.core)
            if not shared.closed:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=1, source=self)

    # For the styles

    def _drop(self, core: ClientCore) -> None:
        """Have the core closed where that may be done. In a finaliser: it takes no lock and does not wait."""
        if core.loop.closed:
            core.let_go()
        else:
            core.post(core.leave)

    def _check_usable(self) -> None:
        shared = self._shared
        if shared.generation != forks.generation:
            raise RuntimeError("this client was made before a fork: connect again in the child process")
        if shared.closed:
            raise RuntimeError("this client is closed")

    def _check_closable(self) -> None:
        if self._is_view:
            raise RuntimeError("this is a view that client.options() made: close the client itself")

    def _make_core(self, loop: Any, turn_ended: Callable[[], object] | None = None) -> ClientCore:
        shared = self._shared
        core = ClientCore(
            loop,
            shared.endpoints,
            shared.sources,
            **shared.balancing,
            keys=shared.keys,
            transport=shared.transport,
            max_size=shared.max_size,
            max_in_flight=shared.max_in_flight,
            max_bytes_in_flight=shared.max_bytes_in_flight,
        )
        client: Client = self
        while client._origin is not None:
            client = client._origin
        # The loop holds the core: it must not hold the client, or nobody could drop that.
        tell = weakref.WeakMethod(client._tell_state)
        core.state_changed = lambda state: tell_state(state) if (tell_state := tell()) else None
        core.turn_ended = turn_ended
        thread = get_ident()
        try:
            core.open()
            shared.core = core
            shared.owner = thread  # last: whoever sees it set relies on the core
        except BaseException:
            core.abandon()
            shared.core = None
            raise
        return core

    def _outgoing(
        self, kind: type[C], method: str, args: tuple[Any, ...], kwargs: dict[str, Any], credit: int = 0
    ) -> C:
        """The call, ready for the core. Raises InvalidArgument or ResourceExhausted for arguments that cannot be sent."""
        options = self._options
        iterator = None
        if type(method) is not str:
            method = _plain(method)
        try:
            packed, packed_kwargs = self._pack(method, args, kwargs)
        except errors.InvalidArgument:
            iterator, args, kwargs = _without_stream(method, args, kwargs)
            if iterator is None:
                raise
            packed, packed_kwargs = self._pack(method, args, kwargs)
        # A call has to end by its own timeout, or with the call that is being handled.
        timeout, time_left = options.timeout, None
        if timeout is None:
            deadline = None
        else:
            deadline = time.monotonic() + timeout
            if not credit and iterator is None:
                time_left = options.milliseconds
        outer = handling.get()
        latest = None if outer is None else outer.deadline
        if latest is not None and (deadline is None or latest < deadline):
            deadline, time_left = latest, None
        message = Call(0, method, packed, packed_kwargs, time_left, credit, options.options)
        call = kind(message, options, deadline)
        if packed_kwargs is not None or type(packed) is not Raw or len(packed) >= WEIGHTY:
            call.weight = size_of_arguments(packed, packed_kwargs)
        if latest is not None:
            call.latest = latest
        if options.plans or outer is not None or self._only is not None:
            self._plan(call, outer)
        if iterator is not None:
            call.upload = self._upload(call, iterator)
        return call

    def _plan(self, call: OutgoingCall, outer: Handling | None) -> None:
        """What its options, or the call that is being handled, ask of the choice of its server."""
        options = self._options
        session: Session | None = None if outer is None or outer.versions is None else outer
        if options.plans:
            plan = call.planned()
            plan.affinity, plan.hedged = options.affinity, options.hedge
            if options.session is not None:
                core = self._shared.core
                assert core is not None
                own = options.session if isinstance(options.session, Versions) else core.machine.versions
                session = own if session is None else Both(own, session)
        if session is not None:
            call.planned().session = session
        if self._only is not None:
            call.planned().only = self._only

    def _time_for_room(self, call: OutgoingCall) -> float | None:
        """Seconds that a call may wait at the bound. Raises DeadlineExceeded when there are none left."""
        if call.deadline is None:
            return None
        call.message.timeout = None  # to be reckoned anew when it is sent
        left = call.deadline - time.monotonic()
        if left <= 0:
            assert self._shared.core is not None
            raise errors.DeadlineExceeded(f"{call.method}: {self._shared.core.bound}, for as long as it had")
        return left

    def _unsent(self, kind: type[C], method: str) -> C:
        """A call that fails before it is sent, so that it can tell how."""
        call = kind(Call(0, method, NOTHING), self._options)
        call.ended = True
        return call

    def _pack(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        limit = self._options.room
        try:
            packed = pack_args(args, limit)
            if len(method) > LONGEST_NAME:
                raise errors.ResourceExhausted(f"its name has {len(method):,} characters")
            if not kwargs:
                if not method.isascii():
                    method.encode()  # a lone surrogate would spoil the whole batch
                return packed, None
            names = b"".join(name.encode() for name in (method, *kwargs))
            packed_kwargs = {_plain(name): pack(value, limit) for name, value in kwargs.items()}
            taken = size_of_arguments(packed, packed_kwargs) + len(names)
            if taken > limit:
                raise errors.ResourceExhausted(f"{taken:,} bytes are over the limit of {limit:,}")
            return packed, packed_kwargs
        except errors.ResourceExhausted as error:
            text = f"the arguments of {_printable(method)} are too large: {error}"
            raise errors.ResourceExhausted(text) from None
        except Exception as error:
            text = f"the arguments of {_printable(method)} cannot be sent: {errors.described(error)}"
            raise errors.InvalidArgument(text) from None

    def _start(
        self, core: ClientCore, call: OutgoingCall, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Through the interceptors and the cache to the core. Where that raises, such as at the end of the caller's stack, the call is
        no longer in flight."""
        try:
            options = self._options
            if not self._shared.interceptors:
                self._start_inside(core, call, args, kwargs)
                return
            seen = ClientCall(call.method, args, kwargs, options.timeout, dict(options.metadata))
            interception, context = Interception(), copy_context()
            goes_on, result, error = core.loop.outside(
                context.run, interception.enter, self._shared.interceptors, seen
            )
            if goes_on:
                try:
                    if seen.metadata != options.metadata:
                        merged = options.merged({"metadata": seen.metadata})
                        taken = size_of_arguments(call.message.args, call.message.kwargs)
                        if taken > merged.room:
                            raise errors.ResourceExhausted(
                                f"{call.method}: {taken:,} bytes of arguments are too large beside the metadata"
                            )
                        call.message.options = merged.options
                except BaseException as unsendable:  # also of what an interceptor has put in the metadata
                    goes_on = False
                    result, error = core.loop.outside(context.run, interception.leave, None, unsendable)
            if not goes_on:
                call.ended = True
                call.finish(result, error)
                return
            call.passes = partial(core.loop.outside, context.run, interception.leave)
            self._start_inside(core, call, args, kwargs)
        except BaseException:
            core.cancel(call, errors.Cancelled(f"{call.method} could not be sent"))
            raise

    def _start_inside(
        self, core: ClientCore, call: OutgoingCall, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        options, shared = self._options, self._shared
        if options.cache is None or call.streams or options.idempotency_key is not None:
            core.start(call, time.monotonic())
            return
        if shared.kept is None:
            shared.kept = _kept()
        shared.kept.start(core, options.cache, call, args, kwargs)

    def _fan_out(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[str], list[Any]]:
        """A call of each server that is known, in flight: their endpoints, and the futures."""
        core = self._shared.core
        assert core is not None
        links = list(core.machine.links)
        futures = []
        for link in links:
            view = self.options(cache=None)
            view._only = link
            futures.append(view.fire(method, *args, **kwargs))
        return [link.endpoint for link in links], futures

    def _note(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Notify:
        method = _plain(method)
        packed, packed_kwargs = self._pack(method, args, kwargs)
        return Notify(method, packed, packed_kwargs, self._options.options)

    @abstractmethod
    def _upload(self, call: OutgoingCall, iterator: Any) -> Upload:
        """What will send the items of an argument that streams."""

    def _tell_state(self, state: str) -> None:
        for listener in list(self._shared.state_listeners.values()):
            self._post_state(listener, state)

    def _post_state(self, listener: Callable[[str], object], state: str) -> None:
        """Call a listener where callbacks run; on the loop, if a style says nothing else."""
        assert self._shared.core is not None
        self._shared.core.loop.call_soon(run_callback, "on_state", listener, state)

    def _tell_listeners(self, call: OutgoingCall, result: Any, error: BaseException | None) -> None:
        if self._shared.listeners:
            event = Event(call.method, result, error)
            for listener, method in list(self._shared.listeners.values()):
                if method is None or method == call.method:
                    run_callback(call.method, listener, event)


def _kept() -> Kept:
    from .cached import Kept  # few clients need it

    return Kept()


def _source(place: str) -> Source | None:
    """Where servers are found, if that is no endpoint itself. Raises UsageError."""
    if not isinstance(place, str) or place.startswith(("tcp://", "ipc://", "inproc://")):
        return None
    from ..discovery import source_of  # few clients need it

    return source_of(place)


def _keys(
    server_key: str | bytes | Path | None, secret_key: str | Path | None, places: Sequence[str]
) -> ClientKeys | None:
    """What is read of the keys. Raises UsageError."""
    if server_key is None and secret_key is None:
        return None
    from ..security.curve import ClientKeys, check_encrypts  # few clients need it

    for place in places:
        check_encrypts(str(place))
    return ClientKeys.asked_for(server_key, secret_key)


def _zone(zone: str) -> str:
    if not isinstance(zone, str):
        raise errors.UsageError(f"zone must be a string, not {zone!r}")
    return zone


def _subscribed(entries: dict[object, T], entry: T) -> Callable[[], None]:
    """Add an entry. Returns the function that takes it out again, and no other that is equal to it."""
    key = object()
    entries[key] = entry

    def unsubscribe() -> None:
        entries.pop(key, None)

    return unsubscribe


def in_context(function: Callable[[Any], object] | None) -> Callable[[Any], object] | None:
    """The function, if there is one, which sees the context variables as they are now. To be called once."""
    if function is None:
        return None
    context = copy_context()
    if not len(context):
        return function  # `run_callback` gives it an empty one: most calls need no more, and a closure would cost each of them
    return lambda argument: context.run(_call, function, argument)


def _listening(listener: Callable[[Any], object]) -> Callable[[Any], object]:
    """`in_context` for what is called often: each call sees the variables as they are now."""
    context = copy_context()
    return lambda argument: context.copy().run(_call, listener, argument)


def run_callback(method: str, function: Callable[[Any], object], argument: Any) -> None:
    """Call a user's callback, in a context of its own; whatever it raises is logged with its call and harms nothing."""
    run_callbacks(((method, function, argument),))


def run_callbacks(entries: Iterable[Entry]) -> None:
    """`run_callback` for each of them, in order."""
    context, generation = Context(), forks.generation
    for call, function, argument in entries:
        try:
            context.run(function, argument)
        except BaseException as error:
            if forks.generation != generation:
                context.run(forks.came_back, "a callback", error)
            method = call if isinstance(call, str) else call.method
            log_error(log, "a callback for %s raised", method, error=error)
        else:
            if forks.generation != generation:
                context.run(forks.came_back, "a callback")
        if context:
            context = Context()  # what one callback has set is not for the next


def _call(function: Callable[[Any], object], argument: Any) -> None:
    """In the context of a callback: where it has forked, the child does not come back from it."""
    generation = forks.generation
    try:
        function(argument)
    except BaseException as error:
        if forks.generation != generation:
            forks.came_back("a callback", error)
        raise
    if forks.generation != generation:
        forks.came_back("a callback")


def _without_stream(
    method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The argument that streams, or None, and the arguments with a marker in its place."""
    streams = [value for value in (*args, *kwargs.values()) if is_stream(value)]
    if len(streams) > 1:
        raise errors.InvalidArgument(f"{method}: only one argument may be an iterator")
    marked = tuple(STREAM if is_stream(value) else value for value in args)
    named = {name: STREAM if is_stream(value) else value for name, value in kwargs.items()}
    return (streams[0] if streams else None), marked, named


def _plain(name: str) -> str:
    """A name as it can be sent: of a subclass of str, such as a StrEnum, the text in it."""
    if type(name) is str:
        return name
    if not isinstance(name, str):
        raise TypeError(f"a method is named by a string, not by {name!r}")
    return str.__str__(name)


def _printable(text: str) -> str:
    return text[:200].encode("utf-8", "backslashreplace").decode()
