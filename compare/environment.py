"""What the figures depend on, read from the machine: Python, the kernel, the processors, the libraries, the load."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import zmq

from ..version import __version__
from .results import Environment

_PACKAGES = ("pyzmq", "msgspec", "gevent", "twisted", "uvloop")


def environment(*, seed: int, quick: bool, warmup: float, window: float, cpu_steps: int) -> Environment:
    """This machine, now."""
    return Environment(
        ringback=__version__,
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        platform=platform.platform(),
        kernel=platform.release(),
        cpus=_cpus(),
        cpu_model=_cpu_model(),
        packages={**{name: _version(name) for name in _PACKAGES}, "libzmq": zmq.zmq_version()},
        seed=seed,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        load_before=_load(),
        quick=quick,
        warmup=warmup,
        window=window,
        cpu_steps=cpu_steps,
    )


def _cpus() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


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
