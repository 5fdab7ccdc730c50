"""Run a soak on one store after the other."""

from __future__ import annotations

import argparse
import collections.abc as c
import contextlib
import random
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.servers import Server, Servers

from .chaos import STORES, WORKERS, Chaos, Gunicorn
from .fill import Population
from .million import measure
from .run import run
from .tabs import HttpTab
from .tally import LOST, Problem, Tally, Watch

# Seconds between two lines of progress.
_BETWEEN_LINES = 5

# At the end, this many of the unused sessions are checked.
_BYSTANDERS = 1000

# The most seconds between two actions of a browser.
_PAUSE = 0.15

# The run ends after this many problems.
_ENOUGH = 20
_SHOWN_LOG = 4000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    commands = parser.add_subparsers(dest="command", required=True)
    chaos = commands.add_parser("chaos", help="restart and kill servers meanwhile")
    chaos.add_argument("--seconds", type=float, default=20)
    chaos.add_argument("--browsers", type=int, default=50)
    chaos.add_argument("--sessions", type=int, default=20_000, help="of others")
    million = commands.add_parser("million", help="is the memory of workers flat?")
    million.add_argument("--sessions", type=int, default=1_000_000)
    million.add_argument("--requests", type=int, default=360_000)
    for command in (chaos, million):
        command.add_argument("--seed", type=int, default=random.randrange(10**9))
        command.add_argument(
            "stores", nargs="*", metavar="STORE", help=", ".join(STORES)
        )
    options = parser.parse_args()
    names = options.stores or list(STORES)
    if unknown := set(names) - set(STORES):
        parser.error(f"no such store: {', '.join(sorted(unknown))}")
    print(f"seed {options.seed}", flush=True)
    soak = {"chaos": _chaos, "million": _million}[options.command]
    try:
        verdicts = [soak(name, options) for name in names]
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        sys.exit(str(missing))
    sys.exit(0 if all(verdicts) else 1)


def _chaos(name: str, options: argparse.Namespace) -> bool:
    watch, tally, seed = Watch(), Tally(), options.seed
    with _site(name) as (server, site, _):
        people = Population(options.sessions, seed)
        store = people.fill(server)
        chaos = Chaos(server, site, watch, tally, length=options.seconds, seed=seed)
        chaos.start()
        try:
            run(
                lambda: HttpTab(site.port),
                watch,
                tally,
                people=options.browsers,
                seconds=options.seconds,
                seed=seed,
                pause=_PAUSE,
                enough=lambda: len(tally.problems) >= _ENOUGH,
                calm_down=chaos.stop,
                progress=Lines(
                    lambda left: f"{name}: {left:.0f} s left, {_so_far(tally)}"
                ),
            )
        finally:
            chaos.stop()
        sampled = min(_BYSTANDERS, people.count)
        numbers = random.Random(seed).sample(range(people.count), sampled)
        for _ in range(people.lost(store, numbers)):
            tally.report(Problem(LOST, "a session that nobody used", "it is gone", []))
        _tell(tally, site)
    print(
        f"{name}: {options.seconds:.0f} s, {options.browsers} browsers,"
        f" {tally['requests']:,} requests, {WORKERS} workers,"
        f" {tally['store restarts']} store restarts, {tally['workers killed']} workers"
        f" killed, {tally['reloads']} reloads, {tally['announced errors']} announced"
        f" errors, {tally['unanswered']} requests cut off; {tally.verdict()}",
        flush=True,
    )
    return not tally.problems


def _so_far(tally: Tally) -> str:
    return (
        f"{tally['requests']:,} requests, {tally['store restarts']} restarts,"
        f" {tally['workers killed']} kills, {tally['announced errors']} errors"
        f" announced, {len(tally.problems)} problems"
    )


def _million(name: str, options: argparse.Namespace) -> bool:
    tally, seed = Tally(), options.seed
    with _site(name) as (server, site, secret):
        people = Population(options.sessions, seed)
        print(f"{name}: putting {people.count:,} sessions into it", flush=True)
        measured = measure(
            *(people, people.fill(server), site, secret, tally),
            requests=options.requests,
            seed=seed,
            progress=Lines(
                lambda done: (
                    f"{name}: {done:.0f} %, {tally['requests']:,} requests,"
                    f" {len(tally.problems)} problems"
                )
            ),
        )
        _tell(tally, site)
    print(
        f"{name}: {people.count:,} sessions, {tally['requests']:,} requests, {WORKERS}"
        f" workers; {measured}, {tally.verdict()}",
        flush=True,
    )
    return measured.ok and not tally.problems


def _tell(tally: Tally, site: Gunicorn) -> None:
    if tally.problems:
        print("the end of what the workers logged:", site.log()[-_SHOWN_LOG:], sep="\n")


@contextlib.contextmanager
def _site(store: str) -> c.Iterator[tuple[Server, Gunicorn, str]]:
    """Return a store's server, the shop on it, and the secret of its cookies."""
    secret = secrets.token_hex(32)
    with tempfile.TemporaryDirectory() as root:

        def folder(name: str) -> Path:
            return Path(tempfile.mkdtemp(prefix=name, dir=root))

        servers = Servers(folder)
        try:
            server = servers.own(STORES[store])
            site = servers.own(Gunicorn, server.url, secret)
            yield server, site, secret
            site.crash()
        finally:
            servers.stop()


class Lines:
    """Print the progress at intervals."""

    def __init__(self, line: c.Callable[[float], str]) -> None:
        self._line = line
        self._due = time.monotonic() + _BETWEEN_LINES

    def __call__(self, where: float) -> None:
        if time.monotonic() >= self._due:
            self._due += _BETWEEN_LINES
            print(self._line(where), flush=True)


if __name__ == "__main__":
    # Like Ctrl+C, so that the run stops every process that it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
