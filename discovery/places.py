"""Parses the addresses of sources: `SCHEME://WHERE?OPTION=VALUE&...`."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from ..errors import UsageError


class Place(NamedTuple):
    """The parts of one address."""

    scheme: str
    where: str
    options: dict[str, str]

    def __str__(self) -> str:
        """For people: without options and without a password."""
        return f"{self.scheme}://{re.sub('^[^/]*@', '', self.where)}"

    def without(self, option: str) -> str:
        """The URL without that option."""
        left = {name: value for name, value in self.options.items() if name != option}
        query = f"?{urlencode(left, quote_via=quote)}" if left else ""
        return f"{self.scheme}://{self.where}{query}"


def parsed(text: str) -> Place:
    """Parse an address. Raises UsageError for malformed or repeated options."""
    scheme, _, rest = text.partition("://")
    where, _, query = rest.partition("?")
    place = Place(scheme, where, {})
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise UsageError(
            f"{place}: write options as ?name=value&name=value, not {query!r}"
        ) from None
    for name, value in pairs:
        if name in place.options:
            raise UsageError(f"{place}: the option {name!r} is given twice")
        place.options[name] = value
    return place
