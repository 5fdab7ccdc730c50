"""The files of gorilla's ``FilesystemStore``."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

from ..errors import (
    RejectedError,
    SessionConflictError,
    SessionStoreError,
)
from ..stores.base import new_token
from ..stores.lockfile import check_installed, locked_file
from .format import GorillaFormat
from .securecookie import is_id

# Seconds for which gorilla takes what it has sealed to be valid.
_GORILLAS_AGE = 30 * 24 * 3600


class GorillaFiles:
    """Sessions in the folder of a Go application that uses gorilla's
    ``FilesystemStore``: a file for each, sealed as a cookie is.

    A session lives for 30 days at most, and is of 4,096 bytes at most when sealed,
    as gorilla reads no others. Between processes of Python's, saves of one session
    wait for each other; Go knows nothing of that, so what it saves at the same moment
    may be lost.

    :param path: the folder. It has to be there.
    :param key_pairs: as of :class:`GorillaFormat`, and the same as the Go store's.
    :param name: the session's name, with which gorilla seals the files too.
    :raises SessionConfigError: a key cannot be used, or portalocker is not installed.
    """

    def __init__(
        self, path: str | Path, *key_pairs: bytes | str | None, name: str
    ) -> None:
        check_installed()
        self._folder = Path(path)
        self._seal = GorillaFormat(*key_pairs).seal_of((), name)

    def load(self, token: str) -> bytes | None:
        if not is_id(token):
            return None
        try:
            text = self._path(token).read_text("latin-1")
        except FileNotFoundError:
            self._check_folder()
            return None
        except OSError as error:
            raise _failed("read", error) from error
        return self._opened(text)

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        token = token or new_token()
        if not is_id(token):
            raise SessionConflictError("there is no such session")
        # What is to end before gorilla's time is dated back by the difference.
        issued = int(time.time()) - max(0, _GORILLAS_AGE - max_age)
        text = self._seal.seal_at(issued, data.decode("latin-1"))
        try:
            with self._locked():
                if self.load(token) != expected:
                    raise SessionConflictError("the record changed meanwhile")
                self._write(self._path(token), text)
        except OSError as error:
            raise _failed("write", error) from error
        return token

    def delete(self, token: str) -> None:
        if not is_id(token):
            return
        try:
            with self._locked(), contextlib.suppress(FileNotFoundError):
                self._path(token).unlink()
        except OSError as error:
            raise _failed("delete", error) from error

    def prune(self) -> int:
        """Remove expired files, which Go never does.

        :returns: how many there were.
        :raises SessionStoreError: the folder or a file cannot be read or removed.
        """
        count = 0
        try:
            for path in self._folder.glob("session_*"):
                with self._locked(), contextlib.suppress(FileNotFoundError):
                    if self._opened(path.read_text("latin-1")) is None:
                        path.unlink()
                        count += 1
        except OSError as error:
            raise _failed("delete", error) from error
        return count

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return locked_file(str(self._folder / "lock"))

    def _opened(self, text: str) -> bytes | None:
        try:
            token = self._seal.unseal(text, max_age=_GORILLAS_AGE).token
        except RejectedError as error:
            # That it is no session is for the codec to say.
            return None if error.reason == "expired" else text.encode("latin-1")
        return token.encode("latin-1")

    def _write(self, path: Path, text: str) -> None:
        descriptor, aside = tempfile.mkstemp(dir=self._folder)
        try:
            with open(descriptor, "w", encoding="latin-1") as file:
                file.write(text)
            # In one step: who reads finds the old file or the new one.
            os.replace(aside, path)
        except BaseException:
            os.remove(aside)
            raise

    def _path(self, token: str) -> Path:
        return self._folder / f"session_{token}"

    def _check_folder(self) -> None:
        try:
            self._folder.stat()
        except OSError as error:
            raise _failed("read", error) from error


def _failed(doing: str, error: OSError) -> SessionStoreError:
    problem = f"cannot {doing}: {error.strerror or error}"
    return SessionStoreError("GorillaFiles", problem)
