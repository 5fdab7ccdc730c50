"""Servers and folders for what is measured in this process: made when they are first
asked for, and gone when it ends.
"""

from __future__ import annotations

import atexit
import itertools
import os
import tempfile
import typing as t
from functools import cache
from importlib.util import find_spec
from pathlib import Path

if t.TYPE_CHECKING:
    from tests.support.servers import PostgresServer, RedisServer, Servers

#: The tests' way to start servers needs it.
_ALWAYS = ("pytest",)


def missing(modules: tuple[str, ...], programs: tuple[str, ...] = ()) -> str | None:
    """What is not installed, and how to install it; None if nothing is missing.

    :param programs: of "redis" and "postgresql".
    """
    for module in (*_ALWAYS, *modules):
        if find_spec(module) is None:
            return (
                f"the package {module} is missing:"
                " install flask-buffalo-session[dev,bench]"
            )
    return next(filter(None, map(_missing_program, programs)), None)


def programs(*names: str) -> tuple[str, ...]:
    """The paths of those that are installed."""
    return tuple(_find(name) for name in names if _missing_program(name) is None)


def _missing_program(name: str) -> str | None:
    from pytest import fail, skip

    try:
        _find(name)
    # What the tests are told, on a developer's machine and in CI.
    except (skip.Exception, fail.Exception) as error:
        return str(error)
    return None


def _find(name: str) -> str:
    from tests.support import servers

    if name == "redis":
        return servers.RedisServer(Path()).command()[0]
    servers.postgres_program("initdb")
    return servers.postgres_program("postgres")


def redis() -> RedisServer:
    from tests.support.servers import RedisServer

    return _servers().shared(RedisServer)


def postgres() -> PostgresServer:
    from tests.support.servers import PostgresServer

    return _servers().shared(PostgresServer)


def folder(name: str) -> Path:
    """A new one."""
    return _servers().folder(name)


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
        # Not in a child that was forked.
        if os.getpid() == owner:
            servers.stop()
            root.cleanup()

    atexit.register(clean_up)
    return servers
