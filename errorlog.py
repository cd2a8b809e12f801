"""Writes errors of users' code to the log, whatever they are: a class of the user's own may raise where its traceback is formatted."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress

from .errors import name_of

# Lines of one kind that are written in a second; those beyond are counted.
LINES = 1


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


class Bounded:
    """A logger of one kind of line that a peer can cause: so many lines a second, and then how many more there were."""

    def __init__(self, logger: logging.Logger, lines: int = LINES) -> None:
        self._logger = logger
        self._lines = lines
        self._since = float("-inf")
        self._written = 0
        self._left_out = 0

    def __call__(
        self,
        level: int,
        text: str,
        *args: object,
        fields: Mapping[str, object],
        error: BaseException | None = None,
    ) -> None:
        """Write a line, or count it."""
        now = time.monotonic()
        if now - self._since >= 1.0:
            if self._left_out:
                self._logger.log(level, "%d more lines like the last were left out", self._left_out)
            self._since, self._written, self._left_out = now, 0, 0
        if self._written < self._lines:
            self._written += 1
            if error is None:
                self._logger.log(level, text, *args, extra=fields)
            else:
                log_error(self._logger, text, *args, error=error, level=level, fields=fields)
        else:
            self._left_out += 1
