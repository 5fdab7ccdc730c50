"""Make the backend that the settings ask for."""

from __future__ import annotations

import typing as t

from ..config import Config
from ..policy import Policy
from ..stores.base import is_owned
from ..stores.named import NamedStore, OwnedStore
from .base import Backend, Sealer
from .cookie import CookieBackend
from .null import NullBackend
from .server import ServerBackend


def make_backend(config: Config, policy: Policy, seal: Sealer) -> Backend:
    """Return the backend of an application.

    :param seal: seals the tokens for the cookie.
    """
    if config.null:
        return NullBackend()
    codec, name = config.format.codec, config.origin.session
    if config.in_cookie:
        revocations = config.revocations
        if revocations is not None and name is not None:
            revocations = revocations.of_session(name)
        return CookieBackend(config.store, codec, policy, seal, revocations)
    store = config.store
    if name is not None and is_owned(store):
        store = NamedStore(t.cast(OwnedStore, store), name)
    return ServerBackend(store, codec, policy, seal)
