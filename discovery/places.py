"""How it is written where to look for servers: `SCHEME://WHERE?OPTION=VALUE&...`; read here for all of them."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from ..errors import UsageError


class Place(NamedTuple):
    """One, taken to pieces."""

    scheme: str
    where: str
    options: dict[str, str]

    def __str__(self) -> str:
        """For people: without options and without a password."""
        return f"{self.scheme}://{re.sub('^[^/]*@', '', self.where)}"

    def without(self, option: str) -> str:
        """The URL, but for that option."""
        left = {name: value for name, value in self.options.items() if name != option}
        query = f"?{urlencode(left, quote_via=quote)}" if left else ""
        return f"{self.scheme}://{self.where}{query}"


def parsed(text: str) -> Place:
    """Raises UsageError for options that are none, or given twice."""
    scheme, _, rest = text.partition("://")
    where, _, query = rest.partition("?")
    place = Place(scheme, where, {})
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise UsageError(f"{place}: options are written as ?name=value&name=value, not {query!r}") from None
    for name, value in pairs:
        if name in place.options:
            raise UsageError(f"{place}: the option {name!r} is given twice")
        place.options[name] = value
    return place
