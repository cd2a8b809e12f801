"""Writes errors of users' code to the log, whatever they are: a class of the user's own may raise where its traceback is formatted."""

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
    """Write a line with the error's traceback, or with the name of its class where that cannot be formatted. Nothing is raised but
    KeyboardInterrupt: what a handler of the log raises is written to standard error."""
    try:
        if formatted(error):
            logger.log(level, text, *args, exc_info=error, extra=fields)
        else:
            text += ": %s, of which no traceback can be written"
            logger.log(level, text, *args, name_of(error), extra=fields)
    except KeyboardInterrupt:
        raise  # of a signal
    except BaseException as trouble:
        with suppress(Exception):
            sys.stderr.write(f"ringback: {name_of(trouble)} while an error was logged: {text % args}\n")


def formatted(error: BaseException) -> str:
    """Its traceback; "" where it cannot be formatted."""
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:  # of the class of the error, or of one that led to it
        return ""
