"""Rate-limited log lines, for events that peers can cause."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from .errorlog import log_error

# Maximum lines of one kind in a second. Further ones are counted.
LINES = 1


class Bounded:
    """A logger for one kind of line, limited to `lines` a second. It also reports how many it
    dropped."""

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
        """Write a line, or count it as dropped."""
        now = time.monotonic()
        if now - self._since >= 1.0:
            if self._left_out:
                self._logger.log(level, "%d similar lines dropped", self._left_out)
            self._since, self._written, self._left_out = now, 0, 0
        if self._written < self._lines:
            self._written += 1
            if error is None:
                self._logger.log(level, text, *args, extra=fields)
            else:
                log_error(self._logger, text, *args, error=error, level=level, fields=fields)
        else:
            self._left_out += 1
