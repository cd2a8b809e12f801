"""All that may be tried, and how Optuna chooses of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .settings import ADAPTIVE, Settings

if TYPE_CHECKING:
    import optuna

MOST_WORKERS = 256

# What servers have where --workers is not given: threads, or greenlets; as far as the search goes.
_WORKERS = {"gevent": MOST_WORKERS}
_USUAL_WORKERS = 32

_UVLOOP = " --uvloop"
_NONE = "none"


@dataclass(frozen=True)
class Space:
    """Backends of which the library is installed, whether uvloop is, too, and the most processes."""

    backends: tuple[str, ...]
    uvloop: bool
    processes: int

    @property
    def loops(self) -> tuple[str, ...]:
        """The backends, and asyncio once more on uvloop: one choice, since uvloop is none of the others'."""
        with_uvloop = [f"asyncio{_UVLOOP}"] if self.uvloop and "asyncio" in self.backends else []
        return (*self.backends, *with_uvloop)

    @property
    def defaults(self) -> Settings:
        """What a server has that is told nothing, but for the backend where asyncio is not to be tried."""
        return Settings(backend="asyncio" if "asyncio" in self.backends else self.backends[0])

    def suggested(self, trial: optuna.Trial) -> Settings:
        """What Optuna would try next."""
        loop = trial.suggest_categorical("backend", self.loops)
        # Between 1 and 2 workers lies as much as between 100 and 200.
        workers = trial.suggest_int("workers", 1, MOST_WORKERS, log=True)
        limit = trial.suggest_categorical("limit", (_NONE, ADAPTIVE))
        processes = trial.suggest_int("processes", 1, self.processes)
        return _on(loop, workers=workers, limit=None if limit == _NONE else limit, processes=processes)

    def parameters(self, settings: Settings) -> Mapping[str, str | int]:
        """The choices that lead to these settings, or for what they leave to the server, as near as can be."""
        return {
            "backend": settings.backend + _UVLOOP * settings.uvloop,
            "workers": settings.workers or _WORKERS.get(settings.backend, _USUAL_WORKERS),
            "limit": settings.limit or _NONE,
            "processes": settings.processes,
        }

    def guesses(self, concurrency: int) -> list[Settings]:
        """What is likely to be good: each backend with a worker for each call in flight."""
        workers = min(MOST_WORKERS, concurrency)
        return [_on(loop, workers=workers) for loop in self.loops]

    def is_default(self, settings: Settings) -> bool:
        """Whether they are what a server has by itself, be they written out."""
        return self.parameters(settings) == self.parameters(self.defaults)

    def __str__(self) -> str:
        processes = f"1..{self.processes}" if self.processes > 1 else "1"
        return (
            f"--backend {', '.join(self.loops)}; --workers 1..{MOST_WORKERS}; --limit {_NONE}, {ADAPTIVE}; "
            f"--processes {processes}"
        )


def _on(loop: str, *, workers: int, limit: str | None = None, processes: int = 1) -> Settings:
    return Settings(loop.removesuffix(_UVLOOP), loop.endswith(_UVLOOP), workers, limit, processes)
