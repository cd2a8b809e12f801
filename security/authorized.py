"""The keys that a server admits: the public keys in a directory, read again when it changes.

Any thread may use it: the set of keys is replaced as a whole, never changed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from ..errors import UsageError
from .keys import PUBLIC, SECRET, checked_name, read_public

log = logging.getLogger("ringback.security")

# The word in place of a directory that admits every client.
ANYBODY = "any"

# Seconds between two checks of all files while the directory's own time stamp does not change.
LOOK = 1.0

# Seconds for which a time stamp is too fresh to trust: a second change within one tick of the file
# system's clock looks like no change.
TICK = 0.1


class Authorized:
    """The public keys in a directory's files NAME.key. `every`: the server admits any key.

    `names` has the name of each key.
    """

    def __init__(self, directory: str | Path) -> None:
        """Raises UsageError for a directory or file that cannot be read."""
        self.every = str(directory) == ANYBODY
        self.directory = Path(directory)
        self.names: Mapping[bytes, str] = {}
        self._stamp: object = None
        self._read_at = self._looked_at = 0.0
        if not self.every:
            try:
                self._changed = self.directory.stat().st_mtime_ns
                self._stamp, self.names = self._read(strictly=True)
            except OSError as error:
                raise UsageError(
                    f"cannot read the authorized keys in {directory}: {error.strerror or error}; "
                    f"it must be a directory of files NAME{PUBLIC}, or the word {ANYBODY}"
                ) from None
            self._read_at = time.time()
            if self.directory.stat().st_mode & 0o002:
                log.warning(
                    "all users of this machine may add authorized keys to %s: chmod o-w", directory
                )
            if not self.names:
                log.warning("no authorized keys in %s yet: no client is admitted", directory)

    def name_of(self, key: bytes) -> str | None:
        """The name of a key: "" if any key is admitted, None if this one is not.

        Changes of the directory take effect at once.
        """
        if self.every:
            return ""
        self.look()
        return self.names.get(key)

    def look(self) -> None:
        """Read the directory again if it has changed.

        Its own time stamp is checked each time, those of its files at most every LOOK seconds.
        """
        if self.every:
            return
        now = time.monotonic()
        try:
            changed = self.directory.stat().st_mtime_ns
            fresh = changed / 1e9 < self._read_at - TICK
            if changed == self._changed and fresh and now - self._looked_at < LOOK:
                return
            self._looked_at, read_at = now, time.time()
            stamp = _stamp(self._files())
            if stamp != self._stamp or not fresh:
                before = self.names
                self._stamp, self.names = self._read()
                _tell(self.directory, before, self.names)
            self._changed, self._read_at = changed, read_at
        except OSError as error:
            if self.names:
                log.error(
                    "no client is admitted: cannot read %s: %s", self.directory, error.strerror
                )
            self.names, self._stamp, self._read_at = {}, None, 0.0

    def _files(self) -> list[Path]:
        names = sorted(
            name for name in os.listdir(self.directory) if name.endswith((PUBLIC, SECRET))
        )
        return [self.directory / name for name in names]

    def _read(self, *, strictly: bool = False) -> tuple[object, dict[bytes, str]]:
        """Read the directory: its stamp, and the names of its keys. Raises OSError.

        If strict, it raises UsageError for a bad file; otherwise it logs and ignores that file.
        """
        files = self._files()
        stamp = _stamp(files)  # first: a file that changes during the reading is read again
        names: dict[bytes, str] = {}
        for path in files:
            try:
                if path.name.endswith(SECRET):
                    raise UsageError(
                        f"{path} is a secret key: authorized keys are public ones, so move it to "
                        f"its owner"
                    )
                name = checked_name(path.name.removesuffix(PUBLIC))
                key = read_public(path)
                if names.setdefault(key, name) != name:
                    raise UsageError(
                        f"{path} has the same key as {names[key]}{PUBLIC}: remove one of them"
                    )
            except UsageError as error:
                if strictly:
                    raise
                if path.exists() and stamp != self._stamp:
                    log.warning("authorized key ignored: %s", error)
        return stamp, names


def _stamp(files: list[Path]) -> object:
    stamps = []
    for path in files:
        try:
            status = path.stat()
        except OSError:
            continue  # the file is gone or unreadable
        stamps.append((path.name, status.st_ino, status.st_size, status.st_mtime_ns))
    return stamps


def _tell(directory: Path, before: Mapping[bytes, str], after: Mapping[bytes, str]) -> None:
    added = sorted(after[key] for key in after.keys() - before.keys())
    removed = sorted(before[key] for key in before.keys() - after.keys())
    if added or removed:
        changes = [
            f"{word}: {', '.join(names)}"
            for word, names in (("added", added), ("removed", removed))
            if names
        ]
        log.info("authorized keys in %s: %s", directory, "; ".join(changes))
