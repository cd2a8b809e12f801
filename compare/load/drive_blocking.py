"""A blocking client under load: N threads that each wait for their call, or one with N calls outstanding.

With gevent's patches, which `generate` applies, the same threads are greenlets and wait as its client does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from .batch import Batch
from .callers import answer_blocking, call_blocking, run_blocking
from .firing import Firing
from .plan import REQUEST_REPLY
from .work import Work, prepared


def drive(work: Work) -> None:
    """Do it. Raises RuntimeError where calls are lost."""
    clients = [work.connect() for _ in range(work.connections)]
    try:
        for batch, stream in work.batches:
            if batch.connect is None:
                _measure(clients, batch, stream)
            else:
                own = batch.connect()
                try:
                    _measure([own], batch, stream)
                finally:
                    work.close(own)
            work.report(batch)
    finally:
        for client in clients:
            work.close(client)


def _measure(clients: Sequence[Any], batch: Batch, stream: bool) -> None:
    if batch.cell.load.style == REQUEST_REPLY:
        invokes = [_collecting(client) if stream else prepared(client, batch).call for client in clients]
        _request_reply(invokes, batch)
    else:
        _fire_and_callback(clients, batch)
    run_blocking(clients[0].call, batch.ending())


def _collecting(client: Any) -> Callable[..., Any]:
    return lambda method, *args, **kwargs: list(client.stream(method, *args, **kwargs))


def _request_reply(invokes: Sequence[Callable[..., Any]], batch: Batch) -> None:
    dues = iter(batch.dues)
    threads = [
        threading.Thread(
            target=answer_blocking, args=(invoke, caller, dues, batch.stops, time.sleep), daemon=True
        )
        if batch.cell.load.open
        else threading.Thread(target=call_blocking, args=(invoke, caller), daemon=True)
        for caller, invoke in zip(batch.callers, cycle(invokes), strict=False)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(batch.patience)
    batch.check(sum(thread.is_alive() for thread in threads))


def _fire_and_callback(clients: Sequence[Any], batch: Batch) -> None:
    over = threading.Event()
    firing = Firing([prepared(client, batch) for client in clients], batch, over.set)
    if batch.cell.load.open:
        firing.open(time.sleep)
    else:
        firing.closed()
    over.wait(batch.patience)
    batch.check(firing.left)
