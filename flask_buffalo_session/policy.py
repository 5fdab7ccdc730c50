"""Every timeout, and every question about the age of a session, an id or a cookie."""

from __future__ import annotations

import math
import time
import typing as t
from datetime import timedelta

from .backends.base import AUTHENTICATED_NAME, TIMEOUTS_NAME, Snapshot
from .codec import NO_VALUES, Codec, Encoded, Record, own_value
from .errors import RejectedError

#: The longest timeout that a session may have of its own, in seconds, unless
#: ``SESSION_TIMEOUT_LIMIT`` says otherwise. Browsers keep no cookie longer.
DEFAULT_TIMEOUT_LIMIT = 400 * 24 * 3600

# The last use of a session is known to within a tenth of its lifetime. In return a
# request that only reads does not save the session.
_REFRESHES_IN_A_LIFETIME = 10


class Timeouts(t.NamedTuple):
    """A session's own timeouts, in seconds. None where the settings decide."""

    idle: int | None = None
    absolute: int | None = None

    @classmethod
    def of(cls, codec: Codec, values: Encoded) -> t.Self:
        """Return the timeouts that a session's values contain."""
        text = own_value(codec, values, TIMEOUTS_NAME)
        if type(text) is not str:
            return cls()
        idle, _, absolute = text.partition(",")
        return cls(_number(idle), _number(absolute))

    def text(self) -> str:
        """Return what the session keeps."""
        return f"{self.idle or ''},{self.absolute or ''}"


NO_TIMEOUTS: t.Final = Timeouts()


class Policy:
    """An application's timeouts. All times are in seconds.

    :param codec: decodes what a session's values contain about its own timeouts.
    :param idle_timeout: how long a session lives without being used.
    :param absolute_timeout: how long a session lives at most after it began or its user
        last logged in; None for no limit.
    :param timeout_limit: the longest timeout that a session may have of its own.
    :param rotate_after: the age at which an id is replaced by itself; None for never.
    :param permanent_lifetime: how long browsers keep a permanent session's cookie.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        idle_timeout: int,
        absolute_timeout: int | None = None,
        timeout_limit: int = DEFAULT_TIMEOUT_LIMIT,
        rotate_after: int | None = None,
        permanent_lifetime: int,
    ) -> None:
        self._codec = codec
        self.idle_timeout = idle_timeout
        self.timeout_limit = timeout_limit
        #: The age at which every cookie is too old.
        self.longest_idle = max(idle_timeout, timeout_limit)
        self._absolute_timeout = absolute_timeout
        self._rotate_after = rotate_after
        self._permanent_lifetime = permanent_lifetime
        self._needs_created = (
            codec.stores_created
            or absolute_timeout is not None
            or rotate_after is not None
        )
        self._refresh_after = {
            False: idle_timeout / _REFRESHES_IN_A_LIFETIME,
            True: min(idle_timeout, permanent_lifetime) / _REFRESHES_IN_A_LIFETIME,
        }

    def blank(self) -> Record:
        """Return the record of a session that begins now."""
        now = int(time.time())
        # The id is dated from the beginning, so that a cookie does not outgrow its
        # size limit when its id is rotated.
        return Record(now if self._needs_created else None, b"", {}, self.rotated_now())

    def rotated_now(self) -> int:
        """Return when an id that is issued now was issued; 0 if ids never age."""
        return 0 if self._rotate_after is None else int(time.time())

    def lacks_date(self, record: Record) -> bool:
        """Return whether a record must say when its session began, but does not,
        because another program wrote the record, or because the session has an
        absolute timeout of its own.
        """
        return record.created is None and (
            self._needs_created or self._limits(record.values)[1] is not None
        )

    # A session's own times

    def authenticated(self, values: Encoded) -> int | None:
        """Return when the session's user last logged in, in seconds since the epoch."""
        seconds = own_value(self._codec, values, AUTHENTICATED_NAME)
        return seconds if type(seconds) is int else None

    def _own(self, values: Encoded) -> Timeouts:
        """Return the timeouts that a session has of its own."""
        # Methods that every request calls check for the name before they call this
        # method. That saves 3 % of a write.
        if TIMEOUTS_NAME not in values:
            return NO_TIMEOUTS
        # The limit may have been lowered since the session got its timeouts.
        limit = self.timeout_limit
        own = Timeouts.of(self._codec, values)
        return Timeouts(*(None if one is None else min(one, limit) for one in own))

    def _limits(self, values: Encoded) -> tuple[int, int | None]:
        """Return the idle and the absolute timeout that count for a session."""
        own = self._own(values)
        return own.idle or self.idle_timeout, own.absolute or self._absolute_timeout

    def _began(self, record: Record) -> int | None:
        """Return when the absolute timeout began to count."""
        authenticated = self.authenticated(record.values)
        if authenticated is None or record.created is None:
            return record.created if authenticated is None else authenticated
        return max(record.created, authenticated)

    # Whether it is over

    def check_age(self, record: Record) -> None:
        """Check that a session has not reached its absolute timeout.

        :raises RejectedError: it has, with the reason ``expired``.
        """
        limit = self._absolute_timeout
        if TIMEOUTS_NAME in record.values:
            limit = self._own(record.values).absolute or limit
        if limit is None or (began := self._began(record)) is None:
            return
        if time.time() - began >= limit + 1:
            raise RejectedError("expired", "the session has reached its absolute limit")

    def check_idle(self, issued: int, values: Encoded = NO_VALUES) -> None:
        """Check that a session was used recently enough.

        :param issued: when its cookie was sealed; 0 if that is not known.
        :raises RejectedError: it was not, with the reason ``expired``.
        """
        idle = self.idle_timeout
        if TIMEOUTS_NAME in values:
            idle = self._own(values).idle or idle
        # A seal checks the age of a cookie in the same way.
        if issued and time.time() - issued >= idle + 1:
            raise RejectedError("expired", "the session was not used for too long")

    def check_times(self, issued: int, record: Record, *, alive: bool) -> None:
        """Check that a session has reached none of its timeouts.

        :param issued: when its cookie was sealed; 0 if that is not known.
        :param alive: whether the session is alive in a store on a server. Then the
            store enforces a shorter idle timeout of the session's own, because a
            request under way may have an older cookie.
        :raises RejectedError: it has, with the reason ``expired``.
        """
        has_own = TIMEOUTS_NAME in record.values
        if (has_own and not alive) or time.time() - issued >= self.idle_timeout + 1:
            self.check_idle(issued, record.values)
        if has_own or self._absolute_timeout is not None:
            self.check_age(record)

    def expires(self, record: Record, used: int) -> int:
        """Return when a session ends if it is not used again.

        :param used: when it was last used.
        """
        idle, absolute = self._limits(record.values)
        if absolute is None or (began := self._began(record)) is None:
            return used + idle
        return min(used + idle, began + absolute)

    def max_age(self, record: Record, used: int | None = None) -> int:
        """Return how many seconds a record is kept if it is not saved again.

        :param used: when the session was last used; now by default.
        """
        if (
            used is None
            and self._absolute_timeout is None
            and TIMEOUTS_NAME not in record.values
        ):
            # Nearly every write. This saves 1 % of it.
            return self.idle_timeout
        now = int(time.time())
        # A clock that was set back does not make the time longer.
        last = now if used is None else min(used, now)
        return max(1, self.expires(record, last) - now)

    # How long browsers, indexes and revocation lists keep it

    def cookie_lifetime(self, values: Encoded, used: int | None = None) -> int:
        """Return how many seconds browsers keep a permanent session's cookie.

        :param used: when the session was last used; now by default.
        """
        lifetime = self._own(values).idle or self._permanent_lifetime
        return lifetime if used is None else lifetime + used - int(time.time())

    def index_seconds(self, values: Encoded) -> int:
        """Return how long an owner's index keeps an entry. Each refresh renews the
        entry, and there are ten refreshes in half of this time.
        """
        return 2 * self._limits(values)[0]

    def entry_margin(self, values: Encoded) -> int:
        """Return for how many seconds an entry in a revocation list outlives its
        cookie. A change makes a new cookie, but renews the entry only once it is due.
        """
        return self._limits(values)[0] // _REFRESHES_IN_A_LIFETIME + 2

    # What is due

    def cookie_is_due(self, seen: Snapshot) -> bool:
        """Return whether a session's cookie has to be refreshed."""
        if seen.used is not None:
            # A passive request refreshes nothing. It only sends the cookie of a session
            # that moved, because the browser may not have it.
            return not seen.issued
        return self.refresh_is_due(
            seen.issued, permanent=seen.permanent, values=seen.record.values
        )

    def refresh_is_due(
        self, issued: int, *, permanent: bool, values: Encoded = NO_VALUES
    ) -> bool:
        """Return whether a cookie issued at that second has to be refreshed."""
        after = self._refresh_after[permanent]
        if TIMEOUTS_NAME in values and (own := self._own(values).idle):
            after = own / _REFRESHES_IN_A_LIFETIME
        # The distance counts in both directions: after a clock was set back, a
        # refresh would otherwise be late by as much.
        return abs(time.time() - issued) >= after

    def save_is_due(self, seen: Snapshot) -> bool:
        """Return whether a session that did not change must be saved nevertheless."""
        if seen.token is None:
            return False
        record = seen.record
        if (
            seen.used is None
            and self._rotate_after is None
            and record.created is not None
            and TIMEOUTS_NAME not in record.values
        ):
            # Nearly every request. This spares it four calls.
            return abs(time.time() - seen.issued) >= self._refresh_after[seen.permanent]
        return (
            self.cookie_is_due(seen)
            or self.lacks_date(record)
            or (seen.used is None and self.id_is_old(record))
        )

    def id_is_old(self, record: Record) -> bool:
        """Return whether the session's id has to be rotated for its age."""
        if self._rotate_after is None:
            return False
        issued = record.rotated or record.created
        return issued is not None and time.time() - issued >= self._rotate_after


def whole_seconds(value: object) -> int | None:
    """Return a time span in seconds, rounded up; None if the value is no time span.

    :param value: a number of seconds or a ``timedelta``, above 0.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return math.ceil(seconds) if 0 < seconds < math.inf else None


def _number(text: str) -> int | None:
    # No timeout has more than a dozen digits.
    if not (text.isascii() and text.isdecimal()) or len(text) > 12:
        return None
    return int(text) or None
