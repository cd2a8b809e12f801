"""How calls are made: the timeout and all else that `client.options` takes."""

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
else:  # none is loaded for its name
    Cache = TracerProvider = ZmqContext = Any


class ClientOptions(CallSettings):
    """How calls are made; `Client.options` documents each."""

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
        """`max_size`: bytes that arguments may take, with all that travels beside them."""
        super().__init__(timeout)
        self.room = max_size  # what of that is left for the arguments
        self.milliseconds: int | None = None  # the timeout as a message says it
        self.priority = 0
        self.idempotency_key: str | None = None
        self.metadata: dict[str, Any] = {}
        self.cache: Cache | None = None
        self.affinity: str | None = None
        self.hedge = False
        self.session: bool | Versions | None = None
        self.wishes = False  # whether the choice of a server has to know one of these three
        self.options: CallOptions | None = None  # what of these travels with each call

    def merged(self, changes: Mapping[str, Any]) -> ClientOptions:
        """These options with others. Raises TypeError for one that there is not, or that has a value which cannot be sent;
        ResourceExhausted for metadata that take more than a call may."""
        new = copy.copy(self)
        for name, value in changes.items():
            option = _OPTIONS.get(name)
            if option is None:
                raise TypeError(f"there is no option {name!r}: the options are {', '.join(_OPTIONS)}")
            if not option.takes(value):
                raise TypeError(f"bad value for option {name!r}: {option.asked}, not {value!r:.200}")
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
        """Make what of these travels with each call, as it is now, and see that it can."""
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
                f"the metadata take {taken:,} bytes, and with them no call is within the limit of {self.room + taken:,}"
            )


_decode_options = msgspec.msgpack.Decoder(CallOptions).decode


def _size(options: CallOptions | None) -> int:
    return 0 if options is None else len(msgspec.msgpack.encode(options))


# Seconds above which a timeout is none: 30 years.
_LONGEST = 1e9


def seconds_to_close(timeout: float | None) -> float:
    """What a `close` waits at most, as each loop takes it: None and infinity are 30 years. Raises TypeError for what is no time."""
    if timeout is None:
        return _LONGEST
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout != timeout:
        raise TypeError(f"bad timeout to close: seconds, or None for no limit, not {timeout!r:.200}")
    return min(max(0.0, timeout), _LONGEST)


def _is_timeout(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0)


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
    """How calls are made, whatever the type of their results."""

    timeout: Annotated[
        float | None,
        Option(
            "Time a call may take; of a stream, the time between items; None for no limit",
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
            "Priority of the calls; higher ones begin first",
            0,
            fits=lambda value: type(value) is int and value in INT64,
            wanted="an integer of 64 bits",
        ),
    ]
    idempotency_key: Annotated[
        str | None,
        Option(
            "Key for which a method with once=True runs once",
            fits=lambda value: value is None or (is_text(value) and 0 < len(value) <= 255),
            wanted="a string of 1 to 255 characters, or None",
        ),
    ]
    wait_for_ready: Annotated[
        bool, Option("Wait for a server where there is none; False: fail at once", True)
    ]
    attempts: Annotated[
        int,
        Option(
            "Maximum times that a call is sent: again only where it surely has not begun, or its method is idempotent, readonly or once",
            ATTEMPTS,
            fits=lambda value: type(value) is int and value >= 1,
            wanted="an integer from 1 on",
        ),
    ]
    cache: Annotated[
        float | Cache | None,
        Option(
            "Seconds for which results are kept in this client's memory, or a ringback.Cache",
            None,
            fits=lambda _: True,
        ),
    ]
    affinity: Annotated[
        str | None,
        Option("Calls with an equal string go to the same one of many servers", wanted="a string, or None"),
    ]
    hedge: Annotated[
        bool,
        Option("Send a readonly call to a second server too, if it takes longer than 95 of 100", False),
    ]
    session: Annotated[
        bool | Mapping[str, int] | None,
        Option(
            "Take no answer of a replica older than what this client has seen; or the `versions` of another client to begin with",
            fits=lambda value: value is None or isinstance(value, bool) or _is_versions(value),
            wanted="True, False, or the versions of another client",
        ),
    ]


class ViewOptions(UntypedOptions, total=False):
    """How calls are made: the keyword arguments of `Client.options`."""

    returns: Annotated[
        Any, Option("Type of the results", Any, fits=_is_type, wanted="a type that values can be decoded as")
    ]


class ConnectOptions(ViewOptions, total=False):
    """The keyword arguments of `ringback.connect`."""

    policy: Annotated[
        str | Policy | None,
        Option(
            "Choice among many servers: least-in-flight, two-choices, peak-ewma, round-robin, or a policy of your own",
            default_text="least-in-flight",
        ),
    ]
    zone: Annotated[str, Option("Zone of this client; servers of the same zone are preferred", "")]
    ejection: Annotated[
        Ejection | bool,
        Option("When a failing or slow server gets no calls for a while; False for never", True),
    ]
    interceptors: Annotated[
        Sequence[Interceptor], Option("Interceptors around every call; the first is the outermost", ())
    ]
    server_key: Annotated[
        str | bytes | Path | None,
        Option("Public key of the servers, or the file that has it; it encrypts all"),
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
            "Maximum bytes of arguments in flight, of calls with 4 KiB or more",
            64 << 20,
            unit="bytes",
            at_least=1,
        ),
    ]


_OPTIONS = options_of(ViewOptions)


def split_options(given: ConnectOptions) -> tuple[dict[str, Any], ConnectOptions]:
    """The options of calls that were given to `connect`, and all that are its own. Raises UsageError, or TypeError for no option."""
    own: Any = {name: value for name, value in given.items() if name not in _OPTIONS}
    of_views = {name: value for name, value in given.items() if name in _OPTIONS}
    return of_views, completed(ConnectOptions, own, "ringback.connect")
