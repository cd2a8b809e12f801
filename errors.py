"""What can go wrong with a call: one class for one cause, each with the gRPC status name that travels on the wire.

The words are shared by both ends: a handler may raise any of these and the client raises the same class.
This module knows nothing of messages or event loops.
"""

from __future__ import annotations

import re
from typing import TypeGuard, TypeVar

E = TypeVar("E", bound=BaseException)

# What a code may look like: the name of a status.
_is_code = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}").fullmatch


class CallError(Exception):
    """A call that ended without its result.

    `code` is the name of a gRPC status (https://grpc.github.io/grpc/core/md_doc_statuscodes.html). A class has its own;
    `CallError` itself takes one, for a cause that has no class here (`"NOT_FOUND"`, `"OUT_OF_RANGE"`, ...). Raises ValueError
    for a code that is not a name: a letter, then at most 63 letters, digits and `_.-`, all ASCII.
    """

    code: str = "UNKNOWN"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            if type(code) is not str or not _is_code(code):
                raise ValueError(f"an error's code is a name such as NOT_FOUND, not {code!r:.100}")
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
    if cls is not None:
        return cls(message)
    if not _is_code(code):
        return ProtocolError(f"the server sent an error with {code!r:.100} as its code: {message}")
    return CallError(message, code=code)


def to_wire(error: BaseException) -> tuple[str, str, str]:
    """`(code, type, message)` of what a handler raised: a CallError as itself, anything else as a RemoteError.

    All three can be sent, whatever class the user has made of the error."""
    if not is_ours(error):
        return RemoteError.code, name_of(error), text_of(error)
    try:
        code, kind, message = error.code, "", error.message
        if is_a(error, RemoteError):
            kind = error.type
        if type(code) is str and _is_code(code):
            return code, _sendable(kind), _sendable(message)
    except BaseException:  # noqa: S110 - a class of the user's own may raise anything, and is told like any other
        pass
    return RemoteError.code, name_of(error), text_of(error)


def is_a(error: BaseException, kinds: type[E] | tuple[type[E], ...]) -> TypeGuard[E]:
    """Whether its class is one of these, whatever `__class__` says: of a class of the user's own, that may raise."""
    return issubclass(type(error), kinds)


def name_of(error: BaseException) -> str:
    """The name of its class, whatever the class says that it is."""
    return _sendable(_name_of_class(type(error)))


_name_of_class = type.__dict__["__name__"].__get__


def text_of(error: BaseException) -> str:
    """What the exception says of itself, as text that can be sent; nothing where even that raises."""
    try:
        return _sendable(str(error))
    except BaseException:  # the user's own `__str__`
        return ""


def described(error: BaseException) -> str:
    """The exception in words: its text, after the name of its class where the text alone would not tell."""
    text, name = text_of(error), name_of(error)
    if not text:
        return name
    return text if is_a(error, (TypeError, ValueError)) else f"{name}: {text}"


# Characters of an error's text that are sent: an answer, not a document.
_LONGEST = 8192


def _sendable(text: str) -> str:
    """Text that can be sent: names of files may hold surrogates, nobody bounds the text of an exception, and a subclass of str may
    have methods of its own."""
    text = str.__str__(text)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text):,} characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def code_of(error: BaseException | None) -> str:
    """The status name of what came of a call: "OK", the code of a CallError, CANCELLED for the CancelledError of any loop, UNKNOWN for what
    the service or an interceptor has raised."""
    if error is None:
        return "OK"
    if not is_ours(error) and any(kind.__name__ == "CancelledError" for kind in type(error).__mro__):
        return Cancelled.code
    return to_wire(error)[0]


def is_ours(error: BaseException) -> TypeGuard[CallError]:
    """Whether the handler meant this as an answer, so that it needs no traceback in the server's log."""
    return is_a(error, CallError)


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
