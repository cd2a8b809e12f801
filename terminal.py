"""Terminal output: lines without control characters, and a standard output that may be full or
closed."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress

# Characters that move, hide or reorder text on a terminal (C0, DEL, C1, bidirectional), and
# surrogates.
_CONTROLS = "\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[\x00-\x1f{_CONTROLS}]")
_IN_JSON = re.compile(f"[{_CONTROLS}]")  # JSON encoders escape the others

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EPIPE)


def printable(text: str) -> str:
    """The text with control characters escaped in Python's notation."""
    return _IN_TEXT.sub(lambda found: ascii(found[0])[1:-1], text)


def printable_json(text: str) -> str:
    """The same JSON with control characters escaped in JSON's notation."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say(line: str) -> None:
    """Print the line in UTF-8 and flush. Raises OSError if standard output cannot be written."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{line}\n".encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def announce(line: str) -> None:
    """`say`, for a program whose standard output may be closed or replaced by an object without
    bytes.

    A closed standard output is ignored.
    """
    if hasattr(sys.stdout, "buffer"):
        say(line)
    else:
        print(line, flush=True)  # noqa: T201 - prints nothing if it is None


def warn(text: str) -> None:
    """Print the text in one line on standard error."""
    with suppress(OSError):
        if sys.stderr is not None:  # else `print` writes to standard output
            print(f"ringback: {printable(' '.join(text.split()))}", file=sys.stderr, flush=True)  # noqa: T201


def fail(text: str) -> int:
    """Print an error in one line on standard error. Returns the exit status 1."""
    warn(text)
    return 1


def guarded(command: Callable[[], int]) -> int:
    """Run a command that prints, and return its exit status.

    Returns 1, with one line on standard error, if standard output cannot be written.
    """
    try:
        status = command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in _CANNOT_WRITE:
            raise
        with suppress(OSError, ValueError, AttributeError):  # lets the interpreter flush it at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            return 1  # the reader has closed the pipe
        return fail(f"standard output cannot be written: {error.strerror}")
    return status
