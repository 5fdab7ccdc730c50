"""No sessions: what is written lasts for the request."""

from __future__ import annotations

import collections.abc as c
import typing as t

from ..codec import Record
from ..errors import RejectedError, SessionSecretError, SessionUnsupportedError
from ..seal import Ticket
from ..stores.base import Owned
from .base import Arrival, Ending, Snapshot


class NullBackend:
    """Buffalo's ``sessions.Null{}``.

    :param refusal: the error that the first write raises. For an application without a
        secret, whose sessions are empty and must not be written.
    """

    keeps = False
    claims = False
    owned: Owned | None = None

    def __init__(self, refusal: str | None = None) -> None:
        self._refusal = refusal

    def check_writable(self) -> None:
        if self._refusal is not None:
            raise SessionSecretError(self._refusal)

    def check_owners(self) -> None:
        raise SessionUnsupportedError("There are no sessions here, so none has owners.")

    def blank(self) -> Snapshot:
        return Snapshot(Record(None, b"", {}))

    def load(self, ticket: Ticket) -> Snapshot:
        return self.blank()

    def adopt(self, arrival: Arrival) -> Snapshot:
        return self.blank()

    def reload(self, seen: Snapshot) -> Snapshot:
        return seen

    def swap(self, seen: Snapshot, record: Record) -> Snapshot:
        return seen

    def write(
        self, seen: Snapshot, record: Record, *, changed: c.Collection[t.Hashable]
    ) -> Snapshot:
        return seen._replace(record=record)

    def rotate(self, seen: Snapshot, record: Record, *, kind: bytes) -> Snapshot:
        return seen._replace(record=record)

    def end(self, ending: Ending) -> bool:
        return True

    def opened(self, data: bytes, session_id: str) -> Record:
        raise RejectedError("unknown", "there are no sessions here")

    def id_of(self, snapshot: Snapshot) -> None:
        return None
