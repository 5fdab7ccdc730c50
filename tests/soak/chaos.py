"""Restart servers and kill workers, again and again."""

from __future__ import annotations

import collections.abc as c
import itertools
import os
import random
import signal
import sys
import threading
import time
import typing as t
from pathlib import Path

from tests.support.servers import (
    PersistentPostgresServer,
    PersistentRedisServer,
    Server,
    children_of,
)

from .tally import Tally, Watch

ROOT = Path(__file__).parent.parent.parent

WORKERS = 4

#: The stores to choose from. Both keep every write that they acknowledged.
STORES: dict[str, type[Server]] = {
    "redis": PersistentRedisServer,
    "postgresql": PersistentPostgresServer,
}

# Seconds between two of a kind, in a run of a minute or longer. In shorter ones
# everything comes more often.
_RESTARTS = (15.0, 30.0)
_KILLS = (5.0, 10.0)
_RELOADS = (40.0, 60.0)
_AWAY = (1.0, 4.0)
_FULL_LENGTH = 60


class Gunicorn(Server):
    """The shop in several workers."""

    def __init__(self, folder: Path, store: str, secret: str) -> None:
        super().__init__(folder)
        self._environ = {
            "PORT": str(self.port),
            "SESSION_STORE": store,
            "SESSION_SECRET": secret,
            "PYTHONPATH": str(ROOT),
            # Where newer ones have a socket.
            "HOME": str(folder),
        }

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "gunicorn", "tests.soak.app:from_environment()"),
            *("--config", str(ROOT / "examples/gunicorn/gunicorn.conf.py")),
            *("--worker-class", "gthread", "--threads", "8"),
            # Longer than a browser waits, so that it finds its connection closed
            # only by a worker that has ended.
            *("--keep-alive", "600", "--workers", str(WORKERS)),
        ]

    def how(self) -> dict[str, t.Any]:
        return {"env": {**os.environ, **self._environ}}

    def workers(self) -> list[int]:
        assert self.process is not None
        return children_of(self.process.pid)


class Chaos:
    """
    :param length: seconds that the run is to take.
    """

    def __init__(
        self,
        store: Server,
        site: Gunicorn,
        watch: Watch,
        tally: Tally,
        *,
        length: float,
        seed: int,
    ) -> None:
        self._store = store
        self._site = site
        self._watch = watch
        self._tally = tally
        self._haste = min(1.0, length / _FULL_LENGTH)
        self._seed = seed
        self._over = threading.Event()
        # Stop the server in turns like an administrator and like a crash.
        self._ways = itertools.cycle([store.stop, store.crash])
        self._problems: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._again_and_again, args=args)
            for args in (
                (self._restart, _RESTARTS),
                (self._kill, _KILLS),
                (self._reload, _RELOADS),
            )
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop, and leave all servers running."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._problems:
            raise self._problems[0]

    def _again_and_again(
        self, disturb: c.Callable[[random.Random], None], between: tuple[float, float]
    ) -> None:
        chance = random.Random(f"{self._seed} {disturb.__name__}")
        try:
            while not self._over.wait(chance.uniform(*between) * self._haste):
                disturb(chance)
        except BaseException as error:
            self._problems.append(error)

    def _restart(self, chance: random.Random) -> None:
        with self._watch.outage():
            next(self._ways)()
            time.sleep(chance.uniform(*_AWAY) * self._haste)
            self._store.start()
        self._tally.add("store restarts")

    def _kill(self, chance: random.Random) -> None:
        victim = chance.choice(self._site.workers())
        with self._watch.ending():
            os.kill(victim, signal.SIGKILL)
            self._wait_until_gone({victim})
        self._tally.add("workers killed")

    def _reload(self, chance: random.Random) -> None:
        assert self._site.process is not None
        with self._watch.ending():
            old = set(self._site.workers())
            self._site.process.send_signal(signal.SIGHUP)
            self._wait_until_gone(old)
        self._tally.add("reloads")

    def _wait_until_gone(self, workers: set[int]) -> None:
        while not workers.isdisjoint(self._site.workers()):
            time.sleep(0.01)
