"""What reaches a terminal: lines without control characters, on a standard output that may be full or closed."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress

# Characters that move, hide or reorder what a terminal shows (C0, DEL, C1, bidirectional), and surrogates.
_CONTROLS = "\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[\x00-\x1f{_CONTROLS}]")
_IN_JSON = re.compile(
    f"[{_CONTROLS}]"
)  # a JSON encoder has escaped the others, and writes line ends of its own

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EPIPE)


def printable(text: str) -> str:
    """The text with its control characters escaped as Python writes them."""
    return _IN_TEXT.sub(lambda found: ascii(found[0])[1:-1], text)


def printable_json(text: str) -> str:
    """The same JSON, with control characters escaped as JSON writes them."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say(line: str) -> None:
    """Print the line, in UTF-8, and flush. Raises OSError where standard output cannot be written."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{line}\n".encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def announce(line: str) -> None:
    """`say`, in a program whose standard output may be closed, where nobody is told, or replaced by something without bytes."""
    if hasattr(sys.stdout, "buffer"):
        say(line)
    else:
        print(line, flush=True)  # noqa: T201 - to nobody, where it is None


def warn(text: str) -> None:
    """Tell it in one line on standard error."""
    with suppress(OSError):
        if sys.stderr is not None:  # else `print` takes standard output
            print(f"ringback: {printable(' '.join(text.split()))}", file=sys.stderr, flush=True)  # noqa: T201


def fail(text: str) -> int:
    """Tell in one line on standard error what went wrong. Returns the exit status 1."""
    warn(text)
    return 1


def guarded(command: Callable[[], int]) -> int:
    """Run a command that prints. Returns its exit status; 1, with one line, where standard output cannot be written."""
    try:
        status = command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in _CANNOT_WRITE:
            raise
        with suppress(OSError, ValueError, AttributeError):  # so that the interpreter can flush it at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            return 1  # the reader has gone, and wants to hear no more
        return fail(f"standard output cannot be written: {error.strerror}")
    return status
