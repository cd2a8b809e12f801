"""The messages: what each says, and who may say it. Field by field they are specified in docs/protocol.md.

Values (arguments, results, items) stay `msgspec.Raw`, MessagePack that is decoded only where its type is known, so that a bad
value spoils its own call and no other.
"""

from __future__ import annotations

from msgspec import Raw, Struct

from .bounds import MAX_FRAMES, MAX_MESSAGES


class CallOptions(Struct, omit_defaults=True, gc=False):
    """What few calls carry; a map, so that an older peer passes over what it does not know."""

    metadata: dict[
        str, Raw
    ] = {}  # as it came; whoever handles the call has it decoded (`values.decode_metadata`)
    priority: int = 0
    key: str | None = None
    versions: dict[str, int] | None = (
        None  # seen by the caller, by service; who says them asks for those that the answer has seen
    )


class MethodFlags(Struct, omit_defaults=True, gc=False, frozen=True):
    """What a client must know of a method before it calls, or calls again."""

    stream: bool = False
    idempotent: bool = False
    readonly: bool = False
    once: bool = False


class About(Struct, omit_defaults=True, gc=False, frozen=True):
    """What a client must know of a server: to choose among many, and of what it takes."""

    role: str = ""  # of ROLES, or "" where all are equal
    zone: str = ""
    weight: float = 1.0
    max_mapped: int = 0  # calls that one Map may have; 0: it takes none


class Hello(Struct, array_like=True, tag=1, gc=False):
    """Client: who I am (16 random bytes), and the largest value I take, in bytes."""

    instance: bytes
    max_size: int
    software: str = ""


class Welcome(Struct, array_like=True, tag=2, gc=False):
    """Server: who I am, what I serve, and the bounds I keep."""

    instance: bytes
    service: str
    max_size: int
    max_in_flight: int
    methods: dict[str, MethodFlags]
    about: About | None = None
    max_messages: int = MAX_MESSAGES
    max_frames: int = MAX_FRAMES


class Call(Struct, array_like=True, tag=3, gc=False):
    """Client: run this method. `timeout` is the time left in milliseconds; `credit` above 0 asks for a stream and allows so
    many items."""

    id: int
    method: str
    args: Raw
    kwargs: dict[str, Raw] | None = None
    timeout: int | None = None
    credit: int = 0
    options: CallOptions | None = None


class Notify(Struct, array_like=True, tag=4, gc=False):
    """Client: run this method, and answer nothing."""

    method: str
    args: Raw
    kwargs: dict[str, Raw] | None = None
    options: CallOptions | None = None


class Cancel(Struct, array_like=True, tag=5, gc=False):
    """Client: I no longer want the answer to this call."""

    id: int


class Credit(Struct, array_like=True, tag=6, gc=False):
    """The receiver of a stream: so many items more may come."""

    id: int
    items: int


class Item(Struct, array_like=True, tag=7, gc=False):
    """The sender of a stream, be it an answer or an argument: the next item."""

    id: int
    value: Raw


class End(Struct, array_like=True, tag=8, gc=False):
    """The sender of a stream: that was the last item."""

    id: int


class Reply(Struct, array_like=True, tag=9, gc=False):
    """Server: the result of a call."""

    id: int
    result: Raw


class Error(Struct, array_like=True, tag=10, gc=False):
    """Server: a call that began ended without its result. `kind` is the exception's class where the handler raised."""

    id: int
    code: str
    kind: str
    message: str


class Refusal(Struct, array_like=True, tag=11, gc=False):
    """Server: a call that was not carried out, and whether its handler had begun (None: nobody can know)."""

    id: int
    code: str
    message: str
    started: bool | None = False


class Ping(Struct, array_like=True, tag=12, gc=False):
    """Either end: are you there? The other sends the token back at once."""

    token: int


class Pong(Struct, array_like=True, tag=13, gc=False):
    """The answer to a Ping."""

    token: int


class Drain(Struct, array_like=True, tag=14, gc=False):
    """Server: I am going; what I have accepted I finish, what comes from now on I refuse."""


class Drained(Struct, array_like=True, tag=15, gc=False):
    """Client: I have sent my last call to you."""


class Bye(Struct, array_like=True, tag=16, gc=False):
    """Server: you have had all my answers; the client says it back when it has read them. Client: I am leaving."""


class Fault(Struct, array_like=True, tag=17, gc=False):
    """Either end: what you sent is not this protocol; I shall not read on."""

    message: str


class Reached(Struct, array_like=True, tag=18, gc=False):
    """Server: what the answer to a call, which follows, has seen: versions, by service. To who has asked for it."""

    id: int
    versions: dict[str, int]


class Map(Call, array_like=True, tag=19, gc=False):
    """Client: run this method for each of the arrays of arguments in `args`, as calls. `first`: the place of the first of them among all
    calls that are made together. `kwargs` and `credit` are nothing."""

    first: int = 0


class Failure(Struct, array_like=True, gc=False):
    """Of one call of a Map, what an Error says of a call; without a `kind`, what a Refusal says."""

    code: str
    message: str
    kind: str | None = None
    started: bool | None = False


class Mapped(Struct, array_like=True, tag=20, gc=False):
    """Server: what became of calls of a Map, from that place in it on. `results` is an array, with nil where a call failed. The Map has
    ended when all its calls have."""

    id: int
    first: int
    results: Raw
    failures: dict[int, Failure] | None = None


FromClient = Hello | Call | Notify | Cancel | Credit | Item | End | Ping | Pong | Drained | Bye | Fault | Map
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
