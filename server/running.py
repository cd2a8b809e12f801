"""Runs a server in the foreground, and informs its supervisor or service manager."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from typing import Unpack

from ..endpoints import DEFAULT_ENDPOINT
from ..options.signatures import takes
from ..terminal import announce
from ..transport.listening import InheritedSocket
from .declare.service import Service
from .options import ServerOptions
from .process import settings, systemd
from .process.reports import Reporter
from .process.supervisor import Channel
from .server import Server

log = logging.getLogger("ringback.server")

# Seconds between two checks of the number of ended calls.
LOOK = 0.25
# Random extra share of --max-requests: processes that began together must not end together.
JITTER = 0.1


@takes(ServerOptions)
def serve(
    service: Service,
    bind: str | Sequence[str | InheritedSocket] = DEFAULT_ENDPOINT,
    **options: Unpack[ServerOptions],
) -> int:
    """Serve in the foreground, in the main thread, until SIGTERM or SIGINT.

    Prints one line per endpoint on standard output once it answers calls. Returns the exit status:
    0 if it answered every accepted call. Raises UsageError for bad options or a failed start.
    """
    return run(Server(service, bind, **options))


def run(
    server: Server,
    channel: Channel | None = None,
    max_requests: int | None = None,
    reports_to: int | None = None,
) -> int:
    """Like `serve`, for an existing server.

    `channel`: connection to the supervisor, which receives the endpoints in place of standard
    output. `max_requests`: after about this many calls the server drains, or asks the supervisor
    for a replacement. `reports_to`: descriptor for metrics snapshots to the supervisor. Raises
    UsageError if the server cannot start.
    """

    def ready(_: Server) -> None:
        settings.settle()
        name, backend = server.service.name, server.backend
        lines = [f"ringback: {name} on {endpoint} ({backend})" for endpoint in server.endpoints]
        if channel is not None:
            channel.ready(lines)
        else:
            announce("\n".join(lines))
            systemd.notify(systemd.READY)
            live()
        if most is not None:
            count(most, most)

    def live() -> None:
        """Notify the service manager's watchdog as long as the event loop turns."""
        interval = systemd.watchdog_interval()
        if interval is not None:
            systemd.notify(systemd.ALIVE)
            server.call_later(interval, live)

    def count(most: int, each: int) -> None:
        if server.calls < most:
            server.call_later(LOOK, count, most, each)
        elif channel is None:
            log.info("leaving after %d calls", server.calls)
            server.leave()
        else:
            channel.replace()
            count(most + each, each)  # ask again if no replacement comes

    def leaving(_: Server) -> None:
        if channel is None:
            systemd.notify(systemd.STOPPING)

    most = max_requests
    if most is not None:
        most += random.randint(0, int(JITTER * most))  # noqa: S311 - spreads the ends
    settings.prepare()
    main = threading.current_thread() is threading.main_thread()
    reporter = None if reports_to is None else Reporter(reports_to, server.observe())
    try:
        return server.run(ready, leaving, signals=main, channel=channel)
    finally:
        if reporter is not None:
            reporter.close()
