"""The type of a client's results, for type checkers: what `options(returns=...)` has said, Any where nothing has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:  # checkers know defaults of type variables; Python does from 3.13 on
    from typing_extensions import TypeVar as TypeVarWithDefault

    R = TypeVarWithDefault("R", default=Any)
else:
    R = TypeVar("R")
