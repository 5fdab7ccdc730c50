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

# How long gorilla accepts what it has sealed, in seconds.
_GORILLAS_AGE = 30 * 24 * 3600


class GorillaFiles:
    """Shares the folder of a Go application that uses gorilla's ``FilesystemStore``.
    Each session is a file, sealed as a cookie is.

    gorilla reads a session for 30 days at most, and only up to 4,096 sealed bytes.
    Python's processes wait for each other when they save one session. Go does not take
    part in this, so a save by Go at the same moment may be lost.

    :param path: the folder. It must exist.
    :param key_pairs: the Go store's keys, as for
        :class:`~flask_buffalo_session.GorillaFormat`.
    :param name: the session's name. gorilla seals the files with it.
    :raises SessionConfigError: a key cannot be used, or portalocker is not installed.
    """

    def __init__(
        self, path: str | Path, *key_pairs: bytes | str | None, name: str
    ) -> None:
        check_installed()
        #: Whether the files are encrypted, because the first key pair has a block key.
        self.encrypts = len(key_pairs) > 1 and key_pairs[1] is not None
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
        # gorilla's own limit is fixed. A file that should expire earlier is dated back.
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
        """Delete expired files. Go never does.

        :returns: how many files were deleted.
        :raises SessionStoreError: the folder or a file cannot be read or deleted.
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
            # The codec rejects bytes that are no session.
            return None if error.reason == "expired" else text.encode("latin-1")
        return token.encode("latin-1")

    def _write(self, path: Path, text: str) -> None:
        descriptor, aside = tempfile.mkstemp(dir=self._folder)
        try:
            with open(descriptor, "w", encoding="latin-1") as file:
                file.write(text)
            # A reader finds either the old file or the new one.
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
