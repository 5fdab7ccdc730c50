"""Locks that processes on one machine share, by portalocker."""

from __future__ import annotations

import collections.abc as c
import random
import time
from contextlib import contextmanager

from ..errors import SessionConfigError

_PATIENCE = 5  # seconds


def check_installed() -> None:
    """
    :raises SessionConfigError: portalocker is not installed.
    """
    try:
        import portalocker  # noqa: F401
    except ImportError as error:
        raise SessionConfigError(
            "Sessions in files need portalocker: install flask-buffalo-session[file]."
        ) from error


@contextmanager
def locked_file(path: str) -> c.Iterator[None]:
    """Hold the lock of a file, which is made if there is none. The system lets go of
    it when this process dies.

    :raises OSError: the file cannot be opened, or another process has held the lock
        for 5 seconds.
    """
    import portalocker

    with open(path, "wb", buffering=0) as file:
        begun = time.monotonic()
        while True:
            try:
                portalocker.lock(
                    file,
                    portalocker.LockFlags.EXCLUSIVE
                    | portalocker.LockFlags.NON_BLOCKING,
                )
            except portalocker.AlreadyLocked:
                if time.monotonic() - begun > _PATIENCE:
                    raise TimeoutError(
                        "another request does not let go of the session"
                    ) from None
                time.sleep(random.uniform(0.001, 0.005))  # noqa: S311 - to spread out
            else:
                break
        yield
