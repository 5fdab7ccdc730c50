"""Test sessions in PostgreSQL behind PgBouncer in transaction mode."""

from __future__ import annotations

import collections.abc as c
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import Desk, url
from tests.support.pgbouncer import PgBouncer
from tests.support.servers import PostgresServer, Servers


@pytest.fixture
def bouncer(servers: Servers) -> c.Iterator[PgBouncer]:
    server = servers.shared(PostgresServer)
    bouncer = servers.own(PgBouncer, server)
    yield bouncer
    bouncer.stop()


def test_many_requests_share_a_few_server_connections(bouncer: PgBouncer) -> None:
    """No prepared statement outlives its transaction, and no update is lost."""
    desk = Desk(url(bouncer.url))
    cookie = desk.stored(log=[])

    def append(number: int) -> None:
        session = desk.session(cookie)
        session["log"].append(number)
        session.save()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(append, range(60)))
    assert sorted(desk.values(cookie)["log"]) == list(range(60))
