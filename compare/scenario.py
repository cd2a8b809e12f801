"""Calls of a user's own, for `ringback compare --service app.py:service --scenario scenario.py`.

A scenario is a generator function. Its argument is a number, different in each run of it. It yields
calls, and each `yield` returns the call's result. An exception of its own, such as that of an
`assert`, counts as a wrong reply; a call's error that it does not catch counts as that error:

    from ringback.compare.scenario import call

    def scenario(number):
        total = yield call("add", number, 1)
        assert total == number + 1

If calls have effects, a second generator function can check them at the end of each measurement,
after its calls have ended:

    from ringback.compare.scenario import Consistency, checked_by

    def check(ended):
        total = yield call("take_total")
        return Consistency(lost_updates=ended.answered - total)

    @checked_by(check)
    def scenario(number): ...
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import msgspec

from ..errors import UsageError
from ..targets import find
from .results import Consistency

# The keyword that gives a call of a `keyed` workload its idempotency key. It is no argument.
KEY = "idempotency_key"


class Call(msgspec.Struct, frozen=True, gc=False):
    """A method and its arguments."""

    method: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}


class Ended(NamedTuple):
    """Counts of one measurement's calls: `answered` correctly, and `failed`, with unknown effect.

    The numbers of its scenarios begin at `first`.
    """

    answered: int
    failed: int
    first: int = 0


Script = Generator[Call, Any, None]
Scenario = Callable[[int], Script]
# Returns the inconsistencies; raises, for example by `assert`, if it cannot determine them.
Check = Callable[[Ended], Generator[Call, Any, Consistency]]


class WrongReply(Exception):
    """The reply belongs to other arguments."""


def call(method: str, /, *args: Any, **kwargs: Any) -> Call:
    """One step of a scenario: `result = yield call("add", 1, 2)`."""
    return Call(method, args, kwargs)


def checked_by(check: Check) -> Callable[[Scenario], Scenario]:
    """Decorator of a scenario: `check` inspects the effects of its calls."""

    def checked(scenario: Scenario) -> Scenario:
        _checks[scenario] = check
        return scenario

    return checked


_checks: dict[Scenario, Check] = {}


class Loaded(NamedTuple):
    scenario: Scenario
    check: Check | None

    def script(self, numbers: Iterator[int], _steps: int) -> Script:
        """Run the scenario repeatedly, each time with the next number."""
        for number in numbers:
            yield from self.scenario(number)


def load(target: str) -> Loaded:
    """The scenario at `FILE.py[:NAME]` or `MODULE:NAME`.

    Raises UsageError if its first step is not a call.
    """
    scenario = find(f"{target}:scenario" if target.endswith(".py") else target)
    script = scenario(0) if callable(scenario) else None
    if not isinstance(script, Generator):
        raise UsageError(
            f"{target} is not a scenario: it must be a function that takes a number and yields "
            f"calls"
        )
    try:
        first = next(script)
    except StopIteration:
        first = None
    except Exception as error:
        raise UsageError(
            f"{target} fails before its first call: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(first, Call):
        raise UsageError(f"{target} yields {first!r} instead of a call: yield call('method', ...)")
    script.close()
    return Loaded(scenario, _checks.get(scenario))
