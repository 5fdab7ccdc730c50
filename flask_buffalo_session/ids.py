"""How an id ends, leads on to another id, and is indexed under an owner.

A register keeps what is known of each id. For sessions on a server, the store itself is
the register. For sessions in cookies, the revocation list is.
"""

from __future__ import annotations

import typing as t

from .attempts import attempts
from .errors import SessionConflictError, SessionStoreError
from .records import CipherInForce, EncryptedIndex
from .stores.base import Owned, is_owned, storage_key
from .tombstones import (
    MOVED,
    REPLACED,
    TOMBSTONE_SECONDS,
    Kind,
    is_tombstone,
    kind_of,
    successor_of,
)


class Register(t.Protocol):
    """What a store and a revocation list have in common."""

    def load(self, token: str) -> bytes | None: ...
    def save(
        self, token: str, data: bytes, *, expected: bytes | None, max_age: int
    ) -> object: ...
    def delete(self, token: str) -> None: ...


class IdRegister:
    """Retires ids in a register.

    :param register: a store or a revocation list.
    :param absent_is_dead: whether an id that the register does not know is dead. A
        store knows every living id; a revocation list does not.
    :param cipher: hides the owners from the register; None if they are not hidden.
    """

    def __init__(
        self,
        register: Register,
        *,
        absent_is_dead: bool,
        cipher: CipherInForce | None = None,
    ) -> None:
        self._register = register
        self._absent_is_dead = absent_is_dead
        self.owned: Owned | None = None
        if is_owned(register):
            self.owned = EncryptedIndex(register, cipher) if cipher else register

    def load(self, key: str) -> bytes | None:
        """Return what the register keeps under an id: data, a tombstone, or None."""
        return self._register.load(key)

    def follow(
        self, key: str, data: bytes | None, *kinds: Kind
    ) -> tuple[str, bytes | None]:
        """Follow tombstones to the id under which the session goes on.

        :param data: what the register keeps under `key`.
        :param kinds: the kinds of tombstone to follow.
        :returns: that id, and what the register keeps under it.
        """
        passed = {key}
        while is_tombstone(data) and kind_of(data) in kinds:
            successor = successor_of(data, key)
            if successor is None or successor in passed:
                # A user who also writes to the store can make a circle.
                break
            passed.add(successor)
            key, data = successor, self._register.load(successor)
        return key, data

    def end(self, key: str, seen: bytes | None, mark: bytes) -> bool:
        """End the session, under whichever id it goes on.

        :param seen: what this request last saw under `key`.
        :param mark: the tombstone to leave.
        :returns: False if another request had ended the session before.
        :raises SessionStoreError: the register cannot answer.
        """
        for _ in attempts():
            key, seen = self.follow(key, seen, MOVED, REPLACED)
            if seen == mark:
                # An earlier attempt succeeded, but its reply was lost.
                return True
            if is_tombstone(seen) or (seen is None and self._absent_is_dead):
                return False
            try:
                self._save(key, mark, seen)
            except SessionConflictError:
                seen = self._register.load(key)
            except SessionStoreError:
                if not self._absent_is_dead or self.owned is None:
                    raise
                # A full store refuses the tombstone, but it can still delete.
                seen = self.owned.revoke(storage_key(key))
                if seen is not None and not is_tombstone(seen):
                    return True
            else:
                return True
        raise AssertionError("attempts() ends with an error")

    def retire(
        self,
        key: str,
        seen: bytes | None,
        mark: bytes,
        *,
        max_age: int = TOMBSTONE_SECONDS,
    ) -> None:
        """Replace what the register keeps under an id by a tombstone.

        :param max_age: seconds that a server-side store keeps the tombstone.
        :raises SessionConflictError: the register no longer holds `seen`.
        :raises SessionStoreError: the register cannot answer.
        """
        try:
            self._save(key, mark, seen, max_age)
        except (SessionConflictError, SessionStoreError):
            # The write may have succeeded: the reply was lost, or the client's retry
            # conflicted with its own first attempt.
            if self._register.load(key) != mark:
                raise

    def has_ended(self, key: str) -> bool:
        """Return whether a tombstone stands under this id."""
        return is_tombstone(self._register.load(key))

    def forget(self, key: str) -> None:
        """Delete what the register keeps under an id that no browser was given."""
        self._register.delete(key)

    def own(self, key: str, owner: str, *, max_age: int) -> None:
        """Index an id under its owner, if the register has such an index."""
        if self.owned is not None:
            self.owned.own(key, owner, max_age=max_age)

    def _save(
        self,
        key: str,
        mark: bytes,
        seen: bytes | None,
        max_age: int = TOMBSTONE_SECONDS,
    ) -> None:
        self._register.save(key, mark, expected=seen, max_age=max_age)
