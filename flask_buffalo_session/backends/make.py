"""Make the backend that the settings ask for."""

from __future__ import annotations

import typing as t

from ..config import Config
from ..policy import Policy
from ..records import RecordCipher
from ..stores.base import is_owned
from ..stores.named import NamedStore, OwnedStore
from .base import Backend, Sealer
from .cookie import CookieBackend
from .null import NullBackend
from .server import ServerBackend


class Protection(Sealer, t.Protocol):
    """Seals tokens, and has the cipher for records."""

    def cipher(self) -> RecordCipher:
        """Return the cipher of the secret in force.

        :raises SessionSecretError: there is no secret.
        """


def make_backend(config: Config, policy: Policy, seal: Protection) -> Backend:
    """Return the backend of an application.

    :param seal: seals the tokens for the cookie, and encrypts the records if the
        settings ask for that.
    """
    if config.null:
        return NullBackend()
    codec, name = config.format.codec, config.origin.session
    cipher = seal.cipher if config.encrypts_records else None
    if not config.in_cookie:
        store = config.store
        if name is not None and is_owned(store):
            store = NamedStore(t.cast(OwnedStore, store), name)
        return ServerBackend(store, codec, policy, seal, cipher)
    revocations = config.revocations
    if revocations is not None and name is not None:
        revocations = revocations.of_session(name)
    if revocations is not None and cipher is not None:
        revocations = revocations.encrypted(cipher)
    return CookieBackend(config.store, codec, policy, seal, revocations, cipher)
