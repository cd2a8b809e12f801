"""Parses and checks endpoints for both ends: `tcp://HOST:PORT`, `ipc://PATH`, `inproc://NAME`."""

from __future__ import annotations

import os
import re
import sys
from ipaddress import ip_address

from .errors import UsageError

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5555"

_FORM = re.compile(
    r"(?:(tcp)://(?:\[[0-9a-fA-F:.%\w]+\]|[^\[\]:/\s]+):(\S*)|(ipc|inproc)://[^\s\0]+)"
)

# Maximum bytes of a Unix socket's path, set by the kernel.
_LONGEST_PATH = 107 if sys.platform == "linux" else 103


def checked(endpoint: str) -> str:
    """Return the endpoint if it is valid. Raises UsageError, which shows the forms."""
    match = _FORM.fullmatch(endpoint) if isinstance(endpoint, str) else None
    if match is None:
        raise UsageError(
            f"bad endpoint {endpoint!r}: it must look like tcp://127.0.0.1:5555, ipc:///path or inproc://name"
        )
    tcp, port, scheme = match.groups()
    if tcp and port != "*" and not is_port(port):
        raise UsageError(
            f"bad endpoint {endpoint!r}: {port!r} is not a port; use a number up to 65535, as in tcp://127.0.0.1:5555"
        )
    if scheme == "ipc" and (length := len(os.fsencode(endpoint)) - len("ipc://")) > _LONGEST_PATH:
        raise UsageError(
            f"bad endpoint {endpoint!r}: its path has {length} bytes; use one of at most "
            f"{_LONGEST_PATH} bytes"
        )
    return endpoint


def connectable(endpoint: str) -> str:
    """Return the endpoint if a client can connect to it. Raises UsageError."""
    if port_of(checked(endpoint)) == "*":
        raise UsageError(
            f"{endpoint} is for servers, where it means any free port: use the port that the "
            f"server printed"
        )
    if host_of(endpoint) == "*":
        raise UsageError(
            f"{endpoint} is for servers, where it means all addresses: use one address or host name"
        )
    return endpoint


def check_between_processes(endpoint: str, who: str) -> None:
    """Raise UsageError for an inproc endpoint, which other processes cannot reach.

    `who` names the user of the endpoint in the error.
    """
    if endpoint.startswith("inproc://"):
        raise UsageError(f"{endpoint} is within one process: {who} needs a tcp or an ipc endpoint")


def is_port(text: str) -> bool:
    """Whether the text is a port number. 0 counts as one."""
    return text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65535


def host_of(endpoint: str) -> str | None:
    """The host of a tcp endpoint, without brackets; None for another endpoint."""
    if not endpoint.startswith("tcp://"):
        return None
    return endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")


def is_name(host: str) -> bool:
    """Whether the host is a name, which needs resolving, and not an address."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return host != "*"
    return False


def is_everywhere(endpoint: str) -> bool:
    """Whether the endpoint means all addresses, which servers can bind and clients cannot use."""
    host = host_of(endpoint)
    try:
        return host is not None and (host == "*" or ip_address(host).is_unspecified)
    except ValueError:
        return False  # a name


def is_exposed(endpoint: str) -> bool:
    """Whether other machines may reach a server bound to this endpoint."""
    host = host_of(endpoint)
    if host is None:
        return False
    host = host.partition("%")[0]
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host not in ("localhost", "lo")  # the name of a host or of an interface


def port_of(endpoint: str) -> str | None:
    """The port of a tcp endpoint, "*" for any free one (0 means the same). None for other
    endpoints."""
    if not endpoint.startswith("tcp://"):
        return None
    port = endpoint.rpartition(":")[2]
    return "*" if port == "0" else port


def host_and_port(text: str, option: str) -> tuple[str, int]:
    """Split HOST:PORT, which is not a ZeroMQ endpoint. IPv6 addresses stand in brackets.

    Raises UsageError, which names the option.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise UsageError(f"{option}: {text!r} is not HOST:PORT, such as 127.0.0.1:9100")
    return host.removeprefix("[").removesuffix("]"), int(port)
