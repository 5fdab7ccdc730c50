"""Test the errors that stores raise for their clients' errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_buffalo_session.errors import SessionConflictError, SessionStoreError
from flask_buffalo_session.stores.base import Closable, answering
from flask_buffalo_session.stores.url import store_from_url
from tests.conftest import url
from tests.support.servers import (
    MariaServer,
    PostgresServer,
    RedisServer,
    Servers,
    ValkeyServer,
    free_port,
)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("OOM command not allowed", "OOM command not allowed"),
        ("", "ValueError"),
        (
            "Error 111 connecting to db.example:6379. Connection refused.",
            "Error 111 connecting to *** Connection refused.",
        ),
        (
            "Error -2 connecting to nis@db.example. Name not known.",
            "Error -2 connecting to *** Name not known.",
        ),
        (
            'connection to server at "db.example", port 5432 failed: refused',
            "connection to server at ***, port 5432 failed: refused",
        ),
        (
            "failed to resolve host 'db.example': [Errno -2] unknown",
            "failed to resolve host ***: [Errno -2] unknown",
        ),
        (
            'could not translate host name "db" to address',
            "could not translate host name *** to address",
        ),
        (
            "(2003, \"Can't connect to MySQL server on 'db' (refused)\")",
            '(2003, "Can\'t connect to MySQL server on *** (refused)")',
        ),
        (
            "All failures were:\n- host: 'db.example', port: 5432, hostaddr: '::1': no",
            "All failures were:\n- host: ***, port: 5432, hostaddr: ***: no",
        ),
        ("No master found: <Redis(<Pool(host=db.example)>)>", "No master found: ***"),
        ("no answer from //ann:geheim@host", "no answer from ***"),
        ('relation "sessions" does not exist', 'relation "sessions" does not exist'),
        ("no such table: sessions", "no such table: sessions"),
    ],
)
def test_an_error_names_no_host_and_no_login(message: str, problem: str) -> None:
    """The error repeats the rest of the client's message. Its cause is the client's
    error.
    """
    error = ValueError(message)
    with pytest.raises(SessionStoreError) as caught, answering("Mine", "read"):
        raise error
    assert str(caught.value) == f"Mine: cannot read: {problem}"
    assert caught.value.__cause__ is error


def test_an_error_names_no_path() -> None:
    """The message says why a file cannot be opened, and leaves out its path."""
    with pytest.raises(SessionStoreError) as caught, answering("Mine", "read"):
        Path("/nowhere/geheim").read_bytes()
    assert str(caught.value) == "Mine: cannot read: No such file or directory"


@pytest.mark.parametrize(
    "error", [SessionConflictError("changed"), SessionStoreError("Mine", "is full")]
)
def test_a_store_error_is_raised_unchanged(error: Exception) -> None:
    """A conflict stays a conflict, and a store's own error keeps its message."""
    with pytest.raises(type(error)) as caught, answering("Mine", "read"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, GeneratorExit])
def test_an_interrupt_is_raised_unchanged(interrupt: type[BaseException]) -> None:
    """An interrupt is not an error of the client."""
    with pytest.raises(interrupt), answering("Mine", "read"):
        raise interrupt


@pytest.mark.parametrize(
    "address",
    [
        "redis://:geheim@localhost:{}/0",
        "valkey://:geheim@localhost:{}/0",
        "postgresql://ann:geheim@localhost:{}/test",
        "mariadb://ann:geheim@localhost:{}/test",
        "memcached://localhost:{}",
        "redis+cluster://:geheim@localhost:{}",
        "redis+sentinel://:geheim@localhost:{}/shop",
    ],
)
def test_the_error_of_an_unreachable_server_does_not_name_the_server(
    address: str,
) -> None:
    """Each client words its message differently."""
    port = free_port()
    with pytest.raises(SessionStoreError) as caught:
        url(address.format(port)).load("token")
    message = str(caught.value)
    for hidden in ("geheim", "localhost", "127.0.0.1", f":{port}"):
        assert hidden not in message


@pytest.mark.parametrize("scheme", ["redis", "valkey", "postgresql", "mariadb"])
def test_a_closed_store_can_be_used_again(scheme: str, servers: Servers) -> None:
    """The store opens new connections."""
    kinds: dict[str, type[RedisServer | PostgresServer | MariaServer]] = {
        "redis": RedisServer,
        "valkey": ValkeyServer,
        "postgresql": PostgresServer,
        "mariadb": MariaServer,
    }
    store = store_from_url(servers.shared(kinds[scheme]).url, "/nowhere")
    assert isinstance(store, Closable)
    token = store.save(None, b"data", expected=None, max_age=60)
    store.close()
    assert store.load(token) == b"data"
    store.close()
