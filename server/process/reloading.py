"""`--reload`: a thread watches source files; on a change the supervisor replaces its workers."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from ...errors import UsageError

log = logging.getLogger("ringback.supervisor")


def folders(target: str) -> list[Path]:
    """The folder of a target's file, if it is outside the working directory."""
    file = Path(target.rpartition(":")[0])
    if file.suffix != ".py":
        return []
    folder = file.absolute().parent
    return [] if folder.is_relative_to(Path.cwd()) else [folder]


def watch(folders: Sequence[Path]) -> None:
    """Send this process SIGHUP whenever a Python file in or below the folders changes.

    Raises UsageError without watchfiles.
    """
    try:
        import watchfiles
    except ImportError:
        raise UsageError(
            "--reload needs watchfiles: install it with pip install 'ringback[reload]'"
        ) from None

    def look() -> None:
        for changes in watchfiles.watch(
            *folders, watch_filter=watchfiles.PythonFilter(), raise_interrupt=False
        ):
            names = sorted({os.path.relpath(path) for _, path in changes})
            log.info("changed: %s", ", ".join(names))
            os.kill(os.getpid(), signal.SIGHUP)

    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # the changes are logged here
    threading.Thread(target=look, name="ringback-reload", daemon=True).start()
    log.info("watching Python files in %s", ", ".join(str(folder) for folder in folders))
