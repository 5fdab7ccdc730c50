"""Check that the soak finds errors.

The model must disagree with stores that are broken in one way each, and agree with a
sound store.
"""

from __future__ import annotations

import collections.abc as c
import json
import random
import threading
import time
import typing as t

import pytest
from flask import Flask

from flask_buffalo_session.errors import SessionConflictError, SessionStoreError
from tests.conftest import SECRET
from tests.soak import actions
from tests.soak.actions import Action
from tests.soak.app import make_app
from tests.soak.million import GOAL, Measured
from tests.soak.model import ImpossibleError, Model
from tests.soak.run import run
from tests.soak.tabs import Answer, LocalTab
from tests.soak.tally import DOUBLED, FOREIGN, LOST, OTHER, RESURRECTED, Tally, Watch

SEED = 1


class Site:
    """The shop on a store in memory. Others have their turn between a load and what
    comes after it, and once a while the store is away.
    """

    def __init__(self) -> None:
        self.app: Flask = make_app("memory:")
        self.store: t.Any = t.cast(t.Any, self.app.session_interface).main.config.store
        self.watch = Watch()
        self.tally = Tally()
        self.away = False
        for name in ("load", "save", "delete", "own", "owned", "revoke"):
            setattr(self.store, name, self.sometimes(getattr(self.store, name)))

    def sometimes(self, method: c.Callable[..., t.Any]) -> c.Callable[..., t.Any]:
        def answering(*args: t.Any, **kwargs: t.Any) -> t.Any:
            if self.away:
                raise SessionStoreError("memory", "is away")
            result = method(*args, **kwargs)
            time.sleep(0.001)
            return result

        return answering

    def soak(self, seconds: float, looked_for: set[str] | None = None) -> set[str]:
        """What is wrong.

        :param looked_for: that is enough.
        """
        over = threading.Event()

        def found() -> set[str]:
            return {problem.kind for problem in self.tally.problems}

        def go_away() -> None:
            while not over.wait(0.3):
                with self.watch.outage():
                    self.away = True
                    over.wait(0.1)
                    self.away = False

        outages = threading.Thread(target=go_away)

        def calm_down() -> None:
            over.set()
            outages.join()

        outages.start()
        try:
            run(
                lambda: LocalTab(self.app),
                self.watch,
                self.tally,
                people=5,
                seconds=seconds,
                seed=SEED,
                pause=0.01,
                calm_down=calm_down,
                enough=lambda: found() >= (looked_for or {OTHER}),
            )
        finally:
            calm_down()
        return found()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("SESSION_SECRET", SECRET)
    return Site()


def test_the_soak_accepts_a_sound_store(site: Site) -> None:
    """The soak sends many requests, and its outages are announced."""
    assert site.soak(2) == set(), site.tally.problems[0]
    assert site.tally["requests"] > 200
    assert site.tally["announced errors"] > 10


def ignores_expected(site: Site) -> None:
    save = site.store.save

    def careless(token: str | None, data: bytes, **kwargs: t.Any) -> t.Any:
        try:
            return save(token, data, **kwargs)
        except SessionConflictError:
            found = site.store.load(token)
            return careless(token, data, **kwargs | {"expected": found})

    site.store.save = careless


def is_empty_while_it_is_away(site: Site) -> None:
    load = site.store.load

    def quiet(token: str) -> t.Any:
        try:
            return load(token)
        except SessionStoreError:
            return None

    site.store.load = quiet


def brings_back_what_has_ended(site: Site) -> None:
    load, save, known = site.store.load, site.store.save, dict[str, bytes]()

    def saving(token: str | None, data: bytes, **kwargs: t.Any) -> t.Any:
        token = save(token, data, **kwargs)
        if data[:1] != b"\0":
            known[token] = data
        return token

    def loading(token: str) -> t.Any:
        found = load(token)
        if token in known and found is not None and found[:1] == b"\0":
            old = known.pop(token)
            save(token, old, expected=found, max_age=60)
            return old
        return found

    site.store.save, site.store.load = saving, loading


def mixes_sessions_up(site: Site) -> None:
    load, chance, last = site.store.load, random.Random(SEED), [b""]

    def loading(token: str) -> t.Any:
        found = load(token)
        if found is None or chance.random() > 0.03:
            last[0] = found or last[0]
            return found
        return last[0]

    site.store.load = loading


def forgets(site: Site) -> None:
    save, chance = site.store.save, random.Random(SEED)

    def saving(token: str | None, data: bytes, **kwargs: t.Any) -> t.Any:
        if token is not None and chance.random() < 0.02:
            return token
        return save(token, data, **kwargs)

    site.store.save = saving


def fails_with_an_error_of_its_own(site: Site) -> None:
    load = site.store.load

    def loading(token: str) -> t.Any:
        try:
            return load(token)
        except SessionStoreError:
            raise KeyError(token) from None

    site.store.load = loading


BROKEN: dict[c.Callable[[Site], None], set[str]] = {
    ignores_expected: {LOST, DOUBLED},
    is_empty_while_it_is_away: {LOST},
    brings_back_what_has_ended: {RESURRECTED},
    mixes_sessions_up: {LOST, FOREIGN},
    forgets: {LOST},
    fails_with_an_error_of_its_own: {OTHER},
}


@pytest.mark.parametrize("break_it", BROKEN)
def test_the_soak_finds_a_broken_store(
    site: Site, break_it: c.Callable[[Site], None]
) -> None:
    """The people see only responses. They know nothing of the store."""
    break_it(site)
    assert site.soak(10, looked_for=BROKEN[break_it]) >= BROKEN[break_it]


def sent(
    model: Model,
    *requests: tuple[Action, int | None, str],
    sets_cookie: bool = False,
    anonymous: bool = False,
) -> None:
    """Return requests at the same time, with the status and body of their responses."""
    cookie = "new" if sets_cookie else None
    model.observe(
        [
            (action, Answer(status, body, cookie, 0, 0, 0))
            for action, status, body in requests
        ],
        anonymous=anonymous,
    )


def held(**values: t.Any) -> tuple[Action, int, str]:
    return actions.held(), 200, json.dumps({"id": "x", "values": values})


GONE = actions.held(), 200, json.dumps({"id": None, "values": {}})


def put(value: str, status: int | None = 200) -> tuple[Action, int | None, str]:
    return actions.put_slowly("a", value, 0), status, "{}"


def got(value: str | None) -> tuple[Action, int, str]:
    return actions.take("a"), 200, json.dumps({"got": value})


@pytest.fixture
def model() -> Model:
    """Return the model of a session with one value."""
    model = Model()
    sent(model, put("old"), sets_cookie=True, anonymous=True)
    return model


class TestModel:
    def test_acknowledged_values_must_be_there(self, model: Model) -> None:
        """The session holds the acknowledged values and no others."""
        sent(model, put("new"))
        for wrong in (held(a="old"), held(), held(a="new", b="x"), GONE):
            with pytest.raises(ImpossibleError, match=r"expected \{'a': 'new'\}"):
                sent(model, wrong)
        sent(model, held(a="new"))

    @pytest.mark.parametrize("status", [None, 503])
    def test_a_value_without_a_response_may_be_there(
        self, model: Model, status: int | None
    ) -> None:
        """The value may appear even after a read without it, until another write."""
        sent(model, put("new", status))
        sent(model, held(a="old"))
        sent(model, held(a="new"))
        sent(model, put("newest"))
        with pytest.raises(ImpossibleError):
            sent(model, held(a="new"))
        sent(model, held(a="newest"))
        assert model.certain

    def test_a_logout_without_a_response_may_have_ended_the_session(
        self, model: Model
    ) -> None:
        """If it has, later writes are lost and the cookie is useless."""
        sent(model, (actions.logout(), None, ""))
        sent(model, put("new"))
        sent(model, GONE)
        assert model.over

    def test_a_living_session_sets_no_new_cookie(self, model: Model) -> None:
        """A new cookie would mean that the old session was not found."""
        with pytest.raises(ImpossibleError):
            sent(model, put("new"), sets_cookie=True)

    def test_one_of_two_gets_a_value(self, model: Model) -> None:
        """If both requests are answered, exactly one of them gets the value."""
        for wrong in ((got("old"), got("old")), (got(None), got(None))):
            with pytest.raises(ImpossibleError):
                sent(model, *wrong)
        sent(model, got(None), got("old"))
        sent(model, held())

    def test_a_value_taken_without_a_response_may_be_gone(self, model: Model) -> None:
        """Then no request has received the value."""
        sent(model, got(None), (actions.take("a"), None, ""))
        sent(model, held())

    def test_concurrent_requests_may_take_effect_in_any_order(
        self, model: Model
    ) -> None:
        """The session keeps one of the two values."""
        sent(model, put("new"), put("newer"))
        sent(model, held(a="new"))
        with pytest.raises(ImpossibleError):
            sent(model, held(a="newer"))


@pytest.mark.parametrize(("last", "lost", "ok"), [(51, 0, True), (51, 1, False)])
def test_growing_memory_and_lost_sessions_are_found(
    last: float, lost: int, ok: bool
) -> None:
    """A worker may warm up, but its memory must not grow after that."""
    warming, flat = [40.0] * 10 + [50.0] * 80 + [last] * 10, [50.0] * 100
    times = [(100.0, 200.0)] * 2
    assert Measured({1: flat, 2: warming}, times, lost).ok is ok
    growing = [50 + GOAL * number for number in range(100)]
    measured = Measured({1: flat, 2: growing}, times, lost)
    assert not measured.ok
    assert "memory of a worker 50.7 -> 54.7 MB (+7.9%)" in str(measured)
