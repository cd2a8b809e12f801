"""Shows options in the signature and docstring of a function that takes `**options`.

`help()` and the completion of a prompt use them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from .option import options_of

F = TypeVar("F", bound=Callable[..., Any])


def takes(kind: type, *, merged: bool = False) -> Callable[[F], F]:
    """Decorator: the function or class takes the options of that TypedDict as its last parameter.

    `merged`: the options are merged into others. Options that are not given keep their value, which
    the signature shows as `...`.
    """

    def show(function: F) -> F:
        options = options_of(kind)
        shown = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=... if merged else option.default
            )
            for name, option in options.items()
            if option.in_python
        ]
        initial: Any = function.__init__ if inspect.isclass(function) else function
        signature = inspect.signature(initial)
        own = [
            each
            for each in signature.parameters.values()
            if each.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        initial.__signature__ = signature.replace(parameters=[*own, *shown])
        if inspect.isclass(function) and "__new__" in vars(function):  # `inspect` reads it first
            vars(function)["__new__"].__func__.__signature__ = initial.__signature__
        lines = [
            f"`{name}`: {option.help if merged else option.line}"
            for name, option in options.items()
            if option.in_python
        ]
        text = inspect.cleandoc(function.__doc__ or "")
        function.__doc__ = "\n".join([text, "", "Options:", "", *lines])
        return function

    return show
