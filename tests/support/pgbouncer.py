"""PgBouncer in transaction mode, in front of a PostgreSQL server."""

from __future__ import annotations

import os
import signal
import typing as t
from pathlib import Path

from tests.support.servers import PostgresServer, Server, require


class PgBouncer(Server):
    """Gives a server connection to a client for one transaction at a time."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        super().__init__(folder)
        (folder / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"postgres = host=127.0.0.1 port={server.port} user=test\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
            "unix_socket_dir =\n"
        )

    def command(self) -> list[str]:
        program = require("pgbouncer", "pgbouncer", "/usr/sbin")
        return [program, str(self.folder / "pgbouncer.ini")]

    def how(self) -> dict[str, t.Any]:
        if os.getuid() != 0:
            return {}
        return {"user": "postgres", "group": "postgres", "extra_groups": []}

    def stop(self, how: int = signal.SIGINT) -> None:
        # After SIGTERM, PgBouncer 1.23 and newer wait for the clients to disconnect.
        super().stop(how)

    @property
    def url(self) -> str:
        return f"postgresql://test@127.0.0.1:{self.port}/postgres"
