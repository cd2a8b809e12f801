"""`ringback compare --list`: workloads, backends and other libraries."""

from __future__ import annotations

from collections.abc import Iterator

from .. import peers
from ..asking import missing
from ..options import BACKENDS
from ..statistics.figures import FIGURES
from ..workloads.table import CORE, QUICK, WORKLOADS, figure_of


def listing() -> Iterator[str]:
    """The lines of the list."""
    yield "workloads (* by default, + with --quick), and the figure they are compared by:"
    width = max(map(len, WORKLOADS))
    for name, workload in WORKLOADS.items():
        marks = f"{'*' if name in CORE else ' '}{'+' if name in QUICK else ' '}"
        words = FIGURES[figure_of(name, opened=workload.open)].words
        yield f"  {marks} {name:<{width}}  {workload.explanation}; {words}"
    names = [f"{name} (not installed)" if missing(name) else name for name in BACKENDS]
    yield f"backends: {', '.join(names)}"
    installed = peers.installed()
    named = (name if name in installed else f"{name} (not installed)" for name in peers.NAMES)
    yield f"other libraries (--peer): {', '.join(named)}"
