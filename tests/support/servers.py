"""Start and stop the real programs that tests need."""

from __future__ import annotations

import collections.abc as c
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import typing as t
from pathlib import Path

import pytest


def require(program: str, package: str, *places: str) -> str:
    """Return the path of a program.

    Without the program, the test is skipped and the message names the package to
    install. In CI the test fails instead.

    :param places: more folders to search than those on the path.
    """
    path = shutil.which(program, path=os.pathsep.join([os.environ["PATH"], *places]))
    if path is not None:
        return path
    message = f"{program} is missing: install Debian's package {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def free_port() -> int:
    """Return a port on which nothing listens.

    The port is outside the range for clients. A client that tries to reach a stopped
    server could otherwise be given the server's own port.
    """
    clients = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    while True:
        port = random.randrange(11_000, max(20_000, int(clients[0])))
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Return whether nothing listens on a port."""
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Server:
    """A program that listens on its own port until it is stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Return the command that starts the program."""
        raise AssertionError

    def answers(self) -> bool:
        """Return whether the program is ready."""
        with socket.create_connection(("127.0.0.1", self.port), 1):
            return True

    def start(self) -> t.Self:
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.folder, stdout=log, stderr=log, **self.how()
            )
        end = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                pytest.fail(f"{self.command()[0]}: {self.log()[-2000:]}")
            time.sleep(0.02)
        return self

    def how(self) -> dict[str, t.Any]:
        """Return more arguments for ``subprocess.Popen``."""
        return {}

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.go_on()
            self.process.send_signal(how)
            self.process.wait(60)
        self.process = None

    def crash(self) -> None:
        """Kill the program and its child processes."""
        assert self.process is not None
        for process in self._processes():
            # Some children end by themselves when their parent is gone.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait(60)
        self.process = None

    def pause(self) -> None:
        """Stop the program from answering, but keep its connections open."""
        # On a busy machine, the last thread stops a moment later.
        for process in self._signal_all(signal.SIGSTOP):
            while not all(map(has_stopped, Path(f"/proc/{process}/task").glob("*"))):
                time.sleep(0.001)

    def go_on(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> list[int]:
        processes = self._processes()
        for process in processes:
            # A server that goes on ends processes of closed connections meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        return processes

    def _processes(self) -> list[int]:
        assert self.process is not None
        pid = self.process.pid
        return [pid, *children_of(pid)]

    @property
    def url(self) -> str:
        """Return the URL of the store on this server."""
        raise AssertionError

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            return self.answers()
        except Exception:
            return False


def children_of(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text()
    return list(map(int, children.split()))


def has_stopped(thread: Path) -> bool:
    """Return whether a thread is stopped, or has ended and is not yet reaped."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] in "TZ"


class RedisServer(Server):
    options: tuple[str, ...] = ()

    def command(self) -> list[str]:
        program = shutil.which("redis-server") or require(
            "valkey-server", "redis-server"
        )
        return [program, "--port", str(self.port), "--save", "", *self.options]

    def answers(self) -> bool:
        import redis

        with redis.Redis(port=self.port, socket_timeout=1) as client:
            return bool(client.ping())

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


class ValkeyServer(RedisServer):
    """Valkey, or Redis where Valkey is not installed."""

    def command(self) -> list[str]:
        program, *options = super().command()
        return [shutil.which("valkey-server") or program, *options]

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}/0"


class PersistentRedisServer(RedisServer):
    """A Redis server that keeps its data over a restart."""

    options = ("--appendonly", "yes", "--appendfsync", "always")


class PersistentValkeyServer(ValkeyServer):
    options = PersistentRedisServer.options


class RedisReplica(RedisServer):
    """A Redis server that replicates a master."""

    def __init__(self, folder: Path, master: RedisServer) -> None:
        super().__init__(folder)
        self.options = ("--replicaof", "127.0.0.1", str(master.port))

    def answers(self) -> bool:
        import redis

        with redis.Redis(port=self.port, socket_timeout=1) as client:
            return bool(client.info("replication")["master_link_status"] == "up")


class Sentinel(RedisServer):
    """A Redis Sentinel that watches a master named ``shop``, with two others."""

    def __init__(self, folder: Path, master: RedisServer) -> None:
        super().__init__(folder)
        (folder / "sentinel.conf").write_text(
            f"port {self.port}\n"
            f"sentinel monitor shop 127.0.0.1 {master.port} 2\n"
            "sentinel down-after-milliseconds shop 500\n"
            "sentinel failover-timeout shop 3000\n"
        )

    def command(self) -> list[str]:
        return [super().command()[0], "sentinel.conf", "--sentinel"]


class ClusterNode(RedisServer):
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # The nodes talk to each other on a port of their own, 10,000 above the first.
        # That port must not be one for clients either.
        while not (self.port < 20_000 and is_free(self.port + 10_000)):
            self.port = free_port()


class MemcachedServer(Server):
    def command(self) -> list[str]:
        program = require("memcached", "memcached")
        return [program, "-p", str(self.port), "-l", "127.0.0.1", "-u", "root"]

    @property
    def url(self) -> str:
        return f"memcached://127.0.0.1:{self.port}"


def postgres_program(name: str) -> str:
    """Return the path of a program of PostgreSQL. Debian keeps them off the path."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return require(name, "postgresql", *map(str, places))


class PostgresServer(Server):
    """A PostgreSQL server that does not wait for the disk."""

    options: tuple[str, ...] = ("-F",)

    def command(self) -> list[str]:
        data = self.folder / "data"
        if not data.exists():
            if os.getuid() == 0:
                # PostgreSQL refuses to run as root.
                shutil.chown(self.folder, "postgres")
            subprocess.run(
                [
                    *(postgres_program("initdb"), "-D", str(data), "-U", "test"),
                    *("--auth", "trust", "--no-sync", "-E", "UTF8"),
                ],
                check=True,
                capture_output=True,
                cwd=self.folder,
                **self.how(),
            )
        return [
            *(postgres_program("postgres"), "-D", str(data), "-p", str(self.port)),
            *("-k", "", "-h", "127.0.0.1", "-c", "max_connections=200", *self.options),
        ]

    def how(self) -> dict[str, t.Any]:
        if os.getuid() != 0:
            return {}
        return {"user": "postgres", "group": "postgres", "extra_groups": []}

    def answers(self) -> bool:
        import psycopg

        with psycopg.connect(self.plain_url, connect_timeout=1):
            return True

    def stop(self, how: int = signal.SIGINT) -> None:
        # SIGTERM would wait for the clients to disconnect.
        super().stop(how)

    @property
    def plain_url(self) -> str:
        return f"postgresql://test@127.0.0.1:{self.port}/postgres"

    @property
    def url(self) -> str:
        return self.plain_url


class PersistentPostgresServer(PostgresServer):
    """A PostgreSQL server that keeps each acknowledged write, even after a crash."""

    options = ()


class MariaServer(Server):
    """A MariaDB server that does not wait for the disk."""

    def command(self) -> list[str]:
        data = self.folder / "data"
        if not data.exists():
            subprocess.run(
                [
                    require("mariadb-install-db", "mariadb-server"),
                    *("--no-defaults", f"--datadir={data}", *self._user()),
                    # Two servers must not share a folder for temporary tables.
                    f"--tmpdir={self.folder}",
                    *("--auth-root-authentication-method=normal", "--skip-test-db"),
                ],
                check=True,
                capture_output=True,
                cwd=self.folder,
            )
        return [
            require("mariadbd", "mariadb-server", "/usr/sbin"),
            *("--no-defaults", f"--datadir={data}", *self._user()),
            f"--tmpdir={self.folder}",
            *(f"--port={self.port}", "--bind-address=127.0.0.1"),
            *(f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid"),
            *("--innodb-flush-log-at-trx-commit=0", "--max-connections=200"),
            "--init-file=" + str(self._init_file()),
        ]

    def _user(self) -> list[str]:
        return ["--user=root"] if os.getuid() == 0 else []

    def _init_file(self) -> Path:
        path = self.folder / "init.sql"
        path.write_text(
            "CREATE DATABASE IF NOT EXISTS test;\n"
            "CREATE USER IF NOT EXISTS test@'127.0.0.1' IDENTIFIED BY 'secret';\n"
            "GRANT ALL ON test.* TO test@'127.0.0.1';\n"
        )
        return path

    def answers(self) -> bool:
        import pymysql

        pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="test",
            password="secret",
            database="test",
            connect_timeout=1,
        ).close()
        return True

    @property
    def url(self) -> str:
        return f"mariadb://test:secret@127.0.0.1:{self.port}/test"


S = t.TypeVar("S", bound=Server)


class Servers:
    """Start each kind of server when a test first needs it, and stop them all."""

    def __init__(self, folder: c.Callable[[str], Path]) -> None:
        self._folder = folder
        self._shared: dict[type[Server], Server] = {}
        self._started: list[Server] = []

    def shared(self, kind: type[S]) -> S:
        """Return a server that other tests use too."""
        if kind not in self._shared:
            self._shared[kind] = self.own(kind)
        return t.cast(S, self._shared[kind])

    def own(self, kind: c.Callable[..., S], *args: t.Any) -> S:
        """Start a server that the test may stop and start."""
        server = kind(self.folder(kind.__name__), *args)
        self._started.append(server)
        return server.start()

    def folder(self, name: str) -> Path:
        """Return an empty folder that every user may read."""
        folder = self._folder(name)
        for place in (folder, folder.parent):
            place.chmod(place.stat().st_mode | 0o055)
        return folder

    def stop(self) -> None:
        for server in self._started:
            server.stop(signal.SIGKILL)
