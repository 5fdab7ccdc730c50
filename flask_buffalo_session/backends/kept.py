"""What the backends on a server and in the cookie have in common."""

from __future__ import annotations

import collections.abc as c
import os
import typing as t
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress

from ..codec import Codec, Record
from ..errors import (
    SessionConflictError,
    SessionStoreError,
    SessionTypeError,
    SessionUnsupportedError,
)
from ..ids import IdRegister
from ..policy import Policy
from ..records import CipherInForce
from ..stores.base import Owned, Store, storage_key
from ..tombstones import ENDED, Kind, forwarding, tombstone
from .base import OWNER_NAME, Arrival, Ending, Sealer, Snapshot

NONCE_BYTES = 12  # pragma: no mutate: any number that is large enough


class KeptBackend(ABC):
    """
    :param store: keeps the records.
    :param ids: retires ids and indexes them by owner; None where sessions have no id.
    :param cipher: encrypts the records; None if they are not encrypted.
    """

    keeps = True
    claims = False

    def __init__(
        self,
        store: Store,
        codec: Codec,
        policy: Policy,
        seal: Sealer,
        ids: IdRegister | None,
        cipher: CipherInForce | None = None,
    ) -> None:
        self._store = store
        self._codec = codec
        self._policy = policy
        self._seal = seal
        self._ids = ids
        self._cipher = cipher
        self.owned: Owned | None = None if ids is None else ids.owned

    def check_writable(self) -> None:
        return

    def check_owners(self) -> None:
        if self.owned is None:
            raise SessionUnsupportedError(self._no_owners())

    def blank(self) -> Snapshot:
        return Snapshot(self._policy.blank())

    def swap(self, seen: Snapshot, record: Record) -> Snapshot:
        data = self._codec.dumps(record)
        if self._cipher is not None:
            data = self._cipher().encrypt(data, self._session_id(seen))
        self._save(seen, record, data)
        return seen._replace(record=record, data=data)

    def rotate(self, seen: Snapshot, record: Record, *, kind: Kind) -> Snapshot:
        # Save first, then retire the old id: a crash in between must not cost the
        # session.
        # pragma: no mutate: an empty nonce and a missing one are the same here
        renewed = record._replace(nonce=b"", rotated=self._policy.rotated_now())
        # pragma: no mutate: only the missing token and data of the snapshot count
        written = self.write(Snapshot(record, used=seen.used), renewed, changed=())
        key, successor = self._key(seen), self._key(written)
        # pragma: no mutate: without a register there is no id, old or new
        if self._ids is None or key is None or successor is None:
            return written
        mark = tombstone() if kind == ENDED else forwarding(kind, key, successor)
        try:
            self._ids.retire(key, self._seen(seen), mark)
        except SessionConflictError:
            # The next attempt gets another id.
            self._ids.forget(successor)
            raise
        except Exception:
            # The first error is the one to report. Delete the new record unless the
            # old id may be retired already: then it is the only copy.
            with suppress(SessionStoreError):
                if not self._ids.has_ended(key):
                    self._ids.forget(successor)
            raise
        return written

    def end(self, ending: Ending) -> bool:
        seen, mark = ending
        key = self._key(seen)
        # pragma: no mutate: without a register there is no id
        if self._ids is None or key is None:
            return True
        return self._ids.end(key, self._seen(seen), mark)

    def _arriving(self, arrival: Arrival) -> Record:
        """Load an old session, and date it.

        :raises RejectedError: there is none, or it is too old.
        """
        loaded, blank = arrival.load(self._codec), self._policy.blank()
        created = blank.created if loaded.created is None else loaded.created
        record = blank._replace(created=created, values=loaded.values)
        self._policy.check_age(record)
        return record

    def opened(self, data: bytes, session_id: str) -> Record:
        if self._cipher is not None:
            data = self._cipher().decrypt(data, session_id)
        return self._codec.loads(data)

    def id_of(self, snapshot: Snapshot) -> str | None:
        key = self._key(snapshot)
        return None if key is None else storage_key(key)

    @abstractmethod
    def write(
        self, seen: Snapshot, record: Record, *, changed: c.Collection[t.Hashable]
    ) -> Snapshot: ...

    @abstractmethod
    def _key(self, snapshot: Snapshot) -> str | None:
        """Return the session's id, if it has one."""

    @abstractmethod
    def _seen(self, snapshot: Snapshot) -> bytes | None:
        """Return what the register of ids held when the session was last seen."""

    @abstractmethod
    def _no_owners(self) -> str:
        """Return why owners are not supported, and what to do."""

    def _save(self, seen: Snapshot, record: Record, data: bytes) -> str:
        max_age = self._policy.max_age(record, seen.used)
        return self._store.save(seen.token, data, expected=seen.data, max_age=max_age)

    def _packed(
        self, seen: Snapshot, record: Record, *, changed: object
    ) -> tuple[Record, bytes]:
        """Return a record with its nonce, and its bytes. The bytes stay if nothing was
        changed: another program may have written them in an order of its own.
        """
        if seen.data is None or changed or record.created != seen.record.created:
            if not record.nonce:
                record = record._replace(nonce=os.urandom(NONCE_BYTES))
            data = self._codec.dumps(record)
        elif self._cipher is None:
            return record, seen.data
        else:
            # A fallback may have encrypted the bytes, and is dropped one day.
            data = self._cipher().decrypt(seen.data, self._session_id(seen))
        if self._cipher is not None:
            data = self._cipher().encrypt(data, self._session_id(seen))
        return record, data

    def _session_id(self, snapshot: Snapshot) -> str:
        """Return the hash of the id of a session that has an id."""
        return t.cast(str, self.id_of(snapshot))

    @contextmanager
    def _forgetting(self, key: str | None) -> c.Iterator[None]:
        """Delete what was saved under a new id if a later step fails."""
        try:
            yield
        except Exception:
            if self._ids is not None and key is not None:
                with suppress(SessionStoreError):
                    self._ids.forget(key)
            raise

    def _is_permanent(self, values: c.Mapping[t.Hashable, bytes]) -> bool:
        return "_permanent" in values and bool(self._read("_permanent", values))

    def _index(self, key: str, values: c.Mapping[t.Hashable, bytes]) -> None:
        owner = self._read(OWNER_NAME, values)
        if self._ids is not None and isinstance(owner, str):
            self._ids.own(key, owner, max_age=self._policy.index_seconds(values))

    def _read(self, name: str, values: c.Mapping[t.Hashable, bytes]) -> t.Any:
        """Return a value that the package itself uses, or None if it cannot be decoded:
        then reading it is an error, but saving another value is not.
        """
        raw = values.get(name)
        if raw is None:
            return None
        try:
            return self._codec.decode(raw, name)
        except SessionTypeError:
            return None
