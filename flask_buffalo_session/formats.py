"""How sessions are written: a seal and a codec that belong together."""

from __future__ import annotations

import collections.abc as c
import typing as t

from .codec import Codec
from .native.codec import NativeCodec
from .seal import PERMANENT_PREFIX, EncryptedSeal, Seal, SignedSeal


@t.runtime_checkable
class Format(t.Protocol):
    """How sessions are written, in the cookie and in the store."""

    #: The first character of a permanent session's cookie. It shows that a session is
    #: permanent before its cookie is verified.
    permanent_prefix: str
    #: The format's own secrets, newest first. Empty if it uses the application's.
    secrets: tuple[bytes, ...]
    #: Turns values into bytes and back.
    codec: Codec

    def seal(self, secrets: c.Sequence[bytes], name: str, *, encrypt: bool) -> Seal:
        """Return the seal that protects tokens in a cookie.

        :param secrets: newest first, none of them empty. They are the format's own
            secrets if it has any, or else the application's.
        :param name: the cookie's name.
        :param encrypt: the ``SESSION_ENCRYPT`` setting.
        :raises SessionConfigError: the format has no such seal.
        """


class NativeFormat:
    """This package's own format, the default. Every value keeps its type, and the
    cookie is signed or encrypted.
    """

    permanent_prefix = PERMANENT_PREFIX
    secrets: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self.codec: Codec = NativeCodec()

    def seal(self, secrets: c.Sequence[bytes], name: str, *, encrypt: bool) -> Seal:
        return EncryptedSeal(secrets, name) if encrypt else SignedSeal(secrets, name)
