"""Define all suites."""

from __future__ import annotations

from flask import Flask

from flask_buffalo_session import BuffaloSession

from .floor import FLOOR
from .peers import FLASK
from .stores import STORES
from .suite import (
    PERMANENT,
    READ,
    UNTOUCHED,
    WRITE,
    Contender,
    Goal,
    Parity,
    Suite,
)

COOKIES = Suite(
    name="cookies",
    title="Against Flask's own sessions",
    floor=FLOOR,
    peer=FLASK,
    ours={
        "signed": Contender(
            "cookie, signed", BuffaloSession, answers_with_cookie=frozenset({WRITE})
        ),
        "encrypted": Contender(
            "cookie, encrypted",
            lambda app: BuffaloSession(_configured(app, SESSION_ENCRYPT=True)),
            answers_with_cookie=frozenset({WRITE}),
        ),
        "memory": Contender("memory", lambda app: BuffaloSession(app, store="memory:")),
    },
    goals=(
        Goal(UNTOUCHED, "floor", 1.008, ("signed", "encrypted", "memory")),
        Goal(PERMANENT, "floor", 1.045, ("signed", "encrypted", "memory")),
        *(
            Goal(case, "peer", at_most, ("signed",), measure, (payload,))
            for case, measure, payload, at_most in (
                (READ, "instructions", "S", 0.26),
                (READ, "instructions", "L", 0.28),
                (WRITE, "instructions", "S", 0.27),
                (WRITE, "instructions", "L", 0.26),
                (READ, "wall time", "S", 0.30),
                (READ, "wall time", "L", 0.28),
                (WRITE, "wall time", "S", 0.30),
                (WRITE, "wall time", "L", 0.27),
            )
        ),
    ),
    parities=(Parity("encrypted", "signed", 1.15),),
)

#: What CI checks, see :mod:`.check`.
CHECKED = Suite(
    name="checked",
    title="Instructions of a request",
    floor=FLOOR,
    peer=FLASK,
    ours={name: COOKIES.ours[name] for name in ("signed", "memory")},
    cases=(UNTOUCHED, READ, WRITE),
    measures=("instructions",),
)

GORILLA = Suite(
    name="gorilla",
    title="The gorilla format against the native one",
    floor=FLOOR,
    peer=Contender("native", BuffaloSession, answers_with_cookie=frozenset({WRITE})),
    ours={
        "gorilla": Contender(
            "gorilla",
            lambda app: BuffaloSession(app, format="gorilla"),
            answers_with_cookie=frozenset({WRITE}),
        )
    },
    goals=(Goal(READ, "peer", 2.5, ("gorilla",), "wall time"),),
    cases=(UNTOUCHED, READ, WRITE),
    # The large payload exceeds the limit of gorilla/securecookie.
    payloads=("S",),
)


def _configured(app: Flask, **settings: object) -> Flask:
    app.config.update(settings)
    return app


SUITES = {suite.name: suite for suite in (COOKIES, CHECKED, GORILLA, *STORES)}
