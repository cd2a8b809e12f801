"""The messages of the protocol: meaning and sender of each. docs/protocol.md specifies the fields.

Values (arguments, results, items) stay `msgspec.Raw`. This MessagePack is decoded only where its
type is known, so that a bad value spoils only its own call.
"""

from __future__ import annotations

from msgspec import Raw, Struct

from .bounds import MAX_FRAMES, MAX_MESSAGES


class CallOptions(Struct, omit_defaults=True, gc=False):
    """Rare fields of a call, as a map, so that an older peer ignores unknown ones."""

    # Still encoded; `values.decode_metadata` decodes it for the handler.
    metadata: dict[str, Raw] = {}
    priority: int = 0
    key: str | None = None
    # By service, the versions that the caller has seen. If set, the reply reports its own
    # (Reached).
    versions: dict[str, int] | None = None


class MethodFlags(Struct, omit_defaults=True, gc=False, frozen=True):
    """Properties of a method that a client needs before a call or a retry."""

    stream: bool = False
    idempotent: bool = False
    readonly: bool = False
    once: bool = False


class About(Struct, omit_defaults=True, gc=False, frozen=True):
    """Properties of a server that a client needs: to choose among servers, and its limits."""

    role: str = ""  # one of ROLES, or "" if all servers are equal
    zone: str = ""
    weight: float = 1.0
    max_mapped: int = 0  # maximum calls of one Map; 0: the server takes no Map


class Hello(Struct, array_like=True, tag=1, gc=False):
    """Client: its identity (16 random bytes), and the maximum bytes of a value that it takes."""

    instance: bytes
    max_size: int
    software: str = ""


class Welcome(Struct, array_like=True, tag=2, gc=False):
    """Server: its identity, its service and its limits."""

    instance: bytes
    service: str
    max_size: int
    max_in_flight: int
    methods: dict[str, MethodFlags]
    about: About | None = None
    max_messages: int = MAX_MESSAGES
    max_frames: int = MAX_FRAMES


class Call(Struct, array_like=True, tag=3, gc=False):
    """Client: run this method.

    `timeout` is the time left, in milliseconds. A `credit` above 0 asks for a stream and is the
    number of items that the server may send.
    """

    id: int
    method: str
    args: Raw
    kwargs: dict[str, Raw] | None = None
    timeout: int | None = None
    credit: int = 0
    options: CallOptions | None = None


class Notify(Struct, array_like=True, tag=4, gc=False):
    """Client: a one-way call. Run this method without a reply."""

    method: str
    args: Raw
    kwargs: dict[str, Raw] | None = None
    options: CallOptions | None = None


class Cancel(Struct, array_like=True, tag=5, gc=False):
    """Client: the caller has given up this call."""

    id: int


class Credit(Struct, array_like=True, tag=6, gc=False):
    """Receiver of a stream: the sender may send `items` more items."""

    id: int
    items: int


class Item(Struct, array_like=True, tag=7, gc=False):
    """Sender of a stream, a result or an argument: the next item."""

    id: int
    value: Raw


class End(Struct, array_like=True, tag=8, gc=False):
    """Sender of a stream: there are no more items."""

    id: int


class Reply(Struct, array_like=True, tag=9, gc=False):
    """Server: the result of a call."""

    id: int
    result: Raw


class Error(Struct, array_like=True, tag=10, gc=False):
    """Server: a call that had begun ended without a result.

    `kind` is the exception's class if the handler raised.
    """

    id: int
    code: str
    kind: str
    message: str


class Refusal(Struct, array_like=True, tag=11, gc=False):
    """Server: a call that was not carried out. `started`: its handler had begun (None: unknown)."""

    id: int
    code: str
    message: str
    started: bool | None = False


class Ping(Struct, array_like=True, tag=12, gc=False):
    """Either end: a request for a Pong with the same token, at once."""

    token: int


class Pong(Struct, array_like=True, tag=13, gc=False):
    """The reply to a Ping."""

    token: int


class Drain(Struct, array_like=True, tag=14, gc=False):
    """Server: it shuts down. It finishes accepted calls and refuses new calls."""


class Drained(Struct, array_like=True, tag=15, gc=False):
    """Client: it has sent its last call to this server."""


class Bye(Struct, array_like=True, tag=16, gc=False):
    """Server: it has sent its last reply; the client returns a Bye once it has read all replies.

    Client: it leaves.
    """


class Fault(Struct, array_like=True, tag=17, gc=False):
    """Either end: the peer has violated the protocol; this end reads no more from it."""

    message: str


class Reached(Struct, array_like=True, tag=18, gc=False):
    """Server: the versions, by service, that the reply to a call has seen. The reply follows.

    Sent only for a call that asked for it with `versions`.
    """

    id: int
    versions: dict[str, int]


class Map(Call, array_like=True, tag=19, gc=False):
    """Client: call this method once for each array of arguments in `args`.

    `first`: the index of the first call among all calls of the same map. `kwargs` and `credit` are
    unused.
    """

    first: int = 0


class Failure(Struct, array_like=True, gc=False):
    """The failure of one call of a Map: an Error, or without a `kind` a Refusal."""

    code: str
    message: str
    kind: str | None = None
    started: bool | None = False


class Mapped(Struct, array_like=True, tag=20, gc=False):
    """Server: outcomes of calls of a Map, from the index `first` on.

    `results` is an array, with nil for a failed call. The Map has ended when all its calls have.
    """

    id: int
    first: int
    results: Raw
    failures: dict[int, Failure] | None = None


FromClient = (
    Hello | Call | Notify | Cancel | Credit | Item | End | Ping | Pong | Drained | Bye | Fault | Map
)
FromServer = (
    Welcome
    | Reply
    | Error
    | Refusal
    | Credit
    | Item
    | End
    | Ping
    | Pong
    | Drain
    | Bye
    | Fault
    | Reached
    | Mapped
)
Message = FromClient | FromServer
