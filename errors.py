"""Errors of calls: one class for each cause, with the gRPC status name that travels on the wire.

Both ends share these classes: a handler may raise any of them, and the client raises the same
class. This module must not know messages or event loops.
"""

from __future__ import annotations

import re
from typing import TypeGuard, TypeVar

E = TypeVar("E", bound=BaseException)

# The form of a code: the name of a status.
_is_code = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}").fullmatch


class CallError(Exception):
    """A call that ended without a result.

    `code` is the name of a gRPC status (https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
    Each subclass has its own. `CallError` itself accepts one for a cause that has no class here
    (`"NOT_FOUND"`, `"OUT_OF_RANGE"`, ...). Raises ValueError for a code that is not a name: a
    letter, then at most 63 letters, digits and `_.-`, all ASCII.
    """

    code: str = "UNKNOWN"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            if type(code) is not str or not _is_code(code):
                raise ValueError(f"code must be a name such as NOT_FOUND, not {code!r:.100}")
            self.code = code

    @property
    def message(self) -> str:
        """One line that says what happened, where, and what to do."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return self.message


class RemoteError(CallError):
    """The handler raised an exception.

    `type` is the name of its class, `message` its text. The traceback stays in the server's log.
    """

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
    """The call's timeout expired. The handler may have run, or may still run in a worker thread."""

    code = "DEADLINE_EXCEEDED"


class Cancelled(CallError):
    """The client was closed, or the handler was cancelled at the server.

    Cancelling your own future or task raises your loop's own CancelledError instead.
    """

    code = "CANCELLED"


class Unavailable(CallError, ConnectionError):
    """No server can answer, or the connection to it was lost.

    `started` says whether the handler began: True, False, or None if that is unknown. If it
    is False, any call may be sent again; otherwise only calls of methods that are `idempotent`,
    `readonly` or `once`.
    """

    code = "UNAVAILABLE"

    def __init__(self, message: str = "", *, started: bool | None = None) -> None:
        super().__init__(message)
        self.started = started


class MethodNotFound(CallError):
    """The service has no method of that name."""

    code = "UNIMPLEMENTED"


class InvalidArgument(CallError):
    """An argument does not fit the method's signature, or cannot be sent. The handler was not
    called."""

    code = "INVALID_ARGUMENT"


class ResourceExhausted(CallError):
    """A limit was reached: calls in flight, queued bytes, or the size of a value."""

    code = "RESOURCE_EXHAUSTED"


class FailedPrecondition(CallError):
    """The call is valid but does not fit the current state, such as `call` on a method that
    streams."""

    code = "FAILED_PRECONDITION"


class Aborted(CallError):
    """A conflict ended the call half-way: a version that changed, or a key whose first run was
    interrupted."""

    code = "ABORTED"


class Unauthenticated(CallError):
    """The server cannot identify the caller."""

    code = "UNAUTHENTICATED"


class PermissionDenied(CallError):
    """The server identified the caller and denies the call."""

    code = "PERMISSION_DENIED"


class ProtocolError(CallError):
    """The peer violated the protocol, or speaks another version of it."""

    code = "INTERNAL"


class UsageError(Exception):
    """ringback cannot do what was requested: a wrong target, endpoint or option, or a missing
    library.

    It is not the outcome of a call. The command line prints it as one line.
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
    """The exception that a client raises for an error received over the wire."""
    if code == Unavailable.code:
        return Unavailable(message, started=started)
    if code == RemoteError.code and type_name:
        return RemoteError(type_name, message)
    cls = _CLASSES.get(code)
    if cls is not None:
        return cls(message)
    if not _is_code(code):
        return ProtocolError(
            f"the server sent an error with the invalid code {code!r:.100}: {message}"
        )
    return CallError(message, code=code)


def to_wire(error: BaseException) -> tuple[str, str, str]:
    """`(code, type, message)` of a handler's exception: a CallError as itself, others as
    RemoteError.

    All three are sendable, even if the user's exception class misbehaves.
    """
    if not is_ours(error):
        return RemoteError.code, name_of(error), text_of(error)
    try:
        code, kind, message = error.code, "", error.message
        if is_a(error, RemoteError):
            kind = error.type
        if type(code) is str and _is_code(code):
            return code, _sendable(kind), _sendable(message)
    except BaseException:  # noqa: S110 - a user's class may raise anything; send it as a RemoteError
        pass
    return RemoteError.code, name_of(error), text_of(error)


def is_a(error: BaseException, kinds: type[E] | tuple[type[E], ...]) -> TypeGuard[E]:
    """Whether the class of the error is one of these. Ignores `__class__`, which a user's class may
    override."""
    return issubclass(type(error), kinds)


def name_of(error: BaseException) -> str:
    """The name of the error's class. Ignores a `__name__` that the class itself defines."""
    return _sendable(_name_of_class(type(error)))


_name_of_class = type.__dict__["__name__"].__get__


def text_of(error: BaseException) -> str:
    """The exception's text, made sendable; "" if its `__str__` raises."""
    try:
        return _sendable(str(error))
    except BaseException:  # the user's own `__str__`
        return ""


def described(error: BaseException) -> str:
    """The exception in words: its text, after its class name where the text alone is unclear."""
    text, name = text_of(error), name_of(error)
    if not text:
        return name
    return text if is_a(error, (TypeError, ValueError)) else f"{name}: {text}"


# Maximum characters of an error's text that are sent.
_LONGEST = 8192


def _sendable(text: str) -> str:
    """Make the text sendable and bound its length.

    File names may hold surrogates, and a subclass of str may override methods.
    """
    text = str.__str__(text)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text):,} characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def code_of(error: BaseException | None) -> str:
    """The status name of a call's outcome.

    "OK", the code of a CallError, CANCELLED for the CancelledError of any loop, or UNKNOWN for
    other exceptions of the service or an interceptor.
    """
    if error is None:
        return "OK"
    if not is_ours(error) and any(
        kind.__name__ == "CancelledError" for kind in type(error).__mro__
    ):
        return Cancelled.code
    return to_wire(error)[0]


def is_ours(error: BaseException) -> TypeGuard[CallError]:
    """Whether the handler raised this error on purpose, so the server's log needs no traceback."""
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
