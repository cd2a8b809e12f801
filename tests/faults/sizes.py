"""How large the tests of this folder are: small enough for every run, or, with RINGBACK_FULL=1, as
large as the promises say.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

FULL = os.environ.get("RINGBACK_FULL") == "1"


def size(small: T, full: T) -> T:
    return full if FULL else small
