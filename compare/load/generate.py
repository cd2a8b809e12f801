"""The load generator's process: `python -m ringback.compare.load.generate`.

It reads a line of JSON for each measurement, and answers with one. It has one client style, since
gevent's patches and Twisted's reactor apply to the whole process.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from ... import clients
from ..peers import load as load_peer
from ..scenario import load as load_scenario
from ..workloads.table import WORKLOADS, Workload
from . import drive, raw
from .batch import Batch
from .plan import RAW, LoadPlan, SlicePlan

Measure = Callable[[Sequence[Any], Batch], Awaitable[None]]


def main() -> None:
    """Measure one cell after another, until the end of the input."""
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=LoadPlan)
    if plan.client == "gevent":
        from gevent import monkey

        monkey.patch_all()
    loop = _loop(plan.client)
    loop.run(
        _measure_all(plan, raw.measure if plan.client == RAW else partial(drive.measure, loop))
    )


def _loop(client: str) -> drive.ClientLoop:
    if client == "asyncio":
        from . import loop_asyncio

        return loop_asyncio
    if client == "twisted":
        from . import loop_twisted

        return loop_twisted
    from . import loop_blocking

    return loop_blocking


async def _measure_all(plan: LoadPlan, measure: Measure) -> None:
    connect, close = _client(plan)
    own = _scenario(plan.scenario) if plan.scenario else None
    decode = msgspec.json.Decoder(SlicePlan).decode
    connected: dict[str, list[Any]] = {}
    _say(b'"ready"')
    try:
        while line := sys.stdin.buffer.readline():
            cell = decode(line)
            if cell.endpoint not in connected:
                connected[cell.endpoint] = [
                    await _settled(connect(cell)) for _ in range(plan.connections)
                ]
            batch = Batch(plan, cell, own or WORKLOADS[cell.load.workload])
            batch.starts()
            await measure(connected[cell.endpoint], batch)
            _say(msgspec.json.encode(batch.sample()))
    finally:
        for client in chain(*connected.values()):
            await _settled(close(client))


def _client(plan: LoadPlan) -> tuple[Callable[[SlicePlan], Any], Callable[[Any], Any]]:
    """Functions that create a client of a cell's server, and close it."""
    if plan.client == RAW:
        return lambda cell: raw.Raw(cell.endpoint), raw.Raw.close
    if plan.peer:
        peer = load_peer(plan.peer)
        return lambda cell: peer.connect(cell.endpoint), lambda client: client.close()
    connect = clients.load(plan.client)
    bounds = {"timeout": plan.timeout, "max_in_flight": plan.max_in_flight}

    def made(cell: SlicePlan) -> Any:
        return connect(cell.endpoint, transport=cell.transport or None, **bounds)

    return made, lambda client: client.close(now=True)


def _scenario(target: str) -> Workload:
    loaded = load_scenario(target)
    return Workload(target, "", loaded.script, check=loaded.check)


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
