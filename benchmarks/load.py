"""Measure requests a second, and the time that one request in a hundred exceeds. wrk
sends the requests to gunicorn on the same machine.

The two sides of a match take turns in short rounds, so that other work on the machine
disturbs both.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import typing as t
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from . import places
from .driver import Driver
from .sites import MATCHES, PAYLOAD, contender, environment
from .suite import Ratio

if t.TYPE_CHECKING:
    from .serving import Gunicorn

    Site: t.TypeAlias = tuple[Gunicorn, list[str]]

#: A case is a kind of request, or a mix of all kinds: see ``browsers.lua``.
CASES = ("untouched", "read", "write", "mix")

#: The cases that are measured with each kind of gunicorn's workers.
WORKERS: dict[str, tuple[str, ...]] = {"gthread": CASES, "gevent": ("mix",)}

#: Browsers that send requests at the same time.
BROWSERS = 16

_ROUNDS = 10
_SECONDS = 2
_WARM_UP = 2

_SCRIPT = Path(__file__).with_name("browsers.lua")


class FailedRequestsError(Exception):
    """Raised if an application does not answer requests as it should."""


class Sample(t.NamedTuple):
    """Hold what wrk has measured in one round.

    :param slow: the time in seconds that one request in a hundred exceeds.
    """

    requests_a_second: float
    slow: float


@dataclass(frozen=True)
class Load:
    """Hold ratios of ours to the peer's.

    :param requests: requests a second.
    :param slow: the time that one request in a hundred exceeds.
    """

    requests: Ratio
    slow: Ratio


def missing(match: str, worker: str) -> str | None:
    """Return what is missing for a measurement and how to install it, or None."""
    modules = ("gunicorn", *(["gevent"] if worker == "gevent" else []))
    chosen = MATCHES[match]
    return places.missing((*modules, *chosen.modules), ("wrk", *chosen.programs))


def measure(match: str, worker: str) -> dict[str, Load]:
    """Return the ratios for each case of the worker. The spread of a ratio is half the
    distance between the quartiles of the rounds, divided by the median.

    :raises FailedRequestsError: an application does not answer requests as it should.
    """
    cases = WORKERS[worker]
    samples: dict[str, list[tuple[Sample, Sample]]] = {case: [] for case in cases}
    with ExitStack() as stack:
        peer, ours = (_serve(stack, match, side, worker) for side in ("peer", "ours"))
        for site in (peer, ours):
            # Each worker loads the application and opens its connections.
            _load(site, "mix", _WARM_UP)
        for number in range(_ROUNDS):
            for case in cases:
                if number % 2:
                    own = _load(ours, case)
                    other = _load(peer, case)
                else:
                    other = _load(peer, case)
                    own = _load(ours, case)
                samples[case].append((other, own))
    return {case: _compared(pairs) for case, pairs in samples.items()}


def _compared(pairs: list[tuple[Sample, Sample]]) -> Load:
    return Load(
        _ratio(
            [ours.requests_a_second / peer.requests_a_second for peer, ours in pairs]
        ),
        _ratio([ours.slow / peer.slow for peer, ours in pairs]),
    )


def _ratio(values: list[float]) -> Ratio:
    low, median, high = statistics.quantiles(values, n=4)
    return Ratio(median, (high - low) / 2 / median)


def _serve(stack: ExitStack, match: str, side: str, worker: str) -> Site:
    """Return a server and the cookies of its browsers."""
    from .serving import Gunicorn

    place = MATCHES[match].place()
    # This checks the responses. It also makes the table, before two workers try to.
    driver = Driver(contender(match, side, place), PAYLOAD)
    cookies = [driver.new_session("browser") or "" for _ in range(BROWSERS)]
    server = places.own(Gunicorn, worker, environment(match, side, place))
    stack.callback(server.stop)
    return server, cookies


def _load(site: Site, case: str, seconds: int = _SECONDS) -> Sample:
    server, cookies = site
    output = subprocess.run(
        [
            *("wrk", f"--threads={BROWSERS}", f"--connections={BROWSERS}"),
            *(f"--duration={seconds}s", "--timeout=10s", f"--script={_SCRIPT}"),
            *(f"http://127.0.0.1:{server.port}", "--", case, *cookies),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = json.loads(output.splitlines()[-1])
    if found["failed"] or not found["requests"]:
        raise FailedRequestsError(
            f"{case}: {found['failed']} of {found['requests']} requests failed;"
            f" gunicorn logged: {server.log()[-2000:]}"
        )
    return Sample(found["requests"] / found["microseconds"] * 1e6, found["p99"] / 1e6)
