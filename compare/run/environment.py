"""What the figures depend on, read from the machine: Python, the kernel, the processors, the libraries, the load."""

from __future__ import annotations

import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import zmq

from ...version import __version__
from ..results import Environment
from .observe import processors

_PACKAGES = ("pyzmq", "msgspec", "gevent", "twisted", "uvloop", "zerorpc", "rpyc", "grpcio")


def environment(*, seed: int, quick: bool, cpu_steps: int) -> Environment:
    """This machine, now."""
    return Environment(
        ringback=__version__,
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        platform=platform.platform(),
        kernel=platform.release(),
        cpus=len(processors()),
        cpu_model=_cpu_model(),
        packages={**{name: _version(name) for name in _PACKAGES}, "libzmq": zmq.zmq_version()},
        seed=seed,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        load_before=_load(),
        quick=quick,
        cpu_steps=cpu_steps,
        gil=getattr(sys, "_is_gil_enabled", lambda: True)(),
    )


def _cpu_model() -> str:
    try:
        found = re.search(
            r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE
        )
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _load() -> list[float] | None:
    try:
        return [round(load, 2) for load in os.getloadavg()]
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
