"""Options shared by the commands that call a server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, TypedDict

from .. import clients, transport
from ..options.option import Option
from ..protocol.bounds import INT64, is_text
from .arguments import parse_metadata

CALL, CONNECTION = "Call", "Connection"


# Shorthands for the two option groups.
_call = partial(Option, group=CALL)
_connection = partial(Option, group=CONNECTION)


class TimeoutOptions(TypedDict, total=False):
    """Timeout of a call."""

    timeout: Annotated[
        float,
        _call(
            "Timeout of the call; of a stream, between two items",
            30.0,
            metavar="SECONDS",
            unit="seconds",
            at_least=0,
        ),
    ]


class KeyOptions(TypedDict, total=False):
    """Keys for servers with CURVE."""

    server_key: Annotated[
        str | None, _connection("Public key of the CURVE server, or its file", metavar="KEY|FILE")
    ]
    secret_key: Annotated[
        str | None,
        _connection("File with your secret key", metavar="FILE", default_text="a new key"),
    ]


class WaitOptions(TypedDict, total=False):
    """Whether to wait for a server."""

    no_wait: Annotated[bool, _connection("Fail at once if there is no server", False)]


class StyleOptions(TypedDict, total=False):
    """Client style and transport."""

    client: Annotated[
        str, _connection("Client style", "threading", metavar="NAME", choices=clients.names)
    ]
    transport: Annotated[
        str | None,
        _connection(
            "Transport: native or libzmq",
            metavar="NAME",
            choices=transport.names,
            default_text=transport.DEFAULT,
            variable=transport.VARIABLE,
        ),
    ]


class CallOptions(TypedDict, total=False):
    """Values sent with a call."""

    fire: Annotated[
        bool, _call("Fire the call and print the value that its callback receives", False)
    ]
    metadata: Annotated[
        Sequence[str],
        _call(
            "Metadata of the call; may be repeated", (), metavar="NAME=JSON", read=parse_metadata
        ),
    ]
    priority: Annotated[
        int,
        _call(
            "Priority of the call; higher ones start first",
            0,
            metavar="N",
            at_least=INT64.start,
            at_most=INT64.stop - 1,
        ),
    ]
    key: Annotated[
        str | None,
        _call(
            "Idempotency key, for a method that runs once per key",
            metavar="TEXT",
            fits=lambda key: is_text(key) and 0 < len(key) <= 255,
            wanted="a string of 1 to 255 characters",
        ),
    ]


def connection(options: Any) -> dict[str, Any]:
    """The options of `connect` that correspond to these command options."""
    given = {
        name: options[name]
        for name in ("timeout", "server_key", "secret_key", "transport")
        if name in options
    }
    return given | ({"wait_for_ready": not options["no_wait"]} if "no_wait" in options else {})
