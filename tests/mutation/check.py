"""Change the package in small ways, one at a time, and check that a test fails.

``make -C tests mutants`` checks each file in ``TESTS``, and
``make -C tests mutants MUTANTS=seal.py`` checks one. The run fails if a mutant
survives. Where a mutant makes no difference, a comment in the code excludes the line
and gives the reason: ``# pragma: no mutate: any number of attempts is correct``.
"""

from __future__ import annotations

import argparse
import collections.abc as c
import gc
import importlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
import typing as t
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from .mutants import PragmaError, mutants

_ROOT = Path(__file__).parents[2]
_PACKAGE = "flask_buffalo_session"
_COPY = _ROOT / "build/mutants"
_KILLER = _ROOT / "build/mutants.killer"


class Tests(t.NamedTuple):
    """The tests that must fail for the mutants of a file.

    :param files: files or tests, below ``tests/``.
    :param stores: the stores to run the tests over.
    :param without: parts of the names of tests that would take too long.
    """

    files: tuple[str, ...]
    stores: frozenset[str] = frozenset({"cookie", "memory"})
    without: tuple[str, ...] = ("redis", "has_the_old_token", "with_go")


_SESSIONS = Tests(
    (
        # The fastest first: the first failure ends a mutant.
        *("unit/test_work.py", "unit/test_tracking.py", "unit/test_policy.py"),
        "unit/test_tombstones.py",
        *("unit/test_sessions.py", "unit/test_merge.py", "unit/test_concurrency.py"),
        *(
            "unit/test_tombstones.py",
            "unit/test_rotation.py",
            "unit/test_revocation.py",
            "unit/test_owners.py",
        ),
        *("flask/test_interface.py", "gorilla/test_gorilla_flask.py"),
        "gorilla/test_gorilla_codec.py::test_two_saves_keep_the_creation_date",
        "gorilla/test_gorilla_codec.py::test_changes_of_two_requests_are_merged",
        "gorilla/test_gorilla_codec.py::test_merging_keeps_go_types",
        "gorilla/test_gorilla_codec.py::test_a_session_that_is_only_read_is_not_written",
    )
)
_NATIVE = Tests(
    (
        *("unit/test_codec.py", "unit/test_registry.py", "unit/test_merge.py"),
        *("unit/test_sessions.py", "unit/test_concurrency.py", "unit/test_rotation.py"),
    )
)


def _store(*stores: str, tests: tuple[str, ...] = ()) -> Tests:
    files = ("stores/test_stores.py", "stores/test_timeouts.py", *tests)
    return Tests(files, frozenset(stores), ("master", "cluster"))


_OWNERS = ("unit/test_owners.py", "flask/test_doctor.py::TestClock")
_CLOCK = "threats/test_threats_faults.py::TestClock"
_FILES = (
    "stores/test_file.py",
    "real/test_faults.py::test_records_in_files_are_private",
    _CLOCK,
)
_MEMCACHED = ("stores/test_memcached.py", "flask/test_doctor.py::TestClock", _CLOCK)
_CACHE = ("stores/test_cache.py", "flask/test_doctor.py::TestClock", _CLOCK)

#: The heart of the package: what decides whether a session is kept, merged or ended.
TESTS = {
    **dict.fromkeys(
        (
            *("merging.py", "tracking.py", "policy.py", "sessions.py"),
            *("work.py", "logins.py", "index.py", "backends/kept.py"),
            *("backends/base.py", "backends/server.py", "backends/cookie.py"),
            *("backends/null.py", "ids.py", "tombstones.py"),
        ),
        _SESSIONS,
    ),
    "seal.py": Tests(("unit/test_seal.py",)),
    **dict.fromkeys(("native/codec.py", "native/types.py"), _NATIVE),
    "stores/memory.py": _store("memory", tests=_OWNERS),
    "stores/redis.py": _store(
        *("redis", "redis-decoding"),
        tests=(
            *(*_OWNERS, "stores/test_redis.py"),
            "gorilla/test_gorilla_stores.py::test_unhashed_records_have_no_owners",
        ),
    ),
    "stores/sql.py": _store(
        "sqlite", tests=(*_OWNERS, "stores/test_sql.py", "stores/test_url.py")
    ),
    "stores/file.py": _store("files", tests=_FILES),
    "stores/lockfile.py": _store("files", tests=_FILES),
    "stores/memcached.py": _store("memcached", tests=_MEMCACHED),
    "stores/cache.py": _store("cachelib-redis", "cachelib-simple", tests=_CACHE),
}

# These are imported once, not again for every mutant.
_LIBRARIES = (
    *("flask", "flask_login", "cachelib", "ormsgpack", "cryptography.fernet"),
    *("redis", "valkey", "pymemcache", "portalocker", "sqlalchemy"),
    "hypothesis.strategies",
)

_OPTIONS = (
    *("-x", "-q", "--tb=short", f"--basetemp={_COPY}.tmp", "-p", "no:xdist"),
    # The libraries are imported already, so pytest cannot rewrite their assertions.
    *("--assert=plain", "-Wignore::pytest.PytestAssertRewriteWarning"),
)

# Bytes. Some mutants would fill the memory.
_MEMORY = 4 * 1024**3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.check")
    parser.add_argument("files", nargs="*", default=TESTS, metavar="FILE")
    files = parser.parse_args().files
    for file in files:
        if file not in TESTS:
            parser.error(f"no tests are listed for {file}: add it to TESTS")
        if not (_ROOT / _PACKAGE / file).is_file():
            parser.error(f"{_PACKAGE}/{file} does not exist: change TESTS")
    os.nice(10)
    for library in _LIBRARIES:
        importlib.import_module(library)
    settings.register_profile(
        "mutants",
        derandomize=True,
        max_examples=25,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
    )
    settings.load_profile("mutants")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    # Keep the garbage collector from visiting the libraries for every mutant.
    gc.freeze()
    shutil.rmtree(_COPY, ignore_errors=True)
    shutil.copytree(_ROOT, _COPY, ignore=shutil.ignore_patterns(".*", "build", "dist"))
    rows = [(file, *_check(file)) for file in files]
    print("\n| file | mutants | killed |\n|---|--:|--:|")
    for file, count, killed in rows:
        print(f"| `{file}` | {count} | {killed} |")
    return int(any(killed < count for _, count, killed in rows))


def _check(file: str) -> tuple[int, int]:
    """Run the tests against every mutant of a file, and print those that survive.

    :returns: the number of mutants, and how many of them the tests kill.
    """
    begun = time.monotonic()
    # Let the first run compile everything, so that later runs compile one file only.
    sys.dont_write_bytecode = False
    _KILLER.unlink(missing_ok=True)
    if not _survives(file, 600):
        sys.exit(f"The tests of {file} fail without a mutation: see {_COPY}.log")
    limit = 20 + 4 * (time.monotonic() - begun)
    # Python would take two versions of a file with the same size and time for one.
    sys.dont_write_bytecode = True
    killers: list[str] = []
    path = _COPY / _PACKAGE / file
    source = path.read_text()
    count = killed = 0
    try:
        for mutant in mutants(source):
            count += 1
            path.write_text(mutant.source)
            if _survives(file, limit, killers):
                print(f"\n{file}, {mutant.change}", flush=True)
                continue
            killed += 1
            if _KILLER.exists():
                # The test that killed one mutant is likely to kill the next one too.
                killers.append(_KILLER.read_text())
                _KILLER.unlink()
    except PragmaError as error:
        sys.exit(f"{_PACKAGE}/{file}, {error}")
    path.write_text(source)
    seconds = time.monotonic() - begun
    print(f"\n{file}: {killed} of {count} killed in {seconds:.0f} s", flush=True)
    return count, killed


def _survives(file: str, limit: float, killers: c.Sequence[str] = ()) -> bool:
    """Return whether the tests pass in time.

    :param limit: in seconds.
    :param killers: the tests to begin with, the last one first.
    """
    child = multiprocessing.get_context("fork").Process(
        target=_test, args=(file, killers)
    )
    child.start()
    try:
        child.join(limit)
    finally:
        # End the servers as well, which the tests leave behind if they hang.
        with suppress(ProcessLookupError):
            os.killpg(t.cast(int, child.pid), signal.SIGKILL)
    child.join()
    return child.exitcode == 0


def _test(file: str, killers: c.Sequence[str]) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    log = os.open(f"{_COPY}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(_COPY)
    # Import the package and its tests from the copy.
    sys.path.insert(0, str(_COPY))
    os.environ["PYTHONPATH"] = str(_COPY)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    tests = TESTS[file]
    names = [f"tests/{name}" for name in tests.files]
    os._exit(pytest.main([*_OPTIONS, *names], plugins=[_Plugin(tests, killers)]))


class _Plugin:
    """Select tests and their order, and write down the name of the one that fails."""

    def __init__(self, tests: Tests, killers: c.Sequence[str]) -> None:
        self._tests = tests
        self._others: set[str] = set()
        self._order = {test: -place for place, test in enumerate(killers, 1)}

    def pytest_collection(self) -> None:
        conftest: t.Any = sys.modules["tests.conftest"]
        self._others = conftest.STORES.keys() - self._tests.stores
        for stores in (conftest.STORES, conftest.SERVER_STORES):
            for name in self._others & stores.keys():
                del stores[name]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [
            item
            for item in items
            if not _parameters(item) & self._others
            and not any(part in item.nodeid for part in self._tests.without)
        ]
        items.sort(key=lambda item: self._order.get(item.nodeid, 0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            _KILLER.write_text(report.nodeid)


def _parameters(item: pytest.Item) -> set[str]:
    spec = getattr(item, "callspec", None)
    values = spec.params.values() if spec else ()
    return {value for value in values if isinstance(value, str)}


if __name__ == "__main__":
    sys.exit(main())
