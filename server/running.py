"""A server in the foreground: announced, told to a service manager, drained by signals or after its last call."""

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

# Seconds from one look at how many calls have ended to the next.
LOOK = 0.25
# The part of --max-requests that chance adds, so that processes which began together do not end together.
JITTER = 0.1


@takes(ServerOptions)
def serve(
    service: Service,
    bind: str | Sequence[str | InheritedSocket] = DEFAULT_ENDPOINT,
    **options: Unpack[ServerOptions],
) -> int:
    """Serve in the foreground, in the main thread, until SIGTERM or SIGINT.

    Prints one line per endpoint on standard output when it answers calls. Returns the exit status that tells how it ended: 0 when every
    accepted call was answered. Raises UsageError for bad options, and where it cannot start.
    """
    return run(Server(service, bind, **options))


def run(
    server: Server,
    channel: Channel | None = None,
    max_requests: int | None = None,
    reports_to: int | None = None,
) -> int:
    """`serve`, with the server made already; with a `channel`, its supervisor is told instead. After about `max_requests` calls the
    server drains, or has its supervisor replace it. `reports_to`: the descriptor at which the supervisor reads what is counted. Raises
    UsageError where it cannot start."""

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
        """Give signs of life, as long as the loop turns."""
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
            count(most + each, each)  # should no other process come

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
