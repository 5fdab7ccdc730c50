"""Change the package in small ways, one at a time, and see that the tests notice.

``make mutants`` does so for everything in ``TESTS``, ``make mutants MUTANTS=seal.py``
for one file. Each change that no test notices has to be one that is explained in
``survivors.md``, and each that is explained there has to be one that none notices.
"""

from __future__ import annotations

import argparse
import collections.abc as c
import gc
import importlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import time
import typing as t
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from mutants import mutants

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_PACKAGE = "flask_buffalo_session"
_COPY = _ROOT / "build/mutants"
_KILLER = _ROOT / "build/mutants.killer"


class Tests(t.NamedTuple):
    """The tests that are to notice what changes in a file.

    :param stores: those to run them over.
    :param without: parts of the names of tests that would take too long.
    """

    files: tuple[str, ...]
    stores: frozenset[str] = frozenset()
    without: tuple[str, ...] = ()


_SESSION = (
    *("test_sessions.py", "test_merge.py", "test_concurrency.py"),
    *("test_renewal.py", "test_revocation.py", "test_owners.py"),
    *("test_interface.py", "test_gorilla_flask.py"),
    "test_gorilla_codec.py::test_a_date_stays_over_two_saves",
    "test_gorilla_codec.py::test_changes_of_two_requests_are_merged",
    "test_gorilla_codec.py::test_merging_keeps_go_types",
    "test_gorilla_codec.py::test_a_session_that_is_only_read_is_not_written",
)
_ANY_STORE = ("test_stores.py", "test_timeouts.py")
_OWNING_STORE = (*_ANY_STORE, "test_owners.py", "test_doctor.py::TestClock")
_CACHE = (
    *(*_ANY_STORE, "test_cache.py", "test_doctor.py::TestClock"),
    "test_faults.py::test_records_in_files_are_private",
    "test_doctor.py::TestEviction::test_by_a_threshold_is_told",
    "test_threats_faults.py::TestClock",
)

TESTS = {
    "seal.py": Tests(("test_seal.py",)),
    "native/codec.py": Tests(
        (
            *("test_codec.py", "test_registry.py", "test_merge.py"),
            *("test_sessions.py::TestMethods", "test_concurrency.py::TestTheSameName"),
            "test_renewal.py::test_a_record_keeps_when_its_id_was_given",
            "test_renewal.py::test_a_native_record_with_another_date_is_none",
        ),
        frozenset({"memory"}),
    ),
    "sessions.py": Tests(
        _SESSION,
        frozenset({"cookie", "memory"}),
        ("redis", "has_the_old_token", "with_go"),
    ),
    "stores/memory.py": Tests(_OWNING_STORE, frozenset({"memory"})),
    "stores/redis.py": Tests(
        (
            *(*_OWNING_STORE, "test_redis.py"),
            "test_gorilla_stores.py::test_unhashed_records_have_no_owners",
        ),
        frozenset({"redis", "redis-decoding"}),
        ("master", "cluster"),
    ),
    "stores/sql.py": Tests(
        (*_OWNING_STORE, "test_sql.py", "test_url.py"), frozenset({"sqlite"})
    ),
    "stores/cache.py": Tests(
        _CACHE, frozenset({"files", "memcached", "cachelib-redis", "cachelib-simple"})
    ),
    "stores/lockfile.py": Tests(_CACHE, frozenset({"files"})),
    "stores/memcached.py": Tests(_CACHE, frozenset({"memcached", "cachelib-pylibmc"})),
}

# Loaded once, and not again for every mutant.
_LIBRARIES = (
    *("flask", "flask_login", "cachelib", "ormsgpack", "cryptography.fernet"),
    *("redis", "valkey", "pymemcache", "pylibmc", "portalocker", "sqlalchemy"),
    "hypothesis.strategies",
)

_OPTIONS = (
    *("-x", "-q", "--tb=short", f"--basetemp={_COPY}.tmp"),
    # What is loaded already cannot be rewritten, and need not be.
    *("--assert=plain", "-Wignore::pytest.PytestAssertRewriteWarning"),
)

# Bytes. There are mutants that would fill the memory.
_MEMORY = 4 * 1024**3


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", default=TESTS, metavar="FILE")
    files = parser.parse_args().files
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
    # Looking for garbage among all that would take longer than most tests.
    gc.freeze()
    shutil.rmtree(_COPY, ignore_errors=True)
    shutil.copytree(_ROOT, _COPY, ignore=shutil.ignore_patterns(".*", "build", "dist"))
    rows = [_check(file) for file in files]
    print("\n| file | mutants | killed | explained |\n|---|--:|--:|--:|")
    for file, numbers, _ in rows:
        print(f"| `{file}` | {' | '.join(map(str, numbers))} |")
    return int(any(wrong for _, _, wrong in rows))


def _check(file: str) -> tuple[str, tuple[int, int, int], bool]:
    """Run the tests against every mutant of a file.

    :returns: how many there are, how many are killed and how many explained; and
        whether there are others, or some are explained that are none.
    """
    begun = time.monotonic()
    # So that only what changes is compiled for each mutant.
    sys.dont_write_bytecode = False
    _KILLER.unlink(missing_ok=True)
    if not _survives(file, 600):
        sys.exit(f"The tests of {file} fail as it is: see {_COPY}.log")
    limit = 20 + 4 * (time.monotonic() - begun)
    # Two versions of a file can be equally long and equally old.
    sys.dont_write_bytecode = True
    killers: list[str] = []
    path = _COPY / _PACKAGE / file
    source = path.read_text()
    count, explained, survivors = 0, _explained(file), Counter[str]()
    for mutant in mutants(source):
        count += 1
        path.write_text(mutant.source)
        if _survives(file, limit, killers):
            survivors[mutant.change] += 1
            if survivors[mutant.change] > explained[mutant.change]:
                print(f"\n{file}, {mutant.change}", flush=True)
        elif _KILLER.exists():
            # What has noticed one is likely to notice the next one too.
            killers.append(_KILLER.read_text())
            _KILLER.unlink()
    path.write_text(source)
    for change in (explained - survivors).elements():
        print(f"\n{file}, explained but noticed or none: {change}")
    alive = survivors.total()
    numbers = count, count - alive, (explained & survivors).total()
    print(f"\n{file}: {numbers} in {time.monotonic() - begun:.0f} s", flush=True)
    return file, numbers, survivors != explained


def _explained(file: str) -> Counter[str]:
    text = (_HERE / "survivors.md").read_text()
    section = re.search(rf"(?ms)^## `{file}`$(.*?)(?=^## |\Z)", text)
    blocks = re.findall(r"(?ms)^```diff\n(.*?)^```", section[1] if section else "")
    return Counter(change for block in blocks for change in block.strip().split("\n\n"))


def _survives(file: str, limit: float, killers: c.Sequence[str] = ()) -> bool:
    """Whether the tests pass, and within that many seconds.

    :param killers: the tests to begin with, the last one first.
    """
    child = multiprocessing.get_context("fork").Process(
        target=_test, args=(file, killers)
    )
    child.start()
    try:
        child.join(limit)
    finally:
        # With what the tests have started, and left behind if they hang.
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
    sys.path.insert(0, str(_COPY))
    os.environ["PYTHONPATH"] = str(_COPY)
    tests = TESTS[file]
    names = [f"tests/{name}" for name in tests.files]
    os._exit(pytest.main([*_OPTIONS, *names], plugins=[_Plugin(tests, killers)]))


class _Plugin:
    """Leaves out tests that are not wanted, and says which one fails."""

    def __init__(self, tests: Tests, killers: c.Sequence[str]) -> None:
        self._tests = tests
        self._others: set[str] = set()
        self._order = {test: -place for place, test in enumerate(killers, 1)}

    def pytest_collection(self) -> None:
        conftest: t.Any = sys.modules["conftest"]
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
