"""An owner's sessions: which there are, and ending them from elsewhere."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field

from . import signals
from .arguments import owner_name
from .backends.base import INFO_NAME, Backend
from .codec import Codec, Record, own_value
from .index import OwnerIndex
from .opener import Opener
from .sessions import Session
from .stores.base import is_storage_key


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One of an owner's sessions.

    :param id: :attr:`Session.id` of the session, as ``revoke`` takes it.
    :param created_at: when the session began, in UTC.
    :param last_seen: when the session was last used, in UTC. It may have been used up
        to a tenth of the idle timeout later.
    :param current: whether it is the session of this request.
    :param authenticated_at: when the user last logged in, in UTC. None without a login.
    :param info: what ``bind`` or ``authenticate`` was given about the session, such as
        the browser. Empty if it was given nothing.
    """

    id: str
    created_at: dt.datetime
    last_seen: dt.datetime
    current: bool
    authenticated_at: dt.datetime | None = None
    info: dict[str, str] = field(default_factory=dict)


class Owners:
    """Finds and ends the sessions of an owner.

    :param backend: where the sessions live.
    :param session: the request's own session, if there is a request.
    :raises SessionUnsupportedError: the store does not support owners.
    """

    def __init__(
        self, backend: Backend, opener: Opener, session: Session | None = None
    ) -> None:
        self._index = OwnerIndex(backend, opener.codec, opener.policy)
        self._opener = opener
        self._session = session

    def sessions_of(self, owner: str | int) -> list[SessionInfo]:
        """Return an owner's living sessions, the most recently used first."""
        owner = owner_name("sessions_of()", owner)
        current = None if self._session is None else self._session.id
        codec, policy = self._opener.codec, self._opener.policy
        found = []
        living = sorted(
            self._index.living(owner), key=lambda one: one.last_use, reverse=True
        )
        for held, record, _ in living:
            authenticated = policy.authenticated(record.values)
            info = SessionInfo(
                id=held.id,
                created_at=_utc(record.created or 0),
                last_seen=_utc(held.seen),
                current=held.id == current,
                authenticated_at=None if authenticated is None else _utc(authenticated),
                info=_info(codec, record),
            )
            found.append(info)
        return found

    def revoke(self, session_id: str) -> bool:
        """End a session. Its requests under way save nothing any more.

        :returns: whether there was such a session, and it was alive.
        """
        if not is_storage_key(session_id):
            return False
        session = self._session
        if session is not None and not session.closed and session.id == session_id:
            # Clearing it removes its cookie, too.
            session.clear()
            session.save()
            return True
        ended = self._index.end(session_id)
        if ended is None:
            return False
        self._opener.emit(signals.session_destroyed, ended)
        return True

    def revoke_all(self, owner: str | int, keep: str | None = None) -> int:
        """End all sessions of an owner but one, and return how many were ended."""
        owner = owner_name("revoke_all()", owner)
        count, found = 0, True
        # Until none is left: a session may have got another id meanwhile.
        while found:
            found = False
            for held, _, _ in self._index.living(owner):
                if not self._index.is_same(held.id, keep):
                    found = True
                    count += self.revoke(held.id)
        session = self._session
        # The request may have bound its own session without saving it yet.
        if session is not None and session.owner == owner:
            own = session.id
            if own is not None and not self._index.is_same(own, keep):
                count += self.revoke(own)
        return count


def _info(codec: Codec, record: Record) -> dict[str, str]:
    text = own_value(codec, record.values, INFO_NAME)
    if text is None:
        return {}
    try:
        info = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        # Another program may have written anything here.
        return {}
    if not isinstance(info, dict) or not all(type(v) is str for v in info.values()):
        return {}
    return info


def _utc(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
