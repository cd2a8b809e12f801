"""What ends a connection."""

from __future__ import annotations


class ZmtpError(Exception):
    """The peer does not speak ZMTP, or speaks it wrongly, or goes beyond a bound: the connection cannot go on. The text is one line."""
