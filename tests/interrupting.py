"""Does what the handler of a signal may do, at a chosen one of the points where CPython runs it: at
the entry of a function, after a call,
at a jump backwards. Only in ringback's own code: what is raised in a function that it calls is the
same exception, one step later."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import ringback

PACKAGE = str(Path(ringback.__file__).parent)

_RUNS_HANDLERS = {"CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD"}


class Interrupted(BaseException):
    """What a handler of a signal raises."""


def interrupt() -> None:
    raise Interrupted


class Points:
    """Counts the points that are come by, and calls the handler at one of them."""

    def __init__(self, target: int, handler: Callable[[], object] = interrupt) -> None:
        self.passed = 0
        self._handler = handler
        self.where = ""
        self._target = target
        self._last: dict[FrameType, int] = {}
        self._codes: dict[CodeType, set[int]] = {}

    def run(self, function: Callable[[], Any]) -> bool:
        """Whether Interrupted was raised, and came out of the function."""
        sys.settrace(self._called)
        try:
            function()
        except Interrupted:
            return True
        finally:
            sys.settrace(None)
            self._last.clear()
        return False

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace = self._traced  # first: CPython 3.13 asks for it
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        self._point(frame)
        return self._traced

    def _traced(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            last, self._last[frame] = self._last.get(frame, -1), frame.f_lasti
            if last in self._after(frame.f_code):
                self._point(frame)
        elif event == "return":
            self._last.pop(frame, None)
        return self._traced

    def _point(self, frame: FrameType) -> None:
        self.passed += 1
        if self.passed == self._target:
            self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            sys.settrace(None)
            self._handler()

    def _after(self, code: CodeType) -> set[int]:
        """Offsets of the instructions after which handlers run."""
        if code not in self._codes:
            self._codes[code] = {
                each.offset for each in dis.get_instructions(code) if each.opname in _RUNS_HANDLERS
            }
        return self._codes[code]
