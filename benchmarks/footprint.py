"""Measure the time that an import takes, and the memory of a process.

``python -m benchmarks.footprint NAME PLACE`` is a process whose memory is measured. It
must not import our package unless it measures ours.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Request
from flask.sessions import SessionMixin

from . import places
from .driver import Driver, WrongAnswerError
from .floor import FLOOR
from .payloads import READ as READ_NAME
from .peers import FLASK, flask_session, flask_session_on_redis
from .suite import READ, WRITE, Contender

REQUESTS = 2_000

#: The highest ratio to the base.
IMPORT_GOAL = 1.3

_ROUNDS = 11
_SESSIONS = 500

_STATM = Path("/proc/self/statm")

# The processor's time is measured, since other work on the machine hardly affects it.
_IMPORT = """
import time
start = time.process_time()
import {modules}
taken = time.process_time() - start
with open("/proc/self/statm") as file:
    print(taken, file.read())
"""


@dataclass(frozen=True)
class Process:
    """Describe a process to measure.

    :param modules: what the application imports.
    :param contender: returns the application's session interface, for a Redis URL.
    """

    title: str
    modules: str
    contender: Callable[[str], Contender]


@dataclass(frozen=True)
class Footprint:
    """Hold what a process has needed.

    :param imported: the time of the import, times the base's.
    :param loaded: megabytes after the import.
    :param served: megabytes after the requests.
    :param untouched: bytes of an open session that the view does not use.
    :param read: bytes of an open session after the view has read a value.
    """

    imported: float
    loaded: float
    served: float
    untouched: float
    read: float


def _ours(**arguments: object) -> Contender:
    def install(app: Flask) -> None:
        from flask_buffalo_session import BuffaloSession

        BuffaloSession(app, **arguments)  # type: ignore[arg-type]

    on_write = frozenset() if arguments else frozenset({WRITE})
    return Contender("ours", install, answers_with_cookie=on_write)


#: The first process is the base: Flask without sessions, and the codec.
PROCESSES = {
    "base": Process("no session", "flask, ormsgpack", lambda url: FLOOR),
    "flask": Process("Flask, cookie", "flask", lambda url: FLASK),
    "ours-cookie": Process(
        "ours, cookie", "flask, flask_buffalo_session", lambda url: _ours()
    ),
    "flask-session": Process(
        "Flask-Session, Redis",
        "flask, flask_session",
        lambda url: flask_session(lambda app: flask_session_on_redis(app, url)),
    ),
    "ours-redis": Process(
        "ours, Redis",
        "flask, flask_buffalo_session",
        lambda url: _ours(store=url),
    ),
}


def missing() -> str | None:
    """Return what is missing for the measurement and how to install it, or None."""
    if not _STATM.exists():
        return "only Linux reports the memory of a process in /proc/self/statm"
    return places.missing(("flask_session", "redis"), ("redis",))


def measure() -> dict[str, Footprint]:
    """Return what each process needs, by the titles of the processes."""
    imports = _imports()
    bases = [taken for taken, _ in imports["base"]]
    found = {}
    for name, process in PROCESSES.items():
        times, sizes = zip(*imports[name], strict=True)
        ratios = [own / base for own, base in zip(times, bases, strict=True)]
        output = _run("-m", __name__, name, places.redis().url)
        found[process.title] = Footprint(
            statistics.median(ratios), statistics.median(sizes), *json.loads(output)
        )
    return found


def _imports() -> dict[str, list[tuple[float, float]]]:
    """Return the seconds and the megabytes of each import, in several rounds."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in PROCESSES}
    # The first round writes the bytecode.
    for number in range(_ROUNDS + 1):
        for name, process in PROCESSES.items():
            code = _IMPORT.format(modules=process.modules)
            taken, statm = _run("-c", code).split(maxsplit=1)
            if number:
                found[name].append((float(taken), _megabytes(statm)))
    return found


def _run(*arguments: str) -> str:
    environment = dict(os.environ)
    # Without bytecode, Python would compile each module at each import.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ).stdout


def _megabytes(statm: str) -> float:
    """Return the resident memory.

    :param statm: the content of the file of that name in ``/proc``.
    """
    return int(statm.split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def _measure_here(process: Process, place: str) -> tuple[float, float, float]:
    driver = Driver(process.contender(place), "S")
    for case in (READ, WRITE):
        driver.run(case, REQUESTS // 2)
    served = _megabytes(_STATM.read_text())
    return (
        served,
        _bytes_of_a_session(driver, lambda session: None),
        _bytes_of_a_session(driver, lambda session: session[READ_NAME]),
    )


def _bytes_of_a_session(driver: Driver, use: Callable[[SessionMixin], object]) -> float:
    """Return how much memory an open session takes, with what it keeps of a request."""
    app, environ = driver.app, driver.environ_of(READ)
    requests = [app.request_class(environ.copy()) for _ in range(_SESSIONS)]
    with app.request_context(environ.copy()):
        # The first session makes what all sessions share.
        use(_opened(app, app.request_class(environ.copy())))
        gc.collect()
        tracemalloc.start()
        sessions = [_opened(app, request) for request in requests]
        for session in sessions:
            use(session)
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return size / _SESSIONS


def _opened(app: Flask, request: Request) -> SessionMixin:
    session = app.session_interface.open_session(app, request)
    if session is None:
        raise WrongAnswerError("no session was opened")
    return session


if __name__ == "__main__":
    json.dump(_measure_here(PROCESSES[sys.argv[1]], sys.argv[2]), sys.stdout)
