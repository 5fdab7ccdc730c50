"""Sessions in this process's memory."""

from __future__ import annotations

import time
import typing as t
from collections import OrderedDict, defaultdict
from threading import Lock

from ..errors import SessionConflictError
from .base import TOMBSTONE_PREFIX, OwnedRecord, new_token, storage_key

# Each save checks this many records for expiry. With two for every record that is
# added, the check comes round faster than the store grows, at a constant cost.
_SWEPT_PER_SAVE = 2


class MemoryStore:
    """Sessions for development, tests and applications of a single process.

    They end with the process, and other workers do not see them. Threads may share
    the store.
    """

    in_memory: t.Literal[True] = True

    def __init__(self) -> None:
        self._records: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        # Each indexed record's owner and last-seen time, and each owner's records.
        self._indexed: dict[str, tuple[str, int]] = {}
        self._owners: defaultdict[str, set[str]] = defaultdict(set)
        self._lock = Lock()

    def load(self, token: str) -> bytes | None:
        return self._live(storage_key(token), time.time())

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        if token is None:
            token = new_token()
        key = storage_key(token)
        now = time.time()
        with self._lock:
            if self._live(key, now) != expected:
                raise SessionConflictError("the record has changed")
            self._records[key] = (data, now + max_age)
            self._sweep(now)
        return token

    def delete(self, token: str) -> None:
        with self._lock:
            self._remove(storage_key(token))

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        key = storage_key(token)
        with self._lock:
            if key in self._records:
                self._disown(key)
                self._indexed[key] = owner, int(time.time())
                self._owners[owner].add(key)

    def disown(self, session_id: str, owner: str) -> None:
        with self._lock:
            self._disown(session_id)

    def owned(self, owner: str) -> list[OwnedRecord]:
        now = time.time()
        with self._lock:
            return [
                OwnedRecord(key, data, self._indexed[key][1])
                for key in self._owners.get(owner, ())
                if (data := self._live(key, now)) is not None
            ]

    def peek(self, session_id: str) -> bytes | None:
        return self._live(session_id, time.time())

    def revoke(self, session_id: str, *, expected: bytes | None = None) -> bytes | None:
        with self._lock:
            found = self._live(session_id, time.time())
            stays = found is not None and found.startswith(TOMBSTONE_PREFIX)
            if not stays and expected in (None, found):
                self._remove(session_id)
        return found

    def prune(self) -> int:
        now = time.time()
        with self._lock:
            expired = [key for key, (_, end) in self._records.items() if end <= now]
            for key in expired:
                self._remove(key)
        return len(expired)

    def _live(self, key: str, now: float) -> bytes | None:
        data, end = self._records.get(key, (None, 0.0))
        return data if end > now else None

    def _remove(self, key: str) -> None:
        self._records.pop(key, None)
        self._disown(key)

    def _disown(self, key: str) -> None:
        owner, _ = self._indexed.pop(key, (None, 0))
        if owner is not None:
            self._owners[owner].discard(key)
            if not self._owners[owner]:
                del self._owners[owner]

    def _sweep(self, now: float) -> None:
        for _ in range(_SWEPT_PER_SAVE):
            key = next(iter(self._records), None)
            if key is None:
                return
            if self._records[key][1] <= now:
                self._remove(key)
            else:
                self._records.move_to_end(key)
