"""One choice of settings for a server: as options to copy, and as the command that starts it."""

from __future__ import annotations

import shlex

import msgspec

from ..compare.run.pair import ServerCommand

ADAPTIVE = "adaptive"

# Settings of which one is so much faster than the other, as a part, are as good as each other.
MARGIN = 0.05

# Seconds that a server which is no longer called gets to end.
_DRAIN = 2


class Settings(msgspec.Struct, frozen=True):
    """What the search may choose; what is None, or the first of a kind, is left to the server's own default."""

    backend: str = "asyncio"
    uvloop: bool = False
    workers: int | None = None
    limit: str | None = None
    processes: int = 1

    def options(self) -> tuple[str, ...]:
        """As `ringback serve` takes them."""
        words = ["--backend", self.backend]
        words += ["--uvloop"] if self.uvloop else []
        words += [] if self.workers is None else ["--workers", str(self.workers)]
        words += [] if self.limit is None else ["--limit", self.limit]
        # One process without --processes has no other to watch it.
        words += [] if self.processes == 1 else ["--processes", str(self.processes)]
        return tuple(words)

    def command(self, service: str) -> str:
        """To copy into a shell."""
        return shlex.join(["ringback", "serve", service, *self.options()])

    def server(self, service: str) -> ServerCommand:
        """How a server with them is started on a free port."""
        bind = ("--bind", "tcp://127.0.0.1:*", "--drain-timeout", str(_DRAIN))
        return ServerCommand(("ringback.server", service, *self.options(), *bind))

    @property
    def kind(self) -> tuple[str, bool, str | None, int]:
        """All but how many workers."""
        return self.backend, self.uvloop, self.limit, self.processes

    @property
    def complexity(self) -> tuple[int, bool, bool, int]:
        """Of settings that are as good as each other, those with the least are to be used: what more there is, is more to look after."""
        return self.processes, self.limit is not None, self.uvloop, self.workers or 0

    def __str__(self) -> str:
        return " ".join(self.options())
