"""Keep very many live sessions and send them requests for an hour.

The memory of the workers and the time of an operation must not grow.
"""

from __future__ import annotations

import collections.abc as c
import os
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from flask_buffalo_session import NativeFormat, Store

from . import actions
from .actions import Action
from .browser import MARK
from .chaos import Gunicorn
from .fill import LIFE, Population
from .model import ImpossibleError, Model
from .tabs import COOKIE, HttpTab
from .tally import FOREIGN, LOST, OTHER, Problem, Tally

CLIENTS = 16

#: How much the memory of a worker may grow from the second tenth of the requests to
#: the last one.
GOAL = 0.05

_SAMPLES = 100
_SAMPLED_SESSIONS = 1000
_OPERATIONS = 500
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Measured:
    """
    :param memory: for each worker its resident memory in MB, sampled in even
        distances.
    :param times: of a load and a save at the beginning and at the end, in
        microseconds.
    :param lost: of the sessions that nobody has used and that were sampled.
    """

    memory: dict[int, list[float]]
    times: list[tuple[float, float]]
    lost: int

    @property
    def tenths(self) -> tuple[float, float]:
        """Return two medians of the worker whose memory grew the most.

        They are those of the second and of the last tenth of the requests.
        """
        tenth = _SAMPLES // 10
        medians = [
            (
                statistics.median(samples[tenth : 2 * tenth]),
                statistics.median(samples[-tenth:]),
            )
            for samples in self.memory.values()
        ]
        return max(medians, key=lambda pair: pair[1] / pair[0])

    @property
    def growth(self) -> float:
        early, late = self.tenths
        return late / early - 1

    @property
    def ok(self) -> bool:
        return self.growth <= GOAL and not self.lost

    def __str__(self) -> str:
        (early, late), ((load, save), (load_late, save_late)) = self.tenths, self.times
        return (
            f"memory of a worker {early:.1f} -> {late:.1f} MB ({self.growth:+.1%}),"
            f" load {load:.0f} -> {load_late:.0f} us,"
            f" save {save:.0f} -> {save_late:.0f} us;"
            f" {self.lost} of {_SAMPLED_SESSIONS:,} untouched sessions lost"
        )


class Visitors:
    """Use sessions at random: each request uses another session."""

    def __init__(
        self, people: Population, site: Gunicorn, secret: str, tally: Tally, seed: int
    ) -> None:
        self._people = people
        self._site = site
        self._seal = NativeFormat().seal([secret.encode()], COOKIE, encrypt=False)
        self._tally = tally
        self._seed = seed
        # The cookie and the model of each used session.
        self.used: dict[int, tuple[str, Model]] = {}

    def visit(self, client: int, requests: int) -> None:
        """Send one client's requests. No two clients use the same session."""
        tab = HttpTab(self._site.port)
        chance = random.Random(f"{self._seed} {client}")
        mine = range(client, self._people.count, CLIENTS)
        for _ in range(requests):
            number = chance.choice(mine)
            cookie, model = self.used.get(number) or self._found(number)
            action = self._any_action(chance, number)
            answer = tab.send(action, cookie)
            self._tally.add("requests")
            if not answer.ok:
                self._report(OTHER, number, f"{action}: {answer.status} {answer.text}")
            if set(MARK.findall(answer.text)) - {f"m{number}"}:
                self._report(FOREIGN, number, f"{action} showed what is another's")
            try:
                model.observe([(action, answer)], anonymous=False)
            except ImpossibleError as error:
                self._report(LOST, number, str(error))
            self.used[number] = answer.cookie or cookie, model
        tab.close()

    def _found(self, number: int) -> tuple[str, Model]:
        model = Model()
        values = self._people.values(number)
        cart = {sku: line["count"] for sku, line in values["cart"].items()}
        model.states = [values | {"cart": cart}]
        return self._seal.seal(self._people.token(number), permanent=False), model

    def _any_action(self, chance: random.Random, number: int) -> Action:
        user = f"soak-m{number}-"
        return chance.choices(
            [
                actions.held(),
                actions.home(),
                actions.cart("hay", "more"),
                actions.put("x1", f"{user}{chance.randrange(1000)}"),
                actions.login(user),
                actions.logout(),
            ],
            [30, 20, 20, 15, 10, 5],
        )[0]

    def _report(self, kind: str, number: int, difference: str) -> None:
        self._tally.report(Problem(kind, f"session {number}", difference, []))


def measure(
    people: Population,
    store: Store,
    site: Gunicorn,
    secret: str,
    tally: Tally,
    *,
    requests: int,
    seed: int,
    progress: c.Callable[[int], None],
) -> Measured:
    """
    :param progress: called with the percentage of the requests that are done.
    """
    visitors = Visitors(people, site, secret, tally, seed)
    times = [_times(people, store, seed)]
    memory: dict[int, list[float]] = {worker: [] for worker in site.workers()}
    with ThreadPoolExecutor(CLIENTS) as pool:
        jobs = [
            pool.submit(visitors.visit, client, len(range(client, requests, CLIENTS)))
            for client in range(CLIENTS)
        ]
        for sample in range(1, _SAMPLES + 1):
            while tally["requests"] < sample * requests / _SAMPLES and not all(
                job.done() for job in jobs
            ):
                time.sleep(0.005)
            for worker, samples in memory.items():
                samples.append(_resident(worker))
            progress(sample * 100 // _SAMPLES)
        for job in jobs:
            job.result()
    times.append(_times(people, store, seed))
    untouched = _untouched(people, visitors.used.keys(), seed)
    return Measured(memory, times, people.lost(store, untouched))


def _resident(process: int) -> float:
    """Return a process's resident memory in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * _PAGE / 1024**2


def _times(people: Population, store: Store, seed: int) -> tuple[float, float]:
    """Return the microseconds of a load and of a save.

    The same record is saved again.
    """
    chance = random.Random(seed)
    loads, saves = [], []
    for _ in range(_OPERATIONS):
        token = people.token(chance.randrange(people.count))
        begun = time.perf_counter()
        data = store.load(token)
        loaded = time.perf_counter()
        if data is None or data[:1] == b"\0":
            # The session was logged out in the meantime.
            continue
        store.save(token, data, expected=data, max_age=LIFE)
        loads.append(loaded - begun)
        saves.append(time.perf_counter() - loaded)
    return statistics.median(loads) * 1e6, statistics.median(saves) * 1e6


def _untouched(
    people: Population, used: c.Collection[int], seed: int
) -> c.Iterator[int]:
    chance, found = random.Random(seed), 0
    while found < _SAMPLED_SESSIONS:
        number = chance.randrange(people.count)
        if number not in used:
            found += 1
            yield number
