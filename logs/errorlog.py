"""Logs errors of users' code safely: formatting the traceback of a user's error class may raise."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress

from ..errors import name_of


def log_error(
    logger: logging.Logger,
    text: str,
    *args: object,
    error: BaseException,
    level: int = logging.ERROR,
    fields: Mapping[str, object] | None = None,
) -> None:
    """Write a line with the error's traceback, or with its class name if formatting fails.

    Raises only KeyboardInterrupt. An exception of a log handler is written to standard error.
    """
    try:
        if formatted(error):
            logger.log(level, text, *args, exc_info=error, extra=fields)
        else:
            text += ": %s, whose traceback cannot be formatted"
            logger.log(level, text, *args, name_of(error), extra=fields)
    except KeyboardInterrupt:
        raise  # raised by a signal
    except BaseException as trouble:
        with suppress(Exception):
            sys.stderr.write(
                f"ringback: {name_of(trouble)} while logging an error: {text % args}\n"
            )


def formatted(error: BaseException) -> str:
    """The error's traceback as text; "" if it cannot be formatted."""
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:  # raised by the class of the error or of its cause
        return ""
