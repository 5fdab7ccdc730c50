"""Run requests at the same time, in an order that the test chooses."""

from __future__ import annotations

import collections.abc as c
import typing as t

from greenlet import getcurrent, greenlet

from flask_buffalo_session import MemoryStore
from flask_buffalo_session.errors import SessionConflictError, SessionStoreError

#: Returns which of the requests goes on, of those that are not done.
Choose: t.TypeAlias = c.Callable[[list[int]], int]


def run_stepwise(requests: c.Sequence[c.Callable[[], object]], choose: Choose) -> None:
    """Run requests that use a :class:`PausingStore`. Before each store call, `choose`
    picks the request that goes on.
    """
    running = {number: greenlet(run) for number, run in enumerate(requests)}
    while running:
        number = choose(list(running))
        running[number].switch()
        if running[number].dead:
            del running[number]


def interrupting(k: int, j: int | None = None) -> Choose:
    """Run the first of two requests up to its k-th store call, then the second request
    up to its j-th (None: to its end), then the rest of the first, and that of the
    second.
    """
    left = [k, 1_000 if j is None else j]

    def choose(waiting: list[int]) -> int:
        for number in waiting:
            if left[number]:
                left[number] -= 1
                return number
        return waiting[0]

    return choose


class Fault(t.NamedTuple):
    """One store call that fails.

    :param call: the number of the call, over all requests.
    :param kind: ``before``: the call is not done. ``after``: the call is done, but the
        answer is lost. ``repeated``: the call is done, and the client's own retry of
        it conflicts.
    """

    call: int
    kind: str


class PausingStore(MemoryStore):
    """Pauses the request before each store call, and lets one call fail."""

    def __init__(self, fault: Fault | None = None) -> None:
        super().__init__()
        self.fault = fault
        self.failed = False
        #: The calls of the requests, in their order.
        self.calls: list[str] = []
        self.tokens: set[str] = set()
        #: Whether a save brought back a token that the store had lost.
        self.adopted = False

    def load(self, token: str) -> bytes | None:
        return t.cast("bytes | None", self._called("load", super().load, token))

    def save(self, token: str | None, data: bytes, **how: t.Any) -> str:
        return t.cast(str, self._called("save", self._save, token, data, **how))

    def delete(self, token: str) -> None:
        self._called("delete", super().delete, token)

    def own(self, token: str, owner: str, **how: t.Any) -> None:
        self._called("own", super().own, token, owner, **how)

    def owned(self, owner: str) -> t.Any:
        return self._called("owned", super().owned, owner)

    def revoke(self, session_id: str, **how: t.Any) -> bytes | None:
        return t.cast(
            "bytes | None", self._called("revoke", super().revoke, session_id, **how)
        )

    def _save(self, token: str | None, data: bytes, **how: t.Any) -> str:
        unknown = token in self.tokens and super().load(token) is None
        saved = super().save(token, data, **how)
        self.adopted |= unknown
        self.tokens.add(saved)
        return saved

    def _called(
        self, name: str, call: c.Callable[..., t.Any], *args: t.Any, **how: t.Any
    ) -> t.Any:
        scheduler = getcurrent().parent
        if scheduler is None:
            return call(*args, **how)
        scheduler.switch()
        self.calls.append(name)
        kind = None
        if self.fault is not None and self.fault.call == len(self.calls):
            kind = self.fault.kind
        if kind is None or (kind == "repeated" and name != "save"):
            return call(*args, **how)
        self.failed = True
        if kind == "before":
            raise SessionStoreError("the store", "is away")
        call(*args, **how)
        if kind == "after":
            raise SessionStoreError("the store", "timed out")
        raise SessionConflictError("the record has changed")
