"""Logging of a server process: as text or as JSON, by the standard library.

The fields `call`, `method`, `user`, `peer`, `code` and `trace_id` are attributes of the log record.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ...endpoints import is_exposed
from ...errors import UsageError, described
from ...terminal import printable, printable_json
from ...tracing import current_trace_id

FIELDS = ("call", "method", "user", "peer", "code", "trace_id")
FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

# Maximum characters of a peer's text in a log line.
_LONGEST = 200


class TextFormatter(logging.Formatter):
    """Time, level, logger, message.

    Control characters are escaped, as text may come from a peer; a traceback keeps its lines.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


class JsonFormatter(logging.Formatter):
    """One JSON object per line.

    Keys: `time` (ISO 8601, UTC), `level`, `logger`, `process`, `message`, the record's own fields,
    and `exception` if there is one. On a server that traces, log lines of a handler have the
    `trace_id` of its call.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        trace_id = current_trace_id()
        line |= {"trace_id": trace_id} if trace_id else {}
        line |= {field: getattr(record, field) for field in FIELDS if hasattr(record, field)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        sound = {
            name: _sound(value) if isinstance(value, str) else value for name, value in line.items()
        }
        return printable_json(msgspec.json.encode(sound, enc_hook=str).decode())


def _sound(text: str) -> str:
    """The text with surrogates escaped: file names may have some, but UTF-8 cannot encode them."""
    return text.encode("utf-8", "backslashreplace").decode()


def configure(level: str | None, form: str | None, file: str | None = None) -> None:
    """Log to standard error, or as the file configures. Raises UsageError for a bad file."""
    if file is not None:
        if level is not None or form is not None:
            raise UsageError("--log-config replaces --log-level and --log-format: leave these out")
        _configure_as(Path(file))
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=(level or LEVELS[1]).upper(), handlers=[handler])


def _configure_as(file: Path) -> None:
    """Configure by `logging.config.dictConfig` for JSON and TOML, by `fileConfig` otherwise."""
    import logging.config
    import tomllib

    try:
        if file.suffix in (".json", ".toml"):
            text = file.read_text()
            settings = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
            logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, **settings})
        else:
            logging.config.fileConfig(file, disable_existing_loggers=False)
    except Exception as error:
        cause = error.__cause__ or error
        raise UsageError(f"--log-config {file}: {described(cause)}") from None


def warn_of_exposed(service: str, endpoints: Sequence[str]) -> None:
    """Log that a server without CURVE lets anyone who can reach it call it and read its traffic."""
    exposed = [endpoint for endpoint in endpoints if is_exposed(endpoint)]
    if exposed:
        logging.getLogger("ringback.server").warning(
            "ringback serves %s on %s to everyone who can reach it, unencrypted: give "
            "--secret-key, or --insecure if that is meant",
            service,
            ", ".join(exposed),
        )


def shortened(text: str) -> str:
    """A peer's text, cut to a readable length."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"
