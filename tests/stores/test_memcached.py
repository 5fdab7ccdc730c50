"""Test what only the store of ``memcached:`` URLs does."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import pickle
import socket
import threading
import time
import typing as t
import warnings
from pathlib import Path

import pymemcache
import pytest
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.client.retrying import RetryingClient

from flask_buffalo_session.errors import (
    SessionConfigError,
    SessionConflictError,
    SessionStoreError,
)
from flask_buffalo_session.stores.base import storage_key
from flask_buffalo_session.stores.memcached import MemcachedStore
from flask_buffalo_session.stores.url import store_from_url
from tests.conftest import Desk
from tests.support.servers import MemcachedServer, Servers, free_port
from tests.support.target import Trap

HOUR = 3600
MONTH = 30 * 24 * HOUR
PREFIX = "buffalo-session:"


@functools.cache
def pooled(port: int, **settings: t.Any) -> PooledClient:
    return PooledClient(
        ("127.0.0.1", port),
        **{"timeout": 2, "connect_timeout": 2, "default_noreply": False, **settings},
    )


@pytest.fixture
def port(servers: Servers) -> int:
    return servers.shared(MemcachedServer).port


@pytest.mark.parametrize(
    "client",
    [
        pooled(1, serde=pymemcache.serde.pickle_serde),
        pooled(1, serde=pymemcache.serde.compressed_serde),
        pooled(1, serde=object()),
        pooled(1, deserializer=lambda key, value, flags: pickle.loads(value)),
        pooled(1, serializer=lambda key, value: (pickle.dumps(value), 1)),
        pooled(1, ignore_exc=True),
        pooled(1, default_noreply=True),
        Client(("127.0.0.1", 1), default_noreply=False),
        HashClient([("127.0.0.1", 1)], default_noreply=False),
        RetryingClient(pooled(1)),
        PooledClient,
        object(),
    ],
    ids=[
        *("serde", "compressed", "no serde", "deserializer", "serializer"),
        *("ignore_exc", "noreply", "single", "hash", "retry", "class", "other"),
    ],
)
def test_a_client_that_unpickles_or_hides_errors_is_refused(client: t.Any) -> None:
    """The store looks at the client's settings and reads nothing."""
    with pytest.raises(SessionConfigError, match="PooledClient of pymemcache"):
        MemcachedStore(client)


def test_records_of_earlier_versions_are_read(port: int) -> None:
    """The keys and the bytes are the same."""
    client = pooled(port)
    client.set(PREFIX + storage_key("earlier"), b"old", HOUR)
    store = MemcachedStore(client)
    assert store.load("earlier") == b"old"
    store.save("earlier", b"new", expected=b"old", max_age=HOUR)
    assert client.get(PREFIX + storage_key("earlier")) == b"new"
    store.delete("earlier")


def test_a_pickle_is_never_loaded(port: int, tmp_path: Path) -> None:
    """This store never unpickles, whatever the flags of an item say."""
    store = MemcachedStore(pooled(port))
    token = store.save(None, b"data", expected=None, max_age=HOUR)
    trap = tmp_path / "trap"
    writer = PooledClient(("127.0.0.1", port), serde=pymemcache.serde.pickle_serde)
    writer.set(PREFIX + storage_key(token), Trap(trap), noreply=False)
    assert Desk(store).values(token) == {}
    assert not trap.exists()
    # A client that unpickles would have loaded it.
    writer.get(PREFIX + storage_key(token))
    assert trap.exists()
    writer.close()


def test_items_have_no_flag_that_makes_other_clients_unpickle(port: int) -> None:
    """Other clients decode an item as its flags say."""
    store = MemcachedStore(pooled(port))
    token = store.save(None, b"data", expected=None, max_age=HOUR)
    store.save(token, b"more", expected=b"data", max_age=HOUR)
    reader = pooled(port, deserializer=lambda key, value, flags: (value, flags))
    assert reader.get(PREFIX + storage_key(token)) == (b"more", 0)


def test_a_fork_leaves_the_parents_connections_alone(port: int) -> None:
    """Neither process reads the other's answers or closes its connections."""
    for store in (
        MemcachedStore(pooled(port)),
        store_from_url(f"memcached://127.0.0.1:{port}", "/nowhere"),
    ):
        token, other = (
            store.save(None, data, expected=None, max_age=HOUR)
            for data in (b"data", b"another's")
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            found = [store.load(other) for _ in range(500)]
            gc.collect()
            os._exit(0 if found == [b"another's"] * 500 else 1)
        assert [store.load(token) for _ in range(500)] == [b"data"] * 500
        assert os.waitpid(child, 0)[1] == 0
        assert store.load(token) == b"data"
        t.cast(MemcachedStore, store).close()


@pytest.mark.parametrize(
    ("life", "sent"),
    [
        (HOUR, HOUR + 1),
        (MONTH - 1, MONTH),
        (MONTH, 1_800_000_000 + MONTH + 1),
        (20 * 12 * MONTH, 0),
    ],
)
def test_a_lifetime_of_more_than_a_month_is_sent_as_a_date(
    life: int, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """memcached reads a number above 30 days as a date. No record ends early."""
    monkeypatch.setattr("time.time", lambda: 1_800_000_000)
    with FakeServer(b"END\r\n", b"STORED\r\n") as server:
        server.store.save("token", b"data", expected=None, max_age=life)
    assert server.commands[1].split()[3] == b"%d" % sent


def test_a_record_that_is_too_large_is_an_error(port: int) -> None:
    """memcached accepts up to a megabyte. The old record stays."""
    store = MemcachedStore(pooled(port))
    token = store.save(None, b"data", expected=None, max_age=HOUR)
    with pytest.raises(SessionStoreError):
        store.save(token, b"x" * 2_000_000, expected=b"data", max_age=HOUR)
    assert store.load(token) == b"data"


class FakeServer:
    """Serve the given answers, one for each command.

    :param answers: b"" closes the connection instead. None sends no answer at all.
    """

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.commands: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.client = PooledClient(
            self.listener.getsockname(),
            timeout=0.5,
            connect_timeout=2,
            default_noreply=False,
        )
        self.store = MemcachedStore(self.client)

    def __enter__(self) -> FakeServer:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection:
                    while data := connection.recv(10_000):
                        self.commands.append(data)
                        if not self.answers:
                            return
                        answer = self.answers.pop(0)
                        if answer == b"":
                            break
                        connection.sendall(answer or b"")


def answer_to_gets(data: bytes) -> bytes:
    """Return the server's answer to ``gets``."""
    key = (PREFIX + storage_key("token")).encode()
    return b"VALUE %s 0 %d 7\r\n%s\r\nEND\r\n" % (key, len(data), data)


def names(commands: list[bytes]) -> list[bytes]:
    return [command.split()[0] for command in commands]


class TestRepeating:
    def test_a_write_without_an_answer_is_not_repeated(self) -> None:
        """The write may have succeeded, and the server may be slow."""
        with FakeServer(b"END\r\n", None) as server, pytest.raises(SessionStoreError):
            server.store.save("token", b"data", expected=None, max_age=HOUR)
        assert names(server.commands) == [b"gets", b"add"]

    def test_a_write_recognizes_its_own_first_attempt(self) -> None:
        """The server stored the record, but the connection broke before its answer."""
        with FakeServer(
            b"END\r\n", answer_to_gets(b"one"), b"", answer_to_gets(b"two")
        ) as server:
            assert server.store.load("other") is None
            server.store.save("token", b"two", expected=b"one", max_age=HOUR)
        assert names(server.commands) == [b"get", b"gets", b"cas", b"gets"]

    def test_a_repeated_write_recognizes_another_requests_write(self) -> None:
        """Another request saved while the connection was broken. That is a conflict."""
        with FakeServer(
            b"END\r\n", answer_to_gets(b"one"), b"", answer_to_gets(b"theirs")
        ) as server:
            server.store.load("other")
            with pytest.raises(SessionConflictError):
                server.store.save("token", b"two", expected=b"one", max_age=HOUR)

    def test_equal_bytes_that_were_there_before_are_a_conflict(self) -> None:
        """Only a repeated write may accept its own bytes."""
        with (
            FakeServer(answer_to_gets(b"two")) as server,
            pytest.raises(SessionConflictError),
        ):
            server.store.save("token", b"two", expected=b"one", max_age=HOUR)

    def test_a_new_connection_that_breaks_is_an_error(self) -> None:
        """The store replaces only connections of the pool. Otherwise it would repeat
        the command for ever.
        """
        with FakeServer(b"", b"", b"") as server, pytest.raises(SessionStoreError):
            server.store.load("token")
        assert len(server.commands) == 1


class Interrupt(BaseException):
    """Represent gevent's timeout or a worker's timeout."""


def test_an_interrupted_request_closes_its_connection(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the connection stays in use for ever, or another request reads the late
    answer as its own.
    """
    client = PooledClient(("127.0.0.1", port), default_noreply=False, max_pool_size=1)
    store = MemcachedStore(client)
    token = store.save(None, b"data", expected=None, max_age=HOUR)
    for name, call in (
        ("get", lambda: store.load(token)),
        ("gets", lambda: store.save(token, b"x", expected=b"y", max_age=HOUR)),
        ("delete", lambda: store.delete(token)),
    ):
        closed: list[Client] = []

        def interrupted(
            connection: Client, *args: object, closed: list[Client] = closed
        ) -> None:
            closed.append(connection)
            raise Interrupt

        with monkeypatch.context() as patch:
            patch.setattr(Client, name, interrupted)
            with pytest.raises(Interrupt):
                call()
        assert [connection.sock for connection in closed] == [None]
        assert client.client_pool.used == ()
    assert store.load(token) == b"data"
    client.close()


def test_the_pool_survives_a_restart_of_the_server(servers: Servers) -> None:
    """The restart breaks every connection of the pool, not only the first."""
    server = servers.own(MemcachedServer)
    client = PooledClient(("127.0.0.1", server.port), timeout=2, default_noreply=False)
    store = MemcachedStore(client)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            pool = client.client_pool
            connection = stack.enter_context(pool.get_and_release())
            connection.version()
    server.stop()
    server.start()
    token = store.save(None, b"one", expected=None, max_age=HOUR)
    store.save(token, b"two", expected=b"one", max_age=HOUR)
    assert store.load(token) == b"two"
    client.close()
    server.stop()


def test_a_closed_store_opens_new_connections(port: int) -> None:
    """The store can be used again."""
    store = t.cast(
        MemcachedStore, store_from_url(f"memcached://127.0.0.1:{port}", "/nowhere")
    )
    token = store.save(None, b"one", expected=None, max_age=HOUR)
    store.close()
    assert store.load(token) == b"one"
    store.close()


def test_an_unreachable_server_is_an_error() -> None:
    """The message names no host."""
    store = MemcachedStore(pooled(free_port()))
    with pytest.raises(SessionStoreError) as caught:
        store.load("token")
    assert str(caught.value) == "Memcached: cannot read: Connection refused"


def test_the_server_reports_its_state(port: int) -> None:
    """The store reads the server's clock and that the server has evicted nothing."""
    health = MemcachedStore(pooled(port)).check_health()
    assert health.clock is not None
    assert abs(health.clock - time.time()) < 5
    assert health.evicts is None
