"""Locates an error in the user's code: frames outside ringback, Python and installed packages."""

from __future__ import annotations

import os
import sysconfig
from types import FrameType, TracebackType

from ..errors import name_of, text_of

_PYTHON = sysconfig.get_path("stdlib") + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def user_traceback(error: BaseException) -> TracebackType | None:
    """The traceback from the user's first frame on; None if it has none."""
    trace = error.__traceback__
    while trace is not None and not _is_users(trace.tb_frame):
        trace = trace.tb_next
    return trace


def location(error: BaseException) -> str:
    """FILE:LINE of the user's innermost frame, or of the source that is not valid Python; "" if
    none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno or 1}"
    found = ""
    trace = error.__traceback__
    while trace is not None:
        if _is_users(trace.tb_frame):
            found = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def located(error: BaseException) -> str:
    """The error's class, its text and its location in one line."""
    text = str(error.msg) if isinstance(error, SyntaxError) else text_of(error)
    where = location(error)
    return f"{name_of(error)}{f': {text}' if text else ''}{f' at {where}' if where else ''}"


def is_installed(file: str) -> bool:
    """Whether the file belongs to an installed package."""
    return any(part in file for part in _INSTALLED)


def _is_users(frame: FrameType) -> bool:
    file, module = frame.f_code.co_filename, frame.f_globals.get("__name__") or ""
    if file.startswith("<") or module.partition(".")[0] == __package__:
        return False
    return not (is_installed(file) or file.startswith(_PYTHON))
