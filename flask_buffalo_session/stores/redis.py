"""Sessions in Redis or Valkey."""

from __future__ import annotations

import collections.abc as c
import inspect
import time
import typing as t

from ..errors import SessionConfigError, SessionConflictError
from .base import KEY_PREFIX, Health, OwnedRecord, answering, new_token, storage_key
from .health import redis_health

# Compares and writes a record in one step and one round trip, on servers whose SET
# cannot compare. ARGV: the expected record, the new one, and the seconds after which it
# expires.
_SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""

# Deletes a record that is not a tombstone, and returns it. GETDEL needs Redis 6.2.
# ARGV: the expected record; empty for any record.
_TAKE = """
local found = redis.call('GET', KEYS[1])
if found and string.byte(found) ~= 0 and (ARGV[1] == '' or ARGV[1] == found) then
    redis.call('DEL', KEYS[1])
end
return found
"""

# Indexes a record: its last-seen time in a hash, and in a sorted set the time at
# which the entry expires. Drops up to 100 expired entries, so the cost does not grow
# with the owner's past sessions. ARGV: the id, the time and the life in seconds.
_INDEX = """
local now, life = tonumber(ARGV[2]), tonumber(ARGV[3])
for _, id in ipairs(
    redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)
) do
    redis.call('ZREM', KEYS[2], id)
    redis.call('HDEL', KEYS[1], id)
end
redis.call('HSET', KEYS[1], ARGV[1], now)
redis.call('ZADD', KEYS[2], now + life, ARGV[1])
for _, key in ipairs(KEYS) do
    if redis.call('TTL', key) < life then redis.call('EXPIRE', key, life) end
end
return 1
"""

# Returns raw bytes, whatever the client's decode_responses is.
_RAW: dict[str, t.Any] = {"NEVER_DECODE": True}


class RedisStore:
    """Sessions on one server or many: single, behind Sentinel or in a cluster.

    A read takes one round trip, and a change two. The server expires records by its
    own clock, so the clocks of the machines need not agree.

    :param client: a client of redis-py or valkey-py. Give it timeouts: without any, a
        request hangs as long as the server does. Turn its retries off: a repeated
        write can find its own first attempt, which then looks like another request's.
    :param prefix: what the keys begin with.
    :param hashed: False keeps a record under the token itself, as Go's boj/redistore
        does with the prefix ``session_``. A reader of the server can then take over
        its sessions, and the store does not support owners.
    :raises SessionConfigError: this is not such a client.
    """

    def __init__(
        self,
        client: t.Any,
        *,
        prefix: str = KEY_PREFIX,
        hashed: bool = True,
    ) -> None:
        execute = getattr(client, "execute_command", None)
        if (
            isinstance(client, type)
            or not callable(execute)
            or inspect.iscoroutinefunction(execute)
        ):
            raise SessionConfigError(
                "RedisStore needs a synchronous client of redis-py or valkey-py, not a"
                f" {type(client).__name__}."
            )
        self._client = client
        self._prefix = prefix
        self._hashed = hashed
        # Whether no server has refused the option IFEQ of SET yet. Valkey has it since
        # version 8.1 and Redis since 8.4.
        self._set_compares = True
        if not hashed:
            # The id of a session is a hash, from which no key can be found.
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
        with answering("Redis", "write"):
            if expected is not None:
                saved = self._swap(key, data, expected, max_age)
            else:
                condition = () if new else ("NX",)
                command = ("SET", key, data, "EX", max_age, *condition)
                saved = self._client.execute_command(*command)
        if not saved:
            raise SessionConflictError("the record has changed")
        return token

    def delete(self, token: str) -> None:
        with answering("Redis", "delete"):
            self._client.execute_command("DEL", self._key(self._id(token)))

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        # The index only says where to look. So it may change before or after the
        # record, which in a cluster may be on another server.
        keys = self._index_keys(owner)
        entry = (storage_key(token), int(time.time()), max_age)
        with answering("Redis", "write"):
            self._client.execute_command("EVAL", _INDEX, 2, *keys, *entry)

    def disown(self, session_id: str, owner: str) -> None:
        index, ends = self._index_keys(owner)
        with answering("Redis", "write"):
            self._client.execute_command("HDEL", index, session_id)
            self._client.execute_command("ZREM", ends, session_id)

    def owned(self, owner: str) -> c.Iterator[OwnedRecord]:
        keys = self._index_keys(owner)
        known: set[str] = set()
        # A session may get a new id meanwhile. The new id is indexed before the old
        # record is gone, so the search ends when it finds no new ids.
        while new := {
            session_id: seen
            for session_id, seen in self._indexed(keys[0]).items()
            if session_id not in known
        }:
            known |= new.keys()
            for session_id, seen in new.items():
                data = self.peek(session_id)
                if data is not None:
                    yield OwnedRecord(session_id, data, seen)
                    continue
                self.disown(session_id, owner)

    def peek(self, session_id: str) -> bytes | None:
        return self._get(session_id)

    def revoke(self, session_id: str, *, expected: bytes | None = None) -> bytes | None:
        command = ("EVAL", _TAKE, 1, self._key(session_id), expected or b"")
        with answering("Redis", "delete"):
            found = self._client.execute_command(*command, **_RAW)
        return t.cast("bytes | None", found)

    def check_health(self) -> Health:
        with answering("Redis", "report its state"):
            return redis_health(self._client)

    def close(self) -> None:
        self._client.close()

    def _swap(self, key: bytes, data: bytes, expected: bytes, max_age: int) -> object:
        """Write a record if the server holds the expected one, and return whether it
        did.
        """
        execute = self._client.execute_command
        if self._set_compares:
            # This takes a tenth less time than the script.
            try:
                return execute("SET", key, data, "IFEQ", expected, "EX", max_age)
            except Exception as error:
                # The clients have no base class for their errors in common.
                if "syntax error" not in str(error).lower():
                    raise
                # The server is older, and has written nothing. In a cluster another
                # server may be newer, but every server knows the script.
                self._set_compares = False
        return execute("EVAL", _SWAP, 1, key, expected, data, max_age)

    def _get(self, record_id: str) -> bytes | None:
        with answering("Redis", "read"):
            data = self._client.execute_command("GET", self._key(record_id), **_RAW)
        return t.cast("bytes | None", data)

    def _id(self, token: str) -> str:
        return storage_key(token) if self._hashed else token

    def _key(self, record_id: str) -> bytes:
        return f"{self._prefix}{record_id}".encode("utf-8", "surrogatepass")

    def _index_keys(self, owner: str) -> tuple[str, str]:
        # A hash, as an owner's name may identify a person. In a cluster the braces
        # keep both keys on one server.
        key = f"{self._prefix}owner:{{{storage_key(owner)}}}"
        return key, f"{key}:ends"

    def _indexed(self, key: str) -> dict[str, int]:
        with answering("Redis", "read"):
            found = self._client.execute_command("HGETALL", key, **_RAW)
        return {session_id.decode(): int(seen) for session_id, seen in found.items()}
