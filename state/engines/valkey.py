"""The engine for many machines: Valkey or Redis through redis-py, one Lua script per atomic
operation.

Durability is that of the server's settings. Use `appendonly yes` and `appendfsync always` for
everything that a lock or a key protects, and `maxmemory-policy noeviction`. There must be one
primary: an asynchronous failover can lose acknowledged commits. The clock is the server's.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from types import SimpleNamespace
from typing import Any

from ...backends import native
from ...errors import Unavailable, UsageError
from .base import REMEMBERED, Change, Changes, Conflict, Engine, Row, Snapshot, TooLate, Write

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError:
    raise UsageError(
        "Valkey and Redis need redis-py, which is not installed: pip install 'ringback[valkey]'"
    ) from None

# A row is "<revision>:<milliseconds at which it expires, or 0>:<D or V>", then its value after V; D
# marks a removal. Lua's numbers are doubles: exact up to 2^53, which neither revisions nor
# milliseconds reach.
_COMMON = """
local rows, revision_of_all, changed, expiring = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function look(name)
  local row = redis.call('HGET', rows, name)
  if not row then return nil end
  local revision, expires, kind, at = string.match(row, '^(%d+):(%d+):([DV])()')
  expires = tonumber(expires)
  local alive = kind == 'V' and (expires == 0 or expires > now)
  return revision, alive, string.sub(row, at), kind, string.format('%.0f', expires)
end
"""
_READ = (
    _COMMON
    + """
local found = {string.format('%.0f', now)}
for index, name in ipairs(ARGV) do
  local revision, there, value = look(name)
  found[index + 1] = there and {revision, value} or false
end
return found
"""
)
_COMMIT = (
    _COMMON
    + """
local at = 3
if ARGV[1] ~= '' and now >= tonumber(ARGV[1]) then return {'late'} end
for _ = 1, tonumber(ARGV[2]) do
  local revision, there = look(ARGV[at])
  if (there and revision or '0') ~= ARGV[at + 1] then return {'conflict', ARGV[at]} end
  at = at + 2
end
-- At least the time: above every revision that this store may have lost in a failover.
local last = tonumber(redis.call('GET', revision_of_all) or '0')
local revision = string.format('%.0f', math.max(last + 1, time[1] * 1048576 + time[2]))
redis.call('SET', revision_of_all, revision)
while at < #ARGV do
  local name, kind, lives, value = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local expires = lives > 0 and now + lives or 0
  local row = revision .. ':' .. string.format('%.0f', expires) .. ':' .. kind .. value
  redis.call('HSET', rows, name, row)
  redis.call('ZADD', changed, revision, name)
  if expires > 0 then
    redis.call('ZADD', expiring, expires, name)
  else
    redis.call('ZREM', expiring, name)
  end
  at = at + 4
end
for _, name in ipairs(redis.call('ZRANGE', expiring, '-inf', now, 'BYSCORE', 'LIMIT', 0, 16)) do
  redis.call('HDEL', rows, name)
  redis.call('ZREM', changed, name)
  redis.call('ZREM', expiring, name)
end
return {'done', revision}
"""
)
_CHANGES = (
    _COMMON
    + """
local prefix, limit, passed, last = ARGV[1], tonumber(ARGV[3]), 0, nil
local reached = redis.call('GET', revision_of_all) or '0'
local found = {reached, string.format('%.0f', now)}
while true do
  local after = '(' .. ARGV[2]
  local names = redis.call('ZRANGE', changed, after, '+inf', 'BYSCORE', 'LIMIT', passed, 1000)
  for _, name in ipairs(names) do
    if string.sub(name, 1, #prefix) == prefix then
      local revision, there, value, kind, expires = look(name)
      if #found > limit + 1 and revision ~= last then
        found[1] = last
        return found
      end
      if there or kind == 'D' then
        found[#found + 1] = {name, revision, there and value or false, expires}
        last = revision
      end
    end
  end
  if #names < 1000 then return found end
  passed = passed + 1000
end
"""
)
_REVISION = "return redis.call('GET', KEYS[2]) or '0'"

# redis-py's names of the schemes.
_SCHEMES = {"valkey": "redis", "valkeys": "rediss", "valkey+unix": "unix"}
# Timeout in seconds of connecting, and the maximum connections.
_CONNECT = 2.0
_CONNECTIONS = 32


class _Script:
    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = ""


class _Connections:
    """Idle connections, and the permits for further ones."""

    def __init__(self) -> None:
        self.idle: deque[Any] = deque()
        self.room = threading.Semaphore(_CONNECTIONS)


class ValkeyEngine(Engine):
    """`url` is in redis-py's form, with `valkey://` as an alias of `redis://`.

    All names in the store begin with `prefix`.
    """

    one_machine = False

    def __init__(self, url: str, *, prefix: str = "ringback") -> None:
        self.url = url
        scheme, _, rest = url.partition("://")
        address = f"{_SCHEMES.get(scheme, scheme)}://{rest}"
        try:
            # One attempt, as long as the operation has time: the caller decides about another.
            pool = redis.ConnectionPool.from_url(address, retry=Retry(NoBackoff(), 0))
            # The pool counts the connections that it has made, and makes none after a hundred.
            self._make: Callable[[], Any] = partial(pool.connection_class, **pool.connection_kwargs)
            self._make()  # checks the options; does not connect yet
        except (ValueError, TypeError) as error:
            raise UsageError(f"bad address of a state store {url!r}: {error}") from None
        monkey = sys.modules.get("gevent.monkey")
        patched = monkey is not None and monkey.is_module_patched("socket")
        self.blocks_thread = not patched
        # If gevent has patched sockets, each belongs to the hub of the thread that made it.
        # Otherwise all threads share them.
        self._connections: Any = native.local() if patched else SimpleNamespace()
        # In braces: a cluster then keeps them on one node.
        self._keys = [
            f"{{{prefix}}}:{name}" for name in ("rows", "revision", "changed", "expiring")
        ]
        self._read, self._commit = _Script(_READ), _Script(_COMMIT)
        self._changes, self._revision = _Script(_CHANGES), _Script(_REVISION)

    def read(self, names: Sequence[str], timeout: float) -> Snapshot:
        now, *found = self._run(self._read, names, timeout, changes=False)
        rows = [None if row is None else Row(row[1], int(row[0])) for row in found]
        return Snapshot(rows, float(now) / 1000)

    def commit(
        self,
        checks: Mapping[str, int],
        writes: Mapping[str, Write],
        timeout: float,
        *,
        before: float = inf,
    ) -> int:
        words: list[Any] = ["" if before == inf else int(before * 1000), len(checks)]
        for name, revision in checks.items():
            words += [name, revision]
        for name, write in writes.items():
            removed = write.value is None
            seconds = REMEMBERED if removed else write.seconds or 0.0
            words += [
                name,
                "D" if removed else "V",
                int(seconds * 1000 + 0.999),
                write.value or b"",
            ]
        answer = self._run(self._commit, words, timeout, changes=True)
        if answer[0] == b"conflict":
            raise Conflict(answer[1].decode())
        if answer[0] == b"late":
            raise TooLate
        return int(answer[1])

    def changes(self, prefix: str, since: int, limit: int, timeout: float) -> Changes:
        reached, now, *found = self._run(
            self._changes, [prefix, since, limit], timeout, changes=False
        )
        changes = [
            Change(
                name.decode(), value, int(revision), int(expires) / 1000 if int(expires) else None
            )
            for name, revision, value, expires in found
        ]
        return Changes(changes, max(since, int(reached)), int(now) / 1000)

    def revision(self, timeout: float) -> int:
        return int(self._run(self._revision, [], timeout, changes=False))

    def close(self) -> None:
        connections = self._ours()  # those of other threads end with their threads
        while connections.idle:
            connections.idle.pop().disconnect()

    def _run(self, script: _Script, words: Sequence[Any], timeout: float, *, changes: bool) -> Any:
        """Run the script and return its reply. A change whose reply is late may have been made."""
        end = time.monotonic() + timeout
        connections = self._ours()
        if not connections.room.acquire(timeout=timeout):
            raise Unavailable(
                f"the state store {self._name} is overloaded: {_CONNECTIONS} operations are in "
                f"progress",
                started=False,
            )
        sent = False
        try:
            connection = self._connection(connections.idle, end)
            if not script.sha:
                script.sha = self._ask(connection, end, "SCRIPT", "LOAD", script.text).decode()
            sent = changes
            try:
                answer = self._ask(connection, end, "EVALSHA", script.sha, 4, *self._keys, *words)
            except redis.exceptions.NoScriptError:  # the server was restarted
                answer = self._ask(connection, end, "EVAL", script.text, 4, *self._keys, *words)
        except redis.exceptions.ResponseError as error:
            raise Unavailable(
                f"the state store {self._name} refused: {error}", started=False
            ) from None
        except (redis.RedisError, OSError) as error:
            # The connection is dropped: its late reply would be taken for another operation's.
            why = str(error) or type(error).__name__
            started = None if sent else False
            raise Unavailable(
                f"the state store {self._name} does not answer: {why}", started=started
            ) from None
        else:
            connections.idle.append(connection)
            return answer
        finally:
            connections.room.release()

    def _ours(self) -> _Connections:
        try:
            found: _Connections = self._connections.ours
        except AttributeError:
            found = self._connections.ours = _Connections()
        return found

    def _connection(self, idle: deque[Any], end: float) -> Any:
        while idle:
            known = idle.pop()
            try:
                if not known.can_read():
                    return known
            except redis.RedisError:
                pass  # closed by the server, for example on a restart
            known.disconnect()
        connection = self._make()
        left = max(0.001, min(_CONNECT, end - time.monotonic()))
        connection.socket_connect_timeout = connection.socket_timeout = left
        connection.connect()
        return connection

    def _ask(self, connection: Any, end: float, *words: Any) -> Any:
        left = max(0.001, end - time.monotonic())
        connection.update_current_socket_timeout(left)  # for sending, which may be large
        connection.send_command(*words)
        return connection.read_response(timeout=left)

    @property
    def _name(self) -> str:
        """The URL without its password."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"
