"""The search space, and how Optuna chooses from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .settings import ADAPTIVE, Settings

if TYPE_CHECKING:
    import optuna

MOST_WORKERS = 256

# Default workers of servers, threads or greenlets, within the search space.
_WORKERS = {"gevent": MOST_WORKERS}
_USUAL_WORKERS = 32

_UVLOOP = " --uvloop"
_NONE = "none"


@dataclass(frozen=True)
class Space:
    """The search space: backends to try, whether uvloop is installed, and the maximum of
    processes."""

    backends: tuple[str, ...]
    uvloop: bool
    processes: int

    @property
    def loops(self) -> tuple[str, ...]:
        """The backends, and asyncio on uvloop. This is one choice, as only asyncio can use
        uvloop."""
        with_uvloop = [f"asyncio{_UVLOOP}"] if self.uvloop and "asyncio" in self.backends else []
        return (*self.backends, *with_uvloop)

    @property
    def defaults(self) -> Settings:
        """The defaults of a server, or of the first backend if asyncio is not in the space."""
        return Settings(backend="asyncio" if "asyncio" in self.backends else self.backends[0])

    def suggested(self, trial: optuna.Trial) -> Settings:
        """The settings that Optuna suggests for the trial."""
        loop = trial.suggest_categorical("backend", self.loops)
        # A logarithmic scale: from 1 to 2 workers is as far as from 100 to 200.
        workers = trial.suggest_int("workers", 1, MOST_WORKERS, log=True)
        limit = trial.suggest_categorical("limit", (_NONE, ADAPTIVE))
        processes = trial.suggest_int("processes", 1, self.processes)
        return _on(
            loop, workers=workers, limit=None if limit == _NONE else limit, processes=processes
        )

    def parameters(self, settings: Settings) -> Mapping[str, str | int]:
        """Optuna's parameters for these settings; for the server's defaults, the closest values."""
        return {
            "backend": settings.backend + _UVLOOP * settings.uvloop,
            "workers": settings.workers or _WORKERS.get(settings.backend, _USUAL_WORKERS),
            "limit": settings.limit or _NONE,
            "processes": settings.processes,
        }

    def guesses(self, concurrency: int) -> list[Settings]:
        """Settings that are likely to be good: each backend with a worker for each call in
        flight."""
        workers = min(MOST_WORKERS, concurrency)
        return [_on(loop, workers=workers) for loop in self.loops]

    def is_default(self, settings: Settings) -> bool:
        """Whether the settings equal the server's defaults, even if written out."""
        return self.parameters(settings) == self.parameters(self.defaults)

    def __str__(self) -> str:
        processes = f"1..{self.processes}" if self.processes > 1 else "1"
        return (
            f"--backend {', '.join(self.loops)}; --workers 1..{MOST_WORKERS}; --limit {_NONE}, "
            f"{ADAPTIVE}; "
            f"--processes {processes}"
        )


def _on(loop: str, *, workers: int, limit: str | None = None, processes: int = 1) -> Settings:
    return Settings(loop.removesuffix(_UVLOOP), loop.endswith(_UVLOOP), workers, limit, processes)
