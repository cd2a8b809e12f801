"""A user's own work, for `ringback compare --service app.py:service --scenario scenario.py`.

A scenario is a generator function of a number that no other run of it has. It yields calls and is sent what each returned; what it
raises, be it by `assert`, counts as a wrong reply, and an error of a call that it does not catch as that error:

    from ringback.compare.scenario import call

    def scenario(number):
        total = yield call("add", number, 1)
        assert total == number + 1
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

from ..errors import UsageError
from ..targets import find


class Call(NamedTuple):
    """A method and what it is called with."""

    method: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}


Script = Generator[Call, Any, None]
Scenario = Callable[[int], Script]


class WrongReply(Exception):
    """The answer belongs to other arguments."""


def call(method: str, /, *args: Any, **kwargs: Any) -> Call:
    """One step of a scenario: `result = yield call("add", 1, 2)`."""
    return Call(method, args, kwargs)


def repeated(scenario: Scenario, numbers: Iterator[int]) -> Script:
    """The scenario again and again, each time with the next number."""
    for number in numbers:
        yield from scenario(number)


def load(target: str) -> Callable[[Iterator[int], int], Script]:
    """The scenario that `FILE.py[:NAME]` or `MODULE:NAME` names, as a workload's script.

    Raises UsageError where its first step is no call.
    """
    scenario = find(f"{target}:scenario" if target.endswith(".py") else target)
    script = scenario(0) if callable(scenario) else None
    if not isinstance(script, Generator):
        raise UsageError(f"{target} is no scenario: it must be a function of a number that yields calls")
    try:
        first = next(script)
    except StopIteration:
        first = None
    except Exception as error:
        raise UsageError(f"{target} fails before its first call: {type(error).__name__}: {error}") from error
    if not isinstance(first, Call):
        raise UsageError(f"{target} yields {first!r} where a call must be: yield call('method', ...)")
    script.close()
    return lambda numbers, _steps: repeated(scenario, numbers)
