"""An owner's sessions: which there are, and ending them from elsewhere."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass

from . import signals
from .errors import RejectedError, SessionTypeError
from .retired import is_mark, successor_key_of
from .revocation import RevocationList
from .sessions import (
    OWNER_NAME,
    Backing,
    Session,
    check_owner,
    is_over,
    unsupported,
)
from .stores.base import Owned, Store, is_owned, is_storage_key


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One of an owner's sessions.

    :param id: what :attr:`Session.id` is in it, to be handed to ``revoke``.
    :param created_at: when it began, in UTC.
    :param last_seen: when it was last used, in UTC, or up to a tenth of the idle
        time-out before that.
    :param current: whether it is the one of this request.
    """

    id: str
    created_at: dt.datetime
    last_seen: dt.datetime
    current: bool


class Owners:
    """
    :param session: the request's own, if there is one.
    :raises SessionUnsupportedError: the store does not know owners.
    """

    def __init__(
        self,
        store: Store | RevocationList,
        backing: Backing,
        session: Session | None = None,
    ) -> None:
        if not is_owned(store):
            raise unsupported(store)
        self._store: Owned = store
        self._backing = backing
        self._session = session

    def sessions_of(self, owner: str) -> list[SessionInfo]:
        """Those that are alive, the one used last first."""
        check_owner("sessions_of()", owner)
        current = None if self._session is None else self._session.id
        found = []
        for held in self._store.owned(owner):
            created = self._begun(held.data, owner)
            if created is not None:
                found.append(
                    SessionInfo(
                        held.id, _utc(created), _utc(held.seen), held.id == current
                    )
                )
        return sorted(found, key=lambda info: info.last_seen, reverse=True)

    def revoke(self, session_id: str) -> bool:
        """End a session. Its requests under way save nothing any more."""
        if not is_storage_key(session_id):
            return False
        ids = [session_id]
        ended = self._store.revoke(session_id)
        while (successor := successor_key_of(ended)) is not None:
            # It has got a new id since somebody was told this one.
            ids.append(session_id := successor)
            ended = self._store.revoke(session_id)
        if ended is None or is_mark(ended):
            return False
        if self._session is not None:
            self._session.was_revoked(*ids)
        self._backing.tell(signals.session_destroyed, session_id)
        return True

    def revoke_all(self, owner: str, keep: str | None = None) -> int:
        """End all sessions of an owner but one."""
        check_owner("revoke_all()", owner)
        count = 0
        # Until there is none: what could not be ended has got a new id meanwhile.
        while found := self._others(owner, keep):
            count += sum(map(self.revoke, found))
        return count

    def _others(self, owner: str, keep: str | None) -> list[str]:
        """The ids of those to end. What is kept may have got a new id meanwhile."""
        held = self._store.owned(owner)
        successors = {one.id: successor_key_of(one.data) for one in held}
        kept = {keep}
        while (keep := successors.pop(keep or "", None)) is not None:
            kept.add(keep)
        return [
            one.id
            for one in held
            if one.id not in kept and self._begun(one.data, owner) is not None
        ]

    def _begun(self, data: bytes, owner: str) -> int | None:
        """When the session began; None if this is no session, or not the owner's
        any more.
        """
        codec = self._backing.codec
        try:
            record = codec.loads(data)
            raw = record.values.get(OWNER_NAME)
            if raw is None or codec.decode(raw, OWNER_NAME) != owner:
                return None
        except (RejectedError, SessionTypeError):
            return None
        if is_over(record, self._backing):
            return None
        return int(time.time()) if record.created is None else record.created


def _utc(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
