"""Files of CURVE keys: makes, reads and checks them.

The format is that of pyzmq and czmq (`zmq.auth`), so that their tools read our files and ours read
theirs: NAME.key has the public key, NAME.key_secret both keys. No error or log shows a secret key.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import UsageError
from . import z85

PUBLIC, SECRET = ".key", ".key_secret"

# Maximum bytes to read of a key file. The files made here have some 250.
_LONGEST = 65_536
_KEY = re.compile(
    rb"""^[ \t]*(public|secret)-key[ \t]*=[ \t]*(["']?)([^\s"']*)\2[ \t]*\r?$""", re.MULTILINE
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}")

_PUBLIC_FILE = """\
#   The public key of {name}: not secret, but check that it is theirs before you trust it.
metadata
curve
    public-key = "{public}"
"""

_PAIR_FILE = """\
#   The SECRET key of {name}: for {name} alone. Anyone who has it can act as {name}.
metadata
curve
    public-key = "{public}"
    secret-key = "{secret}"
"""


class KeyPair:
    """A public key and its secret key, in Z85 text. `repr` shows neither."""

    __slots__ = ("public", "secret")

    def __init__(self, public: bytes, secret: bytes) -> None:
        self.public = public
        self.secret = secret

    @classmethod
    def fresh(cls) -> KeyPair:
        """A new pair. Raises UsageError if PyNaCl is not installed."""
        public, secret = _sodium().crypto_box_keypair()
        return cls(z85.encode(public), z85.encode(secret))

    @property
    def raw(self) -> tuple[bytes, bytes]:
        """The public and the secret key, as 32 bytes each."""
        return z85.decode(self.public), z85.decode(self.secret)

    def __repr__(self) -> str:
        return "<KeyPair>"


def _sodium() -> Any:
    """libsodium, by PyNaCl. Raises UsageError if it is not installed."""
    try:
        from nacl import bindings  # here, as PyNaCl is optional
    except ImportError:
        raise UsageError('keys need PyNaCl: pip install "ringback[curve]"') from None
    return bindings


def make(directory: str | Path, name: str) -> tuple[Path, Path]:
    """Write a new pair. Returns the public and the secret file. Raises UsageError.

    It overwrites no files.
    """
    pair = KeyPair.fresh()
    checked_name(name)
    directory = Path(directory)
    public, secret = directory / f"{name}{PUBLIC}", directory / f"{name}{SECRET}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (public, secret):
            if path.exists():
                raise FileExistsError(path)
        told = {"name": name, "public": pair.public.decode(), "secret": pair.secret.decode()}
        _write(secret, _PAIR_FILE.format(**told), 0o600)
        try:
            _write(public, _PUBLIC_FILE.format(**told), 0o644)
        except BaseException:
            secret.unlink()
            raise
    except FileExistsError as error:
        path = error.filename or error.args[0]
        raise UsageError(
            f"{path} is there already: keys are not overwritten; choose another name"
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot write the keys of {name} to {directory}: {error.strerror}"
        ) from None
    return public, secret


def checked_name(name: str) -> str:
    """The name, if it is valid for a key. Raises UsageError."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise UsageError(
            f"bad name of a key {name!r}: it must be letters, digits and . _ @ + -, and begin with "
            "a letter or digit"
        )
    return name


def read_public(path: str | Path) -> bytes:
    """The key in a public file. Raises UsageError, also for a secret file."""
    public, secret = _read(path)
    if secret is not None:
        raise UsageError(
            f"{path} holds a secret key, where a public one belongs: give the file that ends in "
            f"{PUBLIC}"
        )
    return public


def public_part(path: str | Path) -> bytes:
    """The public key in a public or secret file. Raises UsageError."""
    return _read(path)[0]


def read_secret(path: str | Path) -> KeyPair:
    """The pair in a secret file. Raises UsageError.

    Only this user may be able to read the file, or it belongs to root and its group can read it.
    """
    if not isinstance(path, (str, Path)) or not str(path):
        raise UsageError(
            f"secret_key must be the file of a secret key, not a {type(path).__name__}"
        )
    if _is_key(os.fsencode(path)) and not os.path.exists(path):
        raise UsageError(
            f"secret_key must be the file of a secret key (NAME{SECRET}), not the key itself"
        )
    public, secret = _read(path)
    if secret is None:
        raise UsageError(f"{path} has no secret key: give the file that ends in {SECRET}")
    _check_secrecy(path)
    if not _is_key(secret) or _sodium().crypto_scalarmult_base(z85.decode(secret)) != z85.decode(
        public
    ):
        raise UsageError(
            f"the two keys in {path} do not match: make new ones with ringback keys new"
        )
    return KeyPair(public, secret)


def public_key(given: str | bytes | Path) -> bytes:
    """The public key given as Z85 text or as a file. Raises UsageError."""
    if not isinstance(given, (str, bytes, Path)) or not given:
        raise UsageError(
            f"server_key must be a public key, 40 characters, or the file that has it, not "
            f"{given!r}"
        )
    key = given if isinstance(given, bytes) else os.fsencode(given)
    if len(key) == 40 and not isinstance(given, Path) and not os.path.exists(key) and _is_key(key):
        return key
    if isinstance(given, bytes):
        raise UsageError("server_key is not a public key: give 40 characters of Z85 text")
    return read_public(given)


def _is_key(text: bytes) -> bool:
    try:
        return len(z85.decode(text)) == 32
    except ValueError:
        return False


def _read(path: str | Path) -> tuple[bytes, bytes | None]:
    """The public key in a file, and the secret key or None. Raises UsageError."""
    try:
        with open(path, "rb") as file:
            text = file.read(_LONGEST)
    except ValueError:  # not a valid path
        text = b""
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise UsageError(f"cannot read the key file {path}: {reason}") from None
    keys = {kind: key for kind, _, key in _KEY.findall(text)}
    public = keys.get(b"public", b"")
    if not _is_key(public):
        raise UsageError(
            f"{path} is not a key file: it must have a line public-key = ..., as ringback keys "
            f"new writes it"
        )
    return public, keys.get(b"secret")


def _check_secrecy(path: str | Path) -> None:
    try:
        status = os.stat(path)
    except OSError as error:
        raise UsageError(f"cannot read the secret key {path}: {error.strerror}") from None
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == 0 and os.geteuid() != 0:
        # Secret mounts make such files: owned by root, readable by the user's group. PostgreSQL has
        # the same rule.
        if mode & 0o037:
            raise UsageError(
                f"others can read the secret key {path} (mode {mode:04o}): chmod 640 {path}"
            )
        return
    if status.st_uid != os.geteuid():
        raise UsageError(
            f"the secret key {path} belongs to another user: it must be this user's own, chown it "
            "or make another"
        )
    if mode & 0o077:
        raise UsageError(
            f"others can read the secret key {path} (mode {mode:04o}): chmod 600 {path}"
        )


def _write(path: Path, text: str, mode: int) -> None:
    # Exclusive, and with its mode from the first byte on.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
