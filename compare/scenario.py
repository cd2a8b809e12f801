"""A user's own work, for `ringback compare --service app.py:service --scenario scenario.py`.

A scenario is a generator function of a number that no other run of it has. It yields calls and is sent what each returned; what it
raises, be it by `assert`, counts as a wrong reply, and an error of a call that it does not catch as that error:

    from ringback.compare.scenario import call

    def scenario(number):
        total = yield call("add", number, 1)
        assert total == number + 1

Where calls have effects, a second generator function may look at the end of each measurement, when its calls have ended, at what has become
of them:

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

# Of workloads that are `keyed`, the keyword that is no argument but the call's own idempotency key.
KEY = "idempotency_key"


class Call(msgspec.Struct, frozen=True, gc=False):
    """A method and what it is called with."""

    method: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}


class Ended(NamedTuple):
    """The calls of one measurement, from the first to the last: those that were answered rightly, and those of which nobody knows. The
    numbers that its scenarios were given begin with `first`."""

    answered: int
    failed: int
    first: int = 0


Script = Generator[Call, Any, None]
Scenario = Callable[[int], Script]
# Returns what it found; raises, be it by `assert`, where even that cannot be told.
Check = Callable[[Ended], Generator[Call, Any, Consistency]]


class WrongReply(Exception):
    """The answer belongs to other arguments."""


def call(method: str, /, *args: Any, **kwargs: Any) -> Call:
    """One step of a scenario: `result = yield call("add", 1, 2)`."""
    return Call(method, args, kwargs)


def checked_by(check: Check) -> Callable[[Scenario], Scenario]:
    """Decorates a scenario: what its calls have left behind is looked at by this."""

    def checked(scenario: Scenario) -> Scenario:
        _checks[scenario] = check
        return scenario

    return checked


_checks: dict[Scenario, Check] = {}


class Loaded(NamedTuple):
    scenario: Scenario
    check: Check | None

    def script(self, numbers: Iterator[int], _steps: int) -> Script:
        """The scenario again and again, each time with the next number."""
        for number in numbers:
            yield from self.scenario(number)


def load(target: str) -> Loaded:
    """The scenario that `FILE.py[:NAME]` or `MODULE:NAME` names.

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
    return Loaded(scenario, _checks.get(scenario))
