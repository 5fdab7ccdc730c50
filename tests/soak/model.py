"""Compute what a session must hold from the requests and their responses.

Nobody knows what a request without a response did: it may have saved or not, and its
last command may still be on its way. So the model keeps every possible state, and each
response removes the states that it contradicts. If no state remains, something is
wrong.
"""

from __future__ import annotations

import collections.abc as c
import itertools
import json
import typing as t

from .actions import Action, State
from .tabs import Answer

#: A request and its answer.
Sent: t.TypeAlias = tuple[Action, Answer]


class ImpossibleError(Exception):
    """No possible state agrees with the responses."""


class Model:
    """The session of one cookie.

    :ivar states: the values that the session may hold.
    """

    def __init__(self) -> None:
        self.states: list[State] = [None]
        # Requests without an answer that may take effect yet. A request that has
        # been saved since prevents it, as the record is another one then.
        self._late: list[Action] = []

    @property
    def certain(self) -> bool:
        """Return whether there is a session with known values."""
        return len(self.states) == 1 and self.states[0] is not None and not self._late

    @property
    def vague(self) -> bool:
        """Return whether the model has too many states for more uncertain requests."""
        return len(self._late) > 2 or len(self.states) > 8

    @property
    def over(self) -> bool:
        """Return whether there is certainly no session."""
        return self.states == [None]

    def holds(self, name: str) -> bool:
        """Return whether the session certainly has this name."""
        return all(state is not None and name in state for state in self.states)

    def observe(self, sent: c.Sequence[Sent], *, anonymous: bool) -> None:
        """
        :param sent: requests that were under way at the same time, with the same
            cookie.
        :param anonymous: that there was no cookie.
        :raises ImpossibleError: the answers cannot be; it says why.
        """
        before = self._with_late()
        after = _distinct(
            outcome
            for order in itertools.permutations(sent)
            for state in before
            for outcome in _outcomes(state, order, anonymous=anonymous)
        )
        if not after:
            raise ImpossibleError(_difference(before, sent))
        self.states = after
        moved = any(answer.cookie for _, answer in sent)
        if moved or any(_is_written(before, action, answer) for action, answer in sent):
            self._late = []
        self._late += [
            action
            for action, answer in sent
            # Without a cookie it began another session at most.
            if not answer.ok
            and (answer.cookie or not (moved or anonymous))
            and any(
                state is not None and _partly_done(state, action) for state in before
            )
        ]

    def _with_late(self) -> list[State]:
        states = self.states
        for action in self._late:
            later = [
                new
                for state in states
                if state is not None
                for new in _partly_done(state, action)
            ]
            states = _distinct([*states, *later])
        return states


class _Case(t.NamedTuple):
    """
    :param behind: the session of the cookie that was sent.
    :param ahead: that of the cookie that was set instead, if there was one.
    """

    behind: State
    ahead: State


def _outcomes(
    state: State, sent: c.Sequence[Sent], *, anonymous: bool
) -> c.Iterator[State]:
    """Return the states after the requests took effect in this order."""
    cases = [_Case(state, None)]
    for action, answer in sent:
        cases = [
            new
            for case in cases
            for new in _after(case, action, answer, anonymous=anonymous)
        ]
    for case in cases:
        yield case.behind if case.ahead is None else case.ahead


def _after(
    case: _Case, action: Action, answer: Answer, *, anonymous: bool
) -> list[_Case]:
    behind, ahead = case
    if (
        answer.ok
        and action.read is not None
        and action.read(answer.text) != action.shows(behind)
    ):
        return []
    if behind is None:
        steps = action.steps({})
        if answer.cookie:
            # Whatever it has begun, it is another session.
            return [_Case(None, new) for new in (steps[-1:] if answer.ok else steps)]
        must_begin_one = answer.ok and anonymous and steps
        return [] if must_begin_one else [case]
    if answer.ok:
        if bool(answer.cookie) != action.ends:
            return []
        new = _done(behind, action)
        return [_Case(None, new) if action.ends else _Case(new, ahead)]
    if answer.cookie:
        return []
    return [case, *(_Case(new, ahead) for new in _partly_done(behind, action))]


def _done(state: State, action: Action) -> State:
    steps = action.steps(state or {})
    return steps[-1] if steps else state


def _partly_done(state: dict[str, t.Any], action: Action) -> c.Sequence[State]:
    """Return what an action without a response may have left in the old session."""
    return [None] if action.ends else action.steps(state)


def _is_written(before: list[State], action: Action, answer: Answer) -> bool:
    """Return whether the action has certainly changed the record."""
    return answer.ok and all(
        state is None or action.ends or _done(state, action) != state
        for state in before
    )


def _distinct(states: c.Iterable[State]) -> list[State]:
    found = {json.dumps(state, sort_keys=True): state for state in states}
    return list(found.values())


def _difference(before: list[State], sent: c.Sequence[Sent]) -> str:
    lines = [f"possible before: {state}" for state in before]
    for action, answer in sent:
        lines.append(f"{action}: {answer.status}, cookie set: {bool(answer.cookie)}")
        if answer.ok and action.read is not None:
            lines.append(f"    showed {action.read(answer.text)}")
            expected = dict.fromkeys(str(action.shows(state)) for state in before)
            lines += [f"    expected {state}" for state in expected]
    return "\n".join(lines)
