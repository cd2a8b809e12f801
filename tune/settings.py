"""Settings of a server: as options to copy, and as the command that starts it."""

from __future__ import annotations

import shlex

import msgspec

from ..compare.run.pair import ServerCommand

ADAPTIVE = "adaptive"

# Relative difference in speed up to which settings count as equal.
MARGIN = 0.05

# Seconds of drain of an idle server at its end.
_DRAIN = 2


class Settings(msgspec.Struct, frozen=True):
    """The settings that the search varies. The defaults here leave them to the server."""

    backend: str = "asyncio"
    uvloop: bool = False
    workers: int | None = None
    limit: str | None = None
    processes: int = 1

    def options(self) -> tuple[str, ...]:
        """The options of `ringback serve`."""
        words = ["--backend", self.backend]
        words += ["--uvloop"] if self.uvloop else []
        words += [] if self.workers is None else ["--workers", str(self.workers)]
        words += [] if self.limit is None else ["--limit", self.limit]
        # Without --processes, a single process has no supervisor.
        words += [] if self.processes == 1 else ["--processes", str(self.processes)]
        return tuple(words)

    def command(self, service: str) -> str:
        """The command line to copy into a shell."""
        return shlex.join(["ringback", "serve", service, *self.options()])

    def server(self, service: str) -> ServerCommand:
        """The command of a server with these settings on a free port."""
        bind = ("--bind", "tcp://127.0.0.1:*", "--drain-timeout", str(_DRAIN))
        return ServerCommand(("ringback.server", service, *self.options(), *bind))

    @property
    def kind(self) -> tuple[str, bool, str | None, int]:
        """All settings except the number of workers."""
        return self.backend, self.uvloop, self.limit, self.processes

    @property
    def complexity(self) -> tuple[int, bool, bool, int]:
        """Sort key of equally good settings: the simplest are the least work to operate."""
        return self.processes, self.limit is not None, self.uvloop, self.workers or 0

    def __str__(self) -> str:
        return " ".join(self.options())
