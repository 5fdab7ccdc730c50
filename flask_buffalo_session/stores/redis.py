"""Sessions in Redis or Valkey."""

from __future__ import annotations

import collections.abc as c
import inspect
import time
import typing as t
from contextlib import contextmanager

from ..errors import (
    SessionConfigError,
    SessionConflictError,
    SessionStoreError,
)
from .base import Health, Held, new_token, storage_key
from .health import redis_health

# Compares opaque bytes and writes, in one step and one round trip. ARGV: the
# expected record, the new one, and the seconds after which it is gone.
_SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""

# Forgets a record and says what it was. GETDEL is of Redis 6.2.
_TAKE = """
local found = redis.call('GET', KEYS[1])
if found and string.byte(found) ~= 0 then
    redis.call('DEL', KEYS[1])
end
return found
"""

# Says to the client, whatever its decode_responses is, that records are bytes.
_RAW: dict[str, t.Any] = {"NEVER_DECODE": True}


class RedisStore:
    """One server or many: single, behind Sentinel or in a cluster.

    One round trip for a read, two for a write. The server expires records by
    its own clock, so the machines' clocks need not agree.

    :param client: a client of redis-py or valkey-py, or one that does the same.
        Its time-outs are its own: without any, a request hangs as long as the
        server does. A write that it repeats by itself can find that the first
        attempt had got through, and then looks like another request's.
    :param prefix: what the keys begin with.
    :param hashed: False keeps a record under its id itself, as Go's boj/redistore
        does with the prefix ``session_``. Who can read the server can then take over
        its sessions, and there are no owners.
    :raises SessionConfigError: this is no such client.
    """

    def __init__(
        self,
        client: t.Any,
        *,
        prefix: str = "buffalo-session:",
        hashed: bool = True,
    ) -> None:
        execute = getattr(client, "execute_command", None)
        if (
            isinstance(client, type)
            or not callable(execute)
            or inspect.iscoroutinefunction(execute)
        ):
            raise SessionConfigError(
                "RedisStore needs a client of redis-py or valkey-py that is not an"
                f" asynchronous one; a {type(client).__name__} cannot be used."
            )
        self._client = client
        self._prefix = prefix
        self._hashed = hashed
        if not hashed:
            # From a session's id, which is a hash, no key could be told.
            self.own = None  # type: ignore[assignment,method-assign]

    def load(self, token: str) -> bytes | None:
        return self._get(self._id(token))

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        new = token is None
        if token is None:
            token = new_token()
        key = self._key(self._id(token))
        command: tuple[t.Any, ...] = ("SET", key, data, "EX", max_age)
        if expected is not None:
            command = ("EVAL", _SWAP, 1, key, expected, data, max_age)
        elif not new:
            command += ("NX",)
        with _answering("write"):
            saved = self._client.execute_command(*command)
        if not saved:
            raise SessionConflictError("the record changed meanwhile")
        return token

    def delete(self, token: str) -> None:
        with _answering("delete"):
            self._client.execute_command("DEL", self._key(self._id(token)))

    # Owners: for each a hash of ids and the seconds at which they were noted. It
    # only says where to look, so it need not change in one step with the records,
    # which in a cluster it could not.

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        key, now = self._owner_key(owner), int(time.time())
        noted = self._noted(key)
        gone = [other for other, seen in noted.items() if seen < now - max_age]
        with _answering("write"):
            self._client.execute_command("HSET", key, storage_key(token), now)
            self._client.execute_command("EXPIRE", key, max_age)
            if gone:
                self._client.execute_command("HDEL", key, *gone)

    def owned(self, owner: str) -> list[Held]:
        key = self._owner_key(owner)
        held: list[Held] = []
        known: set[str] = set()
        # Until none is new: a session may get another id while this looks, and is
        # noted under it before there is nothing under the old one any more.
        while new := {
            session_id: seen
            for session_id, seen in self._noted(key).items()
            if session_id not in known
        }:
            known |= new.keys()
            for session_id, seen in new.items():
                data = self._get(session_id)
                if data is not None:
                    held.append(Held(session_id, data, seen))
                    continue
                with _answering("write"):
                    self._client.execute_command("HDEL", key, session_id)
        return held

    def revoke(self, session_id: str) -> bytes | None:
        command = ("EVAL", _TAKE, 1, self._key(session_id))
        with _answering("delete"):
            found = self._client.execute_command(*command, **_RAW)
        return t.cast("bytes | None", found)

    def examine(self) -> Health:
        with _answering("be examined"):
            return redis_health(self._client)

    def _get(self, record_id: str) -> bytes | None:
        with _answering("read"):
            data = self._client.execute_command("GET", self._key(record_id), **_RAW)
        return t.cast("bytes | None", data)

    def _id(self, token: str) -> str:
        return storage_key(token) if self._hashed else token

    def _key(self, record_id: str) -> bytes:
        return f"{self._prefix}{record_id}".encode("utf-8", "surrogatepass")

    def _owner_key(self, owner: str) -> str:
        # A hash, as owners may be told by who they are.
        return f"{self._prefix}owner:{storage_key(owner)}"

    def _noted(self, key: str) -> dict[str, int]:
        with _answering("read"):
            noted = self._client.execute_command("HGETALL", key, **_RAW)
        return {session_id.decode(): int(seen) for session_id, seen in noted.items()}


@contextmanager
def _answering(doing: str) -> c.Iterator[None]:
    try:
        yield
    except Exception as error:
        # The client's libraries have no base class for their errors in common.
        raise SessionStoreError("Redis", f"cannot {doing}: {error}") from error
