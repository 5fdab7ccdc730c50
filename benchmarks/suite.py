"""Describe what is compared: contenders, cases and goals."""

from __future__ import annotations

import collections.abc as c
import typing as t
from dataclasses import dataclass

from flask import Flask

Measure: t.TypeAlias = t.Literal["instructions", "wall time"]


@dataclass(frozen=True)
class Case:
    """Describe a kind of request.

    :param view: the path of the view, see :mod:`.driver`.
    :param cookie: the kind of session that the request's cookie belongs to, or None for
        a request without a cookie.
    :param payloads: the payloads that the case is measured with.
    """

    title: str
    view: str
    cookie: t.Literal["browser", "permanent"] | None = "browser"
    payloads: tuple[str, ...] = ("S", "L")


NO_COOKIE = Case("no cookie", "/untouched", None, payloads=("S",))
UNTOUCHED = Case("untouched", "/untouched")
PERMANENT = Case("untouched, permanent", "/untouched", "permanent")
READ = Case("read", "/read")
READ_NESTED = Case("read a list", "/read_nested", payloads=("L",))
WRITE = Case("write", "/write")

CASES = (NO_COOKIE, UNTOUCHED, PERMANENT, READ, READ_NESTED, WRITE)


@dataclass(frozen=True)
class Contender:
    """Describe a session interface.

    :param install: makes an application use it.
    :param answers_with_cookie: the cases in which the response sets the cookie. The
        driver checks this before anything is measured.
    """

    title: str
    install: c.Callable[[Flask], object]
    answers_with_cookie: frozenset[Case] = frozenset()


@dataclass(frozen=True)
class Goal:
    """Limit what some of our contenders may cost.

    :param against: "floor" compares the whole cost with the floor's. "peer" compares
        what ours adds to the floor with what the peer adds.
    :param at_most: the highest ratio.
    :param ours: the names of our contenders.
    :param measure: the measure that the goal is for.
    :param payloads: the payloads that the goal is for.
    """

    case: Case
    against: t.Literal["floor", "peer"]
    at_most: float
    ours: tuple[str, ...]
    measure: Measure = "instructions"
    payloads: tuple[str, ...] = ("S", "L")


@dataclass(frozen=True)
class Parity:
    """Limit what one of our contenders may add, compared with another of ours.

    :param ours: the name of the limited contender.
    :param other: the name of the contender it is compared with.
    :param at_most: the highest ratio.
    """

    ours: str
    other: str
    at_most: float
    cases: tuple[Case, ...] = (READ, READ_NESTED, WRITE)
    measure: Measure = "instructions"


class Ratio(t.NamedTuple):
    """Hold a cost, divided by the floor's cost in the same case.

    :param spread: the distance between repeated measurements, divided by the value.
    """

    value: float
    spread: float


#: For each of our contenders by name: the peer's ratio and its own, for each point of
#: the suite. The peer is measured again with each of our contenders.
Results: t.TypeAlias = dict[str, list[tuple[Ratio, Ratio]]]


@dataclass(frozen=True)
class Suite:
    """Describe contenders that are compared with each other.

    :param peer: the contender that ours are compared with.
    :param ours: our contenders by their names.
    :param payloads: the payloads to measure with, if the case has them.
    :param modules: packages that must be installed in addition to those of the tests.
    :param programs: servers that must be installed, see :func:`.places.missing`.
    """

    name: str
    title: str
    floor: Contender
    peer: Contender
    ours: dict[str, Contender]
    goals: tuple[Goal, ...] = ()
    parities: tuple[Parity, ...] = ()
    cases: tuple[Case, ...] = CASES
    payloads: tuple[str, ...] = ("S", "L")
    measures: tuple[Measure, ...] = ("instructions", "wall time")
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    def contender(self, name: str) -> Contender:
        return {"floor": self.floor, "peer": self.peer, **self.ours}[name]

    def points(self) -> list[tuple[Case, str]]:
        """Return every case with every payload that it is measured with."""
        return [
            (case, payload)
            for case in self.cases
            for payload in case.payloads
            if payload in self.payloads
        ]
