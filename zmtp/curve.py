"""CURVE: both ends prove their identity, and every frame is encrypted.

It implements https://rfc.zeromq.org/spec/26/, on the wire as in spec/25/. The cryptography is
libsodium's, by PyNaCl. Keys are 32 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nacl import bindings as sodium
from nacl._sodium import ffi, lib  # type: ignore[import-not-found]
from nacl.exceptions import CryptoError

from . import commands
from .errors import NotAuthorized, ZmtpError
from .frames import COMMAND, MORE, head
from .mechanisms import UNAUTHORIZED

HELLO, WELCOME, INITIATE = b"HELLO", b"WELCOME", b"INITIATE"

_VERSION = b"\x01\x00"
_PADDING = bytes(72)
_SIGNATURE = bytes(64)
# Bytes of the bodies of HELLO, of WELCOME and of an INITIATE without properties.
_HELLO_SIZE, _WELCOME_SIZE, _INITIATE_SIZE = 194, 160, 96 + 8 + 16 + 128
_COOKIE = 96

_MESSAGE = b"\x07MESSAGE"
# Bytes before a frame's box (the name and the short nonce), and bytes that a box adds (an
# authentication code).
_BEFORE, _MAC = 16, 16
# Flags inside a box.
_INNER_MORE, _INNER_COMMAND = 1, 2
_INNER = [bytes((flags,)) for flags in range(3)]

# libsodium's functions for frames. Those of nacl.bindings check and copy more, and take three times
# as long.
_new, _buffer, _from_buffer, _CHARS = (
    ffi.new,
    ffi.buffer,
    ffi.from_buffer,
    ffi.typeof("unsigned char[]"),
)
_seal, _open = lib.crypto_box_easy_afternm, lib.crypto_box_open_easy_afternm


def keypair() -> tuple[bytes, bytes]:
    """A new public key and its secret key."""
    return sodium.crypto_box_keypair()


class Box:
    """Seals frames and opens those of the peer, with the key that both ends share: a `Sealer`.

    `prefix` and `peer_prefix` distinguish the nonces of the two ends.
    """

    __slots__ = ("_last", "_nonce", "_peer_prefix", "_prefix", "_shared")

    def __init__(
        self, shared: bytes, prefix: bytes, peer_prefix: bytes, nonce: int, last: int
    ) -> None:
        self._shared = shared
        self._prefix, self._peer_prefix = prefix, peer_prefix
        self._nonce = nonce  # the last nonce of this end
        self._last = last  # the last nonce of the peer

    def seal(self, flags: int, data: bytes | bytearray | memoryview) -> bytes:
        self._nonce = number = self._nonce + 1
        nonce = number.to_bytes(8, "big")
        size = len(data) + 1
        sealed = _new(_CHARS, size + _MAC)
        inner = _INNER_COMMAND if flags & COMMAND else flags & MORE
        _seal(sealed, _INNER[inner] + data, size, self._prefix + nonce, self._shared)
        return b"".join((head(0, size + _MAC + _BEFORE), _MESSAGE, nonce, _buffer(sealed)))

    def unseal(self, data: bytes) -> tuple[int, bytes]:
        size = len(data) - _BEFORE - _MAC
        if size < 1 or data[:8] != _MESSAGE:
            raise ZmtpError("a frame that is not encrypted")
        nonce = data[8:_BEFORE]
        number = int.from_bytes(nonce, "big")
        if number <= self._last:
            raise ZmtpError("an encrypted frame that was sent before")
        self._last = number
        opened = _new(_CHARS, size)
        if _open(
            opened,
            _from_buffer(data) + _BEFORE,
            size + _MAC,
            self._peer_prefix + nonce,
            self._shared,
        ):
            raise ZmtpError("a frame that cannot be decrypted")
        plain: bytes = _buffer(opened)[1:]
        inner = opened[0]
        return (COMMAND if inner & _INNER_COMMAND else inner & _INNER_MORE), plain


class CurveClient:
    """The client's end of one handshake: a `Mechanism`."""

    name = b"CURVE"
    as_server = False

    def __init__(self, server: bytes, public: bytes, secret: bytes) -> None:
        """`server`: the public key of the server; `public` and `secret`: this client's own."""
        self.sealer: Box | None = None
        self._server, self._public, self._secret = server, public, secret
        self._short, self._short_secret = keypair()
        self._properties = b""
        self._shared = b""

    def start(self, properties: bytes) -> list[bytes]:
        self._properties = properties
        nonce = _nonce(1)
        box = sodium.crypto_box(
            _SIGNATURE, b"CurveZMQHELLO---" + nonce, self._server, self._short_secret
        )
        return [commands.frame(HELLO, _VERSION + _PADDING + self._short + nonce + box)]

    def take(self, name: bytes, body: bytes) -> tuple[list[bytes], Mapping[bytes, bytes] | None]:
        try:
            if name == WELCOME and not self._shared and len(body) == _WELCOME_SIZE:
                return [self._initiate(body)], None
            if name == commands.READY and self._shared and len(body) >= 8 + _MAC:
                return [], self._ready(body)
        except CryptoError:
            raise ZmtpError(f"a {name.decode()} that cannot be decrypted") from None
        raise _unexpected(name)

    def _initiate(self, welcome: bytes) -> bytes:
        opened = sodium.crypto_box_open(
            welcome[16:], b"WELCOME-" + welcome[:16], self._server, self._short_secret
        )
        server_short, cookie = opened[:32], opened[32:]
        self._shared = sodium.crypto_box_beforenm(server_short, self._short_secret)
        vouch_nonce = sodium.randombytes(16)
        vouch = sodium.crypto_box(
            self._short + self._server, b"VOUCH---" + vouch_nonce, server_short, self._secret
        )
        nonce = _nonce(2)
        box = sodium.crypto_box_easy_afternm(
            self._public + vouch_nonce + vouch + self._properties,
            b"CurveZMQINITIATE" + nonce,
            self._shared,
        )
        return commands.frame(INITIATE, cookie + nonce + box)

    def _ready(self, body: bytes) -> Mapping[bytes, bytes]:
        nonce, box = body[:8], body[8:]
        properties = sodium.crypto_box_open_easy_afternm(
            box, b"CurveZMQREADY---" + nonce, self._shared
        )
        last = int.from_bytes(nonce, "big")
        self.sealer = Box(self._shared, b"CurveZMQMESSAGEC", b"CurveZMQMESSAGES", 2, last)
        return commands.parse_properties(properties)


class CurveServer:
    """The server's end of one handshake: a `Mechanism`.

    `authorized(key)` returns whether to admit the client with that public key; it is called before
    the client's first message.
    """

    name = b"CURVE"
    as_server = True

    def __init__(self, public: bytes, secret: bytes, authorized: Callable[[bytes], bool]) -> None:
        self.sealer: Box | None = None
        self._public, self._secret = public, secret
        self._authorized = authorized
        self._properties = b""
        self._client_short = self._short_secret = self._cookie = b""

    def start(self, properties: bytes) -> list[bytes]:
        self._properties = properties
        return []

    def take(self, name: bytes, body: bytes) -> tuple[list[bytes], Mapping[bytes, bytes] | None]:
        try:
            if (
                name == HELLO
                and not self._cookie
                and len(body) == _HELLO_SIZE
                and body[:2] == _VERSION
            ):
                return [self._welcome(body)], None
            if name == INITIATE and self._cookie and len(body) >= _INITIATE_SIZE:
                return self._initiated(body)
        except CryptoError:
            raise ZmtpError("it has another server key") from None
        raise _unexpected(name)

    def _welcome(self, hello: bytes) -> bytes:
        client, nonce, box = hello[74:106], hello[106:114], hello[114:]
        if (
            sodium.crypto_box_open(box, b"CurveZMQHELLO---" + nonce, client, self._secret)
            != _SIGNATURE
        ):
            raise ZmtpError("a HELLO without its signature")
        short, self._short_secret = keypair()
        self._client_short = client
        # Random: a stateless server would keep its state in the cookie, but this end remembers it.
        self._cookie = sodium.randombytes(_COOKIE)
        nonce = sodium.randombytes(16)
        return commands.frame(
            WELCOME,
            nonce
            + sodium.crypto_box(short + self._cookie, b"WELCOME-" + nonce, client, self._secret),
        )

    def _initiated(self, body: bytes) -> tuple[list[bytes], Mapping[bytes, bytes] | None]:
        cookie, nonce, box = body[:_COOKIE], body[_COOKIE : _COOKIE + 8], body[_COOKIE + 8 :]
        if cookie != self._cookie:
            raise ZmtpError("an INITIATE with another cookie")
        shared = sodium.crypto_box_beforenm(self._client_short, self._short_secret)
        opened = sodium.crypto_box_open_easy_afternm(box, b"CurveZMQINITIATE" + nonce, shared)
        client, vouch_nonce, vouch = opened[:32], opened[32:48], opened[48:128]
        vouched = sodium.crypto_box_open(
            vouch, b"VOUCH---" + vouch_nonce, client, self._short_secret
        )
        if vouched != self._client_short + self._public:
            raise ZmtpError("an INITIATE that vouches for another")
        if not self._authorized(client):
            raise NotAuthorized(client, commands.refusal(UNAUTHORIZED))
        self.sealer = Box(
            shared, b"CurveZMQMESSAGES", b"CurveZMQMESSAGEC", 1, int.from_bytes(nonce, "big")
        )
        ready = sodium.crypto_box_easy_afternm(
            self._properties, b"CurveZMQREADY---" + _nonce(1), shared
        )
        return [commands.frame(commands.READY, _nonce(1) + ready)], commands.parse_properties(
            opened[128:]
        )


def _nonce(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _unexpected(name: bytes) -> ZmtpError:
    return ZmtpError(f"an unexpected {name[:16].decode('latin-1')!r} in the handshake")
