"""The load generator, in a process of its own: `python -m ringback.compare.load.generate`, a line of JSON for each measurement either way.

One generator has one client style, since gevent's patches and Twisted's reactor are for a whole process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from typing import Any

import msgspec

from ..peers import load as load_peer
from ..scenario import load
from ..workloads.table import WORKLOADS
from . import raw
from .batch import Batch
from .idle import connections
from .plan import RAW, Cell, Idle, Plan
from .work import Calls, Work

_READY = b'"ready"'


def main() -> None:
    """Measure one cell after another, until there is no more input."""
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan)
    if plan.client == "gevent":
        from gevent import monkey

        monkey.patch_all()
    if plan.client == RAW:
        raw.drive(Work(raw.Raw.close, _batches(plan, raw.Raw), _report))
        return
    if plan.peer:
        peer = load_peer(plan.peer)
        connect, close = partial(peer.connect, callers=plan.max_callers), _close_peer
    else:
        module = import_module(f"ringback.clients.{plan.client}")
        connect = partial(module.connect, timeout=plan.timeout, max_in_flight=plan.max_in_flight)
        close = _close
    style = "blocking" if plan.client in ("threading", "gevent") else plan.client
    import_module(f".drive_{style}", __package__).drive(
        Work(close, _batches(plan, connect), _report, plan.connections)
    )


def _close(client: Any) -> Any:
    return client.close(now=True)


def _close_peer(client: Any) -> Any:
    return client.close()


def _batches(plan: Plan, connect: Callable[..., Any]) -> Iterator[Calls]:
    scenario = load(plan.scenario) if plan.scenario else None
    decode = msgspec.json.Decoder(Cell | Idle).decode
    with ExitStack() as idle:
        _say(_READY)
        while line := sys.stdin.buffer.readline():
            asked = decode(line)
            if isinstance(asked, Idle):
                idle.close()
                idle.enter_context(connections(asked.endpoint, asked.connections))
                _say(_READY)
                continue
            if scenario is not None:
                batch = Batch(plan, asked, scenario.script, scenario.check)
                stream = False
            else:
                workload = WORKLOADS[asked.load.workload]
                batch = Batch(
                    plan,
                    asked,
                    workload.script,
                    workload.check,
                    keyed=workload.keyed,
                    hedge=workload.balancing.hedge,
                )
                stream = workload.stream
            yield Calls(batch, stream, *_client(asked, connect))


def _client(cell: Cell, connect: Callable[..., Any]) -> tuple[Callable[[], Any], str]:
    """How the client is made, and where it is kept; one of several servers is made anew for each slice, as it learns of them while it
    calls."""
    first, *others = cell.endpoints
    if cell.load.scattered:
        balancing = WORKLOADS[cell.load.workload].balancing
        return partial(connect, first, *others, policy=balancing.policy, ejection=balancing.ejection), ""
    return partial(connect, first), first


def _report(batch: Batch) -> None:
    _say(msgspec.json.encode(batch.sample()))


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
