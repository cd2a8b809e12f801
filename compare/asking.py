"""Make a request from the options of `ringback compare`, or refuse them in one line."""

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

# Connections to each server, if one has several processes: a connection reaches one process.
_CONNECTIONS = 8

# Suffix of an arm's name that is served by another installation.
_AGAINST = "-against"

# An arm's name. It has no dot: dots separate the names of a condition.
_NAME = re.compile(r"[\w-]+")

# Backends and client styles whose library is optional.
_LIBRARIES = ("gevent", "twisted")

# Minimum rounds of a run without --quick, and maximum rounds that a given time is spent on.
FEWEST = 6
_MOST_ROUNDS = 100

# Seconds added to the run's time for each peer.
_PEER_SECONDS = 15.0


def request_of(asked: CompareOptions) -> CompareRequest:
    """The request of these options. Raises UsageError or typer.BadParameter for wrong ones."""
    if asked.quick and asked.thorough:
        raise UsageError("--quick and --thorough exclude each other")
    all_peers = "all" in (asked.peer or ())
    chosen_peers = (
        tuple(peers.installed()) if all_peers else chosen("--peer", asked.peer, peers.NAMES)
    )
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
        raise UsageError(
            f"--style: none of the chosen workloads has calls in style {', '.join(request.styles)}"
        )
    bare = [name for name in workloads if request.workload(name).client]
    if bare and asked.rate:
        raise UsageError(
            f"--rate: {', '.join(bare)} has no client, so it can only be a closed loop"
        )
    _check_duet(asked, request)
    for name in request.backends:
        require("backend", request.arm(name).backend)
    for client in request.clients:
        require("client", client)
        _check_drivable(client)
    _check_peers(request, all_peers)
    return affordable(request)


def _arms(asked: CompareOptions) -> tuple[tuple[str, ...], dict[str, Arm]]:
    """Names of all arms, and the definitions of those that are not plain backends.

    Without --backend, the given arms are compared with each other; a single one is compared with
    its plain backend.
    """
    arms: dict[str, Arm] = {}
    for text in asked.arm or ():
        name, sign, settings = text.partition("=")
        if not sign or not _NAME.fullmatch(name):
            raise UsageError(f"--arm: {text!r} is not NAME=SETTINGS, such as 'uv=asyncio --uvloop'")
        if name in arms or name in installed.names() or name in peers.NAMES:
            raise UsageError(f"--arm: the name {name} is taken: give each arm a name of its own")
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


def _over_transports(
    asked: CompareOptions, names: Sequence[str], arms: dict[str, Arm]
) -> tuple[str, ...]:
    """Add each arm over each transport, which both ends use, to `arms`. Returns their names, which
    have the transport as suffix if there are several."""
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
        raise UsageError(f"--duet supports closed loops only{named}")
    if len(request.backends) < 2:
        raise UsageError("--duet needs at least two backends or arms")


def _placement(asked: CompareOptions, processes: int) -> Placement:
    """Separate processors for servers and load generators, if each server process then has one;
    else none are pinned."""
    apart = Placement.halves() if asked.pin else ANYWHERE
    return apart if processes == 1 or processes <= len(apart.server) else ANYWHERE


def _check_peers(request: CompareRequest, all_peers: bool) -> None:
    if request.peers and request.scenario:
        raise UsageError(
            "--peer works with ringback's workloads only: other libraries cannot serve your own "
            "service"
        )
    idle = [name for name in request.peers if not lines(request, name)]
    if idle and (not all_peers or len(idle) == len(request.peers)):
        raise UsageError(
            f"--peer: {', '.join(idle)} can run none of the chosen workloads and styles"
        )


def _workloads(asked: CompareOptions) -> tuple[str, ...]:
    if (asked.service is None) != (asked.scenario is None):
        raise UsageError("--service and --scenario go together: the scenario calls the service")
    if asked.scenario is None:
        usual = tuple(WORKLOADS) if asked.thorough else QUICK if asked.quick else CORE
        default = [name for name in usual if _fits(asked, WORKLOADS[name])]
        return variants.expanded(chosen("--workload", asked.workload, tuple(WORKLOADS), default))
    if asked.workload:
        raise UsageError(
            "--workload and --scenario exclude each other: a scenario is a workload of your own"
        )
    scenario.load(asked.scenario)
    return (SCENARIO,)


def _fits(asked: CompareOptions, workload: Workload) -> bool:
    """Whether a default set of workloads may include this one."""
    return not (workload.open and asked.duet) and not (workload.client and asked.rate)


def _time(asked: CompareOptions, workloads: Sequence[str], others: Sequence[str]) -> dict[str, Any]:
    """The request's fields of rounds and time.

    --rounds alone fixes the rounds, --time alone the seconds; with both, the rounds are made to fit
    into the time. Without --time, peers and further variants of a workload extend the usual time.
    """
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
    """The interpreter of a virtual environment, and the version of its ringback.

    Raises UsageError if either is missing.
    """
    python = Path(venv).absolute() / "bin" / "python"
    if not os.access(python, os.X_OK):
        raise UsageError(f"--against: {venv} is not a virtual environment: {python} does not exist")
    asked = [str(python), "-P", "-c", "import ringback; print(ringback.__version__)"]
    found = subprocess.run(asked, capture_output=True, text=True)
    if found.returncode:
        why = found.stderr.strip().rpartition("\n")[2]
        raise UsageError(f"--against: {venv} cannot import ringback: {why}")
    return str(python), found.stdout.strip()


def available() -> tuple[str, ...]:
    """Our backends whose library is installed."""
    return tuple(name for name in BACKENDS if not missing(name))


def missing(name: str) -> bool:
    """Whether a backend or client style of ours lacks its library."""
    return name in _LIBRARIES and find_spec(name) is None


def require(kind: str, name: str) -> None:
    """Raises UsageError, which names the extra to install, if the library is missing."""
    if missing(name):
        raise UsageError(
            f"the {name} {kind} needs {name}: install it with pip install 'ringback[{name}]'"
        )


def _check_drivable(client: str) -> None:
    """Raises UsageError for another package's client style whose calls are awaited: the load
    generator can run only the event loops of asyncio and Twisted."""
    from ..clients.blocking import BlockingClient  # slow to import

    if client not in BACKENDS and not issubclass(clients.load(client), BlockingClient):
        raise UsageError(
            f"--client: compare cannot drive {client}: its calls need an event loop of their own"
        )


def chosen(
    option: str, given: Given, known: Sequence[str], default: Sequence[str] = ()
) -> tuple[str, ...]:
    for name in given or ():
        if name not in known:
            raise typer.BadParameter(
                f"there is no {name!r}: choose of {', '.join(known)}", param_hint=option
            )
    return tuple(dict.fromkeys(given or default))
