"""Make the backend that the settings ask for."""

from __future__ import annotations

from ..config import Config
from ..policy import Policy
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
    codec = config.format.codec
    if config.in_cookie:
        return CookieBackend(config.store, codec, policy, seal, config.revocations)
    return ServerBackend(config.store, codec, policy, seal)
