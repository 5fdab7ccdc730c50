"""What a session needs of the place where it lives.

A store keeps bytes. A backend keeps sessions on it: a backend knows what an id is, how
an id rotates and how it ends.
"""

from __future__ import annotations

import collections.abc as c
import typing as t

from ..codec import Codec, Record
from ..seal import Ticket
from ..stores.base import Owned
from ..tombstones import Kind

#: The session name that holds the session's owner.
OWNER_NAME = "_owner_"

#: The session name that holds when the user logged in: an int, in seconds since the
#: epoch.
AUTHENTICATED_NAME = "_authenticated_"

#: The session name that holds the session's own timeouts, idle and absolute: a str of
#: seconds such as ``"7776000,"``. A list would not do: Go programs read only types that
#: they have registered.
TIMEOUTS_NAME = "_timeouts_"

#: The session name that holds what the application knows about the login, such as the
#: browser: a JSON object, as a str.
INFO_NAME = "_info_"

#: The session name that holds when the session was bound to its owner: an int, in
#: microseconds since the epoch. Only sessions with an owner limit have it.
BOUND_NAME = "_bound_"

#: Names that a view does not see.
HIDDEN_NAMES = frozenset({AUTHENTICATED_NAME, TIMEOUTS_NAME, INFO_NAME, BOUND_NAME})

#: Names that do not count as values when a logout leaves nothing else.
INTERNAL_NAMES = HIDDEN_NAMES | {OWNER_NAME, "_permanent"}


class Snapshot(t.NamedTuple):
    """A session as this request has last seen it. Replaced whole, never edited.

    :param record: its values and dates.
    :param token: what its cookie carries; None until the session is first saved.
    :param data: the record's bytes, for compare-and-swap.
    :param entry: what the revocation list holds for it.
    :param issued: when its cookie was sealed, in seconds since the epoch; 0 if the
        browser has to get a new cookie.
    :param permanent: whether the browser keeps its cookie when it closes.
    :param cookie: a cookie text that the browser has not been sent yet; "" removes the
        cookie.
    :param used: when the session was last used, in seconds since the epoch. None if
        this request uses it, as every request does that is not passive.
    """

    record: Record
    token: str | None = None
    data: bytes | None = None
    entry: bytes | None = None
    issued: int = 0
    permanent: bool = False
    cookie: str | None = None
    used: int | None = None

    # _replace() takes three times as long as these methods, which is 1 % of a write.

    def stored(self, record: Record, token: str, data: bytes) -> Snapshot:
        """Return the session once the store holds this record."""
        _, _, _, entry, issued, permanent, cookie, used = self
        return Snapshot(record, token, data, entry, issued, permanent, cookie, used)

    def sent(self) -> Snapshot:
        """Return the session once the browser is sent its cookie."""
        record, token, data, entry, issued, permanent, _, used = self
        return Snapshot(record, token, data, entry, issued, permanent, None, used)


class Ending(t.NamedTuple):
    """A session that the next save ends.

    :param snapshot: the session as it was last seen.
    :param tombstone: what to leave under its id. An ending that is tried again leaves
        the same bytes, so that it recognizes its own first attempt.
    """

    snapshot: Snapshot
    tombstone: bytes


class Arrival(t.NamedTuple):
    """A session that was kept elsewhere before, and moves here.

    :param key: an id made of the old session's identity, so that every request with
        the same old cookie comes to the same session here.
    :param lifetime: seconds for which the old cookie may come again.
    :param load: returns the old session, encoded by the codec. Raises
        ``RejectedError`` if there is none.
    :param unique: whether no other user can have an old session with this key.
    """

    key: str
    lifetime: int
    load: c.Callable[[Codec], Record]
    unique: bool


class EndedError(Exception):
    """The session's id was retired. Never leaves the package.

    :param snapshot: what was found under the id when the session was loaded, kept as
        :attr:`snapshot`.
    """

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        super().__init__("the session has ended")
        self.snapshot = snapshot


class Sealer(t.Protocol):
    """Seals a token for the cookie."""

    def __call__(
        self,
        token: str,
        *,
        permanent: bool,
        values: c.Mapping[t.Hashable, bytes],
        issued: int | None = None,
    ) -> str:
        """Return the cookie's text.

        :param issued: the time that the text bears, in seconds since the epoch; now by
            default.
        :raises SessionTooLargeError: browsers would drop the cookie.
        """


class Backend(t.Protocol):
    """Where sessions live.

    :ivar keeps: whether anything outlives the request.
    :ivar claims: whether ``get_once`` can take a value out of the store at once.
    :ivar owned: the index of owners; None if there is none.
    """

    keeps: bool
    claims: bool
    owned: Owned | None

    def check_writable(self) -> None:
        """Check that the session may be written.

        :raises SessionSecretError: there is no secret to protect it.
        """

    def check_owners(self) -> None:
        """Check that sessions are indexed by owner.

        :raises SessionUnsupportedError: they are not.
        """

    def blank(self) -> Snapshot:
        """Return the snapshot of a session that begins now."""

    def load(self, ticket: Ticket) -> Snapshot:
        """Return the session of a verified cookie.

        :raises EndedError: its id was just retired.
        :raises RejectedError: there is no such session. Carries the id's hash.
        :raises SessionStoreError: the store cannot answer.
        """

    def adopt(self, arrival: Arrival) -> Snapshot:
        """Return the session that an old session has become, or becomes now.

        :raises EndedError: it has just ended here.
        :raises RejectedError: it has ended here, or there is no such session.
        :raises SessionStoreError: a store cannot answer.
        """

    def reload(self, seen: Snapshot) -> Snapshot:
        """Return the session as it is now, after a conflict.

        :raises EndedError: it has ended meanwhile.
        :raises RejectedError: its record cannot be used any more.
        :raises SessionStoreError: the store cannot answer.
        """

    def swap(self, seen: Snapshot, record: Record) -> Snapshot:
        """Save changed values alone: no cookie, no index.

        :raises SessionConflictError: another request has saved the session.
        :raises SessionStoreError: the store cannot answer.
        """

    def write(
        self, seen: Snapshot, record: Record, *, changed: c.Collection[t.Hashable]
    ) -> Snapshot:
        """Save the session under its id, or under a new one if it has none.

        :param changed: the names that this request changed.
        :raises EndedError: the session has ended meanwhile.
        :raises SessionConflictError: another request has saved the session.
        :raises SessionTooLargeError: the cookie would be too large.
        :raises SessionStoreError: the store cannot answer.
        """

    def rotate(self, seen: Snapshot, record: Record, *, kind: Kind) -> Snapshot:
        """Save the session under a new id, and retire the old id.

        :param kind: the kind of tombstone to leave under the old id.
        :raises: what :meth:`write` raises.
        """

    def end(self, ending: Ending) -> bool:
        """End a session for good.

        :returns: False if another request had ended it before.
        :raises SessionStoreError: the store cannot answer.
        """

    def record_in(self, data: bytes, session_id: str) -> Record:
        """Return the record in what the index of owners holds under an id.

        :param data: no tombstone.
        :param session_id: the hash of the id.
        :raises RejectedError: the bytes are no record of this id.
        """

    def id_of(self, snapshot: Snapshot) -> str | None:
        """Return the hash of the session's id, which is safe to log."""
