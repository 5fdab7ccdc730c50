"""Measure, and write the tables into ``docs/reference/performance.md``.

``python -m benchmarks`` measures everything. ``python -m benchmarks SECTION ...``
measures only the named sections: load, footprint, cookies, gorilla, stores, growth.
"cookies" also writes the ratios in ``README.md``.
"""

from __future__ import annotations

import argparse
import collections.abc as c
import platform
import re
import shutil
import subprocess
import sys
import time
import typing as t
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import (
    footprint,
    growth,
    instructions,
    load,
    operations,
    places,
    plot,
    report,
    wall,
)
from .sites import MATCHES
from .stores import STORES
from .suite import Case, Suite
from .suites import COOKIES, GORILLA, SUITES

_ROOT = Path(__file__).parent.parent
_README = _ROOT / "README.md"
_DOCS = _ROOT / "docs/reference"
_PAGE = _DOCS / "performance.md"
_LOAD_PLOT = _DOCS / "load.svg"
_GROWTH_PLOT = _DOCS / "growth.svg"

_FOR_FORMATS = ("itsdangerous", "ormsgpack", "cryptography")
_FOR_STORES = (
    *("flask-session", "flask-sqlalchemy", "sqlalchemy"),
    *("redis", "hiredis", "cachelib", "portalocker"),
)
_FOR_LOAD = ("flask-session", "gunicorn", "gevent", "sqlalchemy", "redis", "hiredis")
_FOR_FOOTPRINT = ("flask-session", "ormsgpack", "redis")
_FOR_GROWTH = ("sqlalchemy", "redis", "hiredis", "psycopg")

# The rows of the table in the README.
_IN_README = {
    "untouched": "does not use the session",
    "read": "reads a value",
    "write": "changes a value",
}

_NO_VALGRIND = "Instructions were not counted: valgrind is not installed."


#: The texts for the page, by the names of their places in it.
Texts: t.TypeAlias = dict[str, str]


def main() -> None:
    sections: dict[str, c.Callable[[], Texts]] = {
        "load": _load,
        "footprint": _footprint,
        "cookies": _cookies,
        "gorilla": lambda: {"gorilla": _formats(GORILLA)},
        "stores": _stores,
        "growth": _growth,
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=", ".join(sections)
    )
    chosen = parser.parse_args().sections or list(sections)
    if unknown := set(chosen) - set(sections):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    for section in chosen:
        start = time.monotonic()
        for name, text in sections[section]().items():
            print(text)
            _put(name, text)
        _log(f"{section} took {time.monotonic() - start:.0f} s.")


def _put(name: str, text: str) -> None:
    begin, end = (f"<!-- {name}: {what} -->" for what in ("begin", "end"))
    page = _PAGE.read_text("utf-8")
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    _PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")


# Sections


def _load() -> Texts:
    measured, skipped = [], []
    for name, match in MATCHES.items():
        for worker in match.workers:
            title = f"{match.title}, with {worker} workers,"
            if problem := load.missing(name, worker):
                skipped.append(_skipped(title, problem))
                continue
            _log(f"{match.title}: measuring under load, with {worker} workers.")
            try:
                measured.append((match, worker, load.measure(name, worker)))
            except load.FailedRequestsError as error:
                _log(str(error))
                skipped.append(_skipped(title, "requests failed"))
    threaded = [
        (match, loads) for match, worker, loads in measured if worker == "gthread"
    ]
    parts = [_versions(*_FOR_LOAD, programs=places.programs("redis", "wrk"))]
    if not threaded:
        # The table at the top of the page keeps its last figures.
        return {"load": "\n\n".join(parts + skipped)}
    _LOAD_PLOT.write_text(plot.load_svg(threaded), "utf-8")
    parts.append(report.load_table(measured))
    return {
        "gains": report.gains_table(threaded),
        "load": "\n\n".join(parts + skipped),
    }


def _footprint() -> Texts:
    if problem := footprint.missing():
        return {"footprint": _skipped("The memory of a process", problem)}
    _log("Measuring imports and the memory of processes.")
    versions = _versions(*_FOR_FOOTPRINT)
    table = report.footprint_table(footprint.measure())
    return {"footprint": f"{versions}\n\n{table}"}


def _cookies() -> Texts:
    text = _formats(COOKIES)
    if instructions.available():
        readme = _README.read_text("utf-8")
        # The first table has the instructions, times the floor.
        found = re.findall(r"^\| ([a-z]+) \| L \| ([\d.]+) \| \**([\d.]+)", text, re.M)
        ratios = {request: both for request, *both in reversed(found)}
        for request, words in _IN_README.items():
            row = " | ".join([words, *ratios[request]])
            readme = re.sub(rf"^\| {words} \|.*$", f"| {row} |", readme, flags=re.M)
        _README.write_text(readme, "utf-8")
    return {"cookies": text}


def _formats(suite: Suite) -> str:
    parts = [_versions(*_FOR_FORMATS, programs=(shutil.which("valgrind"),))]
    if instructions.available():
        _log(f"{suite.title}: counting instructions, which takes minutes.")
        results = instructions.measure(suite)
        parts.append(report.tables(suite, "instructions", results))
    else:
        _log(_NO_VALGRIND)
        parts.append(_NO_VALGRIND)
    _log(f"{suite.title}: measuring wall time.")
    parts.append(report.tables(suite, "wall time", wall.measure(suite)))
    return "\n\n".join(parts)


def _stores() -> Texts:
    present, skipped = [], []
    for suite in STORES:
        if problem := places.missing(suite.modules, suite.programs):
            skipped.append(_skipped(suite.title, problem))
        else:
            present.append(suite)
    parts = [_versions(*_FOR_STORES, programs=places.programs("redis"))]
    if present:
        parts += [_added_by_stores(present), _counted(present)]
    return {"stores": "\n\n".join(parts + skipped)}


def _added_by_stores(suites: list[Suite]) -> str:
    results = []
    for suite in suites:
        _log(f"{suite.title}: measuring wall time.")
        results.append((suite, wall.measure(suite)[suite.name]))
    return report.stores_table(results)


def _counted(suites: list[Suite]) -> str:
    names = {suite.name for suite in suites}
    counts: list[tuple[operations.Count, dict[Case, tuple[float, float]]]] = []
    for count in operations.COUNTS:
        if count.suite in names:
            _log(f"{count.title}: counting.")
            cases = SUITES[count.suite].cases
            counts.append(
                (count, {case: operations.measure(count, case) for case in cases})
            )
    return report.operations_table(counts) if counts else ""


def _growth() -> Texts:
    measured, skipped = {}, []
    for backend in growth.BACKENDS:
        if problem := places.missing(backend.modules, backend.programs):
            skipped.append(_skipped(backend.title, problem))
            continue
        _log(f"{backend.title}: filling it, and measuring how it grows.")
        measured[backend.title] = growth.measure(backend)
    parts = [_versions(*_FOR_GROWTH, programs=places.programs("redis", "postgresql"))]
    if measured:
        _GROWTH_PLOT.write_text(plot.growth_svg(measured), "utf-8")
        parts.append(report.growth_table(measured))
    return {"growth": "\n\n".join(parts + skipped)}


def _skipped(title: str, problem: str) -> str:
    sentence = f"{title} was not measured: {problem}."
    _log(sentence)
    return sentence


def _versions(*packages: str, programs: tuple[str | None, ...] = ()) -> str:
    names = [f"{platform.python_implementation()} {platform.python_version()}"]
    for package in ("flask", "werkzeug", *packages):
        with suppress(PackageNotFoundError):
            names.append(f"{package} {version(package)}")
    names += [found for found in map(_program_version, programs) if found]
    return f"{', '.join(names)}."


def _program_version(program: str | None) -> str | None:
    if program is None:
        return None
    command = [program, "--version"]
    output = subprocess.run(command, capture_output=True, text=True).stdout
    found = re.search(r"\d+\.[\d.]*\d", output)
    return f"{Path(program).name} {found[0]}" if found else None


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
