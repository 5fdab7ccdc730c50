"""Sessions in this process's memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock

from ..errors import SessionConflictError
from .base import new_token, storage_key

# Records looked at on each save in search of expired ones. Two for every one
# added goes round the whole store faster than it grows, at a cost that does
# not depend on its size.
_SWEPT_PER_SAVE = 2


class MemoryStore:
    """For development, tests and applications of a single process. Gone with
    the process, and not shared by several workers. Safe between threads.
    """

    def __init__(self) -> None:
        self._records: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
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
                raise SessionConflictError("the record changed meanwhile")
            self._records[key] = (data, now + max_age)
            self._sweep(now)
        return token

    def delete(self, token: str) -> None:
        with self._lock:
            self._records.pop(storage_key(token), None)

    def prune(self) -> int:
        now = time.time()
        with self._lock:
            expired = [key for key, (_, end) in self._records.items() if end <= now]
            for key in expired:
                del self._records[key]
        return len(expired)

    def _live(self, key: str, now: float) -> bytes | None:
        data, end = self._records.get(key, (None, 0.0))
        return data if end > now else None

    def _sweep(self, now: float) -> None:
        for _ in range(_SWEPT_PER_SAVE):
            key = next(iter(self._records))
            if self._records[key][1] <= now:
                del self._records[key]
                if not self._records:
                    return
            else:
                self._records.move_to_end(key)
