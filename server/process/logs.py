"""What the server says of itself: set up for a process that serves, as text or as JSON, and bounded where peers can cause it.

Every line is the standard library's; its fields `call`, `method`, `user`, `peer` and `code` are attributes of the record.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ...endpoints import is_exposed

FIELDS = ("call", "method", "user", "peer", "code")
FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

# Characters of what a peer has said that are written.
_LONGEST = 200


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (ISO 8601, UTC), `level`, `logger`, `process`, `message`, the fields that the record has, and
    `exception` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        line |= {field: getattr(record, field) for field in FIELDS if hasattr(record, field)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode("utf-8", "backslashreplace")


def configure(level: str, form: str) -> None:
    """Write all that is logged to standard error."""
    handler = logging.StreamHandler()
    if form == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def warn_of_exposed(service: str, endpoints: Sequence[str]) -> None:
    """In the log of a server without CURVE: who can reach it may call it, and read along."""
    exposed = [endpoint for endpoint in endpoints if is_exposed(endpoint)]
    if exposed:
        logging.getLogger("ringback.server").warning(
            "ringback serves %s on %s to everyone who can reach it, unencrypted: give --secret-key, or --insecure if that is meant",
            service,
            ", ".join(exposed),
        )


def shortened(text: str) -> str:
    """What a peer has said, as much of it as somebody would read."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"
