"""Polls servers repeatedly and displays their activity."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ...errors import CallError, Unavailable
from ...terminal import printable
from .figures import ORDERS, Look, table
from .keys import Keys

# Seconds between two checks of the keys and of the terminal's size.
_TICK = 0.1


class Watched:
    """The last two polls of each server, or the reason why a server did not answer."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, int], Look] = {}  # by endpoint and process
        self._looked_at = 0.0
        self._pairs: list[tuple[Look, Look]] = []
        self._gone: dict[str, str] = {}  # error, by endpoint
        self.order = ORDERS[0]

    def looked(self, answers: Mapping[str, Look | CallError]) -> None:
        """Take the answers of a poll, by endpoint."""
        before, self._latest, self._pairs = self._latest, {}, []
        now = time.monotonic()
        elapsed, self._looked_at = now - self._looked_at, now
        self._gone = {}
        for endpoint, answer in answers.items():
            if isinstance(answer, CallError):
                self._gone[endpoint] = f"{answer.code}: {answer}"
                continue
            key = endpoint, answer["process"]
            self._latest[key] = answer
            # In containers each server is process 1. A server that has been up for less time than
            # has passed is another one.
            if key in before and answer["seconds"] - before[key]["seconds"] > 0.5 * elapsed:
                self._pairs.append((before[key], answer))

    @property
    def complete(self) -> bool:
        """Whether every server that answers has answered two polls."""
        return len(self._pairs) == len(self._latest)

    def shown(self) -> RenderableType:
        """The whole display."""
        gone = [
            Text(printable(f"{place} failed: {why}"), style="red")
            for place, why in self._gone.items()
        ]
        new = len(self._latest) - len(self._pairs)
        waits = [Text(f"{new} new: figures after the next poll")] if new else []
        return Group(*gone, *waits, table(self._pairs, self.order))


def watch(client: Any, interval: float) -> Generator[Any, Any, None]:
    """Display until `q` or Ctrl-C on a terminal; otherwise print once, after two polls.

    `interval` is the time between two polls, in seconds.
    """
    console = Console()
    watched = Watched()
    watched.looked((yield from _look(client, first=True)))
    if not console.is_terminal:
        while True:
            time.sleep(interval)
            watched.looked((yield from _look(client)))
            if watched.complete:
                console.print(watched.shown(), soft_wrap=True)
                return
    with Keys() as keys, Live(console=console, auto_refresh=False, screen=True) as live:
        paused, due, size = False, time.monotonic() + interval, console.size
        while True:
            pressed = keys.wait(min(_TICK, interval))
            if "q" in pressed:
                return
            if "s" in pressed:
                watched.order = ORDERS[(ORDERS.index(watched.order) + 1) % len(ORDERS)]
            if "p" in pressed or " " in pressed:
                paused = not paused
            is_due = time.monotonic() >= due and not paused
            if is_due:
                watched.looked((yield from _look(client)))
                due = time.monotonic() + interval
            if is_due or pressed or console.size != size:
                size = console.size
                keys_line = f"q quit, s sort, p {'resume' if paused else 'pause'}"
                state = "paused" if paused else f"every {interval:g} s"
                foot = Text(f"{keys_line} ({state})", style="dim")
                live.update(Group(watched.shown(), foot), refresh=True)


def _look(client: Any, *, first: bool = False) -> Generator[Any, Any, dict[str, Look | CallError]]:
    """Poll each server. The first poll raises its error if no server answers."""
    view = client if first else client.options(wait_for_ready=False)
    try:
        answers = yield view.call_all("ringback.stats")
    except Unavailable as error:
        if first:
            raise
        return {", ".join(client.endpoints): error}
    found: dict[str, Look | CallError] = {}
    for answer in answers:
        if answer.error is None:
            found[answer.endpoint] = answer.result
        elif isinstance(answer.error, CallError):
            found[answer.endpoint] = answer.error
        else:
            raise answer.error
    failed = [each for each in found.values() if isinstance(each, CallError)]
    if first and failed and len(failed) == len(found):
        raise failed[0]
    return found
