"""How the promises of the conformance suite wait by the fifth client style."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import styles
from fifth_client import Cancelled, FifthClient, FifthClientLoop, Future, Task


class Style(styles.Style):
    name = "fifth"
    future = Future
    cancelled = Cancelled

    def connect(self, *endpoints: str, **options: Any) -> Any:
        return FifthClient(*endpoints, **options)

    def run(self, script: Callable[[], styles.Script]) -> None:
        self._loop = FifthClientLoop()
        self._loop.call_later(styles.DEADLINE, self._loop.stop)
        self._loop.run_main(styles._async_steps(script(), self._wait))

    def inner(self, work: Callable[[], object]) -> None:
        made = work()
        if inspect.iscoroutine(made):
            self._task(made)

    def _task(self, coroutine: Any) -> Task:
        return Task(self._loop, coroutine, copy_context())

    async def _wait(self, step: Any) -> Any:
        if isinstance(step, styles.Pause):
            pause = Future()
            self._loop.call_later(step.seconds, pause.settle, None, None)
            return await pause
        if isinstance(step, styles.Items):
            return await styles._async_items(step)
        if isinstance(step, styles.Leave):
            return await styles._async_leave(step)
        if isinstance(step, styles.Together):
            tasks = [self._task(call()) for call in step.calls]
            return [await task for task in tasks]
        if isinstance(step, styles.Begin):
            task = self._task(step.call())
            await self._wait(styles.Pause(0.0))
            return styles._Caller(task)
        if isinstance(step, styles._Caller):
            return await step.waits
        return await step if inspect.isawaitable(step) else step
