"""Connections to Redis that stay ready between two commands."""

from __future__ import annotations

import inspect
import os
import time
import typing as t

# Seconds after which a connection goes back to the client's pool.
_CHECK_AFTER = 1.0


class KeptConnections:
    """Runs commands as a client of redis-py or valkey-py does, on connections that it
    keeps.

    The client takes a connection from its pool for each command. The pool then asks the
    system whether the server has closed the connection, and both keep metrics. That
    takes as long as the command itself. Here a connection goes back to the pool after a
    second, so the pool still replaces a connection that the server has closed.

    One command at a time uses a connection, so threads and greenlets share none. A
    forked process begins with connections of its own.

    :param client: a client that nothing else uses, and that repeats no command.
    :param refusal: the client's class of errors that the server answers with. The
        connection stays usable after such an error.
    """

    def __init__(self, client: t.Any, refusal: type[Exception]) -> None:
        self._client = client
        self._refusal = refusal
        self.connection_pool = client.connection_pool
        # valkey-py, and redis-py before 5.3, want the name of a command here. redis-py
        # warns of it since then.
        parameters = inspect.signature(self.connection_pool.get_connection).parameters
        first = next(iter(parameters.values()))
        self._wanted = ("GET",) if first.default is inspect.Parameter.empty else ()
        self._pid = os.getpid()
        # The connections that no command uses, and when each left the pool.
        self._ready: list[tuple[t.Any, float]] = []

    def execute_command(self, *args: t.Any, **options: t.Any) -> t.Any:
        """Run a command, and return the answer as the client does."""
        connection, since = self._take()
        try:
            connection.send_command(*args)
            answer = self._client.parse_response(connection, args[0], **options)
        except self._refusal:
            self._ready.append((connection, since))
            raise
        except BaseException:
            # The answer may still come. It must not be taken for the next command's.
            connection.disconnect()
            self.connection_pool.release(connection)
            raise
        self._ready.append((connection, since))
        return answer

    def close(self) -> None:
        """Close all connections. The next command opens new ones."""
        # Those that are kept here left the pool, but it still knows them.
        self._client.close()

    def _take(self) -> tuple[t.Any, float]:
        if self._pid != os.getpid():
            # The parent process uses these connections.
            self._ready = []
            self._pid = os.getpid()
        now = time.monotonic()
        try:
            connection, since = self._ready.pop()
        except IndexError:
            pass
        else:
            if now - since < _CHECK_AFTER:
                return connection, since
            self.connection_pool.release(connection)
        return self.connection_pool.get_connection(*self._wanted), now
