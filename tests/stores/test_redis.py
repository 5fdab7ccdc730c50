"""Test what only :class:`flask_buffalo_session.RedisStore` does."""

from __future__ import annotations

import collections.abc as c
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import redis
import redis.asyncio
import valkey
from flask import session
from redis.cluster import RedisCluster
from valkey.cluster import ValkeyCluster

from flask_buffalo_session import RedisStore
from flask_buffalo_session.errors import (
    SessionConfigError,
    SessionConflictError,
    SessionStoreError,
)
from flask_buffalo_session.stores.base import storage_key
from flask_buffalo_session.stores.url import store_from_url
from tests.conftest import Desk, make_app, url
from tests.support.newer_redis import NewerRedis
from tests.support.servers import (
    ClusterNode,
    RedisReplica,
    RedisServer,
    Sentinel,
    Servers,
    ValkeyServer,
    free_port,
    require,
)

HOUR = 3600


@pytest.fixture
def client(servers: Servers) -> c.Iterator[t.Any]:
    with redis.Redis(port=servers.shared(RedisServer).port) as client:
        yield client


def compares(client: t.Any) -> bool:
    """Return whether SET has the option IFEQ on this server."""
    try:
        client.execute_command("SET", "compares", "two", "IFEQ", "one")
    except (redis.ResponseError, valkey.ResponseError):
        return False
    return True


@pytest.mark.parametrize(
    "client", [None, 5, "localhost", object(), redis.Redis, redis.asyncio.Redis()]
)
def test_an_object_that_is_not_a_client_is_refused_at_once(client: object) -> None:
    """The constructor raises the error. An asynchronous client is refused, too."""
    with pytest.raises(SessionConfigError, match="needs a synchronous client"):
        RedisStore(client)


def test_a_request_sends_no_unnecessary_command(client: t.Any) -> None:
    """An untouched session sends no command, a read one command, and a write two."""
    app = make_app(RedisStore(client, prefix="cost:"))

    @app.get("/write")
    def write() -> str:
        session["count"] = session.get("count", 0) + 1
        return "written"

    @app.get("/read")
    def read() -> str:
        return str(session.get("count"))

    @app.get("/untouched")
    def untouched() -> str:
        return "untouched"

    browser = app.test_client()
    browser.get("/write")
    # The first change finds out whether SET can compare.
    browser.get("/write")

    def processed() -> int:
        return int(client.info("stats")["total_commands_processed"])

    def commands(path: str) -> int:
        before = processed()
        browser.get(path)
        # The INFO command counts, too.
        return processed() - before - 1

    assert commands("/untouched") == 0
    assert commands("/read") == 1
    # An older server counts the script and the two commands inside it.
    assert commands("/write") == (2 if compares(client) else 2 + 2)


class TestSetThatCompares:
    """A newer server compares in the SET command. The others need a script."""

    @pytest.fixture
    def newer(self, servers: Servers) -> c.Iterator[NewerRedis]:
        with NewerRedis(servers.shared(RedisServer).port) as newer:
            yield newer

    @pytest.fixture
    def kept(self, newer: NewerRedis) -> c.Iterator[RedisStore]:
        url = f"redis://127.0.0.1:{newer.port}"
        store = t.cast(RedisStore, store_from_url(url, "/nowhere"))
        yield store
        store.close()

    @pytest.mark.parametrize("kind", [RedisServer, ValkeyServer])
    def test_a_real_server_gets_the_command_that_it_knows(
        self, servers: Servers, kind: type[RedisServer]
    ) -> None:
        """A newer server gets no script, and an older one gets it."""
        server = servers.own(kind)
        store = t.cast(RedisStore, store_from_url(server.url, "/nowhere"))
        token = store.save(None, b"one", expected=None, max_age=HOUR)
        store.save(token, b"two", expected=b"one", max_age=HOUR)
        with pytest.raises(SessionConflictError):
            store.save(token, b"three", expected=b"one", max_age=HOUR)
        assert store.load(token) == b"two"
        store.close()
        with redis.Redis(port=server.port) as client:
            scripts = client.info("commandstats").get("cmdstat_eval", {"calls": 0})
            assert scripts["calls"] == (0 if compares(client) else 2)

    def test_a_newer_server_gets_no_script(
        self, newer: NewerRedis, kept: RedisStore, client: t.Any
    ) -> None:
        """The record expires as one that a script has written."""
        token = kept.save(None, b"one", expected=None, max_age=HOUR)
        newer.seen.clear()
        assert kept.save(token, b"two", expected=b"one", max_age=2 * HOUR) == token
        assert newer.seen == ["SET IFEQ"]
        assert kept.load(token) == b"two"
        ttl = client.ttl(f"buffalo-session:{storage_key(token)}")
        assert HOUR < ttl <= 2 * HOUR

    @pytest.mark.parametrize("now", [b"theirs", b"", b"one more", None])
    def test_another_record_is_a_conflict(
        self, newer: NewerRedis, kept: RedisStore, now: bytes | None
    ) -> None:
        """A missing record is another one, too. The store writes nothing."""
        token = kept.save(None, b"one", expected=None, max_age=HOUR)
        kept.delete(token)
        if now is not None:
            kept.save(token, now, expected=None, max_age=HOUR)
        with pytest.raises(SessionConflictError):
            kept.save(token, b"two", expected=b"one", max_age=HOUR)
        assert kept.load(token) == now
        assert "EVAL" not in newer.seen

    def test_any_bytes_are_compared(self, kept: RedisStore) -> None:
        """Records are no text. One may be the word of an option."""
        before = b""
        token = kept.save(None, before, expected=None, max_age=HOUR)
        for data in (b"\r\n\0\xff", b"IFEQ", b"EX", b"x" * 100_000):
            kept.save(token, data, expected=before, max_age=HOUR)
            assert kept.load(token) == data
            before = data

    def test_an_older_server_is_asked_once(
        self, newer: NewerRedis, kept: RedisStore
    ) -> None:
        """It refuses the option, and writes nothing. Then it gets the script."""
        newer.is_older = True
        token = kept.save(None, b"0", expected=None, max_age=HOUR)
        newer.seen.clear()
        for number in range(3):
            data, seen = b"%d" % (number + 1), b"%d" % number
            kept.save(token, data, expected=seen, max_age=HOUR)
        with pytest.raises(SessionConflictError):
            kept.save(token, b"4", expected=b"2", max_age=HOUR)
        assert newer.seen == ["SET", *["EVAL"] * 4]
        assert kept.load(token) == b"3"

    def test_an_older_server_may_take_over(
        self, servers: Servers, newer: NewerRedis, kept: RedisStore, client: t.Any
    ) -> None:
        """In a cluster, or after a failover, servers of both kinds may answer."""
        token = kept.save(None, b"one", expected=None, max_age=HOUR)
        kept.save(token, b"two", expected=b"one", max_age=HOUR)
        newer.is_older = True
        kept.save(token, b"three", expected=b"two", max_age=HOUR)
        newer.is_older = False
        with pytest.raises(SessionConflictError):
            kept.save(token, b"four", expected=b"two", max_age=HOUR)
        kept.save(token, b"four", expected=b"three", max_age=HOUR)
        assert kept.load(token) == b"four"

    def test_another_refusal_is_an_error(self, client: t.Any) -> None:
        """A script would not help a user who may not write."""
        token = RedisStore(client).save(None, b"one", expected=None, max_age=HOUR)
        store = RedisStore(RefusingClient(client, "SET"))
        with pytest.raises(SessionStoreError, match="cannot write: not allowed"):
            store.save(token, b"two", expected=b"one", max_age=HOUR)
        assert RedisStore(client).load(token) == b"one"

    def test_a_logout_whose_reply_was_lost_counts(
        self, newer: NewerRedis, kept: RedisStore
    ) -> None:
        """The session recognizes its own tombstone."""
        desk = Desk(kept)
        cookie = desk.stored(a=1)
        ending = desk.session(cookie)
        ending.destroy()
        newer.loses_reply = True
        ending.save()
        assert not newer.loses_reply
        assert desk.values(cookie) == {}

    def test_no_command_is_repeated(self, newer: NewerRedis, kept: RedisStore) -> None:
        """A repeated write would find its own first attempt, as another request's."""
        token = kept.save(None, b"one", expected=None, max_age=HOUR)
        newer.seen.clear()
        newer.loses_reply = True
        with pytest.raises(SessionStoreError):
            kept.save(token, b"two", expected=b"one", max_age=HOUR)
        assert newer.seen == ["SET IFEQ"]
        assert kept.load(token) == b"two"


def test_keys_begin_with_the_prefix_and_expire(client: t.Any) -> None:
    """Keys contain the hash of a token and never the token."""
    store = RedisStore(client, prefix="mine:")
    token = store.save(None, b"data", expected=None, max_age=HOUR)
    (key,) = client.keys("mine:*")
    assert token.encode() not in key
    assert 0 < client.ttl(key) <= HOUR
    store.save(token, b"more", expected=b"data", max_age=2 * HOUR)
    assert HOUR < client.ttl(key) <= 2 * HOUR


def test_keys_begin_with_the_documented_prefix(client: t.Any) -> None:
    """An administrator may use the prefix in the server's access rules."""
    document = (Path(__file__).parents[2] / "docs/howto/redis.md").read_text()
    assert "keys that begin with `buffalo-session:`" in document
    token = RedisStore(client).save(None, b"data", expected=None, max_age=HOUR)
    assert client.get(f"buffalo-session:{storage_key(token)}") == b"data"


def test_any_text_may_be_an_unhashed_token(client: t.Any) -> None:
    """An unknown token is not found, as in any store."""
    store = RedisStore(client, prefix="plain:", hashed=False)
    assert store.load("\ud800") is None
    store.save("\ud800", b"data", expected=None, max_age=HOUR)
    assert client.keys("plain:*") == [b"plain:\xed\xa0\x80"]


class RefusingClient:
    """Wrap a client whose server refuses one command."""

    def __init__(self, client: t.Any, refused: str) -> None:
        self.client = client
        self.refused = refused

    def execute_command(self, name: str, *args: t.Any, **options: t.Any) -> t.Any:
        if name == self.refused:
            raise redis.ResponseError("not allowed")
        return self.client.execute_command(name, *args, **options)


@pytest.mark.parametrize(
    ("refused", "operation", "call"),
    [
        ("GET", "read", lambda store: store.load("token")),
        (
            "SET",
            "write",
            lambda store: store.save(None, b"data", expected=None, max_age=HOUR),
        ),
        ("DEL", "delete", lambda store: store.delete("token")),
        ("EVAL", "delete", lambda store: store.revoke("id")),
        ("HGETALL", "read", lambda store: list(store.owned("ann"))),
        ("EVAL", "write", lambda store: store.own("token", "ann", max_age=HOUR)),
        ("HDEL", "write", lambda store: list(store.owned("ann"))),
        ("TIME", "report its state", lambda store: store.check_health()),
    ],
)
def test_an_error_names_the_operation_that_failed(
    client: t.Any, refused: str, operation: str, call: c.Callable[[RedisStore], object]
) -> None:
    """The error repeats the server's message."""
    # The owner's index has a session whose record is gone.
    RedisStore(client, prefix="refusing:").own("gone", "ann", max_age=HOUR)
    store = RedisStore(RefusingClient(client, refused), prefix="refusing:")
    with pytest.raises(
        SessionStoreError, match=f"^Redis: cannot {operation}: not allowed"
    ):
        call(store)


def test_a_new_record_may_be_written_twice(client: t.Any) -> None:
    """A client may repeat a command that got no answer. Nobody else can have written a
    record under a new token.
    """

    class Repeating:
        def execute_command(self, *args: t.Any, **options: t.Any) -> t.Any:
            client.execute_command(*args, **options)
            return client.execute_command(*args, **options)

    store = RedisStore(Repeating())
    token = store.save(None, b"data", expected=None, max_age=HOUR)
    assert store.load(token) == b"data"


def test_stores_with_different_prefixes_share_no_record(client: t.Any) -> None:
    """Two applications may use one server."""
    one, two = RedisStore(client, prefix="one:"), RedisStore(client, prefix="two:")
    token = one.save(None, b"data", expected=None, max_age=HOUR)
    assert two.load(token) is None


def test_a_key_of_another_type_is_an_error(client: t.Any) -> None:
    """Another program uses the prefix. The session must not look empty."""
    store = RedisStore(client, prefix="foreign:")
    token = store.save(None, b"data", expected=None, max_age=HOUR)
    (key,) = client.keys("foreign:*")
    client.delete(key)
    client.rpush(key, "a list")
    with pytest.raises(SessionStoreError, match="WRONGTYPE"):
        store.load(token)
    with pytest.raises(SessionStoreError, match="WRONGTYPE"):
        store.save(token, b"new", expected=b"data", max_age=HOUR)


def test_a_server_that_is_full_is_an_error(servers: Servers) -> None:
    """With ``noeviction``, stored records stay, and a new record that does not fit is
    an error.
    """
    server = servers.own(RedisServer)
    with redis.Redis(port=server.port) as client:
        store = RedisStore(client)
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        client.config_set("maxmemory", "1mb")
        with pytest.raises(SessionStoreError, match="maxmemory"):
            for _ in range(100):
                store.save(None, b"x" * 100_000, expected=None, max_age=HOUR)
        assert store.load(token) == b"data"
    server.stop()


def test_a_password_is_not_in_the_error() -> None:
    """The error of an unreachable server does not contain the password."""
    store = url(f"redis://:geheim@127.0.0.1:{free_port()}/0")
    with pytest.raises(SessionStoreError) as caught:
        store.load("token")
    assert "geheim" not in str(caught.value)


def test_sessions_survive_the_death_of_the_master(servers: Servers) -> None:
    """Three sentinels make the replica the new master. No setting changes."""
    master = servers.own(RedisServer)
    servers.own(RedisReplica, master)
    sentinels = [servers.own(Sentinel, master) for _ in range(3)]
    with redis.Redis(port=sentinels[0].port) as sentinel:
        wait_for(lambda: known(sentinel) == (1, 2), 30)
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        desk = Desk(url(f"redis+sentinel://{hosts}/shop/0"))
        cookie = desk.stored(a=1)
        with redis.Redis(port=master.port) as client:
            assert client.wait(1, 5000) == 1
        master.stop()
        failed: list[float] = []

        def answers() -> bool:
            start = time.monotonic()
            try:
                return desk.values(cookie) == {"a": 1}
            except SessionStoreError:
                failed.append(time.monotonic() - start)
                return False

        wait_for(answers, 30)
    assert failed
    assert max(failed) < 8
    session = desk.session(cookie)
    session["b"] = 2
    session.save()
    assert desk.values(cookie) == {"a": 1, "b": 2}
    for sentinel in sentinels:
        sentinel.stop()


def known(sentinel: t.Any) -> tuple[int, int]:
    """Return how many replicas and other sentinels a sentinel knows."""
    state = sentinel.execute_command("SENTINEL MASTER", "shop")
    return int(state["num-slaves"]), int(state["num-other-sentinels"])


@pytest.fixture(scope="module")
def nodes(servers: Servers) -> list[ClusterNode]:
    nodes = [servers.own(ClusterNode) for _ in range(3)]
    addresses = [f"127.0.0.1:{node.port}" for node in nodes]
    cli = require("redis-cli", "redis-tools")
    subprocess.run(
        [cli, "--cluster", "create", *addresses, "--cluster-yes"],
        check=True,
        capture_output=True,
    )
    for node in nodes:
        with redis.Redis(port=node.port) as client:
            wait_for(lambda: client.cluster("info")["cluster_state"] == "ok", 30)
    return nodes


@pytest.mark.parametrize("made", ["from a URL", "by hand", "decoding"])
def test_a_cluster_keeps_sessions(nodes: list[ClusterNode], made: str) -> None:
    """Values, conflicts, deletions and owners work on every master of the cluster."""
    port = nodes[0].port
    store = (
        t.cast(RedisStore, url(f"redis+cluster://127.0.0.1:{port}"))
        if made == "from a URL"
        else RedisStore(
            RedisCluster(
                host="127.0.0.1", port=port, decode_responses=made == "decoding"
            )
        )
    )
    desk = Desk(store)
    cookies = [desk.stored(number=number) for number in range(30)]
    for number, cookie in enumerate(cookies):
        first, second = desk.session(cookie), desk.session(cookie)
        list(first), list(second)
        first["a"] = 1
        second["b"] = 2
        first.save()
        second.save()
        assert desk.values(cookie) == {"number": number, "a": 1, "b": 2}
        assert desk.session(cookie).get_once("number") == number
    keys = [len(redis.Redis(port=node.port).keys()) for node in nodes]
    assert all(keys)
    owner = f"ann {made}"
    for cookie in cookies[:3]:
        bound = desk.session(cookie)
        bound.bind(owner)
        bound.save()
    assert len(list(store.owned(owner))) == 3
    ended = desk.session(cookies[0])
    ended.destroy()
    ended.save()
    assert desk.values(cookies[0]) == {}


@pytest.mark.parametrize(
    "cluster",
    [RedisCluster, ValkeyCluster, None],
    ids=["redis", "valkey", "from a URL"],
)
def test_the_health_check_examines_each_master_of_a_cluster(
    nodes: list[ClusterNode], cluster: t.Any
) -> None:
    """One master that evicts is enough to lose sessions."""
    port = nodes[0].port
    store = t.cast(RedisStore, url(f"redis+cluster://127.0.0.1:{port}"))
    if cluster is not None:
        store = RedisStore(cluster(host="127.0.0.1", port=port))
    for node in nodes:
        with redis.Redis(port=node.port) as client:
            health = store.check_health()
            assert health.evicts is None
            assert health.clock is not None
            assert abs(health.clock - time.time()) < 5
            client.config_set("maxmemory-policy", "volatile-ttl")
            assert store.check_health().evicts == "its maxmemory-policy is volatile-ttl"
            client.config_set("maxmemory-policy", "noeviction")


def test_an_unreachable_cluster_is_an_error_at_the_first_use() -> None:
    """The application starts without the cluster."""
    store = url(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
    with pytest.raises(SessionStoreError):
        store.load("token")


def wait_for(condition: c.Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_full_server_can_still_end_a_session(servers: Servers) -> None:
    """The server refuses the tombstone, so the store deletes the record. Nothing else
    is lost.
    """
    server = servers.own(RedisServer)
    desk = Desk(url(server.url))
    cookie, other = desk.stored(a=1), desk.stored(b=1)
    with redis.Redis(port=server.port) as client:
        client.config_set("maxmemory", 1)
        session = desk.session(other)
        session["b"] = 2
        with pytest.raises(SessionStoreError, match="cannot write"):
            session.save()
        leaving = desk.session(cookie)
        leaving.clear()
        leaving.save()
        client.config_set("maxmemory", 0)
    assert leaving.cookie == ""
    assert desk.emitted[-1] == ("destroyed", None)
    assert desk.values(cookie) == {}
    assert desk.values(other) == {"b": 1}
