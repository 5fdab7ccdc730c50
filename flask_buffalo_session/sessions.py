"""The session that views use: a mapping with Buffalo's methods."""

from __future__ import annotations

import collections.abc as c
import datetime as dt
import time
import typing as t

import flask
from flask.sessions import SessionMixin

from . import arguments, signals
from .backends.base import HIDDEN_NAMES, OWNER_NAME, TIMEOUTS_NAME, EndedError
from .errors import RejectedError, SessionTypeError, shown
from .flash import Flash
from .merging import MISSING
from .opener import Arriving, Opener
from .tombstones import REPLACED
from .values import path_of
from .work import NOTHING, UnitOfWork


class Session(SessionMixin):
    """A mutable mapping with the methods of Buffalo's session.

    The session is lazy: the cookie is verified and the store is asked when the session
    is first used. So a request that does not use the session costs nothing.

    A change is found by comparing what would be stored with what was loaded. So edits
    inside lists, dicts and other mutable values count.

    Names are any hashable value that can be stored, as Buffalo's names are any Go
    value: ``1`` and ``"1"`` are different names.
    """

    # Class attributes, so that opening a session sets none of them.
    accessed = False
    #: Whether the response has been made. From then on, changes raise an error.
    closed = False
    #: Sessions that were kept elsewhere before, if there may be any.
    arrivals: Arriving | None = None
    #: Whether a test uses the session after the response. See :meth:`detach`.
    detached = False
    _work: UnitOfWork | None = None

    def __init__(self, opener: Opener, source: t.Any) -> None:
        """Keep the request, and nothing more.

        :param opener: the application.
        :param source: the request, as :meth:`.opener.Opener.open` takes it.
        """
        self._opener = opener
        self.source = source

    def _load(self) -> UnitOfWork:
        """Verify the cookie and ask the store. Nothing else does so first."""
        self.accessed = True
        opener = self._opener
        backend, ticket, reason, arrivals, passive = opener.open(self.source)
        session_id = snapshot = retired = None
        try:
            if arrivals is not None:
                self.arrivals, reason = arrivals, None
                snapshot = arrivals.load(backend, ticket)
            elif ticket is not None:
                snapshot = backend.load(ticket)
        except EndedError as error:
            retired = error.snapshot
        except RejectedError as error:
            reason, session_id = error.reason, error.session_id
        if passive and snapshot is not None and snapshot.issued:
            snapshot = snapshot._replace(used=snapshot.issued)
        self._work = work = UnitOfWork(opener, backend, snapshot, retired)
        if self.detached:
            work.abandon()
        if reason is not None:
            # Last, because a receiver may use the session.
            opener.emit(signals.session_rejected, session_id, reason)
        return work

    def _writable(self) -> UnitOfWork:
        work = self._work or self._load()
        work.check_writable(closed=self.closed and not self.detached)
        return work

    # Buffalo's methods

    def get(self, name: t.Hashable, default: t.Any = None) -> t.Any:
        """Return the value of a name, or `default`."""
        if name in HIDDEN_NAMES:
            return default
        value = (self._work or self._load()).tracker.get(name)
        return default if value is MISSING else value

    def get_once(self, name: t.Hashable, default: t.Any = None) -> t.Any:
        """Return the value of a name, or `default`, and delete the value.

        On a server-side store the value is taken out of the store at once. So exactly
        one of any number of concurrent requests gets it.

        :raises SessionConflictError: too many other requests changed the session.
        :raises SessionStoreError: the store cannot answer.
        """
        if name not in self:
            return default
        work = self._writable()
        claims = work.backend.claims and not self.detached
        if not claims or name not in work.tracker.stored:
            return self.pop(name)
        value = work.claim(name)
        return default if value is MISSING else value

    def set(self, name: t.Hashable, value: t.Any) -> None:
        """Set or replace a value. ``session[name] = value`` does the same."""
        self[name] = value

    def delete(self, name: t.Hashable) -> None:
        """Delete a value. A missing name is no error and no change."""
        if name in self:
            del self[name]

    def clear(self) -> None:
        """Delete all values and end the session.

        Saving retires the id and removes the cookie. Values that are set afterwards
        begin another session, under another id.
        """
        work = self._work or self._load()
        begun = work.snapshot.token is not None or work.tracker.names()
        if begun or not work.answered:
            self._writable().clear()

    def save(self) -> None:
        """Save now, and raise errors now.

        The session is saved at the end of the request by itself. A view needs this
        method only to catch the error, or before it streams.

        :raises SessionTooLargeError: the cookie would be over the size limit.
        :raises SessionTypeError: a value cannot be stored.
        :raises SessionStoreError: the store cannot answer.
        :raises SessionConflictError: too many other requests changed the session.
        :raises SessionClosedError: the session was changed after the response was made.
        """
        if self._work is not None:
            self._work.save(closed=self.closed)

    def regenerate(self) -> None:
        """Keep the values under a new id, and retire the old id on saving.

        Call it where a user's rights change, above all at login.
        """
        work = self._writable()
        if work.pending.rotate is None:
            work.pending = work.pending._replace(rotate=REPLACED)

    def destroy(self) -> None:
        """End the session, as :meth:`clear` does."""
        self.clear()

    def authenticate(
        self,
        owner: str | int | None = None,
        info: c.Mapping[str, str] | None = None,
    ) -> None:
        """Begin a login: call it in a login view, and in a view that asks for the
        password again.

        The session gets a new id, the absolute timeout starts again, and
        :attr:`authenticated_at` is now.

        :param owner: whose session it is, as :meth:`bind` takes it.
        :param info: what is known about this login, as :meth:`bind` takes it. It may be
            given without `owner` if the session has an owner already.
        :raises SessionUnsupportedError: `owner` or `info` is given, and the store does
            not support owners.
        :raises SessionTypeError: `owner` or `info` is not what :meth:`bind` takes, or
            there is `info` but no owner.
        """
        call = "session.authenticate()"
        if owner is not None:
            self._bind(call, owner, info)
        elif info is not None:
            self._check_owners()
            if self.owner is None:
                raise SessionTypeError(
                    call, "info needs an owner, and the session has none. Give owner="
                )
            self._bind(call, self.owner, info)
        self.regenerate()
        self._writable().authenticate()

    def is_fresh(self, max_age: float | dt.timedelta) -> bool:
        """Return whether the user logged in recently. If not, a view that changes
        something important asks for the password again.

        :param max_age: seconds, or a ``timedelta``.
        :raises SessionTypeError: `max_age` is neither, or not above 0.
        """
        seconds = arguments.max_age("session.is_fresh()", max_age)
        authenticated = (self._work or self._load()).authenticated()
        return authenticated is not None and time.time() - authenticated <= seconds

    def set_timeouts(
        self,
        idle: float | dt.timedelta | None = None,
        absolute: float | dt.timedelta | None = None,
    ) -> None:
        """Give this session timeouts of its own::

            session.permanent = True                       # "Remember me"
            session.set_timeouts(idle=timedelta(days=90))

        :param idle: seconds or a ``timedelta`` since the last use. A permanent
            session's cookie is kept for as long. None for the settings' timeout.
        :param absolute: seconds or a ``timedelta`` since the session began or the user
            last logged in. None for the settings' timeout.
        :raises SessionTypeError: a timeout is neither, is not above 0 or is above
            ``SESSION_TIMEOUT_LIMIT``.
        """
        limit = self._opener.policy.timeout_limit
        own = arguments.own_timeouts(idle, absolute, limit)
        value = MISSING if own is None else own
        self._writable().tracker.set(TIMEOUTS_NAME, value)

    def bind(self, owner: str | int, info: c.Mapping[str, str] | None = None) -> None:
        """Set the session's owner, so that the extension's ``sessions_of`` finds the
        session, as a :class:`~.owners.SessionInfo`, and ``revoke_all`` ends it.

        With ``SESSION_OWNER_LIMIT``, saving a session with a new owner or a new id ends
        the owner's least recently used sessions beyond that limit.

        :param owner: the name by which the application knows the user: a str that is
            not empty, or an int, which is kept as a str.
        :param info: what a page "where you are logged in" shows about this session,
            such as the browser: a dict of str to str, at most 1,024 bytes as JSON.
            None keeps the earlier info, unless the owner changes.
        :raises SessionUnsupportedError: the store does not support owners.
        :raises SessionTypeError: `owner` or `info` is something else.
        """
        self._bind("session.bind()", owner, info)

    def _bind(
        self, call: str, owner: str | int, info: c.Mapping[str, str] | None
    ) -> None:
        self._check_owners()
        name = arguments.owner_name(call, owner)
        text = None if info is None else arguments.info_text(call, info)
        self._writable().bind(name, text)

    def _check_owners(self) -> None:
        backend = (self._work or self._load()).backend
        if backend.keeps:
            backend.check_owners()

    @property
    def owner(self) -> str | None:
        """The session's owner, as set by :meth:`bind`."""
        return t.cast("str | None", self.get(OWNER_NAME))

    @property
    def flash(self) -> Flash:
        """Buffalo's flash messages: ``session.flash.add("success", "Saved")``."""
        return Flash(self)

    # Facts about the session

    @property
    def id(self) -> str | None:
        """The hash under which a server-side store keeps the record.

        It is safe to show and to log: nobody can take over the session with it. None
        before the first save, and on a cookie store without ``SESSION_REVOCATION``.
        """
        work = self._work or self._load()
        return work.backend.id_of(work.snapshot)

    @property
    def sid(self) -> str | None:
        """The same as :attr:`id`."""
        return self.id

    @property
    def new(self) -> bool:  # type: ignore[override]
        """Whether this session began in this request."""
        return (self._work or self._load()).new

    @property
    def created_at(self) -> dt.datetime:
        """When the session began: aware, in UTC. A new id does not change it.

        In the gorilla format the session keeps this time only if an absolute timeout
        or the rotation of ids is set.
        """
        created = (self._work or self._load()).snapshot.record.created
        seconds = int(time.time()) if created is None else created
        return dt.datetime.fromtimestamp(seconds, dt.UTC)

    @property
    def authenticated_at(self) -> dt.datetime | None:
        """When the user last logged in: aware, in UTC. None without a login.

        :meth:`authenticate` sets it. A new value of a name in ``SESSION_AUTH_NAMES``
        sets it, too, and deleting the last of these values removes it. So does another
        owner, unless this one logs in as well.
        """
        seconds = (self._work or self._load()).authenticated()
        return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)

    @property
    def expires_at(self) -> dt.datetime:
        """When the session ends if it is not used again: aware, in UTC.

        Time counts from the last refresh of the cookie, which may be a tenth of the
        idle timeout ago.
        """
        seconds = (self._work or self._load()).expires()
        return dt.datetime.fromtimestamp(seconds, dt.UTC)

    @property
    def modified(self) -> bool:
        """Whether there is anything to save. The session finds out by itself; setting
        True saves even if nothing changed.

        In a context that a test keeps after the response: whether the request changed
        the session.
        """
        work = self._work
        if work is None:
            return False
        changes, pending = work.plan()
        saved = self.detached and work.has_saved
        return bool(changes) or pending != NOTHING or saved

    @modified.setter
    def modified(self, value: bool) -> None:
        work = self._writable() if value else self._work or self._load()
        work.pending = work.pending._replace(forced=value)

    # A mutable mapping. MutableMapping adds the other methods.

    def __getitem__(self, name: t.Hashable) -> t.Any:
        value = (self._work or self._load()).tracker.get(name)
        if value is MISSING or name in HIDDEN_NAMES:
            raise KeyError(name)
        return value

    def __setitem__(self, name: t.Hashable, value: t.Any) -> None:
        if name in HIDDEN_NAMES:
            raise SessionTypeError(
                path_of(name), "the session itself uses this name. Use another name"
            )
        self._writable().tracker.set(name, value)

    def __delitem__(self, name: t.Hashable) -> None:
        if name not in self:
            raise KeyError(name)
        self._writable().tracker.set(name, MISSING)

    def pop(self, name: t.Hashable, *default: t.Any) -> t.Any:
        """Delete a value and return it, or the default if there is none.

        With a default, a value that cannot be read is deleted, too.

        :raises KeyError: there is no value, and no default.
        :raises SessionTypeError: the value cannot be read, and there is no default.
        """
        try:
            value = self[name]
        except (KeyError, SessionTypeError):
            if not default:
                raise
            self.delete(name)
            return default[0]
        del self[name]
        return value

    def popitem(self) -> tuple[t.Any, t.Any]:
        """Delete the last value and return its name and the value, as a dict does.

        :raises KeyError: the session is empty.
        """
        for name in reversed(self):
            return name, self.pop(name)
        raise KeyError("popitem(): the session is empty")

    def copy(self) -> dict[t.Any, t.Any]:
        """Return a dict with the same names and values."""
        return dict(self)

    def __or__(self, other: c.Mapping[t.Any, t.Any]) -> dict[t.Any, t.Any]:
        if not isinstance(other, c.Mapping):
            return NotImplemented
        return {**self, **other}

    def __ror__(self, other: c.Mapping[t.Any, t.Any]) -> dict[t.Any, t.Any]:
        if not isinstance(other, c.Mapping):
            return NotImplemented
        return {**other, **self}

    def __ior__(self, other: c.Mapping[t.Any, t.Any]) -> t.Self:
        self.update(other)
        return self

    def __contains__(self, name: object) -> bool:
        has = (self._work or self._load()).tracker.has(name)
        return has and name not in HIDDEN_NAMES

    def __iter__(self) -> c.Iterator[t.Any]:
        return iter(self._names())

    def __reversed__(self) -> c.Iterator[t.Any]:
        return reversed(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[t.Hashable]:
        names = (self._work or self._load()).tracker.names()
        return [name for name in names if name not in HIDDEN_NAMES]

    def __repr__(self) -> str:
        # Names only: representations end up in logs.
        names = f"[{', '.join(map(shown, self))}]" if self.loaded else "not loaded"
        return f"<Session {names}>"

    # For the session interface, at the end of the request

    @property
    def loaded(self) -> bool:
        """Whether the session was used, and the store has answered."""
        return self._work is not None

    @property
    def answered(self) -> bool:
        """Whether the session was used, and is still alive."""
        return self._work is not None and self._work.answered

    @property
    def cookie(self) -> str | None:
        """The cookie text to send: "" removes the cookie, None leaves it alone."""
        return None if self._work is None else self._work.cookie

    @property
    def cookie_permanent(self) -> bool:
        """Whether the browser is to keep the cookie when it closes."""
        return self._work is not None and self._work.snapshot.permanent

    @property
    def cookie_lifetime(self) -> int | None:
        """For how many seconds the browser keeps a permanent session's cookie; None
        for as long as the settings say.
        """
        if self._work is None:
            return None
        seen = self._work.snapshot
        return self._opener.policy.cookie_lifetime(seen.record.values, seen.used)

    def save_once(self) -> bool:
        """Save at the end of the request.

        :returns: whether the request has used the session.
        :raises: what :meth:`save` raises.
        """
        work = self._work
        if work is None:
            return False
        work.finish(closed=self.closed)
        return True

    def abandon(self) -> None:
        """Save nothing more. The cookie stays as last saved."""
        if self._work is not None:
            self._work.abandon()

    def detach(self) -> None:
        """Let the session be read and changed after the response. Nothing is saved.

        From now on the session does nothing to the store, except that the first use
        loads the session.
        """
        self.detached = True
        self.abandon()

    def check_saved(self) -> None:
        """Check that nothing changed after the response was made.

        :raises SessionClosedError: something did.
        """
        work = self._work
        if work is not None and work.answered and work.tracker.changes():
            work.check_writable(closed=self.closed)


#: The same proxy as :data:`flask.session`, typed as :class:`Session`.
session = t.cast(Session, flask.session)
