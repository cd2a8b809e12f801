"""Call options: the timeout and all else that `client.options` takes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec

from .. import errors
from ..balancing import Ejection, Policy
from ..balancing.versions import Versions
from ..interceptors import Interceptor
from ..options.option import Option, completed, options_of
from ..protocol.bounds import FRAME_BYTES, INT64, is_text
from ..protocol.messages import CallOptions
from ..protocol.models import unmet
from ..protocol.values import decode_metadata, typed_decoder
from ..tracing import is_tracing
from ..transport import DEFAULT, VARIABLE
from .conversation.calls import ATTEMPTS, CallSettings, milliseconds

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from ..state.cache import Cache
    from ..transport.libzmq import ZmqContext
else:  # not loaded for their names alone
    Cache = TracerProvider = ZmqContext = Any


class ClientOptions(CallSettings):
    """The options of calls; `Client.options` documents each."""

    __slots__ = (
        "affinity",
        "cache",
        "hedge",
        "idempotency_key",
        "metadata",
        "milliseconds",
        "options",
        "priority",
        "room",
        "session",
        "wishes",
    )

    def __init__(self, timeout: float | None, max_size: int) -> None:
        """`max_size`: maximum bytes of the arguments and all that travels with them."""
        super().__init__(timeout)
        self.room = max_size  # bytes of it that are left for the arguments
        self.milliseconds: int | None = None  # the timeout, in the unit of the message
        self.priority = 0
        self.idempotency_key: str | None = None
        self.metadata: dict[str, Any] = {}
        self.cache: Cache | None = None
        self.affinity: str | None = None
        self.hedge = False
        self.session: bool | Versions | None = None
        self.wishes = False  # whether the choice of a server depends on one of these three
        self.options: CallOptions | None = None  # the part of these that travels with each call

    def merged(self, changes: Mapping[str, Any]) -> ClientOptions:
        """These options with changes.
        Raises TypeError for an unknown option, or for a value that cannot be sent;
        ResourceExhausted if the metadata exceed the size limit of a call."""
        new = copy.copy(self)
        for name, value in changes.items():
            option = _OPTIONS.get(name)
            if option is None:
                raise TypeError(
                    f"there is no option {name!r}: the options are {', '.join(_OPTIONS)}"
                )
            if not option.takes(value):
                raise TypeError(
                    f"bad value for option {name!r}: {option.asked}, not {value!r:.200}"
                )
            if name == "metadata":
                value = {**self.metadata, **value}
            elif name == "timeout" and value is not None and value > _LONGEST:
                value = None
            elif name == "cache" and value is not None:
                from ..state.cache import cache_of  # few clients need it

                value = cache_of(value)
            elif name == "session":
                value = Versions(value) if isinstance(value, Mapping) else (True if value else None)
            setattr(new, name, value)
        new.wishes = new.affinity is not None or new.hedge or new.session is not None
        new.milliseconds = milliseconds(new.timeout) if new.timeout else None
        new._travels(_size(self.options))
        return new

    def _travels(self, before: int) -> None:
        """Build the part of the options that travels with each call, and check that it can be sent.
        `before`: bytes of this part before the change."""
        self.options = None
        if self.metadata or self.priority or self.idempotency_key is not None:
            options = CallOptions(self.metadata, self.priority, self.idempotency_key)
            try:
                self.options = _decode_options(msgspec.msgpack.encode(options))
                decode_metadata(self.options)
            except Exception as error:
                raise TypeError(f"the metadata cannot be sent: {errors.described(error)}") from None
        taken = _size(self.options)
        self.room += before - taken
        if self.room < 0:
            raise errors.ResourceExhausted(
                f"the metadata take {taken:,} bytes, over the limit of {self.room + taken:,} for "
                f"a call"
            )


_decode_options = msgspec.msgpack.Decoder(CallOptions).decode


def _size(options: CallOptions | None) -> int:
    return 0 if options is None else len(msgspec.msgpack.encode(options))


# A timeout above these seconds (30 years) is no limit.
_LONGEST = 1e9


def seconds_to_close(timeout: float | None) -> float:
    """Maximum seconds that `close` waits, as each loop takes it: None and infinity become 30 years.
    Raises TypeError for a value that is no time."""
    if timeout is None:
        return _LONGEST
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout != timeout:
        raise TypeError(
            f"bad timeout to close: seconds, or None for no limit, not {timeout!r:.200}"
        )
    return min(max(0.0, timeout), _LONGEST)


def _is_timeout(value: Any) -> bool:
    return value is None or (
        isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    )


def _is_versions(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        is_text(name) and type(version) is int and 0 <= version < INT64.stop
        for name, version in value.items()
    )


def _is_type(value: Any) -> bool:
    try:
        return value is Any or (callable(typed_decoder(value)) and not unmet(value))
    except Exception:
        return False


class UntypedOptions(TypedDict, total=False):
    """Options of calls, whatever the type of their results."""

    timeout: Annotated[
        float | None,
        Option(
            "Maximum time of a call; of a stream, between items; None for no limit",
            30.0,
            unit="seconds",
            fits=_is_timeout,
            wanted="seconds from 0 on, or None for no limit",
        ),
    ]
    metadata: Annotated[
        Mapping[str, Any],
        Option(
            "Strings and their values for the handler and the interceptors",
            fits=lambda value: isinstance(value, Mapping) and all(map(is_text, value)),
            wanted="a mapping of strings to values",
        ),
    ]
    priority: Annotated[
        int,
        Option(
            "Priority of the calls; higher ones start first",
            0,
            fits=lambda value: type(value) is int and value in INT64,
            wanted="an integer of 64 bits",
        ),
    ]
    idempotency_key: Annotated[
        str | None,
        Option(
            "Key; a method with once=True runs once for each key",
            fits=lambda value: value is None or (is_text(value) and 0 < len(value) <= 255),
            wanted="a string of 1 to 255 characters, or None",
        ),
    ]
    wait_for_ready: Annotated[
        bool, Option("Wait for a server if none is up; False: fail at once", True)
    ]
    attempts: Annotated[
        int,
        Option(
            "Maximum times a call is sent; again only if unstarted or safe to repeat",
            ATTEMPTS,
            fits=lambda value: type(value) is int and value >= 1,
            wanted="an integer from 1 on",
        ),
    ]
    cache: Annotated[
        float | Cache | None,
        Option(
            "Seconds to cache results in this client's memory, or a ringback.Cache",
            None,
            fits=lambda _: True,
        ),
    ]
    affinity: Annotated[
        str | None,
        Option("Calls with equal strings go to the same server", wanted="a string, or None"),
    ]
    hedge: Annotated[
        bool,
        Option("Send a readonly call to a second server when it outlasts 95 % of calls", False),
    ]
    session: Annotated[
        bool | Mapping[str, int] | None,
        Option(
            "True: read no data older than seen, through gateways too; or another's `versions`",
            fits=lambda value: value is None or isinstance(value, bool) or _is_versions(value),
            wanted="True, False, or the versions of another client",
        ),
    ]


class ViewOptions(UntypedOptions, total=False):
    """Options of calls: the keyword arguments of `Client.options`."""

    returns: Annotated[
        Any,
        Option("Type of the results", Any, fits=_is_type, wanted="a type that ringback can decode"),
    ]


class ConnectOptions(ViewOptions, total=False):
    """The keyword arguments of `ringback.connect`."""

    policy: Annotated[
        str | Policy | None,
        Option(
            "Balancing: least-in-flight, two-choices, peak-ewma, round-robin, or a Policy",
            default_text="least-in-flight",
        ),
    ]
    zone: Annotated[str, Option("Zone of this client; servers of the same zone are preferred", "")]
    ejection: Annotated[
        Ejection | bool,
        Option("Rules that pause calls to failing or slow servers; False for none", True),
    ]
    interceptors: Annotated[
        Sequence[Interceptor],
        Option("Interceptors around every call; the first is the outermost", ()),
    ]
    server_key: Annotated[
        str | bytes | Path | None,
        Option("Public key of the servers, or its file; encrypts all traffic"),
    ]
    secret_key: Annotated[
        str | Path | None,
        Option("File of this client's secret key", default_text="a new key, with server_key"),
    ]
    transport: Annotated[
        str | None, Option("Transport: native or libzmq", default_text=DEFAULT, variable=VARIABLE)
    ]
    context: Annotated[ZmqContext | None, Option("A zmq.Context to share; it selects libzmq")]
    trace: Annotated[
        bool | TracerProvider | None,
        Option(
            "Trace calls by OpenTelemetry: True, or a TracerProvider",
            False,
            fits=is_tracing,
            wanted="True or False, or a TracerProvider",
        ),
    ]
    max_size: Annotated[
        int,
        Option(
            "Largest value, sent or received",
            16 << 20,
            unit="bytes",
            at_least=FRAME_BYTES,
            at_most=(1 << 62) - 1,
        ),
    ]
    max_in_flight: Annotated[int, Option("Maximum calls in flight", 10_000, at_least=1)]
    max_bytes_in_flight: Annotated[
        int,
        Option(
            "Maximum bytes of arguments in flight, counting calls of 4 KiB or more",
            64 << 20,
            unit="bytes",
            at_least=1,
        ),
    ]


_OPTIONS = options_of(ViewOptions)


def split_options(given: ConnectOptions) -> tuple[dict[str, Any], ConnectOptions]:
    """Split the options of `connect` into those of calls and its own.
    Raises UsageError; TypeError for an unknown option."""
    own: Any = {name: value for name, value in given.items() if name not in _OPTIONS}
    of_views = {name: value for name, value in given.items() if name in _OPTIONS}
    return of_views, completed(ConnectOptions, own, "ringback.connect")
