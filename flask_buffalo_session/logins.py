"""What a login and a logout are, when the user logged in, and whose session it is.

An application begins a login with ``session.authenticate()``, or by setting a name in
``SESSION_AUTH_NAMES``. These names say who the session's user is.
"""

from __future__ import annotations

import time
import typing as t

from .backends.base import (
    AUTHENTICATED_NAME,
    BOUND_NAME,
    INFO_NAME,
    INTERNAL_NAMES,
    OWNER_NAME,
)
from .errors import SessionTypeError
from .merging import MISSING
from .policy import Policy
from .tracking import Change, Changes, Tracker, Values


class Logins:
    """The logins and logouts of one request.

    :param tracker: the session's values.
    :param names: the names that say who the user is.
    """

    __slots__ = ("_names", "_tracker")

    def __init__(self, tracker: Tracker, names: tuple[t.Hashable, ...]) -> None:
        self._tracker = tracker
        self._names = names

    def bind(self, owner: str, info: str | None) -> None:
        """Set the session's owner.

        :param info: what the session keeps about this login. None keeps what it has,
            unless that belongs to another owner.
        """
        tracker = self._tracker
        if info is not None:
            tracker.set(INFO_NAME, info)
        earlier = self.owner()
        if earlier != owner:
            tracker.set(OWNER_NAME, owner)
            tracker.set(INFO_NAME, MISSING if info is None else info)
            if earlier is not None and tracker.assigned(AUTHENTICATED_NAME) is None:
                # The earlier owner has logged in, not this one.
                tracker.set(AUTHENTICATED_NAME, MISSING)

    def date_binding(self, after: int = 0) -> Changes:
        """Keep that the session is bound to its owner now, later than before.

        :param after: a time in microseconds that must be earlier.
        :returns: the change of this time.
        """
        tracker = self._tracker
        try:
            bound = tracker.get(BOUND_NAME)
        except SessionTypeError:
            bound = MISSING
        earlier = max(after, bound) if type(bound) is int else after
        tracker.set(BOUND_NAME, max(int(time.time() * 1_000_000), earlier + 1))
        return tracker.change(BOUND_NAME)

    def owner(self) -> str | None:
        """Return the session's owner; None if there is none that can be read."""
        try:
            owner = self._tracker.get(OWNER_NAME)
        except SessionTypeError:
            return None
        return owner if isinstance(owner, str) else None

    def keep_own_info(self, values: Values) -> None:
        """Remove what another request has saved about an earlier owner's login.

        :param values: the values to store, with a new owner.
        """
        info = self._tracker.assigned(INFO_NAME)
        values.pop(INFO_NAME, None)
        if info is not None:
            values[INFO_NAME] = info

    def begin(self) -> None:
        """Keep that the user logs in now."""
        self._tracker.set(AUTHENTICATED_NAME, int(time.time()))

    def changes(self) -> Changes:
        """Return what this request changed about the names that say who the user is."""
        changes: Changes = {}
        for name in self._names:
            changes |= self._tracker.change(name)
        return changes

    def authenticated(self, policy: Policy) -> int | None:
        """Return when the user last logged in, in seconds since the epoch. This is what
        a save would keep now.
        """
        login = self._login(self.changes())
        if login is not None:
            return int(time.time()) if login else None
        values = self._tracker.applied(self._tracker.change(AUTHENTICATED_NAME))
        return policy.authenticated(values)

    def date(self, changes: Changes) -> bool:
        """Date a login, and remove the date after a logout.

        :param changes: what this request changed.
        :returns: whether this is a login.
        """
        login = self._login(changes)
        if login:
            self.begin()
        elif login is False and self._tracker.has(AUTHENTICATED_NAME):
            self._tracker.set(AUTHENTICATED_NAME, MISSING)
        return login is True

    def date_claim(self, name: t.Hashable, raw: bytes) -> bool:
        """Remove the date of the login if taking a value out of the session was a
        logout.

        :param name: the name of the value, which is gone.
        :param raw: the value's bytes.
        :returns: whether the session's user may have changed.
        """
        changes = {name: Change(raw, None)}
        self.date(changes)
        return self.may_change_user(changes, rotated=False)

    def is_logout(self, changes: Changes) -> bool:
        """Return whether deletions have left no values, and one of the deleted names
        said who the user was. This is a logout that ends the session.
        """
        deleted = any(
            name in changes and changes[name].now is None for name in self._names
        )
        return deleted and INTERNAL_NAMES.issuperset(self._tracker.names())

    def may_change_user(self, changes: Changes, *, rotated: bool) -> bool:
        """Return whether the old id must not pass to the session's user, because the
        user may be another one now.

        :param rotated: whether the application asked for a new id.
        """
        if not changes.keys().isdisjoint(self._names):
            return True
        owner = changes.get(OWNER_NAME)
        return owner is not None and (owner.before is not None or rotated)

    def _login(self, changes: Changes) -> bool | None:
        """Return whether changes are a login or a logout: True, False, or None if
        neither changed who the user is.
        """
        names = [name for name in self._names if name in changes]
        if any(self._names_user(name) for name in names):
            return True
        if names and not any(map(self._names_user, self._names)):
            return False
        return None

    def _names_user(self, name: t.Hashable) -> bool:
        if not self._tracker.has(name):
            return False
        try:
            return self._tracker.get(name) is not None
        except SessionTypeError:
            return True
