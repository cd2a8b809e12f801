"""Access rules from a TOML file: which user may call which method.

Nothing here knows sessions, messages or event loops.

    [[rule]]
    who = ["alice", "billing-*"]          # names of keys; "*": any key; "anonymous": no key
    methods = ["balance", "accounts.*"]
    max_priority = 10                     # highest priority that a caller may ask for
    rate = 100                            # calls a second of each client
    burst = 200                           # calls of each client at once

A call is allowed if any rule of its caller includes its method; the first such rule gives the
limits. Every other call is denied.
"""

from __future__ import annotations

import logging
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from typing import Any

from ...errors import UsageError
from .rates import Rate, checked_rate

log = logging.getLogger("ringback.server")

# The name of callers without a key in rules and logs. A key of that name does not match it.
ANONYMOUS = "anonymous"

# The method that everyone may call: it reveals only that there is a server.
PING = "ringback.ping"
# The method for every caller that may call another one; it describes only the allowed methods.
DESCRIBE = "ringback.describe"

# Seconds between two checks of the file.
INTERVAL = 1.0

_KEYS = ("who", "methods", "max_priority", "rate", "burst")


@dataclass(frozen=True, slots=True)
class AccessRule:
    """One rule, and its number in its file.

    If `max_priority` or `rate` is None, the server's own value applies.
    """

    number: int
    who: tuple[str, ...]
    methods: tuple[str, ...]
    max_priority: int | None = None
    rate: Rate | None = None

    def __str__(self) -> str:
        if not self.number:
            return "everyone may"
        return f"rule {self.number} (who {', '.join(self.who)}; methods {', '.join(self.methods)})"


_ALWAYS = AccessRule(0, (), (PING,))


class AccessRules:
    """All rules of one file, with the rules of each user cached."""

    def __init__(self, rules: Sequence[AccessRule]) -> None:
        self.rules = tuple(rules)
        self._who = [_matcher([one for one in rule.who if one != ANONYMOUS]) for rule in rules]
        self._methods = [_matcher(rule.methods) for rule in rules]
        # By user; no larger than the number of keys.
        self._of: dict[str, list[tuple[re.Pattern[str], AccessRule]]] = {}

    def may(self, user: str, method: str) -> AccessRule | None:
        """The first rule that lets this user call the method, or None. User "" has no key."""
        if method == PING:
            return _ALWAYS
        mine = self._of.get(user)
        if mine is None:
            mine = self._of[user] = self._found(user)
        for methods, rule in mine:
            if methods.match(method):
                return rule
        return mine[0][1] if mine and method == DESCRIBE else None

    def allowed(self, user: str, methods: Iterable[str]) -> list[str]:
        """The methods that this user may call."""
        return [method for method in methods if self.may(user, method) is not None]

    def is_known(self, user: str) -> bool:
        """Whether this user may call any method except ping."""
        return self.may(user, DESCRIBE) is not None

    def unused(self, methods: Iterable[str]) -> list[str]:
        """The patterns that match no method, each with its rule: probably typing errors."""
        names = list(methods)
        return [
            f"rule {rule.number}: {pattern!r}"
            for rule in self.rules
            for pattern in rule.methods
            if not any(_matcher([pattern]).match(name) for name in names)
        ]

    def _found(self, user: str) -> list[tuple[re.Pattern[str], AccessRule]]:
        return [
            (methods, rule)
            for who, methods, rule in zip(self._who, self._methods, self.rules, strict=True)
            if (who.match(user) if user else ANONYMOUS in rule.who)
        ]


class AccessFile:
    """The rules in a file, reloaded when it changes. Raises UsageError if the first read fails."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._looked = float("-inf")
        self._signature = self._sign()
        self.rules = read(self.path)

    def look(self, now: float) -> bool:
        """Periodic check: reload a changed file. Returns whether the rules are new.

        A broken file is logged once, and the old rules stay.
        """
        if now - self._looked < INTERVAL:
            return False
        self._looked = now
        signature = self._sign()
        if signature == self._signature:
            return False
        self._signature = signature
        try:
            self.rules = read(self.path)
        except UsageError as error:
            log.error("access rules not reloaded, the old ones stay: %s", error)
            return False
        log.info("access rules reloaded from %s: %d rules", self.path, len(self.rules.rules))
        return True

    def _sign(self) -> tuple[int, int, int] | None:
        """A signature that changes with the file; None if it cannot be read."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def read(path: Path) -> AccessRules:
    """The rules of a file. Raises UsageError with one line that names the error and its place."""
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(
            f"access rules {path}: cannot be read: {error.strerror or error}"
        ) from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise UsageError(f"access rules {path}: {error}") from None
    for key in told:
        if key != "rule":
            raise UsageError(
                f"access rules {path}: {key!r} is not known: rules are written as [[rule]]"
            )
    rules = told.get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise UsageError(f"access rules {path}: rules are written as [[rule]], with two brackets")
    return AccessRules(
        [
            _rule(rule, number, f"access rules {path}: rule {number}")
            for number, rule in enumerate(rules, 1)
        ]
    )


def _rule(told: Mapping[str, Any], number: int, place: str) -> AccessRule:
    for key in told:
        if key not in _KEYS:
            raise UsageError(f"{place}: {key!r} is not known: a rule has {', '.join(_KEYS)}")
    most = told.get("max_priority")
    if most is not None and (type(most) is not int or most < 0):
        raise UsageError(f"{place}: max_priority must be an integer from 0 on, not {most!r}")
    rate = checked_rate(told.get("rate"), told.get("burst"), place)
    return AccessRule(
        number, _patterns(told, "who", place), _patterns(told, "methods", place), most, rate
    )


def _patterns(told: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    given = told.get(key)
    if (
        not isinstance(given, list)
        or not given
        or not all(isinstance(one, str) and one for one in given)
    ):
        raise UsageError(
            f"{place}: {key} must be a list of names, or patterns with * and ?, not "
            f"{'missing' if given is None else repr(given)}"
        )
    for one in given:
        if "[" in one or "]" in one:
            raise UsageError(
                f"{place}: {key}: {one!r} is not a pattern: use only * and ? as wildcards"
            )
    return tuple(given)


def _matcher(patterns: Sequence[str]) -> re.Pattern[str]:
    """A regular expression for whole names that match any pattern; without patterns, for none."""
    return re.compile("|".join(map(translate, patterns)) if patterns else r"(?!)")
