"""Sessions on a server. The cookie's token is the id."""

from __future__ import annotations

import collections.abc as c
import time
import typing as t

from ..attempts import attempts
from ..codec import Codec, Record
from ..errors import RejectedError, SessionConflictError
from ..ids import IdRegister
from ..policy import Policy
from ..records import CipherInForce
from ..seal import Ticket
from ..stores.base import Store, new_token, storage_key
from ..tombstones import (
    ARRIVED,
    MOVED,
    forwarding,
    is_tombstone,
    leads_still,
    session_moved,
    successor_of,
)
from .base import (
    OWNER_NAME,
    TIMEOUTS_NAME,
    Arrival,
    EndedError,
    Sealer,
    Snapshot,
)
from .kept import KeptBackend


class ServerBackend(KeptBackend):
    """Keeps each session in a store, under the id in its cookie.

    :param store: keeps the records, the tombstones and the index of owners.
    :param cipher: encrypts the records and hides the owners; None if neither is asked
        for.
    """

    claims = True

    def __init__(
        self,
        store: Store,
        codec: Codec,
        policy: Policy,
        seal: Sealer,
        cipher: CipherInForce | None = None,
    ) -> None:
        register = IdRegister(store, absent_is_dead=True, cipher=cipher)
        super().__init__(store, codec, policy, seal, register, cipher)
        self._ids: IdRegister = register

    def load(self, ticket: Ticket) -> Snapshot:
        token, issued = ticket.token, ticket.issued
        data = self._store.load(token)
        if is_tombstone(data):
            if session_moved(data):
                token, data = self._ids.follow(token, data, MOVED)
                # The browser may never have received the new cookie. So this request
                # sends it again, as a refresh.
                issued = 0
            if data is None or is_tombstone(data):
                raise EndedError(Snapshot(self._policy.blank(), token, data))
        try:
            if data is None:
                self._policy.check_idle(ticket.issued)
                raise RejectedError("unknown", "the store has no such session")
            plain = data
            if self._cipher is not None:
                plain = self._cipher().decrypt(data, storage_key(token))
            record = self._codec.loads(plain)
            self._policy.check_times(ticket.issued, record, alive=True)
        except RejectedError as error:
            error.session_id = storage_key(token)
            raise
        permanent = ticket.permanent
        if permanent is None:
            permanent = self._is_permanent(record.values)
        return Snapshot(record, token, data, None, issued, permanent)

    def adopt(self, arrival: Arrival) -> Snapshot:
        key = arrival.key
        for _ in attempts():
            pointer = self._store.load(key)
            if pointer is not None:
                # Another request was faster, or the old cookie was used before.
                moved = self.load(Ticket(successor_of(pointer, key) or "", 0, None))
                if arrival.unique or leads_still(pointer):
                    return moved
                # The cookie may be that of another user, with the same values. So it
                # gets a session of its own.
            try:
                record = self._arriving(arrival)
            except RejectedError:
                if self._store.load(key) == pointer:
                    raise
                # Another request has just moved the session and deleted the old one.
                continue
            seen = self._placed(Snapshot(record))
            record, data = self._packed(seen, record, changed=())
            token = self._save(seen, record, data)
            left = forwarding(ARRIVED, key, token)
            try:
                # If the store cannot answer, the new record stays: the pointer may
                # lead to it.
                self._ids.retire(key, pointer, left, max_age=arrival.lifetime)
            except SessionConflictError:
                self._ids.forget(token)
                continue
            # No browser has the cookie yet, so the cookie is due at once.
            permanent = self._is_permanent(record.values)
            return Snapshot(record, token, data, None, 0, permanent)
        raise AssertionError("attempts() ends with an error")

    def reload(self, seen: Snapshot) -> Snapshot:
        if seen.token is None:
            return seen
        data = self._store.load(seen.token)
        token, data = self._ids.follow(seen.token, data, MOVED)
        if data is None or is_tombstone(data):
            raise EndedError
        try:
            record = self.record_in(data, storage_key(token))
            self._policy.check_age(record)
        except RejectedError as error:
            error.session_id = storage_key(token)
            raise
        # A session that moved gets a cookie with its new id, as in load().
        issued = seen.issued if token == seen.token else 0
        return seen._replace(record=record, token=token, data=data, issued=issued)

    def write(
        self, seen: Snapshot, record: Record, *, changed: c.Collection[t.Hashable]
    ) -> Snapshot:
        begins = seen.token is None
        if begins:
            seen = self._placed(seen)
        refresh = begins or TIMEOUTS_NAME in changed or self._policy.cookie_is_due(seen)
        record, data = self._packed(seen, record, changed=changed)
        if not begins and (refresh or OWNER_NAME in changed):
            # Before the record names another owner, so that the session is found
            # under one of the two at any moment.
            self._index(t.cast(str, seen.token), record.values)
        token = self._save(seen, record, data)
        permanent = self._is_permanent(record.values)
        if not refresh and permanent == seen.permanent:
            return seen.stored(record, token, data)
        issued = int(time.time()) if seen.used is None else seen.used
        with self._forgetting(token if begins else None):
            if begins:
                self._index(token, record.values)
            cookie = self._seal(
                token, permanent=permanent, values=record.values, issued=issued
            )
        return Snapshot(record, token, data, None, issued, permanent, cookie, seen.used)

    def _placed(self, seen: Snapshot) -> Snapshot:
        """Return a session that begins, with its id if the record is encrypted for
        that id. Otherwise the store issues the id.
        """
        return seen if self._cipher is None else seen._replace(token=new_token())

    def _key(self, snapshot: Snapshot) -> str | None:
        return snapshot.token

    def _seen(self, snapshot: Snapshot) -> bytes | None:
        return snapshot.data

    def _no_owners(self) -> str:
        return (
            f"{type(self._store).__name__} does not support owners, as it is set up."
            " Use RedisStore (with hashed=True), SQLStore or MemoryStore."
        )
