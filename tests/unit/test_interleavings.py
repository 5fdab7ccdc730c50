"""Several requests at once that do anything, in any order between any two calls of the
store, which may fail. ``test_concurrency.py`` has two of them, interleaved by hand.
"""

from __future__ import annotations

import collections.abc as c
import random
import typing as t

import pytest
from greenlet import getcurrent, greenlet
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_buffalo_session import CookieStore, MemoryStore
from flask_buffalo_session.errors import SessionConflictError, SessionStoreError
from flask_buffalo_session.revocation import RevocationList
from flask_buffalo_session.sessions import Session
from tests.conftest import Desk

pytestmark = pytest.mark.usefixtures("slow_records")

many = settings(max_examples=500)
chances = st.randoms(use_true_random=False)


def programs(*steps: str) -> st.SearchStrategy[list[list[str]]]:
    """What each of some requests does before it saves."""
    step = st.sampled_from(["set", "append", "take", "read", "save", *steps])
    return st.lists(st.lists(step, min_size=1, max_size=4), min_size=2, max_size=4)


class Interleaved(MemoryStore):
    """Lets another request go on before each call.

    :param failing: the part of the calls that fail as a server's do: before they are
        done or after, with an error or, as if the client had repeated a write that was
        done by itself, with a conflict.
    """

    def __init__(self, chance: random.Random, failing: float) -> None:
        super().__init__()
        self.chance = chance
        self.failing = failing
        self.tokens: set[str] = set()

    def load(self, token: str) -> bytes | None:
        return t.cast("bytes | None", self._called(super().load, token))

    def save(self, token: str | None, data: bytes, **settings: t.Any) -> str:
        return t.cast(str, self._called(self._save, token, data, **settings))

    def delete(self, token: str) -> None:
        self._called(super().delete, token)

    def _save(self, token: str | None, data: bytes, **settings: t.Any) -> str:
        token = super().save(token, data, **settings)
        self.tokens.add(token)
        return token

    def _called(
        self, call: c.Callable[..., t.Any], *args: t.Any, **settings: t.Any
    ) -> t.Any:
        scheduler = getcurrent().parent
        if scheduler is None:
            return call(*args, **settings)
        scheduler.switch()
        failure = None
        if self.chance.random() < self.failing:
            failure = self.chance.choice(["away", "unanswered", "repeated"])
        if failure == "away":
            raise SessionStoreError("it", "is away")
        answer = call(*args, **settings)
        if failure == "unanswered":
            raise SessionStoreError("it", "timed out")
        if failure == "repeated" and settings:
            raise SessionConflictError("it is there")
        return answer


class Request:
    """One of them, with the cookie that the browser had last when it began.

    :ivar saved: the names and the items that were saved, as far as it knows.
    :ivar taken: what ``get_once`` has handed out.
    """

    def __init__(self, number: int, desk: Desk) -> None:
        self.number = number
        self.desk = desk
        self.saved: set[str] = set()
        self.taken: list[str] = []

    @property
    def told(self) -> set[str]:
        return {signal for signal, _ in self.desk.emitted}

    def run(self, steps: list[str], jar: list[str]) -> None:
        session = self.desk.session(jar[-1])
        try:
            # Who arrives with the old cookie after a renewal finds nothing.
            if "a" in session:
                self._take(session, steps)
        except SessionStoreError:
            session.abandon()
        if session.cookie:
            jar.append(session.cookie)

    def _take(self, session: Session, steps: list[str]) -> None:
        changed = set()
        for place, step in enumerate([*steps, "save"]):
            item = f"{self.number}.{place}"
            if step == "set":
                session[item] = True
                changed.add(item)
            elif step == "append":
                session["log"].append(item)
                changed.add(item)
            elif step == "take":
                self.taken += filter(None, [session.get_once("prize")])
            elif step == "read":
                dict(session)
            elif step == "renew":
                self.desk.set_times(rotate_after=0)
            elif step == "regenerate":
                session.regenerate()
            elif step == "authenticate":
                session.authenticate()
            elif step == "set timeouts":
                session.set_timeouts(idle=7200 + self.number)
            elif step == "log out":
                session.destroy()
                session.save()
                return
            else:
                session.save()
                if "conflict" in self.told:
                    return
                self.saved |= changed


class Scene:
    """A session, and what was made of it.

    :param listed: whether it lives in its cookie, with a list of those that have ended.
    :ivar jar: the cookies that the browser was given, the newest last.
    """

    def __init__(
        self,
        programs: list[list[str]],
        chance: random.Random,
        *,
        listed: bool = False,
        failing: float = 0,
    ) -> None:
        self.store = Interleaved(chance, failing)
        self.listed = listed
        session = self._desk().session()
        session.update(a=1, log=[], prize="prize")
        session.save()
        assert session.cookie
        self.jar = [session.cookie]
        self.requests = [Request(n, self._desk()) for n, _ in enumerate(programs)]
        waiting: dict[greenlet, tuple[t.Any, ...]] = {
            greenlet(request.run): (steps, self.jar)
            for request, steps in zip(self.requests, programs, strict=True)
        }
        while waiting:
            running = chance.choice(list(waiting))
            running.switch(*waiting[running])
            waiting[running] = ()
            if running.dead:
                del waiting[running]

    def _desk(self) -> Desk:
        if not self.listed:
            return Desk(self.store)
        kept: t.Any = self.store
        return Desk(CookieStore(), revocations=RevocationList(kept, 3600))

    @property
    def told(self) -> set[str]:
        return {signal for request in self.requests for signal in request.told}

    @property
    def taken(self) -> list[str]:
        return [value for request in self.requests for value in request.taken]

    def found(self, tokens: c.Iterable[str]) -> dict[t.Any, dict[t.Any, t.Any]]:
        """By their ids, the sessions that are there for these cookies."""
        sessions = map(self._desk().session, tokens)
        return {session.id: dict(session) for session in sessions if session}


@many
@given(programs("renew", "set timeouts"), chances)
def test_nothing_is_lost(programs: list[list[str]], chance: random.Random) -> None:
    """Each change is there, once, under one id, also if that is renewed meanwhile; and
    what is taken is taken by one.
    """
    scene = Scene(programs, chance)
    (values,) = scene.found(scene.jar).values()
    saved = {item for request in scene.requests for item in request.saved}
    names = set(values) - {"a", "log", "prize"}
    assert names | set(values["log"]) == saved
    assert len(names) + len(values["log"]) == len(saved)
    assert len(scene.taken) + ("prize" in values) == 1
    assert "conflict" not in scene.told


@many
@given(programs("renew"), chances)
def test_what_was_saved_is_there_although_the_store_fails(
    programs: list[list[str]], chance: random.Random
) -> None:
    """If saving raised nothing; be it under an id that no browser was given. Nothing is
    taken twice.
    """
    scene = Scene(programs, chance, failing=0.15)
    there: set[t.Any] = set()
    for values in scene.found(scene.store.tokens).values():
        there |= {*values, *values["log"]}
    for request in scene.requests:
        assert request.saved <= there
    assert len(scene.taken) <= 1
    assert "conflict" not in scene.told


@pytest.mark.parametrize("listed", [False, True], ids=["server-side", "with a list"])
@pytest.mark.parametrize("failing", [0, 0.15], ids=["", "failing"])
@many
@given(
    programs("renew", "regenerate", "authenticate", "set timeouts", "log out"), chances
)
def test_what_ended_stays_ended(
    listed: bool, failing: float, programs: list[list[str]], chance: random.Random
) -> None:
    """No cookie that a browser was ever given shows it again. What goes on does so
    under one id.
    """
    scene = Scene(programs, chance, listed=listed, failing=failing)
    found = scene.found(scene.jar)
    assert len(found) <= 1
    if "destroyed" in scene.told:
        assert not found
    elif not failing:
        assert found
