"""Simulate people with two browsers each.

A person uses the shop at random, in several tabs at once, and compares each response
with a model of the session.
"""

from __future__ import annotations

import collections.abc as c
import random
import re
import time
from collections import deque
from concurrent.futures import Executor

from examples.shop.app import PRODUCTS

from . import actions
from .actions import Action
from .model import ImpossibleError, Model
from .tabs import Answer, Tab
from .tally import DOUBLED, FOREIGN, LOST, OTHER, RESURRECTED, Problem, Tally, Watch

#: The prefix of every value. It names the owner of the value.
MARK = re.compile(r"soak-(\w+)-")

TABS = 4

_VALUE = re.compile(r"soak-\w+-\d+")
_NAMES = [f"x{number}" for number in range(6)]
_REMEMBERED = 60
_MOST_DEAD = 60
_TRIES = 4
_LAST_TRIES = 20

# Seconds that a slow request takes between reading and saving.
_SLOW = (0.01, 0.15)


class Browser:
    """A cookie, and the model of its session."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget the cookie, as if the user had deleted it."""
        self.cookie: str | None = None
        self.model = Model()


class Person:
    """
    :param tabs: to be used at the same time.
    :param pool: where they are used.
    :param pause: seconds between what is done, at most.
    """

    def __init__(
        self,
        name: str,
        tabs: c.Sequence[Tab],
        pool: Executor,
        watch: Watch,
        tally: Tally,
        seed: int,
        pause: float,
    ) -> None:
        self._name = name
        self._tabs = tabs
        self._watch = watch
        self._tally = tally
        self._pause = pause
        self._random = random.Random(f"{seed} {name}")
        self._browsers = [Browser(), Browser()]
        # Cookies of sessions that have ended.
        self._dead: list[str] = []
        self._seen_once: set[str] = set()
        self._count = 0
        self._history: deque[str] = deque(maxlen=_REMEMBERED)
        self._pool = pool

    def step(self) -> None:
        """Do one random action."""
        browser = self._random.choice(self._browsers)
        what = self._random.choices(
            [self._one, self._several, self._audit, self._elsewhere, self._replay],
            [60, 22, 6, 6, 6],
        )[0]
        what(browser)
        time.sleep(self._random.uniform(0, self._pause))

    def finish(self) -> None:
        """Check every session at the end, when no store is away."""
        for browser in self._browsers:
            if self._settle(browser, _LAST_TRIES):
                self._send(browser, actions.held())
            else:
                self._report(OTHER, "the session cannot be used")
        for cookie in self._dead:
            for _ in range(_LAST_TRIES):
                if self._replay_one(cookie):
                    break
            else:
                self._report(
                    OTHER, "there is no answer to the cookie of an old session"
                )

    # Actions

    def _one(self, browser: Browser) -> None:
        if not browser.model.vague or self._settle(browser):
            self._send(browser, self._any_action())

    def _any_action(self) -> Action:
        choose = self._random
        name, kinds = choose.choice(_NAMES), actions
        return choose.choices(
            [
                kinds.put(name, self._value()),
                kinds.look(name),
                kinds.take_and_show(name),
                kinds.remove(name),
                kinds.cart(choose.choice([*PRODUCTS]), choose.choice(["more", "less"])),
                kinds.home(),
                kinds.held(),
                kinds.add_message(self._value()),
                kinds.read_messages(),
                kinds.save(),
                kinds.login(self._user),
                kinds.regenerate(),
                kinds.logout(),
                kinds.clear(),
                kinds.too_large(),
            ],
            [20, 3, 5, 5, 15, 20, 10, 6, 4, 4, 4, 3, 2, 2, 2],
        )[0]

    def _several(self, browser: Browser) -> None:
        """Act in several tabs at once."""
        if not self._settle(browser):
            return
        choose = self._random.choice(
            [self._different_names, self._one_time_value, self._endings]
        )
        if chosen := choose(browser):
            self._send(browser, *chosen)

    def _different_names(self, browser: Browser) -> list[Action]:
        first, second = self._random.sample(_NAMES, 2)
        skus = self._random.sample([*PRODUCTS], 2)
        return self._random.sample(
            [
                self._slow_put(first),
                actions.put(second, self._value()),
                actions.cart(skus[0], "more"),
                actions.cart(skus[1], "more"),
                actions.add_message(self._value()),
                actions.add_message(self._value()),
                actions.read_messages(),
                actions.home(),
                actions.home(),
            ],
            self._random.randint(2, TABS),
        )

    def _one_time_value(self, browser: Browser) -> list[Action]:
        """Ask for a one-time value in two tabs at once."""
        name = self._random.choice(_NAMES)
        self._send(browser, actions.put(name, self._value()))
        if not self._settle(browser):
            return []
        other = self._random.choice([each for each in _NAMES if each != name])
        return [actions.take(name), actions.take(name), self._slow_put(other)]

    def _endings(self, browser: Browser) -> list[Action]:
        """End the session while slow requests run."""
        first, second = self._random.sample(_NAMES, 2)
        ending = self._random.choice(
            [
                actions.logout(),
                actions.clear(),
                actions.regenerate(),
                actions.login(self._user),
            ]
        )
        others = [
            self._slow_put(first),
            actions.take(second),
            actions.add_message(self._value()),
        ]
        return [ending, *self._random.sample(others, self._random.randint(1, 2))]

    def _elsewhere(self, there: Browser) -> None:
        """Log the other browser out while its requests run."""
        here = self._browsers[there is self._browsers[0]]
        for browser in (here, there):
            if self._settle(browser):
                self._send(browser, actions.login(self._user))
            if not self._settle(browser) or not browser.model.holds("user_id"):
                return
        meanwhile = self._random.choice(
            [self._slow_put(self._random.choice(_NAMES)), actions.regenerate()]
        )
        end, cookie = actions.logout_elsewhere(), there.cookie
        ended, answered = self._exchange([(end, here.cookie), (meanwhile, cookie)])
        self._learn(here, [(end, ended)])
        there.forget()
        if not ended.ok or cookie is None:
            # The session may end at any time, or not at all.
            return
        self._bury(cookie)
        if answered.ok and answered.cookie:
            # Either it came after, and began a session that holds nothing of the one
            # before; or it came before, and its new session was ended too.
            there.cookie = answered.cookie
            there.model.states = [None, meanwhile.steps({})[-1]]
            self._send(there, actions.held())

    def _replay(self, browser: Browser) -> None:
        """Send the cookie of an ended session."""
        if self._dead:
            self._replay_one(self._random.choice(self._dead))

    def _replay_one(self, cookie: str) -> bool:
        """Send one old cookie, and return whether there was a response."""
        if self._random.random() < 0.3:
            # A session that this begins has another cookie.
            self._exchange([(actions.put(_NAMES[0], self._value()), cookie)])
        (answer,) = self._exchange([(actions.held(), cookie)])
        found = actions.held_in(answer.text) if answer.ok else None
        if found is not None:
            self._report(RESURRECTED, f"a cookie of a session that had ended: {found}")
        return answer.ok

    def _audit(self, browser: Browser) -> None:
        self._settle(browser)
        self._send(browser, actions.held())

    def _settle(self, browser: Browser, tries: int = _TRIES) -> bool:
        """Make sure that there is a session with known values, if possible now."""
        for _ in range(tries):
            # First what leaves no doubt of its own if there is no answer.
            if not browser.model.certain and self._send(browser, actions.held()):
                self._send(browser, actions.put(_NAMES[0], self._value()))
                self._send(browser, actions.held())
        return browser.model.certain

    # Requests

    def _send(self, browser: Browser, *chosen: Action) -> bool:
        """Send requests at the same time, and return whether all of them succeeded."""
        answers = self._exchange([(action, browser.cookie) for action in chosen])
        self._learn(browser, list(zip(chosen, answers, strict=True)))
        return all(answer.ok for answer in answers)

    def _learn(self, browser: Browser, sent: list[tuple[Action, Answer]]) -> None:
        cookie = browser.cookie
        if self._shown_again(sent):
            browser.forget()
            return
        try:
            browser.model.observe(sent, anonymous=cookie is None)
        except ImpossibleError as error:
            self._report(LOST, str(error))
            browser.forget()
            return
        for _, answer in sorted(sent, key=lambda pair: pair[1].ended):
            if answer.cookie is not None:
                browser.cookie = answer.cookie or None
        if cookie is not None and (browser.cookie != cookie or browser.model.over):
            self._bury(cookie)
        if browser.model.over:
            browser.forget()

    def _exchange(self, requests: list[tuple[Action, str | None]]) -> list[Answer]:
        tabs = self._random.sample(self._tabs, len(requests))
        jobs = [
            self._pool.submit(tab.send, action, cookie)
            for tab, (action, cookie) in zip(tabs, requests, strict=True)
        ]
        answers = [job.result() for job in jobs]
        for (action, cookie), answer in zip(requests, answers, strict=True):
            self._remember(action, cookie, answer)
            self._check(action, answer)
        return answers

    def _remember(self, action: Action, cookie: str | None, answer: Answer) -> None:
        parts = [
            f"{answer.begun:.3f}-{answer.ended:.3f}",
            f"cookie {(cookie or 'none')[-4:]}, {action}: {answer.status}",
        ]
        if answer.cookie:
            parts.append(f"sets cookie {answer.cookie[-4:]}")
        if answer.ok and action.read is not None:
            parts.append(f"shows {action.read(answer.text)}")
        self._history.append(" ".join(parts))

    def _check(self, action: Action, answer: Answer) -> None:
        """Check the rules that hold for every session."""
        tally, watch, said = self._tally, self._watch, f"{action}: {answer.status}"
        tally.add("requests")
        if answer.status == 503:
            tally.add("announced errors")
            if not watch.store_was_away(answer.begun, answer.ended):
                self._report(OTHER, f"{said}, and the store was not away")
        elif answer.status is None:
            tally.add("unanswered")
            if not watch.workers_ended(answer.since, answer.ended):
                self._report(OTHER, f"{said}, {answer.text}, and no worker had ended")
        elif not answer.ok:
            self._report(OTHER, f"{said}: {answer.text[:1000]}")
        others = set(MARK.findall(answer.text)) - {self._name}
        if others:
            self._report(FOREIGN, f"{said} showed what is of {', '.join(others)}")

    def _shown_again(self, sent: list[tuple[Action, Answer]]) -> bool:
        """Return whether a one-time value is shown a second time."""
        for action, answer in sent:
            for value in _VALUE.findall(answer.text) if action.once else ():
                if value in self._seen_once:
                    self._report(DOUBLED, f"{action} showed {value} again")
                    return True
                self._seen_once.add(value)
        return False

    def _report(self, kind: str, difference: str) -> None:
        history = list(self._history)
        self._tally.report(Problem(kind, self._name, difference, history))

    def _bury(self, cookie: str) -> None:
        if len(self._dead) == _MOST_DEAD:
            self._dead.pop(self._random.randrange(_MOST_DEAD))
        self._dead.append(cookie)

    def _slow_put(self, name: str) -> Action:
        seconds = self._random.uniform(*_SLOW)
        return actions.put_slowly(name, self._value(), seconds)

    def _value(self) -> str:
        """Return a value that is unlike every other value."""
        self._count += 1
        return f"{self._user}{self._count}"

    @property
    def _user(self) -> str:
        return f"soak-{self._name}-"
