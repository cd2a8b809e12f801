"""A service whose user code raises wherever ringback runs such code, as the caller asks for.

`how` is the name of an exception (`RAISES`), `what` that of a result (`RETURNS`). The methods under
"Honest" do only what their names say. The fuzzers (`test_fuzzed_*.py`) send the names.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import enum
import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import ringback
from msgspec import Meta
from ringback import errors


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class Worse(Exception):
    """Its text raises what no `except Exception` catches."""

    def __str__(self) -> str:
        raise SystemExit("no words")


class Outside(BaseException):
    """No Exception."""


class Titled(errors.CallError):
    @property
    def message(self) -> str:
        raise KeyError("no message")


def _coded(code: Any, text: Any = "x") -> Callable[[], BaseException]:
    def make() -> BaseException:
        error = errors.CallError(text)
        error.code = code  # also what a constructor may refuse
        return error

    return make


RAISES: dict[str, Callable[[], BaseException]] = {
    "assert": lambda: AssertionError("no"),
    "value": lambda: ValueError("no"),
    "type": lambda: TypeError("no"),
    "key": lambda: KeyError("no"),
    "memory": lambda: MemoryError("no"),
    "recursion": lambda: RecursionError("no"),
    "surrogate": lambda: ValueError("\ud800"),
    "huge": lambda: ValueError("x" * 100_000),
    "os": lambda: OSError(5, "no", "\udc80"),
    "group": lambda: BaseExceptionGroup("no", [SystemExit(1), ValueError("no")]),
    "wordless": Wordless,
    "worse": Worse,
    "titled": Titled,
    "ours": lambda: errors.Aborted("no"),
    "unavailable": lambda: errors.Unavailable("no", started=False),
    "protocol": lambda: errors.ProtocolError("no"),
    "validation": lambda: msgspec.ValidationError("no"),
    "kind": lambda: errors.RemoteError("\ud800", "no"),
    "kind of a number": lambda: errors.RemoteError(5, 5),  # type: ignore[arg-type]
    "code": lambda: errors.CallError("no", code="NOT_FOUND"),
    "code surrogate": _coded("\ud800"),
    "code huge": _coded("C" * 100_000),
    "code number": _coded(5),
    "code bytes": _coded(b"\xff"),
    "code none": _coded(None),
    "code object": _coded(object()),
    "text object": _coded("NOT_FOUND", object()),
    "text surrogate": _coded("NOT_FOUND", "\ud800"),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "outside": Outside,
    "generator": GeneratorExit,
    "stop": StopIteration,
    "stop async": StopAsyncIteration,
    "cancelled": asyncio.CancelledError,
    "future": concurrent.futures.CancelledError,
}


def fail(how: object) -> None:
    """Raise what is named; nothing where it is no name."""
    make = RAISES.get(how) if isinstance(how, str) else None
    if make is not None:
        raise make()


_turns = itertools.cycle(RAISES)


def _by_turns() -> Any:
    raise RAISES[next(_turns)]()


@dataclass
class Post:
    how: str = ""
    n: int = 0

    def __post_init__(self) -> None:
        fail(self.how)


class PostStruct(msgspec.Struct):
    how: str = ""
    inner: list[Post] = []

    def __post_init__(self) -> None:
        fail(self.how)


@dataclass
class Factory:
    given: int = field(default_factory=_by_turns)


class FactoryStruct(msgspec.Struct, array_like=True):
    first: int
    given: int = msgspec.field(default_factory=_by_turns)


@dataclass(frozen=True)
class Hashed:
    how: str = ""
    n: int = 0

    def __hash__(self) -> int:
        fail(self.how)
        return 1

    def __eq__(self, other: object) -> bool:
        fail(str(self.how).removeprefix("eq "))
        return self is other


class Cat(msgspec.Struct, tag=True):
    how: str = ""

    def __post_init__(self) -> None:
        fail(self.how)


class Dog(msgspec.Struct, tag=True):
    n: int = 0


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"

    @classmethod
    def _missing_(cls, value: object) -> Any:
        fail(value)


class Unsendable:
    """Nothing about it may be asked."""

    def __getattr__(self, name: str) -> Any:
        raise SystemExit(name)

    def __bool__(self) -> bool:
        raise KeyError("no")

    def __eq__(self, other: object) -> bool:
        raise KeyError("no")

    __hash__ = None  # type: ignore[assignment]


class Asked(msgspec.Struct):
    """What is inside raises when it is packed."""

    inside: Any


def _endless() -> list[Any]:
    within: list[Any] = []
    within.append(within)
    return within


def _deep() -> Any:
    value: Any = 1
    for _ in range(20_000):
        value = [value]
    return value


class Dictionary(dict[str, Any]):
    def items(self) -> Any:
        raise SystemExit("no items")


def _failed(error: BaseException) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.set_exception(error)
    return future


def _cancelled() -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.cancel()
    return future


def _done(value: Any) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.set_result(value)
    return future


# Made once: to make them takes long, which would delay others whatever ringback does.
LARGE, HUGE, ENDLESS, DEEP = bytes(20_000_000), -(1 << 80_000), _endless(), _deep()

RETURNS: dict[str, Callable[[], Any]] = {
    "object": object,
    "unsendable": Unsendable,
    "within": lambda: {"a": [object()]},
    "asked": lambda: Asked(Unsendable()),
    "endless": lambda: ENDLESS,
    "deep": lambda: DEEP,
    "surrogate": lambda: "\ud800",
    "surrogate within": lambda: {"a": ["\ud800"]},
    "surrogate as a key": lambda: {"\ud800": 1},
    "integer": lambda: 1 << 70,
    "integer as a key": lambda: {1 << 70: 1},
    "huge integer": lambda: HUGE,
    "large": lambda: LARGE,
    "frame": lambda: bytes(70_000),
    "frames": lambda: [bytes(70_000)] * 3,
    "keys": lambda: {(1, 2): 3, None: 4, 1.5: 5},
    "nan": lambda: [float("nan"), float("-inf")],
    "lambda": lambda: lambda: 1,
    "class": lambda: Post,
    "generator": lambda: (number for number in range(3)),
    "coroutine": lambda: _coroutine(),
    "error": lambda: ValueError("no"),
    "ext": lambda: msgspec.msgpack.Ext(-1, b"abc"),
    "ext stream": lambda: msgspec.msgpack.Ext(3, b""),
    "ext frame": lambda: msgspec.msgpack.Ext(1, b"\0\7"),
    "raw": lambda: msgspec.Raw(b"\xc1"),
    "raw nothing": lambda: msgspec.Raw(b""),
    "dictionary": lambda: Dictionary(a=1),
    "view": lambda: memoryview(bytearray(100))[::2],
    "released": lambda: _released(),
    "future": lambda: _done(object()),
    "failed": lambda: _failed(SystemExit(3)),
    "failed badly": lambda: _failed(Worse()),
    "cancelled": lambda: _cancelled(),
    "counter": lambda: collections.Counter("abc"),
    "nothing": lambda: None,
}


async def _coroutine() -> int:
    return 1


def _released() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


def made(what: object) -> Any:
    make = RETURNS.get(what) if isinstance(what, str) else None
    return what if make is None else make()


service = ringback.Service("fragile")


@service.use
def metadata_says(call: Any) -> Generator[None, Any, Any]:
    fail(call.metadata.get("before"))
    if "answer" in call.metadata:
        return made(call.metadata["answer"])
    try:
        yield
    except BaseException:
        fail(call.metadata.get("failed"))
        raise
    finally:
        fail(call.metadata.get("finally"))
    if call.metadata.get("again"):
        yield
    fail(call.metadata.get("after"))
    return made(call.metadata["instead"]) if "instead" in call.metadata else None


# Honest


@service.method(inline=True)
def add_inline(a: int, b: int) -> int:
    return a + b


@service.method
def add(a: int, b: int) -> int:
    return a + b


@service.method
async def add_async(a: int, b: int) -> int:
    return a + b


@service.method
def count(n: int) -> Iterator[int]:
    yield from range(n)


@service.method
def sum_of(numbers: Iterator[int]) -> int:
    return sum(numbers)


# Arguments


@service.method(inline=True)
def echo(value: Any) -> Any:
    return value


@service.method
def post(one: Post) -> int:
    return one.n


@service.method(inline=True)
def posts_inline(one: Post, other: PostStruct | None = None, *, named: Post | None = None) -> int:
    return one.n


@service.method
async def struct(one: PostStruct) -> int:
    return len(one.inner)


@service.method(inline=True)
def factory(one: Factory, other: FactoryStruct | None = None) -> int:
    return one.given


@service.method
def hashed(one: set[Hashed], other: dict[str, frozenset[Hashed]] | None = None) -> int:
    return len(one)


@service.method(inline=True)
def hashed_inline(one: frozenset[Hashed]) -> int:
    return len(one)


@service.method
def rest(*posts: Post, **named: PostStruct) -> int:
    return len(posts) + len(named)


@service.method(inline=True)
def animal(one: Cat | Dog, many: list[Cat | Dog] | None = None) -> str:
    return type(one).__name__


@service.method(inline=True)
def values(
    price: Decimal,
    moment: datetime,
    day: date | None,
    span: timedelta,
    one: uuid.UUID,
    colour: Colour,
) -> list[Any]:
    return [price, moment, day, span, one, colour]


@service.method
def within(
    small: Annotated[int, Meta(ge=0, le=10)],
    word: Annotated[str, Meta(max_length=5, pattern="^[a-z]*$")],
    items: Annotated[list[int], Meta(max_length=3)],
    number: float | None = None,
) -> int:
    return small


@service.method(inline=True)
def maps(
    one: dict[int, list[Post]], other: dict[tuple[int, str], bytes], third: tuple[int, Post]
) -> int:
    return len(one)


# Outcomes


@service.method(inline=True)
def ends_inline(how: Any = None, what: Any = None) -> Any:
    fail(how)
    return made(what)


@service.method
def ends(how: Any = None, what: Any = None) -> Any:
    fail(how)
    return made(what)


@service.method(executor="thread")
def ends_in_thread(how: Any = None, what: Any = None) -> Any:
    fail(how)
    return made(what)


@service.method
async def ends_async(how: Any = None, what: Any = None) -> Any:
    await asyncio.sleep(0)
    fail(how)
    return made(what)


@service.method
def yields(how: Any = None, what: Any = None, at_last: Any = None) -> Iterator[Any]:
    try:
        yield 1
        yield made(what)
        fail(how)
    finally:
        fail(at_last)


@service.method
async def yields_async(
    how: Any = None, what: Any = None, at_last: Any = None
) -> AsyncIterator[Any]:
    try:
        yield 1
        yield made(what)
        fail(how)
    finally:
        fail(at_last)


@service.method
def stays() -> Iterator[int]:
    "Does not end when it is closed."
    for number in range(3):
        try:
            yield number
        except BaseException:
            yield -1


# Streams as arguments


@service.method
def sum_posts(items: Iterator[Post], how: Any = None) -> int:
    total = sum(item.n for item in items)
    fail(how)
    return total


@service.method
async def sum_posts_async(items: AsyncIterator[Post], how: Any = None) -> int:
    total = 0
    async for item in items:
        total += item.n
    fail(how)
    return total


@service.method
def hashes_of(items: Iterator[set[Hashed]]) -> int:
    return sum(len(item) for item in items)


@service.method
def first_post(items: Iterator[Post], how: Any = None) -> int:
    "Leaves the rest."
    n = next(items).n
    fail(how)
    return n


@service.method
async def pairs(items: AsyncIterator[tuple[int, Colour]]) -> AsyncIterator[Any]:
    async for number, colour in items:
        yield [number, colour]


# Caches, keys


def tags(value: Any = None, how: Any = None) -> Any:
    fail(how)
    return None if value == "large" else made(value)


@service.method(cache=ringback.Cache(0.05, stale=0.05, tags=tags, entries=100))
def cached(value: Any = None, how: Any = None) -> Any:
    return 1


@service.method(inline=True, cache=ringback.Cache(0.05, tags=tags))
def cached_inline(value: Any = None, how: Any = None) -> Any:
    return 1


@service.method(cache=0.05)
async def cached_async(how: Any = None, what: Any = None) -> Any:
    fail(how)
    return made(what)


@service.method(once=60)
def once(how: Any = None, what: Any = None) -> Any:
    fail(how)
    return made(what)


@service.method(once=60)
async def once_async(how: Any = None, what: Any = None, post: Post | None = None) -> Any:
    fail(how)
    return made(what)


@service.method
def state(how: Any = None, what: Any = None) -> Any:
    call = ringback.current_call()
    fail(how)
    return [call.method, dict(call.metadata), made(what)]
