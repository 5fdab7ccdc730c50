"""The session: Buffalo's method set, what changed, and how it is saved.

Knows neither request nor response. It is handed a :class:`Backing`, so it works
the same over every store and every format.
"""

from __future__ import annotations

import collections.abc as c
import datetime as dt
import os
import random
import time
import typing as t
from contextlib import contextmanager, nullcontext, suppress

import flask
from blinker import NamedSignal
from flask.sessions import SessionMixin

from . import signals
from .codec import IMMUTABLE, Codec, Record
from .errors import (
    Reason,
    RejectedError,
    SessionClosedError,
    SessionConflictError,
    SessionSecretError,
    SessionStoreError,
    SessionTypeError,
    SessionUnsupportedError,
    shown,
)
from .flash import Flash
from .retired import RETIRED_SECONDS, is_mark, moved, retired, successor_of
from .revocation import RevocationList
from .seal import Ticket
from .stores.base import Store, is_owned, is_stateless, storage_key
from .stores.null import NullStore

# How often a save is tried against other requests' saves. Each failure means
# that another one got through, so this many have to be waiting at once.
_ATTEMPTS = 200

_NONCE_BYTES = 12

#: The session name that says whose session it is.
OWNER_NAME = "_owner_"


class Opened(t.NamedTuple):
    """What a request's session starts from.

    :param store: where this request keeps its session.
    :param ticket: the first of the request's cookies that verified, if any.
    :param rejected: why none did, if there was one.
    :param refusal: what the first write raises, if it must not be.
    :param revocations: where the ids of sessions that live in the cookie are ended.
    """

    store: Store
    ticket: Ticket | None
    rejected: Reason | None = None
    refusal: SessionSecretError | None = None
    revocations: RevocationList | None = None


class _Written(t.NamedTuple):
    """What a session is once it has been saved, by the names that it has there."""

    token: str
    data: bytes
    nonce: bytes
    renewed: int
    entry: bytes | None
    cookie: str | None


class Backing(t.Protocol):
    """What a session needs from its application; made once for each."""

    codec: Codec
    #: Seconds without use after which a session is over.
    idle_timeout: int
    #: Seconds since its creation after which it is over in any case.
    absolute_timeout: int | None
    #: Seconds after which a session gets a new id by itself.
    renew_after: int | None
    #: Names whose change gives the session a new id.
    auth_names: tuple[t.Hashable, ...]

    def open(self, source: t.Any) -> Opened:
        """Look at the cookies of the request that the session was opened for."""

    def seal(
        self, token: str, *, permanent: bool, values: c.Mapping[t.Hashable, bytes]
    ) -> str:
        """The cookie's text.

        :raises SessionTooLargeError: no browser would keep it.
        """

    def due(self, issued: int, *, permanent: bool) -> bool:
        """Whether a cookie sealed at that second is to be renewed."""

    def tell(
        self, signal: NamedSignal, session_id: str | None, reason: Reason | None = None
    ) -> None:
        """Send a signal, and log it where it is a problem."""


class _Missing:
    """Stands where there is no value, None being one."""


_MISSING: t.Final = _Missing()
_GONE: t.Final = _Missing()


class Session(SessionMixin):
    """A mutable mapping with the methods of Buffalo's session.

    Lazy: the cookie is verified and the store asked when the session is first
    used, so a request that does not use it costs nothing. Changes are found by
    comparing what would be stored with what was loaded, those inside lists,
    dicts and other mutable values included.

    Names are any hashable value that can be stored, as Buffalo's are any Go
    value: ``1`` and ``"1"`` are different names.
    """

    accessed = False
    # Class attributes, so that opening a session that stays unused sets none.
    #: Whether the cookie has been verified and the store asked. Flask counts as access
    #: also what needs neither.
    loaded = False
    _forced = False
    _regenerate = False
    # An empty session of which nothing is saved; the id if that was retired, and the
    # token under which it goes on if it does.
    _void = False
    _retired_id: str | None = None
    _successor: str | None = None
    _failed: t.Any = None

    #: Whether the response has been made: from then on, changes raise.
    closed = False
    #: What the response has to say to the browser: the text of a new cookie,
    #: "" to remove it, None to leave it alone.
    cookie: str | None = None
    #: Whether the browser is to keep it when it is closed.
    cookie_permanent = False
    # The cookie as of the last save that succeeded as a whole.
    _settled: str | None = None

    # Set by the first access.
    _store: Store
    _stateless: bool
    _refusal: SessionSecretError | None
    # Where ids are given up: the store, or the list of cookie sessions that have
    # ended. Without either, sessions have no id.
    _register: _Register | None
    # What has been done, and is told when it cannot fail any more.
    _news: list[tuple[NamedSignal, str | None]]
    # What is to be ended, as it was last seen, and the mark to leave there.
    _ending: list[tuple[str | None, bytes | None, bytes]]
    # The ids of those that this request has ended by them.
    _revoked: set[str]
    _token: str | None
    _data: bytes | None
    # What the list has noted of a cookie session.
    _entry: bytes | None
    _issued: int | None
    _created: int
    _dated: bool
    _renewed: int
    _nonce: bytes
    _new: bool
    # What the store holds, encoded; what has been set, deleted (_GONE) or handed
    # out and may have been changed since; and, for each of the latter, the
    # encoded value that it began as.
    _base: dict[t.Hashable, bytes]
    _live: dict[t.Hashable, t.Any]
    _seen: dict[t.Hashable, bytes | None]
    # The names of those that were handed out.
    _lent: set[t.Hashable]
    # What the last save made of a value in which it merged what others had saved.
    _blended: dict[t.Hashable, bytes | None]

    def __init__(self, backing: Backing, source: t.Any) -> None:
        self._backing = backing
        self.source = source

    # Buffalo's method set

    def get(self, name: t.Hashable, default: t.Any = None) -> t.Any:
        """The value kept under `name`, or `default`."""
        value = self._find(name)
        return default if value is _MISSING else value

    def get_once(self, name: t.Hashable, default: t.Any = None) -> t.Any:
        """The value kept under `name`, or `default`; deleted as it is handed out.

        On a server-side store the value is taken out of the store there and
        then, so exactly one of any number of requests at once gets it.

        :raises SessionConflictError: too many requests were at it.
        :raises SessionStoreError: the store cannot answer.
        """
        if name not in self:
            return default
        self._check_change()
        if self._stateless or name not in self._base:
            value = self._find(name)
            if value is _MISSING:
                return default
            del self[name]
            return value
        # What this request has made of the value is handed out with it.
        change = self._change(name) if name in self._live else None
        changes = {} if change is None else {name: change}
        for attempt in range(_ATTEMPTS):
            rest = self._merged(changes)
            raw = rest.pop(name, None)
            value = _MISSING if raw is None else self._decoded(name, raw)
            if value is _MISSING:
                return default
            data = self._dumps(rest, self._nonce, self._renewed)
            try:
                self._swap(data)
            except SessionConflictError:
                if not self._reload(attempt):
                    self._drop(True)
                    return default
                continue
            self._base, self._data = rest, data
            for of_the_name in (self._live, self._seen, self._blended):
                of_the_name.pop(name, None)
            if name == OWNER_NAME or name in self._backing.auth_names:
                self._regenerate = True
            return value
        raise _lost_too_often()

    def set(self, name: t.Hashable, value: t.Any) -> None:
        """Set or replace a value. ``session[name] = value`` does the same."""
        self[name] = value

    def delete(self, name: t.Hashable) -> None:
        """Delete a value. A missing name is no error and no change."""
        if name in self:
            del self[name]

    def clear(self) -> None:
        """Delete every value and end the session: its id is given up, on saving,
        and its cookie removed. What is set afterwards begins another session.
        """
        self._load()
        late = self._retired_id is not None
        if not (self or late) and self._token is None:
            return
        self._check_change()
        if late or self._token is not None:
            self._ending.append((self._key, self._kept, retired()))
        self._begin()

    def save(self) -> None:
        """Save now, and raise now what prevents it.

        Saving at the end of the request is automatic, so a view needs this only
        to catch the error, or before it streams.

        :raises SessionTooLargeError: the cookie would be over the limit.
        :raises SessionTypeError: there is a value that cannot be stored.
        :raises SessionStoreError: the store cannot answer.
        :raises SessionConflictError: too many requests were at it.
        :raises SessionClosedError: something was changed after the response had
            been made.
        """
        if not self.loaded:
            return
        try:
            if self._void:
                self._save_late()
                return
            changes = self._changes()
            if changes or self._ending or self._forced or self._regenerate:
                self._check_change()
            elif not (self._due or self._undated or self._overdue):
                return
            if changes or self._token is not None:
                self._write(changes)
            while self._ending:
                ended = self._end(*self._ending[0])
                del self._ending[0]
                if self._token is None:
                    # Who else ended it may have set a newer cookie.
                    self.cookie = "" if ended else None
        except Exception:
            self._failed = self._intent()
            self._announce()
            raise
        self._failed = None
        self._forced = self._regenerate = False
        self._settled = self.cookie
        self._announce()

    def regenerate(self) -> None:
        """Keep the values under a new id; the old one is dead once this is
        saved. Call it where a user's rights change: at login above all.
        """
        self._load()
        self._check_change()
        self._regenerate = True

    def destroy(self) -> None:
        """End the session, as :meth:`clear` does."""
        self.clear()

    def bind(self, owner: str) -> None:
        """Say whose session this is, so that the extension's ``sessions_of`` finds
        it and ``revoke_all`` ends it.

        :param owner: what the application knows the user by; not an empty str.
        :raises SessionUnsupportedError: the store does not know owners.
        :raises SessionTypeError: `owner` is no such str.
        """
        self._load()
        if not is_owned(self._register) and not isinstance(self._store, NullStore):
            raise unsupported(self._store)
        check_owner("session.bind()", owner)
        self[OWNER_NAME] = owner

    @property
    def owner(self) -> str | None:
        """Whose session this is, as :meth:`bind` was told."""
        return t.cast("str | None", self.get(OWNER_NAME))

    @property
    def flash(self) -> Flash:
        """Buffalo's flash messages: ``session.flash.add("success", "Saved")``."""
        return Flash(self)

    # What it is

    @property
    def id(self) -> str | None:
        """The hash under which a server-side store keeps the record. Safe to
        show and to log: the session cannot be taken over with it. None before the
        first save, and on a cookie store without a list of ended sessions.
        """
        self._load()
        return _id_of(self._key)

    @property
    def new(self) -> bool:  # type: ignore[override]
        """Whether this session began in this request."""
        self._load()
        return self._new

    @property
    def created_at(self) -> dt.datetime:
        """When the session began, aware, in UTC. A new id does not change it."""
        self._load()
        return dt.datetime.fromtimestamp(self._created, dt.UTC)

    @property
    def modified(self) -> bool:
        """Whether there is anything to save. Found out by itself; setting it to
        True saves even where nothing has changed.
        """
        return self._forced or (
            self.loaded
            and bool(self._regenerate or self._ending or self._fingerprint())
        )

    @modified.setter
    def modified(self, value: bool) -> None:
        self._load()
        if value:
            self._check_change()
        self._forced = value

    # A mutable mapping. Its other methods come with MutableMapping.

    def __getitem__(self, name: t.Hashable) -> t.Any:
        value = self._find(name)
        if value is _MISSING:
            raise KeyError(name)
        return value

    def __setitem__(self, name: t.Hashable, value: t.Any) -> None:
        self._load()
        self._check_change()
        self._seen.setdefault(name, self._base.get(name))
        self._lent.discard(name)
        self._live[name] = value

    def __delitem__(self, name: t.Hashable) -> None:
        if name not in self:
            raise KeyError(name)
        self._check_change()
        self._seen.setdefault(name, self._base.get(name))
        self._live[name] = _GONE

    def __contains__(self, name: object) -> bool:
        self._load()
        value = self._live.get(name, _MISSING)
        return value is not _GONE and (value is not _MISSING or name in self._base)

    def __iter__(self) -> c.Iterator[t.Any]:
        self._load()
        names = dict.fromkeys(self._base) | dict.fromkeys(self._live)
        return iter([name for name in names if self._live.get(name) is not _GONE])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        # Names only: representations end up in logs.
        names = f"[{', '.join(map(shown, self))}]" if self.loaded else "not loaded"
        return f"<Session {names}>"

    def was_revoked(self, *ids: str) -> None:
        """Be told what this request has ended by its id: it may be this one."""
        if self.loaded:
            self._revoked.update(ids)

    # Loading. This is the one place where the cookie is verified and the store
    # asked for the first time.

    def _load(self) -> None:
        if self.loaded:
            return
        self.accessed = True
        opened = self._backing.open(self.source)
        self._store = store = opened.store
        self._refusal = opened.refusal
        self._stateless = is_stateless(store)
        self._register = opened.revocations if self._stateless else store
        self._news = []
        self._ending = []
        self._revoked = set()
        self._begin()
        rejected: tuple[Reason, str | None] | None = None
        if opened.rejected is not None:
            rejected = opened.rejected, None
        if opened.ticket is not None:
            rejected = self._resume(opened.ticket)
        self.loaded = True
        # Not before, as who is told may look at the session.
        if rejected is not None:
            self._reject(*rejected)

    def _begin(self) -> None:
        """Start from nothing."""
        self._token = self._data = self._entry = self._issued = None
        self.cookie_permanent = False
        self._created = int(time.time())
        self._dated = False
        # From the beginning, as a cookie must not outgrow its limit by being renewed.
        self._renewed = 0 if self._renew_after is None else self._created
        self._nonce = b""
        self._new = True
        self._base, self._live, self._seen, self._lent = {}, {}, {}, set()
        self._blended = {}

    def _resume(self, ticket: Ticket) -> tuple[Reason, str | None] | None:
        """Go on with the session of a cookie.

        :returns: why not, and the id, where there is no such session.
        """
        self._token = ticket.token
        data = self._store.load(ticket.token)
        try:
            if data is None:
                raise RejectedError("unknown", "the store has no such session")
            if not is_mark(data):
                self._adopt(data)
                data = self._listed(ticket)
            if is_mark(data):
                self._retired_id = _id_of(self._key)
                if not self._stateless:
                    self._successor = successor_of(data, ticket.token)
                self._begin()
                self._void = True
                return None
            permanent = ticket.permanent
            if permanent is None:
                permanent = self._says_permanent(self._base)
        except RejectedError as error:
            session_id = _id_of(self._key)
            self._begin()
            return error.reason, session_id
        self._issued = ticket.issued
        self.cookie_permanent = permanent
        self._new = False
        return None

    def _listed(self, ticket: Ticket) -> bytes | None:
        """Note what the list of ended sessions says of this one.

        :raises RejectedError: it has ended, and not just now.
        """
        listed = self._register
        if not isinstance(listed, RevocationList) or self._key is None:
            return None
        self._entry = listed.load(self._key)
        if is_mark(self._entry) and not listed.has_just_ended(
            t.cast(bytes, self._entry), ticket.issued
        ):
            raise RejectedError("unknown", "the session has ended")
        return self._entry

    def _adopt(self, data: bytes) -> None:
        """
        :raises RejectedError: the record is none, or too old.
        """
        record = self._backing.codec.loads(data)
        if is_over(record, self._backing):
            raise RejectedError("expired", "the session has reached its greatest age")
        self._data = data
        self._base = record.values
        self._created = int(time.time()) if record.created is None else record.created
        self._dated = record.created is not None
        self._renewed = record.rotated
        self._nonce = record.nonce

    @property
    def _key(self) -> str | None:
        """What the register knows the session by, if it has an id."""
        return self._key_of(self._token, self._nonce)

    def _key_of(self, token: str | None, nonce: bytes) -> str | None:
        if token is None or self._register is None:
            return None
        return (nonce.hex() or None) if self._stateless else token

    @property
    def _kept(self) -> bytes | None:
        """What the register holds under that, as it was last seen."""
        return self._entry if self._stateless else self._data

    def _reject(self, reason: Reason, session_id: str | None) -> None:
        self._backing.tell(signals.session_rejected, session_id, reason)

    def _find(self, name: t.Hashable) -> t.Any:
        """The value, or _MISSING."""
        self._load()
        value = self._live.get(name, _MISSING)
        if value is not _MISSING:
            return _MISSING if value is _GONE else value
        if name not in self._base:
            return _MISSING
        value = self._decoded(name, self._base[name])
        if type(value) not in IMMUTABLE and value is not _MISSING:
            # From here on it may be changed behind our back.
            self._live[name] = value
            self._seen[name] = self._base[name]
            self._lent.add(name)
        return value

    def _decoded(self, name: t.Hashable, raw: bytes) -> t.Any:
        """
        :raises SessionTypeError: the value cannot be read here.
        """
        return self._backing.codec.decode(raw, name)

    # Changes

    def _changes(self) -> _Changes:
        """What this request changed: for each name the encoded value it began
        as and the one it has now, None where there is no value.

        :raises SessionTypeError: there is a value that cannot be stored.
        """
        changes: _Changes = {}
        for name in self._live:
            change = self._change(name)
            if change is not None:
                changes[name] = change
        return changes

    def _change(self, name: t.Hashable) -> _Change | None:
        before, now = self._seen[name], self._encoded(name)
        return None if now == before else (before, now)

    def _encoded(self, name: t.Hashable) -> bytes | None:
        value = self._live[name]
        if value is _GONE:
            return None
        return self._backing.codec.encode(value, name, self._seen[name])

    def _fingerprint(self) -> t.Any:
        """The changes; where they cannot be stored, the reason."""
        try:
            return self._changes()
        except SessionTypeError as error:
            return str(error)

    def _intent(self) -> t.Any:
        """All that is to be saved, to be compared."""
        asked = len(self._ending), self._regenerate, self._forced
        return self._fingerprint(), asked

    def _check_change(self) -> None:
        # What is written to no store lasts for the request, which is not over.
        if self.closed and not isinstance(self._store, NullStore):
            raise SessionClosedError(
                "The session was changed after its response had been made, so the"
                " change cannot be saved. Change it in the view, and call"
                " session.save() before streaming."
            )
        if self._refusal is not None:
            raise self._refusal

    # Saving

    @property
    def _due(self) -> bool:
        return self._issued is not None and self._backing.due(
            self._issued, permanent=self.cookie_permanent
        )

    @property
    def _undated(self) -> bool:
        """Whether the record has no date although its age counts: it was not
        written here.
        """
        return not self._dated and (
            self._backing.absolute_timeout is not None or self._renew_after is not None
        )

    @property
    def _renew_after(self) -> int | None:
        return None if self._register is None else self._backing.renew_after

    @property
    def _overdue(self) -> bool:
        """Whether the id has become so old that another takes its place."""
        limit = self._renew_after
        if limit is None or self._token is None or self.closed:
            # Once the response has been made there is none to set the cookie.
            return False
        return time.time() - (self._renewed or self._created) >= limit

    def _write(self, changes: _Changes) -> None:
        """Apply what changed here to what is stored now, until nobody else has
        saved in between.
        """
        asked = self._token is not None and (
            self._regenerate
            or not changes.keys().isdisjoint(self._backing.auth_names)
            # Under the old id it stays the one's until it is the other's.
            or changes.get(OWNER_NAME, (None, None))[0] is not None
        )
        successor: _Written | None = None
        try:
            for attempt in range(_ATTEMPTS):
                values = self._merged(changes)
                if self._stateless and not values:
                    return self._remove()
                try:
                    if asked or self._overdue:
                        # First what comes after, and what may fail, then the end of the
                        # old id: dying in between must not cost the session.
                        written = successor = self._succeeded(successor, values)
                        self._give_up_id(successor, followed=not asked)
                    else:
                        self._forget(successor)
                        successor = None
                        written = self._saved_on(changes, values)
                except SessionConflictError:
                    if self._reload(attempt):
                        continue
                    self._forget(successor)
                    return self._drop(changes)
                return self._saved(written, values, changes)
        except Exception:
            # Nobody will get the new cookie. If the store cannot even do this, the
            # error is the same.
            with suppress(SessionStoreError):
                self._take_back(successor)
            raise
        self._forget(successor)
        raise _lost_too_often()

    def _saved_on(self, changes: _Changes, values: dict[t.Hashable, bytes]) -> _Written:
        """Save under the id that the session has, or under its first one."""
        # Another one if the first save is tried again: that one may be noted.
        nonce = self._nonce or os.urandom(_NONCE_BYTES)
        entry, cookie = self._entry, None
        data = self._data
        if changes or data is None or self._undated:
            data = self._dumps(values, nonce, self._renewed)
        begins = not self._token
        note = begins or self._due or OWNER_NAME in changes
        if self._stateless:
            # Nothing is kept yet. What is too large for a cookie must not be noted.
            token = self._swap(data)
            cookie = self._sealed(token, values) if token else None
            if note or self._noted_long_ago:
                key = self._key_of(token, nonce)
                with self._forgotten_if_failing(key) if begins else nullcontext():
                    entry = self._note(key, entry, values)
        else:
            if note and not begins:
                self._note(self._key, None, values)
            token = self._swap(data)
            if begins:
                with self._forgotten_if_failing(token):
                    self._note(token, None, values)
        return _Written(token, data, nonce, self._renewed, entry, cookie)

    @property
    def _noted_long_ago(self) -> bool:
        """Whether the list has to note again whose session this is. Not told by the
        age of the cookie, as every change makes another one.
        """
        if self._entry is None:
            return False
        try:
            noted = self._backing.codec.loads(self._entry).rotated
        except RejectedError:
            return True
        return self._backing.due(noted, permanent=self.cookie_permanent)

    # A new id

    def _succeeded(
        self, earlier: _Written | None, values: dict[t.Hashable, bytes]
    ) -> _Written:
        """Save under a new id too; the same one, if there was an attempt before."""
        token: str | None = None
        known, nonce, entry = None, os.urandom(_NONCE_BYTES), None
        if earlier is not None:
            token, known, nonce, _, entry, _ = earlier
        renewed = 0 if self._renew_after is None else int(time.time())
        data = self._dumps(values, nonce, renewed)
        token = self._store.save(token, data, expected=known, max_age=self._max_age)
        key = self._key_of(token, nonce)
        with self._forgotten_if_failing(key):
            cookie = self._sealed(token, values)
            entry = self._note(key, entry, values)
        return _Written(token, data, nonce, renewed, entry, cookie)

    @contextmanager
    def _forgotten_if_failing(self, key: str | None) -> c.Iterator[None]:
        """Leave nothing under an id that is new if it is not to be used."""
        try:
            yield
        except SessionConflictError:
            # It is tried once more, maybe under the same one.
            raise
        except Exception:
            with suppress(SessionStoreError):
                self._delete(key)
            raise

    def _give_up_id(self, successor: _Written, *, followed: bool) -> None:
        """
        :param followed: whether requests under way are to save what they change
            under the new id. Not where it is new because more may be done with it.
        """
        key = self._key
        if key is None:
            return
        if followed and not self._stateless:
            mark = moved(key, successor.token)
        else:
            mark = retired()
        register = t.cast(_Register, self._register)
        try:
            register.save(key, mark, expected=self._kept, max_age=RETIRED_SECONDS)
        except (SessionConflictError, SessionStoreError):
            # Perhaps it was done all the same: its answer was lost, or the client has
            # repeated it by itself and found its own.
            if not is_mark(register.load(key), mark):
                raise

    def _take_back(self, successor: _Written | None) -> None:
        """Leave nothing under a new id, unless the old one has ended or may have: then
        this is all that there is of the session, for requests that are under way.
        """
        key = self._key
        if successor is None or key is None:
            return
        if not is_mark(t.cast(_Register, self._register).load(key)):
            self._forget(successor)

    def _forget(self, successor: _Written | None) -> None:
        """Leave nothing under a new id that is not to be one."""
        if successor is not None:
            self._delete(self._key_of(successor.token, successor.nonce))

    def _delete(self, key: str | None) -> None:
        if key is not None:
            t.cast(_Register, self._register).delete(key)

    def _merged(self, changes: _Changes) -> dict[t.Hashable, bytes]:
        values, codec = dict(self._base), self._backing.codec
        for name, (before, mine) in changes.items():
            theirs = values.get(name)
            if name in self._blended:
                # What has been changed since, in a value without the others' part.
                blended = self._blended[name]
                mine = _merge_encoded(codec, name, before, mine, blended, within=True)
                before = blended
            if theirs != before:
                mine = _merge_encoded(codec, name, before, mine, theirs)
            if mine is None:
                values.pop(name, None)
            else:
                values[name] = mine
        return values

    def _dumps(
        self, values: dict[t.Hashable, bytes], nonce: bytes, renewed: int
    ) -> bytes:
        codec = self._backing.codec
        dated = self._dated or self._undated or codec.stores_created
        created = self._created if dated else None
        return codec.dumps(Record(created, nonce, values, renewed))

    def _says_permanent(self, values: dict[t.Hashable, bytes]) -> bool:
        return bool(self._told("_permanent", values))

    def _told(self, name: str, values: dict[t.Hashable, bytes]) -> t.Any:
        """What a name says that this package itself looks at. None where it cannot
        be read: that is for who reads it to hear, not for who saves another one.
        """
        raw = values.get(name)
        if raw is None:
            return None
        try:
            return self._backing.codec.decode(raw, name)
        except (RejectedError, SessionTypeError):
            return None

    def _sealed(self, token: str, values: dict[t.Hashable, bytes]) -> str:
        permanent = self._says_permanent(values)
        return self._backing.seal(token, permanent=permanent, values=values)

    def _swap(self, data: bytes) -> str:
        return self._store.save(
            self._token, data, expected=self._data, max_age=self._max_age
        )

    def _note(
        self, key: str | None, entry: bytes | None, values: dict[t.Hashable, bytes]
    ) -> bytes | None:
        """Have the register note whose session this is: before what was noted last is
        given up, so that no moment passes in which the session is nobody's.

        :param entry: what the list of ended sessions has noted of it.
        :returns: what it has noted then.
        """
        raw = values.get(OWNER_NAME)
        register = self._register
        if key is None or (raw is None and entry is None):
            return entry
        if isinstance(register, RevocationList):
            whose: dict[t.Hashable, bytes] = {} if raw is None else {OWNER_NAME: raw}
            known, entry = entry, self._dumps(whose, b"", int(time.time()))
            # A cookie lives that much longer which is made before it is noted again.
            late = self._backing.idle_timeout // 10 + 2
            register.save(key, entry, expected=known, max_age=self._max_age + late)
        owner = self._told(OWNER_NAME, values)
        if isinstance(owner, str) and is_owned(register):
            # Noted again with each renewal, of which there are ten in this time.
            register.own(key, owner, max_age=2 * self._backing.idle_timeout)
        return entry

    @property
    def _max_age(self) -> int:
        idle = self._backing.idle_timeout
        limit = self._backing.absolute_timeout
        if limit is None:
            return idle
        return max(1, min(idle, self._created + limit - int(time.time())))

    def _reload(self, attempt: int) -> bool:
        """See what another request has saved. False if it ended the session."""
        _wait(attempt)
        if self._key is None:
            return True
        key, data = self._followed(self._key)
        if self._stateless:
            # Nobody changes what is in the cookie, but its id may have ended.
            self._entry = data
            return not is_mark(data)
        if data is None or is_mark(data):
            return False
        try:
            self._adopt(data)
        except RejectedError as error:
            self._reject(error.reason, _id_of(key))
            return False
        if key != self._token:
            # It got a new id, whose cookie is in the answer to that request.
            self._token, self._issued = key, int(time.time())
        return True

    def _followed(self, key: str) -> tuple[str, bytes | None]:
        """What the register holds, and under which id if it has got a new one."""
        register = t.cast(_Register, self._register)
        data = register.load(key)
        while (successor := successor_of(data, key)) is not None:
            key, data = successor, register.load(successor)
        return key, data

    def _saved(
        self, written: _Written, values: dict[t.Hashable, bytes], changes: _Changes
    ) -> None:
        token = written.token
        permanent = self._says_permanent(values)
        fresh = token != self._token
        if token and (
            fresh
            or self._due
            or permanent != self.cookie_permanent
            # In a format without a nonce the token may be the same under a new id.
            or (self._stateless and (self._forced or self._regenerate))
        ):
            self.cookie = written.cookie or self._sealed(token, values)
            self._issued = int(time.time())
            self.cookie_permanent = permanent
        created = self._token is None
        self._token, self._data, self._base = token, written.data, values
        self._nonce, self._renewed = written.nonce, written.renewed
        self._entry = written.entry
        self._dated = self._dated or self._undated
        for name, (_, now) in changes.items():
            self._seen[name] = now
            if values.get(name) == now:
                self._blended.pop(name, None)
            else:
                self._blended[name] = values.get(name)
        if created:
            self._tell_later(signals.session_created, self.id)
        if changes or self._forced:
            self._tell_later(signals.session_saved, self.id)

    def _remove(self) -> None:
        """Nothing is left of a session that was nowhere but in its cookie."""
        if self._token is not None:
            session_id = self.id
            ended = self._retire(self._key, self._kept, retired())
            self._begin()
            self.cookie = "" if ended else None
            self._tell_later(
                signals.session_saved if ended else signals.session_conflict, session_id
            )

    def _save_late(self) -> None:
        """Save nothing, under an id that had been given up when the request began. But
        who logs out with it does so where the session goes on.
        """
        if self._retired_id is None:
            return
        changed = self._fingerprint()
        if not (changed or self._ending):
            return
        ended = bool(self._ending) and self._end_successor()
        if changed or not ended:
            self._tell_later(signals.session_conflict, self._retired_id)
        self._ending.clear()
        self._retired_id = None
        self._announce()

    def _end_successor(self) -> bool:
        if self._successor is None:
            return False
        key, kept = self._followed(self._successor)
        if kept is None or is_mark(kept):
            return False
        return self._end(key, kept, self._ending[0][2])

    def _end(self, key: str | None, kept: bytes | None, mark: bytes) -> bool:
        """End a session. False if that had been done before, by another request."""
        ended, session_id = self._retire(key, kept, mark), _id_of(key)
        if session_id in self._revoked:
            return True
        self._tell_later(
            signals.session_destroyed if ended else signals.session_conflict, session_id
        )
        return ended

    def _retire(self, key: str | None, kept: bytes | None, mark: bytes) -> bool:
        """Leave nothing but a mark under an id that is given up. False if it had
        been given up before.
        """
        if key is None:
            return True
        register = t.cast(_Register, self._register)
        for attempt in range(_ATTEMPTS):
            try:
                register.save(key, mark, expected=kept, max_age=RETIRED_SECONDS)
            except SessionConflictError:
                _wait(attempt)
                key, kept = self._followed(key)
                if is_mark(kept, mark):
                    return True
                if is_mark(kept) or (kept is None and not self._stateless):
                    return False
            else:
                return True
        raise _lost_too_often()

    def _drop(self, changes: object) -> None:
        """The session has ended meanwhile: what changed here is not saved, and
        the cookie is left alone, as there may be a newer one.
        """
        self._settled = None
        self.abandon()
        if changes or self._forced or self._regenerate:
            self._backing.tell(signals.session_conflict, self.id)

    def _tell_later(self, signal: NamedSignal, session_id: str | None) -> None:
        # Of what is kept nowhere there is nothing to tell.
        if not isinstance(self._store, NullStore):
            self._news.append((signal, session_id))

    def _announce(self) -> None:
        while self._news:
            self._backing.tell(*self._news.pop(0))

    # The end of the request, for the session interface

    def save_once(self) -> None:
        """Save at the end of the request, unless the view did, and failed, and
        has changed nothing since: then it knows.
        """
        if self._failed is not None and self._failed == self._intent():
            self.abandon()
        else:
            self.save()

    @property
    def answered(self) -> bool:
        """Whether it was used, and the store has answered all that it was asked."""
        return self.loaded and not self._void

    def abandon(self) -> None:
        """Save nothing any more: the response speaks of what is saved."""
        self._void = True
        self.cookie = self._settled

    def check_saved(self) -> None:
        """
        :raises SessionClosedError: something was changed after the response had
            been made.
        """
        if self.loaded and not self._void and self._changes():
            self._check_change()


_Register: t.TypeAlias = Store | RevocationList
_Change: t.TypeAlias = tuple[bytes | None, bytes | None]
_Changes: t.TypeAlias = dict[t.Hashable, _Change]

#: The same proxy as :data:`flask.session`, typed as what it is here.
session = t.cast(Session, flask.session)


def _id_of(key: str | None) -> str | None:
    return None if key is None else storage_key(key)


def is_over(record: Record, backing: Backing) -> bool:
    """Whether a session has reached its greatest age."""
    limit = backing.absolute_timeout
    if limit is None or record.created is None:
        return False
    return time.time() - record.created >= limit + 1


def check_owner(call: str, owner: object) -> None:
    """
    :param call: what is said to be wrong.
    :raises SessionTypeError: this cannot be an owner.
    """
    if not isinstance(owner, str) or not owner:
        raise SessionTypeError(call, "the owner has to be a str that is not empty")


def unsupported(store: object) -> SessionUnsupportedError:
    return SessionUnsupportedError(
        f"A {type(store).__name__} does not know whose sessions it keeps: choose"
        " Redis, SQL or memory."
    )


def _wait(attempt: int) -> None:
    # Not on the first conflict, as mostly there is no second one.
    if attempt:
        longest = min(0.05, 0.001 * 2 ** min(attempt, 6))
        time.sleep(random.uniform(0, longest))  # noqa: S311 - only to spread out


def _lost_too_often() -> SessionConflictError:
    return SessionConflictError(
        f"{_ATTEMPTS} attempts to save the session found it changed by another request"
    )


def _merge_encoded(
    codec: Codec,
    name: t.Hashable,
    base: bytes | None,
    mine: bytes | None,
    theirs: bytes | None,
    *,
    within: bool = False,
) -> bytes | None:
    """Both sides changed a value. What cannot be read or compared here cannot be
    merged: then the later save, which is this one, wins.
    """

    def decoded(raw: bytes | None) -> t.Any:
        return _MISSING if raw is None else codec.decode(raw, name)

    def same(one: t.Any, other: t.Any) -> bool:
        if one is _MISSING or other is _MISSING:
            return one is other
        return codec.same(one, other, name)

    try:
        values = decoded(base), decoded(mine), decoded(theirs)
        merged = merge(*values, same=same, within=within)
        if merged is _MISSING:
            return None
        return codec.encode(merged, name, theirs if mine is None else mine)
    except (SessionTypeError, RejectedError):
        return mine


def merge(
    base: t.Any,
    mine: t.Any,
    theirs: t.Any,
    *,
    same: c.Callable[[t.Any, t.Any], bool],
    within: bool = False,
) -> t.Any:
    """Three ways: what both sides made of a value that began as `base`. Any of
    the three may be missing.

    Dicts are merged by key and sets by element. Of lists that were only appended to,
    both appends are kept; where one side emptied or deleted the list, what the other
    appended, behind what has been put into it since. Of anything else `mine` wins,
    being later.

    :param same: whether two values are stored as the same bytes.
    :param within: whether `base` is merged into `theirs` already. Then what is appended
        to it here is appended to that, whatever it has become.
    """
    if same(mine, base):
        return theirs
    if same(theirs, base) or same(mine, theirs):
        return mine
    kinds = {type(value) for value in (base, mine, theirs) if value is not _MISSING}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is None or kind not in _MERGERS:
        return mine
    values = [kind() if value is _MISSING else value for value in (base, mine, theirs)]
    merged = _MERGERS[kind](*values, same, within)
    return (
        _MISSING if not merged and (mine is _MISSING or theirs is _MISSING) else merged
    )


def _merge_dicts(
    base: dict[t.Any, t.Any],
    mine: dict[t.Any, t.Any],
    theirs: dict[t.Any, t.Any],
    same: c.Callable[[t.Any, t.Any], bool],
    within: bool,
) -> dict[t.Any, t.Any]:
    merged = {}
    for key in theirs | mine:
        value = merge(
            base.get(key, _MISSING),
            mine.get(key, _MISSING),
            theirs.get(key, _MISSING),
            same=same,
            within=within,
        )
        if value is not _MISSING:
            merged[key] = value
    return merged


def _merge_sets(base: t.Any, mine: t.Any, theirs: t.Any, *_: t.Any) -> t.Any:
    return (theirs | (mine - base)) - (base - mine)


def _merge_lists(
    base: list[t.Any],
    mine: list[t.Any],
    theirs: list[t.Any],
    same: c.Callable[[t.Any, t.Any], bool],
    within: bool,
) -> list[t.Any]:
    def appended(side: list[t.Any]) -> list[t.Any] | None:
        kept = len(base)
        return side[kept:] if same(side[:kept], base) else None

    def emptied(side: list[t.Any]) -> bool:
        # Not by ==, which types of an application may answer with anything.
        plain = {(type(old), old) for old in base if type(old) in IMMUTABLE}
        others = [old for old in base if type(old) not in IMMUTABLE]
        return not any(
            (type(item), item) in plain
            if type(item) in IMMUTABLE
            else any(same(item, old) for old in others)
            for item in side
        )

    my_tail, their_tail = appended(mine), appended(theirs)
    if my_tail is not None and (within or their_tail is not None or emptied(theirs)):
        return theirs + my_tail
    if their_tail is not None and emptied(mine):
        return mine + their_tail
    return mine


_MERGERS: dict[t.Any, c.Callable[..., t.Any]] = {
    dict: _merge_dicts,
    set: _merge_sets,
    frozenset: _merge_sets,
    list: _merge_lists,
}
