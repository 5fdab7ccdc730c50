"""Locks that the processes of one machine share, and private files and folders."""

from __future__ import annotations

import collections.abc as c
import os
import random
import time
from contextlib import contextmanager
from pathlib import Path

from ..errors import SessionConfigError

try:
    import fcntl
except ImportError:
    # Windows has other locks. portalocker knows them.
    fcntl = None  # type: ignore[assignment]

#: Seconds that a save waits for the lock of its session.
LOCK_TIMEOUT = 5


def check_installed() -> None:
    """Check that the system has locks for files, or that portalocker is installed.

    :raises SessionConfigError: neither is the case.
    """
    if fcntl is not None:
        return
    try:
        import portalocker  # noqa: F401
    except ImportError as error:
        raise SessionConfigError(
            "On this system, sessions in files need portalocker: install"
            " flask-buffalo-session[file]."
        ) from error


def attempts() -> c.Iterator[None]:
    """Yield for each attempt to take a lock, with short random pauses in between.

    :raises TimeoutError: :data:`LOCK_TIMEOUT` has passed.
    """
    end = time.monotonic() + LOCK_TIMEOUT
    while True:
        yield
        if time.monotonic() > end:
            raise TimeoutError(
                f"timed out after {LOCK_TIMEOUT} s waiting for the session's lock"
            )
        time.sleep(random.uniform(0.001, 0.005))  # noqa: S311 - only to spread out


@contextmanager
def locked_file(path: str | Path) -> c.Iterator[None]:
    """Hold the lock of a file.

    The file is created where it is missing. It must never be removed: a process that
    has opened the removed file would lock it while another one locks its successor.
    The system releases the lock when the process dies.

    :raises OSError: the file cannot be opened, or another process has held the lock
        for 5 seconds.
    """
    # os.open() saves 1 % of a save, compared with open().
    descriptor = private_opener(path, os.O_RDWR | os.O_CREAT)
    try:
        for _ in attempts():
            if _lock(descriptor):
                break
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Take the lock of an open file, and return whether it was free."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    import portalocker

    flags = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
    try:
        portalocker.lock(descriptor, flags)
    except portalocker.AlreadyLocked:
        return False
    return True


def private_opener(path: str | Path, flags: int) -> int:
    """Open a file that only this user may read, for the ``opener`` of ``open``."""
    return os.open(path, flags, 0o600)


def make_private_folder(path: Path) -> None:
    """Create a folder, and its missing parents, that only this user may enter.

    A folder that exists keeps its mode.

    :raises OSError: the folder cannot be created.
    """
    if path.is_dir():
        return
    if not path.parent.exists():
        make_private_folder(path.parent)
    path.mkdir(0o700, exist_ok=True)
