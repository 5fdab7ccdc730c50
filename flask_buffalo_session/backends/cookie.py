"""Sessions in the cookie. The cookie's token is the record.

With a revocation list the record's nonce is the session's id. Without one the session
has no id, and a copied cookie stays valid until it expires.
"""

from __future__ import annotations

import collections.abc as c
import time
import typing as t
from contextlib import nullcontext, suppress

from ..codec import Codec, Record
from ..errors import RejectedError, SessionConflictError
from ..ids import IdRegister
from ..policy import Policy
from ..records import CipherInForce
from ..revocation import RevocationList, has_just_ended
from ..seal import Ticket
from ..stores.base import Store, storage_key
from ..tombstones import MOVED, Kind, is_tombstone, session_moved, tombstone
from .base import (
    AUTHENTICATED_NAME,
    BOUND_NAME,
    INFO_NAME,
    OWNER_NAME,
    TIMEOUTS_NAME,
    Arrival,
    EndedError,
    Ending,
    Sealer,
    Snapshot,
)
from .kept import NONCE_BYTES, KeptBackend

# What the revocation list keeps of a session.
_ENTERED = frozenset(
    {OWNER_NAME, AUTHENTICATED_NAME, TIMEOUTS_NAME, INFO_NAME, BOUND_NAME}
)


class CookieBackend(KeptBackend):
    """Keeps each session in its cookie.

    :param store: turns records into tokens and back.
    :param revocations: the list of ended sessions, if there is one.
    :param cipher: encrypts the entries in the list, and hides the owners from it. The
        records need no cipher, because the seal encrypts the whole cookie.
    """

    def __init__(
        self,
        store: Store,
        codec: Codec,
        policy: Policy,
        seal: Sealer,
        revocations: RevocationList | None = None,
        cipher: CipherInForce | None = None,
    ) -> None:
        ids = None
        if revocations is not None:
            ids = IdRegister(revocations, absent_is_dead=False, cipher=cipher)
        super().__init__(store, codec, policy, seal, ids)
        self._entry_cipher = cipher
        self._revocations = revocations

    def load(self, ticket: Ticket) -> Snapshot:
        token, issued, permanent = ticket
        data = self._store.load(token)
        if data is None:
            raise RejectedError("unknown", "the cookie's token is no record")
        record = self._codec.loads(data)
        try:
            self._policy.check_times(issued, record, alive=False)
        except RejectedError as error:
            error.session_id = self.id_of(Snapshot(record))
            raise
        entry = None
        if self._ids is not None and record.nonce:
            nonce = record.nonce
            record, entry = self._listed(self._ids, record, ticket)
            if record.nonce != nonce:
                # The session moved, and the browser still sends the old id: it may
                # never receive the new one, or a parallel answer replaced it. So this
                # request makes a cookie with the new id, as a refresh.
                data, issued = None, 0
        if permanent is None:
            permanent = self._is_permanent(record.values)
        return Snapshot(record, token, data, entry, issued, permanent)

    def adopt(self, arrival: Arrival) -> Snapshot:
        # Every request with the same old cookie gets the same id, so the revocation
        # list knows whether the session has ended.
        nonce = bytes.fromhex(storage_key(arrival.key))[:NONCE_BYTES]
        record, entry = self._arriving(arrival)._replace(nonce=nonce), None
        if self._ids is not None:
            record, entry = self._listed(self._ids, record, Ticket("", 0, None))
        seen = Snapshot(record)
        record, data = self._packed(seen, record, changed=())
        token = self._save(seen, record, data)
        # No browser has the cookie yet, so the cookie is due at once.
        permanent = self._is_permanent(record.values)
        return Snapshot(record, token, data, entry, 0, permanent)

    def reload(self, seen: Snapshot) -> Snapshot:
        key = self._key(seen)
        if self._ids is None or key is None:
            return seen
        # No other request can change what is in this cookie, but its id may have moved
        # or ended.
        key, entry = self._ids.follow(key, self._ids.load(key), MOVED)
        if is_tombstone(entry):
            raise EndedError
        return seen._replace(record=_moved(seen.record, key), data=None, entry=entry)

    def write(
        self, seen: Snapshot, record: Record, *, changed: c.Collection[t.Hashable]
    ) -> Snapshot:
        if not record.values:
            return self._remove(seen)
        record, data = self._packed(seen, record, changed=changed)
        token = self._save(seen, record, data)
        permanent = self._is_permanent(record.values)
        issued = int(time.time()) if seen.used is None else seen.used
        # A session that is too large for a cookie must not be indexed.
        cookie = self._seal(
            token, permanent=permanent, values=record.values, issued=issued
        )
        written = Snapshot(
            record, token, data, seen.entry, issued, permanent, cookie, seen.used
        )
        if self._revocations is None or not self._entry_is_due(seen, changed):
            return written
        guard = self._forgetting(self._key(written)) if seen.token is None else None
        with guard or nullcontext():
            return written._replace(entry=self._enter(self._revocations, written))

    def rotate(self, seen: Snapshot, record: Record, *, kind: Kind) -> Snapshot:
        if not record.values:
            return self._remove(seen)
        return super().rotate(self._entered(seen), record, kind=kind)

    def end(self, ending: Ending) -> bool:
        return super().end(ending._replace(snapshot=self._entered(ending.snapshot)))

    def record_in(self, data: bytes, session_id: str) -> Record:
        if self._entry_cipher is not None:
            data = self._entry_cipher().decrypt(data, session_id)
        return self._codec.loads(data)

    def _listed(
        self, ids: IdRegister, record: Record, ticket: Ticket
    ) -> tuple[Record, bytes | None]:
        """Look a session up in the revocation list.

        :returns: the record, with the id under which the session goes on, and its entry
            in the list.
        :raises EndedError: the session ended while this request was under way.
        :raises RejectedError: the session ended before.
        """
        key = record.nonce.hex()
        entry = ids.load(key)
        if not is_tombstone(entry):
            return record, entry
        if session_moved(entry):
            key, entry = ids.follow(key, entry, MOVED)
            record = _moved(record, key)
            if not is_tombstone(entry):
                return record, entry
        if has_just_ended(entry, ticket.issued):
            blank = self._policy.blank()._replace(nonce=record.nonce)
            raise EndedError(Snapshot(blank, entry=entry))
        error = RejectedError("unknown", "the session has ended")
        error.session_id = storage_key(key)
        raise error

    def _remove(self, seen: Snapshot) -> Snapshot:
        """End a session that has become empty: nothing is left to put in a cookie."""
        if not self.end(Ending(seen, tombstone())):
            raise EndedError
        return Snapshot(self._policy.blank(), cookie="")

    # The revocation list

    def _entry_is_due(self, seen: Snapshot, changed: c.Collection[t.Hashable]) -> bool:
        if seen.token is None or not _ENTERED.isdisjoint(changed):
            return True
        if self._policy.cookie_is_due(seen):
            return True
        if seen.entry is None:
            return False
        # Each change makes a new cookie, so the age of the cookie alone does not say
        # how old its entry is.
        try:
            entered = self.record_in(seen.entry, self._session_id(seen)).rotated
        except RejectedError:
            return True
        return self._policy.cookie_is_due(seen._replace(issued=entered))

    def _enter(self, revocations: RevocationList, written: Snapshot) -> bytes | None:
        """Enter the session's owner, what is known about the login, and the session's
        own timeouts in the list.

        :returns: the entry; None if there is nothing to enter and was no entry.
        """
        record, key = written.record, self._key(written)
        needed = OWNER_NAME in record.values or TIMEOUTS_NAME in record.values
        if key is None or not (needed or written.entry):
            return written.entry
        values: dict[t.Hashable, bytes] = {
            name: raw for name, raw in record.values.items() if name in _ENTERED
        }
        entry = self._codec.dumps(Record(record.created, b"", values, int(time.time())))
        if self._entry_cipher is not None:
            entry = self._entry_cipher().encrypt(entry, storage_key(key))
        max_age = self._policy.max_age(record, written.used)
        revocations.save(
            key,
            entry,
            expected=written.entry,
            max_age=max_age + self._policy.entry_margin(values),
        )
        self._index(key, record.values)
        return entry

    def _entered(self, seen: Snapshot) -> Snapshot:
        """Enter a session that is about to end in the list, if its cookie may outlive
        the usual tombstone. The entry says how long the tombstone is needed.
        """
        has_own = TIMEOUTS_NAME in seen.record.values
        if self._revocations is None or seen.entry is not None or not has_own:
            return seen
        with suppress(SessionConflictError):
            # After a conflict, another request has entered or ended the session.
            return seen._replace(entry=self._enter(self._revocations, seen))
        return seen

    def _key(self, snapshot: Snapshot) -> str | None:
        if self._ids is None:
            return None
        return snapshot.record.nonce.hex() or None

    def _seen(self, snapshot: Snapshot) -> bytes | None:
        return snapshot.entry

    def _no_owners(self) -> str:
        return (
            "Sessions in cookies are not indexed by owner. Set SESSION_REVOCATION to a"
            " store that does this, or choose a SESSION_STORE on a server."
        )


def _moved(record: Record, key: str) -> Record:
    """Return the record under the id to which its session has just moved.

    :raises RejectedError: it is no id. Somebody has written into the list.
    """
    try:
        nonce = bytes.fromhex(key)
    except ValueError:
        raise RejectedError("corrupt", "the list leads to no id") from None
    if nonce == record.nonce:
        return record
    return record._replace(nonce=nonce, rotated=int(time.time()))
