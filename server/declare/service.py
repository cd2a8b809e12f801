"""A service, its methods and their options. Nothing here knows sockets, messages or event loops."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal, TypeVar, overload

from ...errors import UsageError
from ...interceptors import Interceptor
from ...interceptors import checked as checked_interceptor
from ...protocol.messages import MethodFlags
from ...state.cache import Cache, Entries, cache_of, checked_tags
from ...state.values import LONGEST_TTL
from ..executors import ELSEWHERE, NAMES
from ..executors.base import check as find_elsewhere
from ..scheduling.resources import checked
from .arguments import Arguments, called
from .results import ResultCheck
from .schema import schema_of

F = TypeVar("F", bound=Callable[..., Any])

ADAPTIVE = "adaptive"

# Maximum bytes of a name.
LONGEST_NAME = 4096

# Default of `once`: seconds for which the server remembers the key of a call.
DAY = 86_400.0

RESERVED = "ringback."
_CALL_OPTIONS = ("callback", "errback")


class Method:
    """One method: its function, how it runs, and the flags that clients receive."""

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        inline: bool,
        timeout: float | None,
        executor: str | None,
        native: bool,
        readonly: bool,
        idempotent: bool,
        once: float | None,
        priority: int,
        limit: int | str | None,
        resources: Mapping[str, float],
        cache: Cache | None = None,
    ) -> None:
        self.name = name
        self.function = function
        self.inline = inline
        self.timeout = timeout
        self.executor = executor
        self.native = native
        self.once = once  # seconds for which a key is remembered
        self.priority = priority
        self.limit = limit
        self.resources = resources
        self.cache = cache
        # Inspect the registered function, not the wrapped one: a decorator may change its kind.
        target = called(function)
        self.is_async_stream = inspect.isasyncgenfunction(target)
        self.is_stream = inspect.isgeneratorfunction(target) or self.is_async_stream
        self.is_coroutine = inspect.iscoroutinefunction(target)
        self.is_async = self.is_coroutine or self.is_async_stream
        self.is_plain = not (self.is_stream or self.is_coroutine)
        self.flags = MethodFlags(
            stream=self.is_stream, idempotent=idempotent, readonly=readonly, once=once is not None
        )
        self.code = getattr(inspect.unwrap(target), "__code__", None)
        self._arguments: Arguments | None = None
        self.result_check: ResultCheck | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether a call may run again without harm, as on Dask after the loss of a worker."""
        return self.flags.idempotent or self.flags.readonly

    @property
    def is_found(self) -> bool:
        """Whether another process can import the function and receive all its arguments."""
        try:
            find_elsewhere(self.name, self.function)
        except UsageError:
            return False
        return not self.arguments.streams

    @property
    def arguments(self) -> Arguments:
        """The parameters, read at the start of the server: then all annotations are defined."""
        if self._arguments is None:
            waits: Literal["sync", "async"] = "async" if self.is_async else "sync"
            self._arguments = Arguments(self.name, self.function, None if self.inline else waits)
        return self._arguments

    def check_results(self) -> None:
        """Check results and items from now on. Raises UsageError for an unusable annotation."""
        self.result_check = ResultCheck(self.name, self.arguments.returns, is_stream=self.is_stream)

    @cached_property
    def _schema(self) -> dict[str, Any]:
        return schema_of(self.arguments, is_stream=self.is_stream)

    def describe(self) -> dict[str, Any]:
        """Name, signature, parameters, JSON Schema, documentation and flags, as plain data."""
        signature, streams = self.arguments.signature, self.arguments.streams
        return {
            "name": self.name,
            "signature": f"{self.name}{signature}",
            "parameters": [
                {
                    "name": parameter.name,
                    "kind": parameter.kind.name.lower(),
                    "type": _type_name(parameter.annotation),
                    "required": parameter.name in self.arguments.required,
                    "stream": parameter.name in streams,
                }
                for parameter in signature.parameters.values()
            ],
            "returns": _type_name(signature.return_annotation),
            "schema": self._schema,
            "doc": inspect.getdoc(self.function) or "",
            "stream": self.is_stream,
            "inline": self.inline,
            "idempotent": self.flags.idempotent,
            "readonly": self.flags.readonly,
            "once": self.once,
            "timeout": self.timeout,
            "priority": self.priority,
            "limit": self.limit,
            "resources": dict(self.resources),
            "cache": None if self.cache is None else self.cache.seconds,
        }


class Service:
    """A named set of methods.

    `executor`: default executor of plain functions. `needs_state`: no server starts without a state
    store, as handlers use `current_call().state`. `check_results`: check each result and item
    against its annotation; a mismatch fails the call with RemoteError. The check costs one
    decoding.

    >>> service = Service("calc")
    >>> @service.method
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    """

    def __init__(
        self,
        name: str,
        *,
        executor: str | None = None,
        needs_state: bool = False,
        check_results: bool = False,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise UsageError(f"a service needs a name, a non-empty string, not {name!r}")
        _check_text(name, "the name of a service")
        self.name = name
        self.executor = checked_executor(executor, f"service {name!r}")
        self.needs_state = needs_state
        self.check_results = check_results
        self.methods: dict[str, Method] = {}
        self.interceptors: list[Interceptor] = []
        self.lifespan_factory: Callable[[], Any] | None = None
        self.caches: list[Entries[Any]] = []  # of all servers in this process
        # Callbacks that inform other processes.
        self.invalidated: list[Callable[[tuple[str, ...]], object]] = []
        self._add(_ping, name="ringback.ping", inline=True, readonly=True)
        self._add(self.describe, name="ringback.describe", inline=True, readonly=True)

    @overload
    def method(self, function: F, /) -> F: ...
    @overload
    def method(
        self,
        /,
        *,
        name: str | None = None,
        inline: bool = False,
        timeout: float | None = None,
        executor: str | None = None,
        native: bool = False,
        readonly: bool = False,
        idempotent: bool = False,
        once: bool | float = False,
        priority: int = 0,
        limit: int | str | None = None,
        resources: Mapping[str, float] | None = None,
        cache: Cache | float | None = None,
    ) -> Callable[[F], F]: ...
    def method(
        self, function: F | None = None, /, *, name: str | None = None, **options: Any
    ) -> F | Callable[[F], F]:
        """Serve a function: `@service.method` or `@service.method(inline=True, ...)`.

        The function itself stays unchanged.

        `name`: name for clients, by default the function's own. `inline`: run on the event loop
        itself, for code that never blocks. `timeout`: seconds after which the server ends the call,
        even before the caller's deadline. `executor`: "thread" is a native thread, on gevent too;
        "process" another process; "dask" a Dask cluster; "inline" means `inline=True`. `native`: a
        coroutine that awaits futures of this event loop (on Twisted, Deferreds).

        Clients receive the flags `readonly` (changes nothing; a replica runs no other methods) and
        `idempotent` (safe to repeat). `once`: run once for each key that clients send. The state
        store remembers the key for this many seconds (True: a day), and a repeated key gets the
        first outcome.

        `priority`: among waiting calls, the higher one runs first; the priority of a call is added
        to the method's. `limit`: maximum calls that run at once, or "adaptive". `resources`:
        amounts by name that each call takes from the server's resources while it runs.

        `cache`: seconds for which a result answers every call with the same arguments, or a
        `ringback.Cache`. Raises UsageError for options that do not fit the function or each other.
        """
        if function is None:
            return lambda function: self._checked(function, name=name, **options)
        return self._checked(function, name=name, **options)

    def lifespan(self, function: F) -> F:
        """Run a sync or async context manager, or generator function, around serving.

        It runs once per process, on the serving loop. Its value is `ringback.current_call().app`.
        """
        factory: Callable[[], Any]
        if inspect.isasyncgenfunction(function):
            factory = contextlib.asynccontextmanager(function)
        elif inspect.isgeneratorfunction(function):
            factory = contextlib.contextmanager(function)
        else:
            factory = function
        self.lifespan_factory = factory
        return function

    def use(self, interceptor: Interceptor) -> Interceptor:
        """Run an interceptor around every call; the first one is outermost.

        See `ringback.interceptors`.
        """
        self.interceptors.append(checked_interceptor(interceptor))
        return interceptor

    def invalidate(self, *tags: str) -> None:
        """Drop cached results that have one of these tags; without tags, all of them.

        The name of a method is a tag of its results. Call it from any thread or handler. It reaches
        the servers of this process, and other processes that share the state store.
        """
        checked = checked_tags(tags)
        self.forget(checked)
        for tell in tuple(self.invalidated):
            tell(checked)

    def forget(self, tags: tuple[str, ...]) -> None:
        """Like `invalidate`, in this process only."""
        for cache in tuple(self.caches):
            cache.invalidate(tags)

    def describe(self) -> dict[str, Any]:
        """Name, methods, signatures, docstrings and flags of this service."""
        methods = [
            method.describe()
            for name, method in self.methods.items()
            if not name.startswith(RESERVED)
        ]
        return {"name": self.name, "methods": methods}

    def prepare(self) -> None:
        """Read all annotations now, so that a mistake in one fails the start and not a call."""
        for name, method in self.methods.items():
            streams = method.arguments.streams
            if self.check_results and not name.startswith(RESERVED):
                method.check_results()
            if method.executor in ELSEWHERE:
                find_elsewhere(method.name, method.function)
                if streams:
                    raise UsageError(
                        f"method {method.name!r}: executor={method.executor!r} cannot take a "
                        f"streamed argument"
                    )
            if method.once is not None and streams:
                raise UsageError(
                    f"method {method.name!r}: once=True compares arguments, so none of them may "
                    f"stream"
                )

    def _checked(self, function: F, *, name: str | None = None, **options: Any) -> F:
        if not callable(function):
            raise UsageError(f"a method must be callable, not {function!r}")
        name = name if name is not None else getattr(function, "__name__", "")
        if not name:
            raise UsageError(f"{function!r} has no name: give it one with method(name=...)")
        _check_text(name, "the name of a method")
        if name.startswith(RESERVED):
            raise UsageError(f"method {name!r}: names that begin with {RESERVED!r} are reserved")
        if name in self.methods:
            raise UsageError(f"service {self.name!r} has a method {name!r} already")
        self._add(function, name=name, **options)
        return function

    def _add(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        inline: bool = False,
        timeout: float | None = None,
        executor: str | None = None,
        native: bool = False,
        readonly: bool = False,
        idempotent: bool = False,
        once: bool | float = False,
        priority: int = 0,
        limit: int | str | None = None,
        resources: Mapping[str, float] | None = None,
        cache: Cache | float | None = None,
    ) -> None:
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            raise UsageError(
                f"method {name!r}: the parameters of {function!r} are unknown: serve a function "
                f"that calls it"
            ) from None
        for parameter in parameters:
            if parameter in _CALL_OPTIONS:
                raise UsageError(
                    f"method {name!r}: rename parameter {parameter!r}: client.fire has an "
                    f"argument of that name"
                )
        owner = f"method {name!r}"
        if executor == "inline":
            inline, executor = True, None
        if executor is not None and executor not in NAMES:
            raise UsageError(
                f"{owner}: executor must be one of {', '.join(NAMES)}, not {executor!r}"
            )
        if timeout is not None and not timeout > 0:
            raise UsageError(f"method {name!r}: timeout must be above 0 seconds, not {timeout!r}")
        if type(priority) is not int:
            raise UsageError(f"method {name!r}: priority must be an integer, not {priority!r}")
        if inline and (priority or limit or resources):
            raise UsageError(
                f"method {name!r}: an inline method never waits, so it has no priority, limit or "
                f"resources"
            )
        method = Method(
            name,
            function,
            inline=inline,
            timeout=timeout,
            executor=executor,
            native=native,
            readonly=readonly,
            idempotent=idempotent,
            once=checked_once(once, owner),
            priority=priority,
            limit=checked_limit(limit, owner),
            resources=checked(resources or {}, owner),
            cache=cache_of(cache),
        )
        if cache is not None and method.once is not None:
            raise UsageError(
                f"{owner}: once= and cache= exclude each other: a cached result skips the run"
            )
        if cache is not None and method.is_stream:
            raise UsageError(f"{owner}: cache= is for methods with one result, not for streams")
        if executor is not None and (inline or method.is_async):
            raise UsageError(
                f"{owner}: executor={executor!r} is for plain functions that are not inline"
            )
        if executor == "dask" and not method.is_repeatable:
            raise UsageError(
                f"{owner}: executor='dask' needs idempotent=True or readonly=True, because Dask "
                f"repeats "
                "the calls of a lost worker"
            )
        if executor in ELSEWHERE and method.is_stream:
            raise UsageError(f"{owner}: executor={executor!r} cannot run a stream")
        if method.is_stream and limit == ADAPTIVE:
            raise UsageError(
                f"method {name!r}: limit='adaptive' cannot measure a stream, as its reader sets "
                f"the pace: "
                "give a number"
            )
        if inline and method.is_async:
            raise UsageError(
                f"method {name!r}: a coroutine runs on an asyncio loop; inline=True is for plain "
                f"functions"
            )
        if native and not method.is_coroutine:
            raise UsageError(f"method {name!r}: native=True is for coroutines (async def)")
        if method.once is not None and (
            inline or native or method.is_stream or executor in ELSEWHERE
        ):
            raise UsageError(
                f"{owner}: once=True is for functions and asyncio coroutines that run in the "
                f"server's own "
                "process, not inline: the server reads the store before the run and writes it after"
            )
        self.methods[name] = method


def _check_text(text: Any, what: str) -> None:
    """Raises UsageError for text that cannot be sent to clients."""
    try:
        if len(text.encode()) <= LONGEST_NAME:
            return
    except (AttributeError, UnicodeEncodeError):
        pass
    raise UsageError(
        f"{what} must be text of at most {LONGEST_NAME:,} bytes in UTF-8, not {text!r:.100}"
    )


def checked_once(once: bool | float, owner: str) -> float | None:
    """Seconds for which the server remembers keys; None without `once`. Raises UsageError."""
    if once is False or once is None:
        return None
    if once is True:
        return DAY
    if isinstance(once, (int, float)) and 0 < once <= LONGEST_TTL:
        return float(once)
    raise UsageError(
        f"{owner}: once must be True, or the seconds to remember keys, above 0 and at most "
        f"{LONGEST_TTL:,}, not {once!r}"
    )


def checked_limit(limit: int | str | None, owner: str) -> int | str | None:
    """The limit, if it is a number of calls, "adaptive" or None. Raises UsageError otherwise."""
    if limit is None or limit == ADAPTIVE or (type(limit) is int and limit >= 1):
        return limit
    raise UsageError(
        f"{owner}: limit must be a number of calls from 1 on or {ADAPTIVE!r}, not {limit!r}"
    )


def checked_executor(executor: str | None, owner: str) -> str | None:
    """The executor, if a service or server may have it, or None. Raises UsageError otherwise."""
    allowed = [name for name in NAMES if name != "inline"]
    if executor is None or executor in allowed:
        return executor
    raise UsageError(f"{owner}: executor must be one of {', '.join(allowed)}, not {executor!r}")


def reserved(name: str, function: Callable[..., Any]) -> Method:
    """A method of ringback's own, such as `ringback.stats`."""
    return Method(
        name,
        function,
        inline=True,
        timeout=None,
        executor=None,
        native=False,
        readonly=True,
        idempotent=False,
        once=None,
        priority=0,
        limit=None,
        resources={},
    )


def _ping() -> str:
    """Return "pong" at once."""
    return "pong"


def _type_name(annotation: Any) -> str | None:
    if annotation is inspect.Parameter.empty:
        return None
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
