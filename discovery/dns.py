"""A name that resolves to the addresses of all servers: `dns://NAME:PORT`.

It is looked up every `?refresh=SECONDS` (default 10).
"""

from __future__ import annotations

import re
import socket

from .. import errors
from ..backends import native
from ..endpoints import is_port
from ..errors import UsageError
from .places import Place
from .source import Source

# Default and maximum seconds between two lookups.
REFRESH, REFRESH_AT_MOST = 10.0, 86_400.0

_FORM = re.compile(r"(\[[0-9a-fA-F:.%\w]+\]|[^\[\]:/@\s]+):(\S*)")


class Name(Source):
    """All IPv4 and IPv6 addresses of a name, at one port."""

    def __init__(self, place: Place) -> None:
        self._host, self._port = _host_and_port(place)
        super().__init__(
            str(place), _refresh(place), f"the name {self._host} has not been looked up yet"
        )

    def _find(self) -> list[str]:
        try:
            found = native.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise errors.Unavailable(
                f"{self._none()}: {error.strerror or error}", started=False
            ) from None
        hosts = {str(address[0]) for *_, address in found}
        return sorted(
            f"tcp://[{host}]:{self._port}" if ":" in host else f"tcp://{host}:{self._port}"
            for host in hosts
        )

    def _none(self) -> str:
        return f"the name {self._host} has no address"


def _host_and_port(place: Place) -> tuple[str, int]:
    match = _FORM.fullmatch(place.where)
    if match is None:
        raise UsageError(f"{place}: the name needs a port, as dns://host:5555")
    if not is_port(match[2]) or int(match[2]) == 0:
        raise UsageError(
            f"{place}: {match[2]!r} is not a port: give a number from 1 to 65535, as in dns://host:5555"
        )
    host = match[1].strip("[]")
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise UsageError(f"{place}: {host!r} is not a host name: {error}") from None
    return host, int(match[2])


def _refresh(place: Place) -> float:
    for name in place.options:
        if name != "refresh":
            raise UsageError(f"{place}: there is no option {name!r}, only refresh")
    given = place.options.get("refresh", str(REFRESH))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= REFRESH_AT_MOST:
        raise UsageError(
            f"{place}: refresh must be a number of seconds above 0, at most "
            f"{REFRESH_AT_MOST:,.0f}, not {given!r}"
        )
    return seconds
