"""What the figures depend on, read from the machine: Python, the kernel, the processors, the libraries, the load."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import zmq

from ...version import __version__
from ..results import Environment
from .observe import processors

_PACKAGES = (
    "pyzmq",
    "msgspec",
    "gevent",
    "twisted",
    "uvloop",
    "zerorpc",
    "rpyc",
    "Pyro5",
    "grpcio",
    "aiozmq",
)


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
        virtual=_virtual(),
        governor=_governor(),
        gil=getattr(sys, "_is_gil_enabled", lambda: True)(),
        switch_interval=sys.getswitchinterval(),
    )


def _cpu_model() -> str:
    for name, value in _cpu_info():
        if name == "model name":
            return value
    return platform.processor() or platform.machine()


def _virtual() -> bool | None:
    """Whether there is a hypervisor, as far as the processor tells."""
    return next(("hypervisor" in value.split() for name, value in _cpu_info() if name == "flags"), None)


def _cpu_info() -> list[tuple[str, str]]:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _governor() -> str | None:
    """Of the first processor's frequency; virtual ones have none."""
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None


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
