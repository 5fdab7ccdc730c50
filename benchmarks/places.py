"""Start servers and make folders for the measurements. They start at their first use,
and are stopped and deleted when this process ends.
"""

from __future__ import annotations

import atexit
import collections.abc as c
import itertools
import os
import tempfile
import typing as t
from functools import cache
from importlib.util import find_spec
from pathlib import Path

if t.TYPE_CHECKING:
    from tests.support.servers import PostgresServer, RedisServer, Server, Servers

    S = t.TypeVar("S", bound=Server)

#: The code that starts the servers belongs to the tests, and needs pytest.
_ALWAYS = ("pytest",)


def missing(modules: tuple[str, ...], programs: tuple[str, ...] = ()) -> str | None:
    """Return which package or program is missing and how to install it, or None.

    :param programs: any of "redis", "postgresql" and "wrk".
    """
    for module in (*_ALWAYS, *modules):
        if find_spec(module) is None:
            return (
                f"the package {module} is missing: install the group dev of"
                " pyproject.toml"
            )
    return next(filter(None, map(_missing_program, programs)), None)


def programs(*names: str) -> tuple[str, ...]:
    """Return the paths of the programs that are installed."""
    return tuple(_find(name) for name in names if _missing_program(name) is None)


def _missing_program(name: str) -> str | None:
    from pytest import fail, skip

    try:
        _find(name)
    # The tests skip without a program, and fail in CI.
    except (skip.Exception, fail.Exception) as error:
        return str(error)
    return None


def _find(name: str) -> str:
    from tests.support import servers

    if name == "redis":
        return servers.RedisServer(Path()).command()[0]
    if name == "wrk":
        return servers.require("wrk", "wrk")
    servers.postgres_program("initdb")
    return servers.postgres_program("postgres")


def redis() -> RedisServer:
    from tests.support.servers import RedisServer

    return _servers().shared(RedisServer)


def postgres() -> PostgresServer:
    from tests.support.servers import PostgresServer

    return _servers().shared(PostgresServer)


def folder(name: str) -> Path:
    """Return a new folder."""
    return _servers().folder(name)


def sqlite(name: str) -> str:
    """Return the URL of a new database."""
    return f"sqlite:///{folder(name)}/sessions.db"


def own(kind: c.Callable[..., S], *args: object) -> S:
    """Start a server, see :class:`tests.support.servers.Servers`."""
    return _servers().own(kind, *args)


@cache
def _servers() -> Servers:
    from tests.support.servers import Servers

    root = tempfile.TemporaryDirectory()
    numbers = itertools.count()

    def new_folder(name: str) -> Path:
        path = Path(root.name, f"{name}-{next(numbers)}")
        path.mkdir()
        return path

    servers = Servers(new_folder)
    owner = os.getpid()

    def clean_up() -> None:
        # A forked child must not stop the servers of its parent.
        if os.getpid() == owner:
            servers.stop()
            root.cleanup()

    atexit.register(clean_up)
    return servers
