"""What can go wrong with a call: one class for one cause, each with the gRPC status name that travels on the wire.

The words are shared by both ends: a handler may raise any of these and the client raises the same class.
This module knows nothing of messages or event loops.
"""

from __future__ import annotations


class CallError(Exception):
    """A call that ended without its result.

    `code` is the name of a gRPC status (https://grpc.github.io/grpc/core/md_doc_statuscodes.html). A class has its own;
    `CallError` itself takes one, for a cause that has no class here (`"NOT_FOUND"`, `"OUT_OF_RANGE"`, ...).
    """

    code: str = "UNKNOWN"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """What happened, where, and what to do, in one line."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return self.message


class RemoteError(CallError):
    """The handler raised. `type` is the name of the exception's class, `message` its text; the traceback stays in
    the server's log."""

    code = "UNKNOWN"

    def __init__(self, type: str = "Exception", message: str = "") -> None:  # noqa: A002
        super().__init__(message)
        self.args = (type, message)

    @property
    def type(self) -> str:
        return str(self.args[0])

    @property
    def message(self) -> str:
        return str(self.args[1])

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class DeadlineExceeded(CallError, TimeoutError):
    """The time given to the call was over. The handler may have run, or may still run in a worker thread."""

    code = "DEADLINE_EXCEEDED"


class Cancelled(CallError):
    """Somebody else ended the call: the client was closed, or the handler was cancelled at the server. (Cancelling
    your own future or task gives your loop's own CancelledError.)"""

    code = "CANCELLED"


class Unavailable(CallError, ConnectionError):
    """There is no server to answer, or the link to it was lost.

    `started` says whether the handler began: True, False, or None where nobody can know. Only a call with
    `started=False` may be sent again whatever its method does.
    """

    code = "UNAVAILABLE"

    def __init__(self, message: str = "", *, started: bool | None = None) -> None:
        super().__init__(message)
        self.started = started


class MethodNotFound(CallError):
    """The service has no method of that name."""

    code = "UNIMPLEMENTED"


class InvalidArgument(CallError):
    """An argument does not fit the method's signature, or cannot be sent at all. The handler was not called."""

    code = "INVALID_ARGUMENT"


class ResourceExhausted(CallError):
    """A bound was met: calls in flight, bytes waiting, the size of a value."""

    code = "RESOURCE_EXHAUSTED"


class FailedPrecondition(CallError):
    """The call is right but does not fit the state of things, as `call` on a method that streams."""

    code = "FAILED_PRECONDITION"


class Aborted(CallError):
    """The call was given up half-way by a conflict: a version that moved on, a key whose first run was cut."""

    code = "ABORTED"


class Unauthenticated(CallError):
    """The server does not know who is calling."""

    code = "UNAUTHENTICATED"


class PermissionDenied(CallError):
    """The server knows who is calling, and does not let them."""

    code = "PERMISSION_DENIED"


class ProtocolError(CallError):
    """The other end sent what the protocol does not allow, or speaks another version of it."""

    code = "INTERNAL"


class UsageError(Exception):
    """ringback was asked for something it cannot do: a wrong target, endpoint, option, or a library that is not installed.

    Not the outcome of a call. The command line prints it as its one line.
    """


_CLASSES: dict[str, type[CallError]] = {
    cls.code: cls
    for cls in (
        DeadlineExceeded,
        Cancelled,
        MethodNotFound,
        InvalidArgument,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        Unauthenticated,
        PermissionDenied,
        ProtocolError,
    )
}


def from_wire(code: str, type_name: str, message: str, started: bool | None = None) -> CallError:
    """The exception that a client raises for an error as it came over the wire."""
    if code == Unavailable.code:
        return Unavailable(message, started=started)
    if code == RemoteError.code and type_name:
        return RemoteError(type_name, message)
    cls = _CLASSES.get(code)
    return cls(message) if cls else CallError(message, code=code)


def to_wire(error: BaseException) -> tuple[str, str, str]:
    """`(code, type, message)` of what a handler raised: a CallError as itself, anything else as a RemoteError."""
    try:
        code, kind, message = _told(error)
    except Exception:  # an exception of the user's may have no words for itself
        code, kind, message = RemoteError.code, type(error).__name__, ""
    return code, _sendable(kind), _sendable(message)


# Characters of an error's text that are sent: an answer, not a document.
_LONGEST = 8192


def _sendable(text: str) -> str:
    """Text that can be sent: names of files may hold surrogates, and nobody bounds the text of an exception."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text):,} characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def _told(error: BaseException) -> tuple[str, str, str]:
    if isinstance(error, RemoteError):
        return error.code, error.type, error.message
    if isinstance(error, CallError):
        return error.code, "", error.message
    return RemoteError.code, type(error).__name__, str(error)


def is_ours(error: BaseException) -> bool:
    """Whether the handler meant this as an answer, so that it needs no traceback in the server's log."""
    return isinstance(error, CallError)


__all__ = [
    "Aborted",
    "CallError",
    "Cancelled",
    "DeadlineExceeded",
    "FailedPrecondition",
    "InvalidArgument",
    "MethodNotFound",
    "PermissionDenied",
    "ProtocolError",
    "RemoteError",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "UsageError",
]
