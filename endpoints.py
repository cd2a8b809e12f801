"""Endpoints: `tcp://HOST:PORT`, `ipc://PATH`, `inproc://NAME`; checked here for both ends."""

from __future__ import annotations

import os
import re
import sys
from ipaddress import ip_address

from .errors import UsageError

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5555"

_FORM = re.compile(r"(tcp://(\[[0-9a-fA-F:.%\w]+\]|[^\[\]:/\s]+):(\*|\d{1,5})|(ipc|inproc)://[^\s\0]+)")

# Bytes of a Unix socket's path: the kernel's bound.
_LONGEST_PATH = 107 if sys.platform == "linux" else 103


def checked(endpoint: str) -> str:
    """The endpoint, if it is one. Raises UsageError that shows the forms."""
    match = _FORM.fullmatch(endpoint) if isinstance(endpoint, str) else None
    if match is None or (match[3] not in (None, "*") and int(match[3]) > 65535):
        raise UsageError(
            f"bad endpoint {endpoint!r}: it must look like tcp://127.0.0.1:5555, ipc:///path or inproc://name"
        )
    if match[4] == "ipc" and (length := len(os.fsencode(endpoint)) - len("ipc://")) > _LONGEST_PATH:
        raise UsageError(
            f"bad endpoint {endpoint!r}: its path has {length} bytes, the system takes {_LONGEST_PATH}: use a shorter one"
        )
    return endpoint


def is_everywhere(endpoint: str) -> bool:
    """Whether it is all addresses of a machine: that can be bound, and nobody can connect to it."""
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return endpoint.startswith("tcp://") and (host == "*" or ip_address(host).is_unspecified)
    except ValueError:
        return False  # a name


def is_exposed(endpoint: str) -> bool:
    """Whether other machines may reach a server that is bound there."""
    if not endpoint.startswith("tcp://"):
        return False
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host not in ("localhost", "lo")  # a name, or that of an interface


def port_of(endpoint: str) -> str | None:
    """The port of a tcp endpoint, "*" for any free one (0 means the same); None for another endpoint."""
    if not endpoint.startswith("tcp://"):
        return None
    port = endpoint.rpartition(":")[2]
    return "*" if port == "0" else port
