"""A Redis whose SET can compare, as Valkey 8.1 and Redis 8.4 do, before an older one.

The older server does the work. A script compares there, and its replies are those of
the newer SET: ``+OK``, or nil.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading

_COMPARING_SET = b"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
return redis.call('SET', KEYS[1], ARGV[2], ARGV[3], ARGV[4])
"""


class NewerRedis(socketserver.ThreadingTCPServer):
    """Listen on :attr:`port`, and pass commands on to the older server.

    :param behind: the older server's port.
    :ivar seen: the names of the commands that came, such as ``SET IFEQ``.
    :ivar loses_reply: makes the next comparing SET close the connection instead of
        sending its reply.
    :ivar is_older: makes it refuse the comparing SET, as an older server does.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.behind = behind
        self.port: int = self.server_address[1]
        self.seen: list[str] = []
        self.loses_reply = False
        self.is_older = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    server: NewerRedis

    def handle(self) -> None:
        address = ("127.0.0.1", self.server.behind)
        with socket.create_connection(address) as behind, contextlib.suppress(OSError):
            threading.Thread(target=self.answer, args=[behind], daemon=True).start()
            self.loses_reply = False
            while command := self.read_command():
                behind.sendall(_packed(self.older(command)))
            behind.shutdown(socket.SHUT_RDWR)

    def answer(self, behind: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := behind.recv(65536):
                if self.loses_reply:
                    self.request.shutdown(socket.SHUT_RDWR)
                    return
                self.wfile.write(data)

    def older(self, command: list[bytes]) -> list[bytes]:
        """Return the command that the older server knows."""
        name = command[0].upper().decode()
        comparing = command[3:4] == [b"IFEQ"]
        if comparing and not self.server.is_older:
            self.server.seen.append("SET IFEQ")
            self.loses_reply, self.server.loses_reply = self.server.loses_reply, False
            _, key, data, _, expected, unit, seconds = command
            script = [b"EVAL", _COMPARING_SET, b"1", key]
            return [*script, expected, data, unit, seconds]
        self.server.seen.append(name)
        if comparing:
            # The server behind may know the option. It refuses a word without meaning.
            return [*command[:3], b"UNKNOWN"]
        return command

    def read_command(self) -> list[bytes]:
        count = self.rfile.readline()
        if not count:
            return []
        return [self.read_part() for _ in range(int(count[1:]))]

    def read_part(self) -> bytes:
        length = int(self.rfile.readline()[1:])
        return self.rfile.read(length + 2)[:-2]


def _packed(command: list[bytes]) -> bytes:
    parts = [b"$%d\r\n%s\r\n" % (len(part), part) for part in command]
    return b"*%d\r\n%s" % (len(parts), b"".join(parts))
