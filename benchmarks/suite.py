"""What is compared: contenders, cases, and the goals set for them."""

from __future__ import annotations

import collections.abc as c
import typing as t
from dataclasses import dataclass

from flask import Flask

Measure: t.TypeAlias = t.Literal["instructions", "wall time"]


@dataclass(frozen=True)
class Case:
    """A kind of request.

    :param view: the path of the view, see :mod:`.driver`.
    :param cookie: the session the request's cookie belongs to; None: no cookie.
    :param payloads: the payloads it is measured with.
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
    """Something that keeps sessions.

    :param install: makes an application use it.
    :param answers_with_cookie: the cases in which the response sets the cookie,
        which is checked before anything is measured.
    """

    title: str
    install: c.Callable[[Flask], object]
    answers_with_cookie: frozenset[Case] = frozenset()


@dataclass(frozen=True)
class Goal:
    """At most this much, for some of ours.

    :param against: "floor": times the floor's whole cost; "peer": what ours adds
        to the floor, in parts of what the peer adds.
    :param ours: their names.
    :param measure: what it is set for.
    """

    case: Case
    against: t.Literal["floor", "peer"]
    at_most: float
    ours: tuple[str, ...]
    measure: Measure = "instructions"


@dataclass(frozen=True)
class Parity:
    """One of ours may add at most so many times what another one adds.

    :param ours: its name.
    :param other: the other one's name.
    """

    ours: str
    other: str
    at_most: float
    cases: tuple[Case, ...] = (READ, READ_NESTED, WRITE)
    measure: Measure = "instructions"


class Ratio(t.NamedTuple):
    """A cost, times the floor's in the same case.

    :param spread: how far repeated measurements were apart, in parts of it.
    """

    value: float
    spread: float


#: For each of ours by name: for each point of the suite, the peer's and its own.
#: The peer's is measured again with each of ours.
Results: t.TypeAlias = dict[str, list[tuple[Ratio, Ratio]]]


@dataclass(frozen=True)
class Suite:
    """Contenders to be compared with each other.

    :param peer: what ours are measured against.
    :param ours: by name.
    :param payloads: those it is measured with, where the case is.
    :param modules: what must be installed beside what the tests need.
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
        """Every case with every payload it is measured with."""
        return [
            (case, payload)
            for case in self.cases
            for payload in case.payloads
            if payload in self.payloads
        ]
