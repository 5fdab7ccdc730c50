"""Sessions on a server. The cookie's token is the id."""

from __future__ import annotations

import collections.abc as c
import time
import typing as t

from ..codec import Codec, Record
from ..errors import RejectedError
from ..ids import IdRegister
from ..policy import Policy
from ..seal import Ticket
from ..stores.base import Store, storage_key
from ..tombstones import MOVED, is_tombstone, session_moved
from .base import OWNER_NAME, EndedError, Sealer, Snapshot
from .kept import KeptBackend


class ServerBackend(KeptBackend):
    """
    :param store: keeps the records, the tombstones and the index of owners.
    """

    claims = True

    def __init__(
        self, store: Store, codec: Codec, policy: Policy, seal: Sealer
    ) -> None:
        register = IdRegister(store, absent_is_dead=True)
        super().__init__(store, codec, policy, seal, register)
        self._ids: IdRegister = register

    def load(self, ticket: Ticket) -> Snapshot:
        token, issued = ticket.token, ticket.issued
        data = self._store.load(token)
        if is_tombstone(data):
            if session_moved(data):
                token, data = self._ids.follow(token, data, MOVED)
                # The new cookie is in the answer to the request that rotated the id.
                issued = int(time.time())
            if data is None or is_tombstone(data):
                raise EndedError(Snapshot(self._policy.blank(), token, data))
        try:
            if data is None:
                raise RejectedError("unknown", "the store has no such session")
            record = self._codec.loads(data)
            self._policy.check_age(record)
        except RejectedError as error:
            error.session_id = storage_key(token)
            raise
        permanent = ticket.permanent
        if permanent is None:
            permanent = self._is_permanent(record.values)
        return Snapshot(record, token, data, None, issued, permanent)

    def reload(self, seen: Snapshot) -> Snapshot:
        if seen.token is None:
            return seen
        data = self._store.load(seen.token)
        token, data = self._ids.follow(seen.token, data, MOVED)
        if data is None or is_tombstone(data):
            raise EndedError
        try:
            record = self._codec.loads(data)
            self._policy.check_age(record)
        except RejectedError as error:
            error.session_id = storage_key(token)
            raise
        issued = seen.issued if token == seen.token else int(time.time())
        return seen._replace(record=record, token=token, data=data, issued=issued)

    def write(
        self, seen: Snapshot, record: Record, *, changed: c.Collection[t.Hashable]
    ) -> Snapshot:
        begins = seen.token is None
        refresh = begins or self._policy.refresh_is_due(
            seen.issued, permanent=seen.permanent
        )
        record, data = self._packed(seen, record, changed=changed)
        if seen.token is not None and (refresh or OWNER_NAME in changed):
            # Before the record names another owner, so that the session is found
            # under one of the two at any moment.
            self._index(seen.token, record.values)
        token = self._save(seen, record, data)
        permanent = self._is_permanent(record.values)
        if not refresh and permanent == seen.permanent:
            issued = seen.issued
            return Snapshot(record, token, data, None, issued, permanent, seen.cookie)
        with self._forgetting(token if begins else None):
            if begins:
                self._index(token, record.values)
            cookie = self._seal(token, permanent=permanent, values=record.values)
        issued = int(time.time())
        return Snapshot(record, token, data, None, issued, permanent, cookie)

    def _key(self, snapshot: Snapshot) -> str | None:
        return snapshot.token

    def _seen(self, snapshot: Snapshot) -> bytes | None:
        return snapshot.data

    def _no_owners(self) -> str:
        return (
            f"{type(self._store).__name__} does not support owners, as it is set up."
            " Use RedisStore (with hashed=True), SQLStore or MemoryStore."
        )
