"""Services whose own code goes wrong in every place where ringback calls it: `service`, and
`intercepted`, whose interceptors do.

What is raised is named by the caller: a class of `RAISED`, which has a builtin one, errors of
ringback's, and those that end a program.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import decimal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import ringback
from ringback import errors
from ringback.handling import handled
from ringback.protocol.messages import Reply


class Mute(Exception):
    def __str__(self) -> str:
        raise SystemExit("no words")


class BadCode(errors.CallError):
    code = "\ud800"


class NumberAsCode(errors.CallError):
    code = 5  # type: ignore[assignment]


class BadMessage(errors.CallError):
    @property
    def message(self) -> str:
        raise KeyError("no message")


class Own(BaseException):
    pass


class Unwritable(SyntaxError):
    """Has no traceback that could be formatted."""

    def __init__(self, text: str) -> None:
        super().__init__(text, ("f.txt", 1, 1, b"some line\n"))


class BadNotes(Exception):
    @property
    def __notes__(self) -> Any:
        raise SystemExit("no notes")


class BadCause(Exception):
    @property
    def __cause__(self) -> Any:
        raise SystemExit("no cause")


class Undecided(Exception):
    def __bool__(self) -> bool:
        raise SystemExit("neither")


class NoClass(Exception):
    @property
    def __class__(self) -> Any:
        raise SystemExit("no class")


class Nameless(type):
    @property
    def __name__(cls) -> Any:
        raise SystemExit("no name")


class OfNoName(Exception, metaclass=Nameless):
    pass


class Closed(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise SystemExit("no attributes")


class Text(str):
    """Goes wrong when it is encoded."""

    def encode(self, *args: Any) -> bytes:
        raise SystemExit("no bytes")

    __str__ = __len__ = __getitem__ = encode  # type: ignore[assignment]


class BadText(errors.CallError):
    def __init__(self, text: str) -> None:
        super().__init__(Text(text))

    message = property(lambda self: self.args[0])  # type: ignore[assignment]


RAISED: dict[str, type[BaseException]] = {
    type.__dict__["__name__"].__get__(kind): kind
    for kind in (
        ValueError,
        AssertionError,
        KeyError,
        MemoryError,
        StopIteration,
        GeneratorExit,
        SystemExit,
        KeyboardInterrupt,
        Mute,
        BadCode,
        NumberAsCode,
        BadMessage,
        Own,
        Unwritable,
        BadNotes,
        BadCause,
        Undecided,
        NoClass,
        OfNoName,
        Closed,
        BadText,
        errors.PermissionDenied,
    )
}


def fail(kind: str) -> None:
    raise RAISED[kind]("on purpose")


@dataclass
class Checked:
    """Goes wrong when it is made."""

    kind: str

    def __post_init__(self) -> None:
        if self.kind:
            fail(self.kind)


class Lazy(msgspec.Struct):
    """Goes wrong when it is made without its number."""

    number: int = msgspec.field(default_factory=lambda: fail("SystemExit"))  # type: ignore[arg-type, return-value]


class Key(msgspec.Struct, frozen=True):
    """Goes wrong as a key."""

    kind: str

    def __hash__(self) -> int:
        if self.kind:
            fail(self.kind)
        return 1


class Asks(type):
    def __instancecheck__(cls, instance: object) -> bool:
        fail("SystemExit")
        return False

    def __subclasscheck__(cls, other: type) -> bool:
        return True  # so that a value might be one


class Unknown(metaclass=Asks):
    """Goes wrong when something is asked whether it is one."""


class Result:
    """Goes wrong when it is looked at as a value."""

    __dataclass_fields__: dict[str, Any]

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __getattribute__(self, name: str) -> Any:
        kind = object.__getattribute__(self, "__dict__").get("kind")
        if kind:
            fail(kind)
        return object.__getattribute__(self, name)


class Future(concurrent.futures.Future[Any]):
    """Goes wrong when somebody wants to know of its result."""

    def add_done_callback(self, fn: Any) -> None:
        fail("SystemExit")


service = ringback.Service("faulty")


@service.method
def add(a: int, b: int) -> int:
    return a + b


@service.method(inline=True)
def add_inline(a: int, b: int) -> int:
    return a + b


# Arguments


@service.method(inline=True)
def takes_inline(value: Checked) -> str:
    return "taken"


@service.method
def takes(value: Checked) -> str:
    return "taken"


@service.method
async def takes_async(*values: Checked, **named: Checked) -> str:
    return "taken"


@service.method
def takes_and_streams(value: Checked) -> Iterator[str]:
    yield "taken"


@service.method(inline=True)
def takes_lazy(value: Lazy) -> str:
    return "taken"


@service.method(inline=True)
def takes_keys(value: dict[Key, int]) -> str:
    return "taken"


@service.method(inline=True)
def takes_unknown(value: Unknown) -> str:
    return "taken"


@service.method(inline=True)
def takes_anything(value: Any, other: Any = None) -> str:
    return "taken"


@service.method
def takes_items(values: Iterator[Checked]) -> int:
    return sum(1 for _ in values)


@service.method
async def takes_items_async(values: AsyncIterator[Checked]) -> int:
    return len([value async for value in values])


# Handlers and what comes of them


@service.method
def raises(kind: str) -> None:
    fail(kind)


@service.method(inline=True)
def raises_inline(kind: str) -> None:
    fail(kind)


@service.method
async def raises_async(kind: str) -> None:
    fail(kind)


@service.method
def raises_in_stream(kind: str) -> Iterator[int]:
    yield 1
    fail(kind)


@service.method
async def raises_in_async_stream(kind: str) -> AsyncIterator[int]:
    yield 1
    fail(kind)


@service.method
def gives(kind: str) -> Any:
    return [Result(kind)]


@service.method(inline=True)
def gives_inline(kind: str) -> Any:
    return [Result(kind)]


@service.method(inline=True)
def gives_itself_inline(kind: str) -> Any:
    return Result(kind)


@service.method
async def gives_async(kind: str) -> Any:
    return Result(kind)


@service.method
def gives_items(kind: str) -> Iterator[Any]:
    yield Result(kind)


@service.method
def gives_packed(packed: bytes) -> Any:
    return msgspec.Raw(packed)


@service.method(inline=True)
def gives_packed_inline(packed: bytes) -> Any:
    return [msgspec.Raw(packed)]


class Slow(concurrent.futures.Future[Any]):
    """Tells of its result at once, and comes back later."""

    def add_done_callback(self, fn: Any) -> None:
        super().add_done_callback(fn)
        time.sleep(0.05)


@service.method(limit=1)
def gives_done_future() -> Any:
    future = Slow()
    future.set_result("done")
    return future


@service.method(cache=60)
def kept(value: Any) -> int:
    return 1


@service.method(inline=True)
def gives_future_inline(kind: str) -> Any:
    return Future()


@service.method
def gives_future(kind: str) -> Any:
    return Future()


@service.method
def gives_coroutine(kind: str) -> Any:
    return raises_async(kind)


@service.method
def gives_generator(kind: str) -> Any:
    return raises_in_stream(kind)


@service.method(inline=True)
def spoils_its_batch() -> str:
    "Puts a message beside its answer that nothing can encode, as a fault of ringback's own would."
    call: Any = handled()
    call.session.outbox.append(Reply(1 << 60, object()))  # type: ignore[arg-type]
    return "answered"


def tags_of(kind: str) -> str:
    fail(kind)
    return kind


@service.method(cache=ringback.Cache(60, tags=tags_of))
def cached(kind: str) -> str:
    return kind


@service.method(cache=ringback.Cache(60, tags=tags_of), inline=True)
def cached_inline(kind: str) -> str:
    return kind


@service.method(inline=True)
def cancelled_badly() -> Any:
    "For Twisted: what it waits for goes wrong when it is cancelled."
    from twisted.internet.defer import Deferred

    return Deferred(lambda _: fail("SystemExit"))


# Contexts

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def _now() -> list[Any]:
    return [who.get(), decimal.getcontext().prec]


def _be(name: str, precision: int) -> list[Any]:
    who.set(name)
    decimal.getcontext().prec = precision
    return _now()


@service.method
def be(name: str, precision: int) -> list[Any]:
    return _be(name, precision)


@service.method(inline=True)
def be_inline(name: str, precision: int) -> list[Any]:
    return _be(name, precision)


@service.method
async def be_async(name: str, precision: int) -> list[Any]:
    seen = _be(name, precision)
    await asyncio.sleep(0)
    return seen


@service.method(executor="thread")
def be_in_thread(name: str, precision: int) -> list[Any]:
    return _be(name, precision)


@service.method
def be_in_stream(name: str, precision: int) -> Iterator[list[Any]]:
    yield _be(name, precision)
    yield _now()


@service.method
async def be_in_async_stream(name: str, precision: int) -> AsyncIterator[list[Any]]:
    yield _be(name, precision)
    yield _now()


@service.method(inline=True)
def be_deferred(name: str, precision: int) -> Any:
    "For Twisted."
    from twisted.internet import reactor, task

    return task.deferLater(reactor, 0, _be, name, precision)


@service.method(native=True)
async def be_native(name: str, precision: int) -> list[Any]:
    "For Twisted, a coroutine on Deferreds; elsewhere one on asyncio."
    return _be(name, precision)


@service.method
def now() -> list[Any]:
    return _now()


@service.method(inline=True)
def now_inline() -> list[Any]:
    return _now()


contexts: list[contextvars.Context] = []


@service.method(inline=True)
def keep_inline(number: int) -> None:
    "Keeps the context that it runs in, as a task that it starts would."
    contexts.append(contextvars.copy_context())


@service.method(inline=True)
def keep_inline_too(number: int) -> None:
    contexts.append(contextvars.copy_context())


@service.method
def kept_contexts() -> list[list[Any]]:
    "Of each call that has kept its context, as seen from there: the method, what it was sent"
    "along, and the seconds that it had."
    seen = []
    while contexts:
        call = contexts.pop(0).run(ringback.current_call)
        left = call.remaining()
        seen.append([call.method, call.metadata.get("name"), left is not None and 10 < left <= 60])
    return seen


@service.method
async def now_async() -> list[Any]:
    return _now()


@service.method(executor="thread")
def now_in_thread() -> list[Any]:
    return _now()


# Interceptors: the metadata say what they do

intercepted = ringback.Service("intercepted")


@intercepted.use
def interceptor(call: Any) -> Iterator[Any]:
    wish, kind = call.metadata.get("wish"), call.metadata.get("kind")
    if "name" in call.metadata:
        who.set(call.metadata["name"])
    if wish == "before":
        fail(kind)
    try:
        yield
    except GeneratorExit:
        if wish == "stays":
            yield
        raise
    if wish == "after":
        fail(kind)
    if wish in ("again", "stays"):
        try:
            yield
        finally:
            if wish == "stays":
                yield


intercepted.method(add)
intercepted.method(inline=True)(add_inline)
intercepted.method(now)
intercepted.method(now_inline)
intercepted.method(now_async)
intercepted.method(now_in_thread)


@intercepted.method
def now_in_stream() -> Iterator[list[Any]]:
    yield _now()
