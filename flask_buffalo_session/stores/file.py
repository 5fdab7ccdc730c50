"""Sessions in a folder of files."""

from __future__ import annotations

import collections.abc as c
import contextlib
import hashlib
import os
import struct
import time
from pathlib import Path

from ..errors import SessionConflictError
from .base import KEY_PREFIX, answering, is_storage_key, new_token, storage_key
from .lockfile import (
    check_installed,
    locked_file,
    make_private_folder,
    private_opener,
)

# Each file begins with the second at which its record expires. 0 means never. These
# files are the same as those of cachelib's FileSystemCache.
_HEADER = struct.Struct("I")
_LATEST = 2**32 - 1

# Windows changes the ends of lines without this flag.
_BINARY: int = getattr(os, "O_BINARY", 0)

# The sessions of a folder share this many locks.
_LOCKS = 64

# A save writes to a file with this ending first.
_ASIDE = ".new"

# Seconds after which an unfinished file belongs to a process that has died.
_ABANDONED = 24 * 3600


# Files that are looked at between two reports of the progress.
_BATCH = 1000


class FileStore:
    """A file for each session, in a folder of nothing but sessions.

    The processes of one machine may share the folder. A save replaces the file in one
    step, so a process that dies leaves the old record or the new one. Expired files
    take up room until ``flask session purge`` deletes them.

    :param folder: the folder. It is created where it is missing.
    :raises SessionConfigError: the system is Windows, and portalocker is not installed.
    :raises OSError: the folder cannot be created.
    """

    def __init__(self, folder: str | Path) -> None:
        check_installed()
        self._folder = Path(folder)
        make_private_folder(self._folder)
        # What the path of each file begins with. A request puts its paths together as
        # str, and opens files by os.open(). That saves 30 % of a read.
        self._start = os.path.join(self._folder, "")

    def load(self, token: str) -> bytes | None:
        with answering("FileStore", "read"):
            return self._read(self._path(token))

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        if token is None and expected is None:
            # Nobody else knows the new token, so there is nothing to compare with.
            token = new_token()
            with answering("FileStore", "write"):
                self._write(self._path(token), data, max_age)
            return token
        token = token or new_token()
        path = self._path(token)
        with answering("FileStore", "write"), self._locked(path):
            if self._read(path) != expected:
                raise SessionConflictError("the record has changed")
            self._write(path, data, max_age)
        return token

    def delete(self, token: str) -> None:
        path = self._path(token)
        missing = contextlib.suppress(FileNotFoundError)
        with answering("FileStore", "delete"), self._locked(path), missing:
            os.unlink(path)

    def prune(self) -> int:
        return sum(self.prune_batches())

    def prune_batches(self) -> c.Iterator[int]:
        with answering("FileStore", "delete"):
            paths = list(self._folder.iterdir())
        for start in range(0, len(paths), _BATCH):
            with answering("FileStore", "delete"):
                deleted = sum(map(self._deleted, paths[start : start + _BATCH]))
            yield deleted

    def _deleted(self, path: Path) -> bool:
        """Delete an expired record, or what a crash left, and return whether it was an
        expired record.
        """
        if path.name.endswith(_ASIDE):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _ABANDONED:
                    path.unlink()
        elif is_storage_key(path.name) and _has_expired(path):
            # Another request may save the session again before the lock.
            with self._locked(str(path)):
                if _has_expired(path):
                    path.unlink()
                    return True
        return False

    def _path(self, token: str) -> str:
        key = KEY_PREFIX + storage_key(token)
        return self._start + hashlib.sha256(key.encode()).hexdigest()

    def _locked(self, path: str) -> contextlib.AbstractContextManager[None]:
        name = path.removeprefix(self._start)
        return locked_file(f"{self._start}lock-{int(name[:8], 16) % _LOCKS}")

    def _read(self, path: str) -> bytes | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | _BINARY)
        except FileNotFoundError:
            # A session's file may be missing. The folder may not.
            self._folder.stat()
            return None
        try:
            # A save never changes a file, so the size stays the same.
            content = os.read(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
        return None if _is_over(content) else content[_HEADER.size :]

    def _write(self, path: str, data: bytes, max_age: int) -> None:
        # A second more, as the current one has begun.
        end = int(time.time()) + max_age + 1
        content = _HEADER.pack(end if end <= _LATEST else 0) + data
        aside = f"{path}-{os.urandom(8).hex()}{_ASIDE}"
        descriptor = private_opener(
            aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
        )
        try:
            try:
                # A disk that is nearly full takes a part, and refuses the rest.
                while content:
                    content = content[os.write(descriptor, content) :]
            finally:
                os.close(descriptor)
            os.replace(aside, path)
        except BaseException:
            os.remove(aside)
            raise


def _has_expired(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _is_over(file.read(_HEADER.size))
    except FileNotFoundError:
        return False


def _is_over(content: bytes) -> bool:
    if len(content) < _HEADER.size:
        # The file was cut off. The codec rejects what is left of the record.
        return False
    end: int = _HEADER.unpack_from(content)[0]
    return 0 < end < time.time()
