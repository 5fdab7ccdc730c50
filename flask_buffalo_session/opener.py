"""What a session needs from its application, without Flask.

:class:`.app_opener.AppOpener` provides it. Tests provide it without an application.
"""

from __future__ import annotations

import typing as t

from blinker import NamedSignal

from .backends.base import Backend, Snapshot
from .codec import Codec
from .errors import Reason
from .policy import Policy
from .seal import Ticket


class Arriving(t.Protocol):
    """The sessions, kept elsewhere before, that a request's cookies may belong to."""

    def load(self, backend: Backend, ticket: Ticket | None) -> Snapshot | None:
        """Return the ticket's session, or else an old session, as a session of the
        backend. None if the request has no cookie of any kind.

        :raises: what :meth:`.backends.base.Backend.load` raises.
        """


class Opened(t.NamedTuple):
    """What a request's session starts from.

    :param backend: where the session lives.
    :param ticket: the first of the request's cookies that verified, if any.
    :param rejected: why no cookie verified, if there was one.
    :param arrivals: sessions that were kept elsewhere before, if there may be any.
    :param passive: whether the request does not count as use of the session.
    """

    backend: Backend
    ticket: Ticket | None = None
    rejected: Reason | None = None
    arrivals: Arriving | None = None
    passive: bool = False


class Opener(t.Protocol):
    """What a session needs from its application; one object for each."""

    codec: Codec
    policy: Policy
    #: Names whose change gives the session a new id. Their values are never merged.
    auth_names: tuple[t.Hashable, ...]
    #: How many sessions an owner may have; None for no limit.
    owner_limit: int | None

    def open(self, source: t.Any) -> Opened:
        """Verify the cookies of the request that the session was opened for."""

    def listens_to(self, signal: NamedSignal) -> bool:
        """Return whether a signal has a receiver, or is logged."""

    def emit(
        self,
        signal: NamedSignal,
        session_id: str | None,
        reason: Reason | None = None,
        *,
        old_id: str | None = None,
    ) -> None:
        """Emit a signal, and log it if it reports a problem.

        :param reason: why a session was rejected.
        :param old_id: the hash of the id that was retired, if the session got another.
        """
