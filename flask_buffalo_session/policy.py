"""Every time-out, and every question about the age of a session, an id or a cookie."""

from __future__ import annotations

import time

from .codec import Record
from .errors import RejectedError

# The last use of a session is known to within a tenth of its lifetime. In return a
# request that only reads does not save the session.
_REFRESHES_IN_A_LIFETIME = 10


class Policy:
    """An application's time-outs. All times are in seconds.

    :param idle_timeout: how long a session lives without being used.
    :param absolute_timeout: how long a session lives at most; None for no limit.
    :param rotate_after: the age at which an id is replaced by itself; None for never.
    :param permanent_lifetime: how long browsers keep a permanent session's cookie.
    :param stores_created: whether every record says when its session began, because
        the codec writes that anyway.
    """

    def __init__(
        self,
        *,
        idle_timeout: int,
        absolute_timeout: int | None = None,
        rotate_after: int | None = None,
        permanent_lifetime: int,
        stores_created: bool,
    ) -> None:
        self.idle_timeout = idle_timeout
        self._absolute_timeout = absolute_timeout
        self._rotate_after = rotate_after
        self._needs_created = (
            stores_created or absolute_timeout is not None or rotate_after is not None
        )
        self._refresh_after = {
            False: idle_timeout / _REFRESHES_IN_A_LIFETIME,
            True: min(idle_timeout, permanent_lifetime) / _REFRESHES_IN_A_LIFETIME,
        }
        #: How long an owner's index keeps an entry. Each refresh renews the entry, and
        #: there are ten refreshes in half of this time.
        self.index_seconds = 2 * idle_timeout
        #: How much longer than a cookie its entry in a revocation list lives. A
        #: changed cookie lives on, although its entry is only renewed once it is due.
        self.entry_margin = idle_timeout // _REFRESHES_IN_A_LIFETIME + 2

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
        because another program wrote the record.
        """
        return record.created is None and self._needs_created

    def check_age(self, record: Record) -> None:
        """Check that a session has not reached its absolute time-out.

        :raises RejectedError: it has, with the reason ``expired``.
        """
        limit = self._absolute_timeout
        if limit is None or record.created is None:
            return
        if time.time() - record.created >= limit + 1:
            raise RejectedError("expired", "the session has reached its absolute limit")

    def max_age(self, record: Record) -> int:
        """Return how many seconds a record is kept if it is not saved again."""
        limit = self._absolute_timeout
        if limit is None or record.created is None:
            return self.idle_timeout
        left = record.created + limit - int(time.time())
        return max(1, min(self.idle_timeout, left))

    def refresh_is_due(self, issued: int, *, permanent: bool) -> bool:
        """Return whether a cookie issued at that second has to be refreshed."""
        # The distance counts in both directions: after a clock was set back, a
        # refresh would otherwise be late by as much.
        return abs(time.time() - issued) >= self._refresh_after[permanent]

    def id_is_old(self, record: Record) -> bool:
        """Return whether the session's id has to be rotated for its age."""
        if self._rotate_after is None:
            return False
        issued = record.rotated or record.created
        return issued is not None and time.time() - issued >= self._rotate_after
