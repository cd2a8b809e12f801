"""The options of `ringback compare`, made into a request, or refused in one line."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import typer

from .. import backends as installed
from .. import clients
from ..errors import UsageError
from ..transport import names as transports
from . import peers, scenario
from .load.plan import STYLES
from .options import BACKENDS, CompareOptions, Given
from .results import Arm
from .run.budget import affordable
from .run.pair import ANYWHERE, Placement
from .run.request import SCENARIO, SERVICE, CompareRequest
from .run.treatments import lines
from .workloads import variants
from .workloads.table import CORE, QUICK, WORKLOADS, Workload

# To each server where one has several processes: a connection is one process's.
_CONNECTIONS = 8

# Behind the name of an arm, that which another installation serves.
_AGAINST = "-against"

# The name of an arm: in a condition, dots stand between names.
_NAME = re.compile(r"[\w-]+")

# Backends and client styles that need a library which ringback itself does not.
_LIBRARIES = ("gevent", "twisted")

# The fewest rounds of a run that is not a quick one, and the most that a given time is spent on.
FEWEST = 6
_MOST_ROUNDS = 100

# What peers add to the time, in seconds.
_PEER_SECONDS = 15.0


def request_of(asked: CompareOptions) -> CompareRequest:
    """Raises UsageError or typer.BadParameter that says what is wrong with them."""
    if asked.quick and asked.thorough:
        raise UsageError("--quick and --thorough exclude each other")
    all_peers = "all" in (asked.peer or ())
    chosen_peers = tuple(peers.installed()) if all_peers else chosen("--peer", asked.peer, peers.NAMES)
    workloads = _workloads(asked)
    backends, arms = _arms(asked)
    processes = max((arm.processes for arm in arms.values()), default=1)
    request = CompareRequest(
        backends=backends,
        arms=arms,
        connections=_CONNECTIONS if processes > 1 else 1,
        clients=chosen("--client", asked.client, clients.names(), ("threading",)),
        styles=chosen("--style", asked.style, STYLES, STYLES),
        workloads=workloads,
        concurrency=asked.concurrency,
        workers=asked.workers,
        rate=asked.rate,
        quick=asked.quick,
        duet=asked.duet,
        placement=_placement(asked, processes),
        peers=chosen_peers,
        service=asked.service or SERVICE,
        scenario=asked.scenario or "",
        seed=secrets.randbelow(2**32) if asked.seed is None else asked.seed,
        **_time(asked, workloads, chosen_peers),
    )
    if not request.jobs:
        raise UsageError(f"no chosen workload has calls in the style {', '.join(request.styles)}")
    bare = [name for name in workloads if request.workload(name).client]
    if bare and asked.rate:
        raise UsageError(f"--rate: {', '.join(bare)} is called without a client, in a closed loop alone")
    _check_duet(asked, request)
    for name in request.backends:
        require("backend", request.arm(name).backend)
    for client in request.clients:
        require("client", client)
        _check_drivable(client)
    _check_peers(request, all_peers)
    return affordable(request)


def _arms(asked: CompareOptions) -> tuple[tuple[str, ...], dict[str, Arm]]:
    """The names of what is compared, and what those are that are no backend as it comes. Arms stand alone, unless backends are named;
    one by itself stands beside its backend."""
    arms: dict[str, Arm] = {}
    for text in asked.arm or ():
        name, sign, settings = text.partition("=")
        if not sign or not _NAME.fullmatch(name):
            raise UsageError(f"--arm: {text!r} is not NAME=SETTINGS, such as 'uv=asyncio --uvloop'")
        if name in arms or name in installed.names() or name in peers.NAMES:
            raise UsageError(f"--arm: there are two arms {name}: give each a name of its own")
        try:
            words = shlex.split(settings)
        except ValueError as error:
            raise UsageError(f"--arm {name}: {error}") from None
        named = bool(words) and not words[0].startswith("-")
        backend = chosen("--arm", words[:1], installed.names())[0] if named else BACKENDS[0]
        arms[name] = Arm(name, backend, tuple(words[named:]))
    usual = BACKENDS[:1] if asked.against else available()
    plain = chosen("--backend", asked.backend, installed.names(), () if arms else usual)
    if len(arms) == 1 and not plain and not asked.against:
        plain = tuple(arm.backend for arm in arms.values())
    names = (*plain, *arms)
    if asked.transport:
        names, plain = _over_transports(asked, names, arms), ()
    if asked.against:
        python, version = installation(asked.against)
        for name in names:
            arm = arms.get(name) or Arm(name, name)
            other = f"{name}{_AGAINST}"
            arms[other] = msgspec.structs.replace(arm, name=other, python=python, version=version)
    return (*plain, *arms), arms


def _over_transports(asked: CompareOptions, names: Sequence[str], arms: dict[str, Arm]) -> tuple[str, ...]:
    """Each of them over each transport, at both ends; where there are several, with the transport in its name."""
    given = chosen("--transport", asked.transport, transports())
    found = {}
    for name in names:
        arm = arms.pop(name, None) or Arm(name, name)
        for transport in given:
            named = f"{name}-{transport}" if len(given) > 1 else name
            found[named] = msgspec.structs.replace(arm, name=named, transport=transport)
    arms |= found
    return tuple(found)


def _check_duet(asked: CompareOptions, request: CompareRequest) -> None:
    if not asked.duet:
        return
    apart = [name for name in request.workloads if request.workload(name).open]
    if apart or request.rate:
        named = f": not for {', '.join(apart)}" if apart else ""
        raise UsageError(f"--duet is for closed loops{named}")
    if len(request.backends) < 2:
        raise UsageError("--duet needs two backends or arms at least")


def _placement(asked: CompareOptions, processes: int) -> Placement:
    """Servers and load generators apart, if the servers of every arm have a processor for each of their processes then."""
    apart = Placement.halves() if asked.pin else ANYWHERE
    return apart if processes == 1 or processes <= len(apart.server) else ANYWHERE


def _check_peers(request: CompareRequest, all_peers: bool) -> None:
    if request.peers and request.scenario:
        raise UsageError(
            "--peer is for the workloads of ringback: other libraries do not serve your own service"
        )
    idle = [name for name in request.peers if not lines(request, name)]
    if idle and (not all_peers or len(idle) == len(request.peers)):
        raise UsageError(
            f"--peer: none of the chosen workloads and styles can be measured of {', '.join(idle)}"
        )


def _workloads(asked: CompareOptions) -> tuple[str, ...]:
    if (asked.service is None) != (asked.scenario is None):
        raise UsageError("--service and --scenario go together: the one serves what the other calls")
    if asked.scenario is None:
        usual = tuple(WORKLOADS) if asked.thorough else QUICK if asked.quick else CORE
        default = [name for name in usual if _fits(asked, WORKLOADS[name])]
        return variants.expanded(chosen("--workload", asked.workload, tuple(WORKLOADS), default))
    if asked.workload:
        raise UsageError("--workload is for the workloads of ringback: a --scenario is your own")
    scenario.load(asked.scenario)
    return (SCENARIO,)


def _fits(asked: CompareOptions, workload: Workload) -> bool:
    """Whether it is measured where nobody asks for it by name."""
    return not (workload.open and asked.duet) and not (workload.client and asked.rate)


def _time(asked: CompareOptions, workloads: Sequence[str], others: Sequence[str]) -> dict[str, Any]:
    """Rounds, and the seconds of all. Of --rounds and --time each alone is all that counts; where both are given, so many rounds are
    made to fit into that time. Without --time there are more for other libraries, and for further variants of a workload."""
    rounds, seconds = 8, 165.0
    if asked.quick:
        rounds, seconds = 5, 54.0
    elif asked.thorough:
        rounds, seconds = 30, 1800.0
    further = sum(variants.plain(name) != name for name in workloads)
    seconds += len(others) * _PEER_SECONDS + further * variants.SECONDS
    if asked.time is not None:
        rounds, seconds = _MOST_ROUNDS, asked.time
    return {
        "rounds": asked.rounds or rounds,
        "fewest": asked.rounds or (5 if asked.quick else FEWEST),
        "fixed": asked.rounds is not None and asked.time is None,
        "seconds": seconds,
    }


def installation(venv: str) -> tuple[str, str]:
    """The interpreter of a virtual environment, and the version of its ringback. Raises UsageError where it has none."""
    python = Path(venv).absolute() / "bin" / "python"
    if not os.access(python, os.X_OK):
        raise UsageError(f"--against: {venv} is no virtual environment: there is no {python}")
    asked = [str(python), "-P", "-c", "import ringback; print(ringback.__version__)"]
    found = subprocess.run(asked, capture_output=True, text=True)
    if found.returncode:
        why = found.stderr.strip().rpartition("\n")[2]
        raise UsageError(f"--against: no ringback can be imported in {venv}: {why}")
    return str(python), found.stdout.strip()


def available() -> tuple[str, ...]:
    """Our backends of which the library is installed."""
    return tuple(name for name in BACKENDS if not missing(name))


def missing(name: str) -> bool:
    """Whether a backend or client style of ours lacks its library."""
    return name in _LIBRARIES and find_spec(name) is None


def require(kind: str, name: str) -> None:
    """Raises UsageError that names the extra, where the library is not installed."""
    if missing(name):
        raise UsageError(f"the {name} {kind} needs {name}: install it with pip install 'ringback[{name}]'")


def _check_drivable(client: str) -> None:
    """Raises UsageError for a style of another package whose calls are awaited: the generator knows asyncio and the reactor only."""
    from ..clients.blocking import BlockingClient  # it takes a while

    if client not in BACKENDS and not issubclass(clients.load(client), BlockingClient):
        raise UsageError(
            f"--client: the comparison cannot drive {client}, whose calls are awaited on a loop of its own"
        )


def chosen(option: str, given: Given, known: Sequence[str], default: Sequence[str] = ()) -> tuple[str, ...]:
    for name in given or ():
        if name not in known:
            raise typer.BadParameter(f"there is no {name!r}: choose of {', '.join(known)}", param_hint=option)
    return tuple(dict.fromkeys(given or default))
