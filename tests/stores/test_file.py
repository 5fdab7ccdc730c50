"""Test what only the store of ``file:`` URLs does."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import subprocess
import sys
import threading
import time
import typing as t
from importlib.metadata import version
from pathlib import Path

import cachelib
import pytest

from flask_buffalo_session.errors import (
    SessionConfigError,
    SessionConflictError,
    SessionStoreError,
)
from flask_buffalo_session.stores.base import storage_key
from flask_buffalo_session.stores.file import FileStore

HOUR = 3600


def path_of(folder: Path, token: str) -> Path:
    key = f"buffalo-session:{storage_key(token)}"
    return folder / hashlib.sha256(key.encode()).hexdigest()


def locks_in(folder: Path) -> set[Path]:
    return set(folder.glob("lock-*"))


def test_without_portalocker_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to install where the system has no ``flock``."""
    monkeypatch.setattr("flask_buffalo_session.stores.lockfile.fcntl", None)
    monkeypatch.setitem(sys.modules, "portalocker", None)
    with pytest.raises(SessionConfigError, match=r"session\[file\]"):
        FileStore(tmp_path)


@pytest.mark.skipif(
    version("cachelib") < "0.16", reason="cachelib before 0.16 names files by MD5"
)
def test_files_written_by_a_cache_of_cachelib_are_read(tmp_path: Path) -> None:
    """An earlier version kept the sessions of a ``file:`` URL in such a cache."""

    class Bytes:
        def dump(self, value: bytes, file: t.IO[bytes]) -> None:
            file.write(value)

    cache: t.Any = cachelib.FileSystemCache(str(tmp_path), threshold=0)
    cache.serializer = Bytes()
    store = FileStore(tmp_path)
    for life in (HOUR, 0):
        cache.set(f"buffalo-session:{storage_key('token')}", b"old", life)
        assert store.load("token") == b"old"
    store.save("token", b"new", expected=b"old", max_age=HOUR)
    assert store.load("token") == b"new"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_files_and_folders_are_private_whatever_the_umask(
    tmp_path: Path, umask: int
) -> None:
    """This holds for records, locks and every folder that the store makes."""
    before = os.umask(umask)
    try:
        store = FileStore(tmp_path / "a/b")
        token = store.save(None, b"one", expected=None, max_age=HOUR)
        store.save(token, b"two", expected=b"one", max_age=HOUR)
    finally:
        os.umask(before)
    for folder in (tmp_path / "a", tmp_path / "a/b"):
        assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "a/b").iterdir()}
    assert modes == {0o600}
    assert len(locks_in(tmp_path / "a/b")) == 1


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    """Its administrator has chosen that mode."""
    tmp_path.chmod(0o750)
    FileStore(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o750


class TestPruning:
    def test_it_deletes_expired_records(self, tmp_path: Path) -> None:
        """Live sessions and files of other programs stay."""
        store = FileStore(tmp_path)
        (tmp_path / "README").write_text("mine")
        (tmp_path / "notes.new").mkdir()
        live = store.save(None, b"live", expected=None, max_age=HOUR)
        for _ in range(3):
            store.save(None, b"short", expected=None, max_age=1)
        store.save(live, b"again", expected=b"live", max_age=HOUR)
        time.sleep(3.1)
        assert store.prune() == 3
        assert store.prune() == 0
        assert store.load(live) == b"again"
        assert (tmp_path / "README").exists()

    def test_it_never_deletes_a_lock(self, tmp_path: Path) -> None:
        """An old lock stays, too. Another process may have the file open, and would
        then lock a file that nobody else can open.
        """
        store = FileStore(tmp_path)
        token = store.save(None, b"one", expected=None, max_age=HOUR)
        store.save(token, b"two", expected=b"one", max_age=0)
        (lock,) = locks_in(tmp_path)
        long_ago = time.time() - 1000 * HOUR
        os.utime(lock, (long_ago, long_ago))
        time.sleep(2.1)
        assert store.prune() == 1
        assert locks_in(tmp_path) == {lock}

    def test_it_keeps_a_record_that_is_saved_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The save happens after the expiry is read and before the deletion."""
        store = FileStore(tmp_path)
        store.save("token", b"old", expected=None, max_age=0)
        real = time.time
        monkeypatch.setattr("time.time", lambda: real() + 3)
        unlink = Path.unlink
        saving = threading.Thread(
            target=store.save,
            args=("token", b"new"),
            kwargs={"expected": None, "max_age": HOUR},
        )

        def save_first(path: Path, missing_ok: bool = False) -> None:
            saving.start()
            saving.join(0.3)
            unlink(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", save_first)
        assert store.prune() == 1
        saving.join()
        assert store.load("token") == b"new"

    def test_it_deletes_unfinished_files_of_dead_processes(
        self, tmp_path: Path
    ) -> None:
        """An unfinished file that is a day old belongs to no running save."""
        store = FileStore(tmp_path)
        for hours in (23, 25):
            path = tmp_path / f"{hours}.new"
            path.write_bytes(b"half a record")
            os.utime(path, (time.time(), time.time() - hours * HOUR))
        store.prune()
        assert [path.name for path in tmp_path.iterdir()] == ["23.new"]

    def test_a_missing_folder_is_an_error(self, tmp_path: Path) -> None:
        """The error says what the store tried."""
        store = FileStore(tmp_path / "sessions")
        (tmp_path / "sessions").rmdir()
        with pytest.raises(SessionStoreError, match="FileStore: cannot delete: No"):
            store.prune()


def test_a_missing_folder_is_an_error_and_not_a_missing_record(tmp_path: Path) -> None:
    """Every method raises the error, which does not contain the path."""
    store = FileStore(tmp_path / "sessions")
    (tmp_path / "sessions").rmdir()
    calls: list[t.Callable[[], object]] = [
        lambda: store.load("token"),
        lambda: store.save(None, b"data", expected=None, max_age=HOUR),
        lambda: store.save("token", b"data", expected=None, max_age=HOUR),
        lambda: store.delete("token"),
    ]
    for call in calls:
        with pytest.raises(SessionStoreError, match="No such file") as caught:
            call()
        assert str(tmp_path) not in str(caught.value)


def test_a_truncated_file_is_an_empty_record_and_stays(tmp_path: Path) -> None:
    """The codec rejects the record. An administrator can still look at the file."""
    store = FileStore(tmp_path)
    token = store.save(None, b"data", expected=None, max_age=HOUR)
    path = path_of(tmp_path, token)
    path.write_bytes(path.read_bytes()[:2])
    assert store.load(token) == b""
    assert store.prune() == 0
    assert path.exists()


@pytest.mark.parametrize("life", [1, 31 * 86400, 4 * 366 * 86400])
def test_a_record_lives_as_long_as_the_save_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, life: int
) -> None:
    """It never ends early, and at most a second late."""
    store = FileStore(tmp_path)
    start = 1_800_000_000
    monkeypatch.setattr("time.time", lambda: start)
    token = store.save(None, b"one", expected=None, max_age=9)
    store.save(token, b"two", expected=b"one", max_age=life)
    monkeypatch.setattr("time.time", lambda: start + life)
    assert store.load(token) == b"two"
    monkeypatch.setattr("time.time", lambda: start + life + 1.25)
    assert store.load(token) is None
    assert store.prune() == 1


def test_a_lifetime_that_is_too_long_for_the_header_never_ends(tmp_path: Path) -> None:
    """The save succeeds, and the record does not expire early."""
    store = FileStore(tmp_path)
    token = store.save(None, b"data", expected=None, max_age=900 * 366 * 86400)
    assert struct.unpack("I", path_of(tmp_path, token).read_bytes()[:4]) == (0,)
    assert store.load(token) == b"data"


def test_a_failed_save_leaves_no_unfinished_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds for every exception that interrupts the save."""
    store = FileStore(tmp_path)
    for error, raised in (
        (OSError("no"), SessionStoreError),
        (KeyboardInterrupt(),) * 2,
    ):

        def failing(*args: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("os.replace", failing)
        with pytest.raises(raised if isinstance(raised, type) else KeyboardInterrupt):
            store.save(None, b"data", expected=None, max_age=HOUR)
        assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_a_part_of_a_record_gets_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may write less than it is given, without an error."""
    store, write = FileStore(tmp_path), os.write
    monkeypatch.setattr("os.write", lambda file, data: write(file, data[:3]))
    token = store.save(None, b"a whole record", expected=None, max_age=HOUR)
    assert store.load(token) == b"a whole record"


def test_a_disk_that_becomes_full_keeps_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new record was written in part. Its file is removed."""
    store, write = FileStore(tmp_path), os.write
    token = store.save(None, b"old", expected=None, max_age=HOUR)
    before = set(tmp_path.iterdir())
    rest = [3]

    def filling(file: int, data: bytes) -> int:
        if not rest:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[: rest.pop()])

    monkeypatch.setattr("os.write", filling)
    with pytest.raises(SessionStoreError, match="cannot write: No space left"):
        store.save(token, b"a new record", expected=b"old", max_age=HOUR)
    assert store.load(token) == b"old"
    assert set(tmp_path.iterdir()) - before == locks_in(tmp_path)


@pytest.mark.parametrize("locks", ["of the system", "of portalocker"])
def test_a_lock_that_another_process_holds_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: str
) -> None:
    """The save fails after some seconds. Reading needs no lock. The lock is released
    when its process ends. Both kinds of lock exclude each other.
    """
    if locks == "of portalocker":
        monkeypatch.setattr("flask_buffalo_session.stores.lockfile.fcntl", None)
    monkeypatch.setattr("flask_buffalo_session.stores.lockfile.LOCK_TIMEOUT", 0.3)
    store = FileStore(tmp_path)
    token = store.save(None, b"one", expected=None, max_age=HOUR)
    store.save(token, b"two", expected=b"one", max_age=HOUR)
    (lock,) = locks_in(tmp_path)
    code = (
        "import fcntl, sys\n"
        "file = open(sys.argv[1], 'ab')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        assert store.load(token) == b"two"
        calls: list[t.Callable[[], object]] = [
            lambda: store.save(token, b"three", expected=b"two", max_age=HOUR),
            lambda: store.delete(token),
        ]
        for call in calls:
            with pytest.raises(SessionStoreError, match="waiting for the session's lo"):
                call()
        holder.kill()
    store.save(token, b"three", expected=b"two", max_age=HOUR)


def test_a_record_that_is_deleted_during_a_save_stays_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The save has compared the record before the deletion begins."""
    store = FileStore(tmp_path)
    token = store.save(None, b"data", expected=None, max_age=HOUR)
    deleting = threading.Thread(target=store.delete, args=[token])
    replace = os.replace

    def slow(source: str, target: Path) -> None:
        deleting.start()
        deleting.join(0.2)
        replace(source, target)

    monkeypatch.setattr("os.replace", slow)
    store.save(token, b"new", expected=b"data", max_age=HOUR)
    deleting.join()
    assert store.load(token) is None
    with pytest.raises(SessionConflictError):
        store.save(token, b"late", expected=b"new", max_age=HOUR)
