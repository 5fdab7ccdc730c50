"""Encrypt records on their way into a store.

A reader of the store learns neither values nor owners. A writer cannot change a record
or put it under another id. ``docs/reference/formats.md`` describes the bytes.
"""

from __future__ import annotations

import collections.abc as c
import hmac
import typing as t

from .errors import RejectedError
from .seal import derived_key, require_secrets
from .stores.base import Owned, OwnedRecord

# The first byte of an encrypted record. No plain record and no tombstone has it.
_ENCRYPTED = b"\xe1"

# What the keys are for.
_RECORDS = b"flask-buffalo-session.v1.records"
_OWNERS = b"flask-buffalo-session.v1.owners"


class RecordCipher:
    """Encrypts and authenticates records with AES-SIV (RFC 5297), by cryptography.

    AES-SIV is deterministic: the same record under the same id gives the same bytes. So
    a store can compare records, and the number of records has no limit. AES-GCM with
    random nonces allows 2**32 of them, and a busy store may see that many.

    The keys do not depend on the cookie's name, so that the name may change.

    :param secrets: newest first. The first secret encrypts, all of them decrypt.
    :raises SessionConfigError: there is no secret, a secret is empty, or cryptography
        is not installed.
    """

    def __init__(self, secrets: c.Sequence[bytes]) -> None:
        require_secrets(secrets)
        keys = [derived_key(secret, _RECORDS, 64) for secret in secrets]
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        self._ciphers = [AESSIV(key) for key in keys]
        self._owner_keys = [derived_key(secret, _OWNERS, 32) for secret in secrets]
        self._invalid = InvalidTag

    def encrypt(self, data: bytes, session_id: str) -> bytes:
        """Return the bytes for the store.

        :param session_id: the hash of the session's id. The record is valid under no
            other id.
        """
        bound = [session_id.encode("ascii")]
        return _ENCRYPTED + self._ciphers[0].encrypt(data, bound)

    def decrypt(self, data: bytes, session_id: str) -> bytes:
        """Return the record in the bytes of a store.

        :param session_id: the hash of the id that the record was found under.
        :raises RejectedError: it is no record of this id, or no secret fits. The reason
            is ``corrupt``.
        """
        # A record that is not encrypted must not be read: anybody can write it.
        if data[:1] != _ENCRYPTED:
            raise RejectedError("corrupt", "a record that is not encrypted")
        sealed, bound = data[1:], [session_id.encode("ascii")]
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(sealed, bound)
            except (self._invalid, ValueError):
                continue
        raise RejectedError("corrupt", "a record that does not decrypt under this id")

    def owner_names(self, owner: str) -> list[str]:
        """Return the names under which a store indexes an owner, one for each secret.

        The names are HMACs, because a reader of the store could try out hashes of all
        likely owners.
        """
        text = owner.encode("utf-8", "surrogatepass")
        return [hmac.digest(key, text, "sha256").hex() for key in self._owner_keys]


#: Returns the cipher of the secret in force, which may be found late.
CipherInForce: t.TypeAlias = c.Callable[[], RecordCipher]


class EncryptedIndex:
    """The owners' index of a store that does not learn the owners.

    :param index: the store's own index.
    """

    def __init__(self, index: Owned, cipher: CipherInForce) -> None:
        self._index = index
        self._cipher = cipher

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        name, *_ = self._cipher().owner_names(owner)
        self._index.own(token, name, max_age=max_age)

    def owned(self, owner: str) -> c.Iterator[OwnedRecord]:
        names = self._cipher().owner_names(owner)
        if len(names) > 1:
            # A session may get a new id or be indexed again during the search, and is
            # then found under the first name.
            names.append(names[0])
        known: set[str] = set()
        for name in names:
            for held in self._index.owned(name):
                if held.id not in known:
                    known.add(held.id)
                    yield held

    def peek(self, session_id: str) -> bytes | None:
        return self._index.peek(session_id)

    def revoke(self, session_id: str, *, expected: bytes | None = None) -> bytes | None:
        if expected is None:
            # Without an owner limit, a store of an application's own needs no more.
            return self._index.revoke(session_id)
        return self._index.revoke(session_id, expected=expected)
