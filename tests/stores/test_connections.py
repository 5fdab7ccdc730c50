"""Test the connections that a store keeps whose client a URL made."""

from __future__ import annotations

import collections.abc as c
import os
import threading
import time
import typing as t
import warnings
from pathlib import Path

import pytest
import redis
import valkey

from flask_buffalo_session import RedisStore
from flask_buffalo_session.errors import SessionStoreError
from flask_buffalo_session.stores.connections import KeptConnections
from flask_buffalo_session.stores.url import client_from_url, store_from_url
from tests.support.servers import RedisServer, Servers

HOUR = 3600

REFUSALS = {"redis": redis.ResponseError, "valkey": valkey.ResponseError}


@pytest.fixture
def port(servers: Servers) -> int:
    return servers.shared(RedisServer).port


@pytest.fixture
def admin(port: int) -> c.Iterator[t.Any]:
    """Return another client of the same server."""
    with redis.Redis(port=port) as client:
        yield client


@pytest.fixture(params=["redis", "valkey"])
def scheme(request: pytest.FixtureRequest) -> str:
    return t.cast(str, request.param)


@pytest.fixture
def client(scheme: str, port: int) -> c.Iterator[KeptConnections]:
    client = client_from_url(f"{scheme}://127.0.0.1:{port}", "/nowhere")
    assert isinstance(client, KeptConnections)
    yield client
    client.close()


def connection_of(client: KeptConnections) -> int:
    """Return the server's number of the connection that the next command uses."""
    return t.cast(int, client.execute_command("CLIENT", "ID"))


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let time pass."""
    now = time.monotonic
    monkeypatch.setattr("time.monotonic", lambda: now() + seconds)


def test_commands_share_a_connection(client: KeptConnections) -> None:
    """It is opened by the first command."""
    assert connection_of(client) == connection_of(client)


def test_answers_are_those_of_the_client(client: KeptConnections) -> None:
    """The client makes a bool, a dict and bytes of them."""
    execute = client.execute_command
    assert execute("SET", "key", "text") is True
    assert execute("SET", "key", "text", "NX") is None
    assert execute("GET", "key", NEVER_DECODE=True) == b"text"
    assert execute("INFO", "memory")["maxmemory_policy"] == "noeviction"


def test_parallel_commands_have_a_connection_each(
    client: KeptConnections, admin: t.Any
) -> None:
    """Each thread gets the answers to its own commands."""
    wrong: list[object] = []

    def work(number: int) -> None:
        for count in range(200):
            value = f"{number} {count}".encode()
            client.execute_command("SET", f"parallel:{number}", value)
            found = client.execute_command("GET", f"parallel:{number}")
            if found != value:
                wrong.append((value, found))

    threads = [threading.Thread(target=work, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_waiting_command_does_not_block_another_one(
    client: KeptConnections, admin: t.Any
) -> None:
    """The second command opens a connection of its own."""
    answers: list[object] = []

    def wait() -> None:
        answers.append(client.execute_command("BLPOP", "waiting", "5"))

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not admin.info("clients")["blocked_clients"]:
        time.sleep(0.01)
    client.execute_command("RPUSH", "waiting", "here")
    waiting.join()
    assert len(answers) == 1


def test_a_connection_that_the_server_closed_is_replaced(
    client: KeptConnections, admin: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers and firewalls close connections that are idle. No request fails."""
    before = connection_of(client)
    admin.client_kill_filter(_id=before)
    later(monkeypatch, 1.1)
    assert connection_of(client) != before


def test_a_connection_that_was_closed_just_now_costs_one_command(
    client: KeptConnections, admin: t.Any, scheme: str
) -> None:
    """The next command works again."""
    before = connection_of(client)
    admin.client_kill_filter(_id=before)
    broken = {"redis": redis.ConnectionError, "valkey": valkey.ConnectionError}
    with pytest.raises(broken[scheme]):
        connection_of(client)
    assert connection_of(client) != before


def test_a_refused_command_keeps_its_connection(
    client: KeptConnections, scheme: str
) -> None:
    """A full server refuses many commands. It should not get a new connection for
    each of them.
    """
    before = connection_of(client)
    with pytest.raises(REFUSALS[scheme]):
        client.execute_command("EVAL", "return redis.error_reply('full')", 0)
    assert connection_of(client) == before


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError, ValueError])
def test_an_interrupted_command_leaves_no_answer_to_the_next_one(
    client: KeptConnections,
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
    interruption: type[BaseException],
) -> None:
    """A signal or a time-out may come after a command was sent. Its answer belongs to
    nobody, least of all to the next request, whose session is another one.
    """
    client.execute_command("SET", "mine", "mine")
    client.execute_command("SET", "theirs", "theirs")
    kind: t.Any = {"redis": redis.Redis, "valkey": valkey.Valkey}[scheme]

    def interrupted(*args: object, **options: object) -> t.NoReturn:
        raise interruption

    with monkeypatch.context() as patch:
        patch.setattr(kind, "parse_response", interrupted)
        with pytest.raises(interruption):
            client.execute_command("GET", "theirs")
    assert client.execute_command("GET", "mine") == b"mine"


def test_a_timeout_leaves_no_answer_to_the_next_command(scheme: str, port: int) -> None:
    """The answer comes when nobody waits for it any more."""
    url = f"{scheme}://127.0.0.1:{port}?socket_timeout=0.1"
    client = client_from_url(url, "/nowhere")
    client.execute_command("SET", "mine", "mine")
    timeout = {"redis": redis.TimeoutError, "valkey": valkey.TimeoutError}
    with pytest.raises(timeout[scheme]):
        client.execute_command("BLPOP", "nothing", "0.2")
    time.sleep(0.3)
    assert client.execute_command("GET", "mine") == b"mine"
    client.close()


def test_a_fork_leaves_the_parents_connections_alone(client: KeptConnections) -> None:
    """Parent and child would read each other's answers."""
    before = connection_of(client)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns about a fork while threads run. The child needs no thread.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(connection_of(client)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading) as pipe:
        used = int(pipe.read())
    assert used != before
    assert connection_of(client) == before


def test_a_pool_of_one_connection_is_enough(scheme: str, port: int) -> None:
    """Every operation of the store uses the kept connection."""
    url = f"{scheme}://127.0.0.1:{port}?max_connections=1"
    store = t.cast(RedisStore, store_from_url(url, "/nowhere"))
    token = store.save(None, b"one", expected=None, max_age=HOUR)
    store.save(token, b"two", expected=b"one", max_age=HOUR)
    store.own(token, "one connection", max_age=HOUR)
    (record,) = store.owned("one connection")
    assert store.revoke(record.id) == b"two"
    store.delete(token)
    assert store.check_health().evicts is None
    assert store.load(token) is None
    store.close()


def test_close_closes_every_connection(client: KeptConnections, admin: t.Any) -> None:
    """The next command opens a new one."""
    before = connection_of(client)
    client.close()
    assert str(before) not in {entry["id"] for entry in admin.client_list()}
    assert connection_of(client) != before


def test_a_server_that_starts_again_is_used_again(
    servers: Servers, scheme: str, tmp_path: Path
) -> None:
    """While it is away, each command fails at once."""
    server = servers.own(RedisServer)
    store = store_from_url(f"{scheme}://127.0.0.1:{server.port}", tmp_path)
    store.save(None, b"data", expected=None, max_age=HOUR)
    server.stop()
    for _ in range(3):
        with pytest.raises(SessionStoreError):
            store.load("token")
    server.start()
    assert store.load("token") is None
    t.cast(RedisStore, store).close()
    server.stop()
