"""Descriptions of options, and functions that complete values with defaults and check them.

    class Limits(TypedDict, total=False):
        entries: Annotated[int, Option("Maximum entries", 1000, at_least=1)]

A function takes these as `**options: Unpack[Limits]`. Fields of a dataclass are described in the
same way and have their own defaults.
"""

from __future__ import annotations

import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from ..errors import UsageError

T = TypeVar("T")

# Types whose values are parsed from words, with their names in messages. Other values pass as they
# are.
_READ = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
# Accepted types for each of them, which include NumPy's numbers.
_ACCEPTED: dict[Any, type] = {int: numbers.Integral, float: numbers.Real, bool: bool, str: str}
_SWITCH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


@dataclass(frozen=True)
class Option:
    """The description of one option.

    - `help`: one line that begins with a noun or an imperative.
    - `unit`: "bytes", "seconds".
    - `default_text`: the default in words, if the value alone says little.
    - `choices`: the allowed words, or a function that returns them.
    - `flag`: the name on the command line, if it differs from `name`.
    - `read`: converts the words of the command line; its ValueError says what they must be.
    - `fits`: checks a value if type and bounds do not suffice; `wanted` describes valid ones.
    - `variable`: an environment variable that applies if the command's own is not set.
    - `in_python`, `in_command`: where the option exists.
    - `name`, `kind`, `optional`, `repeated`: taken from the field.
    """

    help: str
    default: Any = None
    group: str = "Options"
    metavar: str = ""
    unit: str = ""
    default_text: str = ""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    choices: Sequence[str] | Callable[[], Sequence[str]] = ()
    flag: str = ""
    read: Callable[[Any], Any] | None = None
    fits: Callable[[Any], bool] | None = None
    wanted: str = ""
    variable: str = ""
    in_python: bool = True
    in_command: bool = True
    name: str = ""
    kind: Any = Any
    optional: bool = False  # whether it may be None
    repeated: bool = False  # at the command line

    @property
    def _fixed(self) -> Sequence[str]:
        """The choices, unless a function returns them."""
        return () if callable(self.choices) else self.choices

    @property
    def words(self) -> Sequence[str]:
        """The choices, for completion.

        `check` ignores choices that a function returns: the code that uses the value reports
        unknown ones.
        """
        return self.choices() if callable(self.choices) else self.choices

    @property
    def told(self) -> str:
        """The default in words; "" if there is none to show."""
        if self.default_text or self.default in (None, "", False, ()):
            return self.default_text
        if self.unit == "bytes" and not self.default % (1 << 20):
            return f"{self.default >> 20} MiB"
        if self.unit == "seconds":
            return f"{self.default:g} s"
        if self.default is True:
            return "yes"
        if isinstance(self.default, (int, float)):
            return _number(self.default)
        return self.default if isinstance(self.default, str) else ""

    @property
    def line(self) -> str:
        """The help with the default."""
        return f"{self.help} [{self.told}]" if self.told else self.help

    def parse(self, given: Any, name: str) -> Any:
        """Parse words from the command line, a variable or a file.

        Raises UsageError, which calls the option `name`.
        """
        try:
            value = self.read(given) if self.read is not None else self._parse(given)
        except ValueError as error:
            raise UsageError(f"{name} {error}") from None
        return self.check(value, name)

    def _parse(self, given: Any) -> Any:
        if not isinstance(given, str) or self.kind not in _READ:
            return given
        try:
            return _SWITCH[given.lower()] if self.kind is bool else self.kind(given)
        except (ValueError, KeyError):
            return given  # `check` reports it

    def check(self, value: Any, name: str = "") -> Any:
        """Return the value if it is valid.

        Raises UsageError, which calls the option `name`, or by its own name.
        """
        if self.takes(value):
            known = type(value) in (int, float, bool, str, type(None)) or self.kind not in _READ
            known = known or self.fits is not None  # `fits` may accept other types
            return value if known else self.kind(value)
        if self.repeated:
            value = next((each for each in value if each not in self._fixed), value)
        none = (
            ", or None" if self.optional and not name else ""
        )  # a command line cannot express None
        raise UsageError(
            f"{name or self.name} must be {self.asked}{none}, not "
            f"{value!r:.200}{hint(str(value), self._fixed)}"
        )

    def takes(self, value: Any) -> bool:
        """Whether the value is valid for this option."""
        if value is None and self.optional:
            return True
        if self.fits is not None:
            return self.fits(value)
        kind = _ACCEPTED.get(self.kind)
        fits = kind is None or (
            isinstance(value, kind) and isinstance(value, bool) is (kind is bool)
        )
        if fits and self._fixed:
            return all(each in self._fixed for each in (value if self.repeated else (value,)))
        return fits and self._within(value)

    def _within(self, value: Any) -> bool:
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
        )

    @property
    def asked(self) -> str:
        """The requirement for a value, in words."""
        if self.wanted:
            return self.wanted
        if self._fixed:
            return _or(self._fixed)
        what = _READ.get(self.kind, "something else")
        if self.unit and self.kind in (int, float):
            what = f"{what} of {self.unit}"
        bounds = []
        if self.at_least is not None:
            bounds.append(
                f"{_number(self.at_least)} or more"
                if self.at_most is None
                else f"at least {_number(self.at_least)}"
            )
        if self.above is not None:
            bounds.append(f"above {_number(self.above)}")
        if self.at_most is not None:
            bounds.append(f"at most {_number(self.at_most)}")
        return f"{what}{', ' if bounds else ''}{' and '.join(bounds)}"


def options_of(kind: Any) -> dict[str, Option]:
    """The options described by the fields of a TypedDict or a dataclass, by name."""
    if kind not in _FOUND:
        _FOUND[kind] = _found(kind)
    return _FOUND[kind]


_FOUND: dict[Any, dict[str, Option]] = {}


def _found(kind: Any) -> dict[str, Option]:
    found = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        described = [each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Option)]
        if described:
            (option,) = described
            type_, optional = _unwrapped(hint.__origin__)
            default = getattr(kind, name, option.default)
            repeated = typing.get_origin(type_) in (list, Sequence)
            found[name] = replace(
                option,
                name=name,
                kind=type_,
                default=default,
                optional=optional,
                flag=option.flag or name.replace("_", "-"),
                repeated=option.repeated or repeated,
            )
    return found


def _unwrapped(hint: Any) -> tuple[Any, bool]:
    """The type of an option, and whether it may be None."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    kinds = [each for each in typing.get_args(hint) if each is not type(None)]
    optional = len(kinds) < len(typing.get_args(hint))
    return (kinds[0] if len(kinds) == 1 else Any), optional


def completed(kind: type[T], given: Mapping[str, Any], owner: str) -> T:
    """All options of the TypedDict: the given ones, checked, and the defaults of the others.

    Raises TypeError for an unknown option, as a function does, and UsageError for an invalid value.
    """
    options = options_of(kind)
    for name in given:
        if name not in options:
            close = get_close_matches(name, options, 1)
            meant = f". Did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{owner} got an unexpected keyword argument {name!r}{meant}")
    return with_defaults(
        options, {name: options[name].check(value) for name, value in given.items()}
    )  # type: ignore[return-value]


def with_defaults(options: Mapping[str, Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with the defaults of all other options."""
    return {**{name: option.default for name, option in options.items()}, **values}


def hint(word: str, words: Iterable[str]) -> str:
    """A suggestion of the most similar known word, to append to an error; "" if none is similar."""
    close = get_close_matches(word, list(words), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:,}"


def _or(words: Sequence[str]) -> str:
    named = [word or "empty" for word in words]
    return f"{', '.join(named[:-1])} or {named[-1]}" if len(named) > 1 else named[0]
