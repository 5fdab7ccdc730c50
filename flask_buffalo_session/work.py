"""What one request does to one session, and how it is saved (a unit of work).

The backend keeps the session, the tracker knows what changed, and the snapshot is the
session as this request has last seen it.
"""

from __future__ import annotations

import time
import typing as t

from blinker import NamedSignal

from . import signals
from .attempts import attempts
from .backends.base import (
    AUTHENTICATED_NAME,
    OWNER_NAME,
    TIMEOUTS_NAME,
    Backend,
    EndedError,
    Ending,
    Snapshot,
)
from .codec import NO_STAMPS, Record
from .errors import (
    RejectedError,
    SessionClosedError,
    SessionConflictError,
    SessionTypeError,
)
from .index import OwnerIndex
from .logins import Logins
from .merging import MISSING
from .opener import Opener
from .tombstones import ENDED, MOVED, Kind, tombstone
from .tracking import Changes, Tracker, Values

#: Whether a session can be saved. "live": it is saved at the end of the request.
#: "retired": the id was retired before this request. Changes are dropped, and this is
#: logged. "abandoned": nothing more is saved or logged, and the cookie stays as last
#: saved.
State: t.TypeAlias = t.Literal["live", "retired", "abandoned"]


class Pending(t.NamedTuple):
    """What the next save does besides storing what changed.

    :param forced: save even if nothing changed.
    :param rotate: the kind of tombstone to leave under the present id; None keeps the
        id.
    :param endings: the sessions to end.
    :param limited: the owner whose sessions beyond the limit are to be ended.
    """

    forced: bool = False
    rotate: Kind | None = None
    endings: tuple[Ending, ...] = ()
    limited: str | None = None


NOTHING: t.Final = Pending()

# Names of the package whose change may rotate the id.
_ROTATING_NAMES = frozenset({OWNER_NAME, TIMEOUTS_NAME})

#: A signal to emit, the session that it is about or the hash of its id, and the session
#: under its earlier id, if the id changed.
Event: t.TypeAlias = tuple[NamedSignal, Snapshot | str, Snapshot | None]


class UnitOfWork:
    """A session that was loaded, what changed in it, and what is left to do.

    :param snapshot: the session as it was loaded; None begins a session.
    :param retired: what was found under an id that was retired before this request.
    """

    # Class attributes, so that loading a session sets none of them.
    pending = NOTHING
    #: Whether a save has stored or ended what the view asked for.
    has_saved = False
    #: The cookie text to send: "" removes the cookie, None leaves it alone.
    cookie: str | None = None
    _state: State = "live"
    _retired: Snapshot | None = None
    _failed: t.Any = None

    def __init__(
        self,
        opener: Opener,
        backend: Backend,
        snapshot: Snapshot | None,
        retired: Snapshot | None = None,
    ) -> None:
        self._opener = opener
        self.backend = backend
        self.new = snapshot is None
        if retired is not None:
            self._retired, self._state = retired, "retired"
        self._follow(backend.blank() if snapshot is None else snapshot)

    def _follow(self, snapshot: Snapshot) -> None:
        opener = self._opener
        self.snapshot = snapshot
        # In a cookie nothing is merged, so stamps would only make the cookie longer.
        stamped = self.backend.claims and opener.codec.keeps_stamps
        self.tracker = Tracker(
            opener.codec, snapshot.record, opener.auth_names, stamped=stamped
        )

    @property
    def _logins(self) -> Logins:
        # Made on demand, because most requests neither log in nor log out.
        return Logins(self.tracker, self._opener.auth_names)

    @property
    def answered(self) -> bool:
        """Whether the session is in use, and the store has answered every call."""
        return self._state == "live"

    # What a view asks for

    def check_writable(self, *, closed: bool) -> None:
        """Check that the session may be changed.

        :param closed: whether the response has been made.
        :raises SessionClosedError: the response has been made.
        :raises SessionSecretError: there is no secret to protect the session.
        """
        if closed and self.backend.keeps:
            raise SessionClosedError(
                "The session was changed after the response was made, so the change"
                " cannot be saved. Change the session in the view, and call"
                " session.save() before streaming."
            )
        self.backend.check_writable()

    def claim(self, name: t.Hashable) -> t.Any:
        """Take a value out of the store at once.

        :returns: the value, as this request has edited it; MISSING if another request
            was faster.
        :raises SessionConflictError: too many other requests changed the session.
        :raises SessionStoreError: the store cannot answer.
        """
        changes = self.tracker.change(name)
        for _ in attempts():
            rest = self.tracker.applied(changes)
            raw = rest.pop(name, None)
            if raw is None:
                return MISSING
            value = self._opener.codec.decode(raw, name)
            try:
                record = self._record(rest, {})
                self.snapshot = self.backend.swap(self.snapshot, record)
            except SessionConflictError:
                events: list[Event] = []
                try:
                    self._reload()
                except EndedError:
                    self._drop(events)
                    self._emit(events)
                    return MISSING
                continue
            self.tracker.forget(name, record)
            if self._logins.date_claim(name, raw):
                self.pending = self.pending._replace(rotate=ENDED)
            return value
        raise AssertionError("attempts() ends with an error")

    def bind(self, owner: str, info: str | None) -> None:
        """Set the session's owner.

        :param info: what the session keeps about this login; None for what it has.
        """
        self._logins.bind(owner, info)

    def authenticate(self) -> None:
        """Record that the user logs in now. A login counts as use, also in a passive
        request.
        """
        self._logins.begin()
        self._count_as_use()

    def _count_as_use(self) -> None:
        self.snapshot = self.snapshot._replace(used=None)

    def authenticated(self) -> int | None:
        """Return when the user last logged in, in seconds since the epoch. This is what
        a save would keep now.
        """
        return self._logins.authenticated(self._opener.policy)

    def expires(self) -> int:
        """Return when the session ends if it is not used again, in seconds since the
        epoch.
        """
        seen, policy = self.snapshot, self._opener.policy
        own = self.tracker.change(TIMEOUTS_NAME)
        values = self.tracker.applied(own)
        authenticated = self.authenticated()
        values.pop(AUTHENTICATED_NAME, None)
        if authenticated is not None:
            raw = self._opener.codec.encode(authenticated, AUTHENTICATED_NAME)
            values[AUTHENTICATED_NAME] = raw
        used = seen.used
        if used is None:
            # The cookie's date counts, unless this request sends another cookie.
            renews = bool(own or self.pending.rotate or self._logins.changes())
            if not self.backend.claims:
                renews = renews or self.plan() != ({}, NOTHING)
            stays = seen.token is not None and not renews and not self._is_due()
            used = seen.issued if stays else int(time.time())
        return policy.expires(self._record(values, {}), used)

    def clear(self) -> None:
        """Delete all values. The next save ends the session."""
        ended = self._retired or self.snapshot
        if self._retired is not None or ended.token is not None:
            endings = (*self.pending.endings, Ending(ended, tombstone()))
            self.pending = self.pending._replace(endings=endings)
        self.new = True
        self._follow(self.backend.blank())

    # Saving

    def save(self, *, closed: bool) -> None:
        """Save what changed, and end what is to be ended.

        :param closed: whether the response has been made.
        :raises SessionError: see :meth:`.sessions.Session.save`.
        """
        if self._state == "abandoned":
            return
        events: list[Event] = []
        try:
            if self._state == "retired":
                self._drop_changes(events)
            else:
                self._commit(events, closed=closed)
            self._failed = None
        except Exception:
            self._failed = self.plan()
            raise
        finally:
            # What is stored is reported, even if a later step failed.
            self._emit(events)

    def finish(self, *, closed: bool) -> None:
        """Save at the end of the request.

        If a save failed in the view and nothing changed since, the view knows: then
        nothing is saved.

        :param closed: whether the response has been made.
        :raises SessionError: see :meth:`.sessions.Session.save`.
        """
        if self._failed is not None and self._failed == self.plan():
            self.abandon()
        elif (
            self.pending is not NOTHING
            or self.tracker.touched
            or self._opener.policy.save_is_due(self.snapshot)
        ):
            # Most requests only read and end before this call, which saves 2 % of
            # their time.
            self.save(closed=closed)

    def abandon(self) -> None:
        """Save nothing more. The cookie stays as last saved."""
        self._state = "abandoned"

    def plan(self) -> tuple[t.Any, Pending]:
        """Return what a save would do, to be compared.

        :returns: the changes, or the reason why they cannot be stored; and what is
            pending.
        """
        try:
            return self.tracker.changes(), self.pending
        except SessionTypeError as error:
            return str(error), self.pending

    def _commit(self, events: list[Event], *, closed: bool) -> None:
        changes = self.tracker.changes()
        wanted = bool(changes) or self.pending != NOTHING
        if closed and wanted:
            self.check_writable(closed=True)
        if not wanted and (closed or not self._is_due()):
            return
        if not changes.keys().isdisjoint(self._opener.auth_names):
            logins = self._logins
            if logins.is_logout(changes):
                self.clear()
                changes = {}
            else:
                if logins.date(changes):
                    self._count_as_use()
                # The date may be the stored one again, and then it is no change.
                changes.pop(AUTHENTICATED_NAME, None)
                changes |= self.tracker.change(AUTHENTICATED_NAME)
        limited = self._limited_owner(changes)
        if limited is not None:
            changes |= self._logins.date_binding()
        if changes or self.snapshot.token is not None:
            try:
                self.snapshot = self._write(changes, events)
            except EndedError:
                self._drop(events if wanted else [])
                return
        cookie = self.snapshot.cookie
        if cookie is None:
            cookie = self.cookie
        while self.pending.endings:
            ended = self._end(self.pending.endings[0], events)
            endings = self.pending.endings[1:]
            self.pending = self.pending._replace(endings=endings)
            if self.snapshot.token is None:
                # If another request ended the session, a newer cookie may be there.
                cookie = "" if ended else None
        # The session itself is saved. If ending the owner's other sessions fails, the
        # next save does only that.
        limited = limited or self.pending.limited
        self.pending = NOTHING if limited is None else Pending(limited=limited)
        self._saved(cookie)
        self.has_saved = self.has_saved or wanted
        if limited is not None:
            try:
                self._end_beyond_limit(limited, events)
            except EndedError:
                self._drop(events)
            self.pending = NOTHING

    def _saved(self, cookie: str | None) -> None:
        self.cookie = cookie
        if self.snapshot.cookie is not None:
            self.snapshot = self.snapshot.sent()

    def _limited_owner(self, changes: Changes) -> str | None:
        """Return the owner whose sessions are to be counted after this save: where the
        session gets an owner, or the owner a new id. None for no owner.
        """
        if self._opener.owner_limit is None or self.backend.owned is None:
            return None
        if OWNER_NAME in changes or self._rotation(changes) is not None:
            return self._logins.owner()
        return None

    def _end_beyond_limit(self, owner: str, events: list[Event]) -> None:
        """End the least recently used sessions of an owner beyond the limit, but never
        this session.

        Two sessions that are bound at the same time must not end each other. So a
        session ends only those that were bound before it, and only as it has seen them.
        If another was bound later, this session is bound again, later than the other.

        :raises EndedError: another request has ended this session.
        """
        limit = t.cast(int, self._opener.owner_limit)
        index = OwnerIndex(self.backend, self._opener.codec, self._opener.policy)
        for _ in attempts():
            session_id = t.cast(str, self.backend.id_of(self.snapshot))
            own, beyond = index.beyond_limit(owner, session_id, limit)
            if own is None:
                # Another request has ended this session or given it a new id.
                return
            latest = max((other.bound for other in beyond), default=0)
            if beyond and own.bound <= latest:
                changes = self._logins.date_binding(after=latest)
                self.snapshot = self._write(changes, events)
                self._saved(self.snapshot.cookie or self.cookie)
                continue
            for other in beyond:
                if not index.end_unchanged(other):
                    break
                events.append((signals.session_destroyed, other.held.id, None))
            else:
                return
        raise AssertionError("attempts() ends with an error")

    def _write(self, changes: Changes, events: list[Event]) -> Snapshot:
        """Apply what changed to what is stored now, until no other request has saved
        the session in between.

        :raises EndedError: the session has ended.
        """
        kind, policy = self._rotation(changes), self._opener.policy
        for _ in attempts():
            seen, values = self.snapshot, self.tracker.applied(changes)
            if OWNER_NAME in changes:
                self._logins.keep_own_info(values)
            record = self._record(values, changes)
            leaving = kind
            counts_as_use = seen.token is not None and seen.used is None
            if kind is None and counts_as_use and policy.id_is_old(record):
                leaving = MOVED
            try:
                if leaving is None:
                    written = self.backend.write(seen, record, changed=changes)
                else:
                    written = self.backend.rotate(seen, record, kind=leaving)
            except SessionConflictError:
                self._reload()
                if not changes and self.pending == NOTHING and not self._is_due():
                    # The other request has done what was due.
                    return self.snapshot
                continue
            self.tracker.saved(changes, record)
            if seen.token is None:
                events.append((signals.session_created, written, None))
            elif leaving is not None:
                events.append((signals.session_regenerated, written, seen))
            if changes or self.pending.forced:
                # A session that was removed is reported by the id that it had.
                saved = seen if written.token is None else written
                events.append((signals.session_saved, saved, None))
            return written
        raise AssertionError("attempts() ends with an error")

    def _rotation(self, changes: Changes) -> Kind | None:
        """Return the kind of tombstone to leave under the present id; None keeps it.

        A late logout may follow to the new id only if the user stays the same.
        """
        names = changes.keys()
        if self.snapshot.token is None or (
            self.pending.rotate is None
            and names.isdisjoint(_ROTATING_NAMES)
            and names.isdisjoint(self._opener.auth_names)
        ):
            # Nearly every write ends here, which saves 1 % of it.
            return None
        rotated = self.pending.rotate is not None
        if self._logins.may_change_user(changes, rotated=rotated):
            return ENDED
        if self.pending.rotate is None and TIMEOUTS_NAME in changes:
            # A cookie that holds the session has the earlier timeouts.
            return None if self.backend.claims else MOVED
        return self.pending.rotate

    def _reload(self) -> None:
        """Load what another request has saved.

        :raises EndedError: the session has ended.
        """
        seen, id_of = self.snapshot, self.backend.id_of
        try:
            self.snapshot = self.backend.reload(seen)
        except RejectedError as error:
            session_id, reason = error.session_id, error.reason
            self._opener.emit(signals.session_rejected, session_id, reason)
            raise EndedError from error
        self.tracker.follow(self.snapshot.record)
        if self.cookie and id_of(self.snapshot) != id_of(seen):
            # An earlier save of this request made a cookie, with an id that is retired
            # by now. So this save makes another one.
            self.snapshot = self.snapshot._replace(issued=0)

    def _end(self, ending: Ending, events: list[Event]) -> bool:
        ended = self.backend.end(ending)
        signal = signals.session_destroyed if ended else signals.session_conflict
        events.append((signal, ending.snapshot, None))
        return ended

    def _drop(self, events: list[Event]) -> None:
        """Save nothing more, because the session has ended. Leave the cookie alone: a
        newer one may be on its way.
        """
        self._state, self.cookie = "abandoned", None
        events.append((signals.session_conflict, self.snapshot, None))

    def _drop_changes(self, events: list[Event]) -> None:
        """Save nothing, because the id was retired before this request. A logout still
        ends the session if it goes on under a new id.
        """
        changed, pending = self.plan()
        if not (changed or pending.endings):
            return
        ended = bool(pending.endings) and self.backend.end(pending.endings[0])
        retired = t.cast(Snapshot, self._retired)
        if ended:
            events.append((signals.session_destroyed, retired, None))
        if changed or not ended:
            events.append((signals.session_conflict, retired, None))
        self._state, self.pending = "abandoned", NOTHING

    def _is_due(self) -> bool:
        """Return whether a session that did not change must be saved nevertheless."""
        return self._opener.policy.save_is_due(self.snapshot)

    def _record(self, values: Values, changes: Changes) -> Record:
        """Return the record to store.

        :param changes: the changes that are applied in these values.
        """
        created, nonce, _, rotated, _ = self.snapshot.record
        stamps = NO_STAMPS
        if self.tracker.stamped:
            stamps = self.tracker.stamps(changes, values)
        record = Record(created, nonce, values, rotated, stamps)
        if self._opener.policy.lacks_date(record):
            record = record._replace(created=int(time.time()))
        return record

    def _emit(self, events: list[Event]) -> None:
        if not self.backend.keeps:
            return
        opener, id_of = self._opener, self.backend.id_of
        for signal, snapshot, old in events:
            # An id's hash is computed only if somebody needs it.
            if opener.listens_to(signal):
                session_id = snapshot if isinstance(snapshot, str) else id_of(snapshot)
                old_id = None if old is None else id_of(old)
                opener.emit(signal, session_id, old_id=old_id)
