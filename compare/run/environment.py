"""The environment of a run: Python, kernel, processors, libraries, load and sleep accuracy."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import zmq

from ...version import __version__
from ..results import Environment, Overshoot
from .observe import processors

_PACKAGES = ("pyzmq", "msgspec", "gevent", "twisted", "uvloop", "zerorpc", "rpyc", "grpcio")

_SLEEPS = 100
_SLEEP = 0.001


def environment(*, seed: int, quick: bool, cpu_steps: int) -> Environment:
    """The environment, read now. Takes a quarter of a second."""
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
        sleep_overshoot=_sleep_overshoot(),
    )


def _cpu_model() -> str:
    try:
        found = re.search(
            r"^model name\s*: (.*)$",
            Path("/proc/cpuinfo").read_text(errors="replace"),
            re.MULTILINE,
        )
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _load() -> list[float] | None:
    try:
        return [round(load, 2) for load in os.getloadavg()]
    except OSError:
        return None


def overslept(seconds: float, times: int) -> list[float]:
    """Seconds by which each of `times` sleeps of these seconds ends late, in ascending order."""
    late = []
    for _ in range(times):
        due = time.monotonic() + seconds
        time.sleep(seconds)
        late.append(time.monotonic() - due)
    return sorted(late)


def _sleep_overshoot() -> Overshoot:
    late = overslept(_SLEEP, _SLEEPS)
    return Overshoot(late[_SLEEPS // 2 - 1], late[_SLEEPS * 99 // 100 - 1])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
