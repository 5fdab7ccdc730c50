"""What a cookie looks like: a seal and a codec that belong together."""

from __future__ import annotations

import collections.abc as c
import typing as t

from .codec import Codec
from .native.codec import NativeCodec
from .seal import PERMANENT_MARK, EncryptedSeal, Seal, SignedSeal


@t.runtime_checkable
class Format(t.Protocol):
    """How sessions are written, in the cookie and in the store."""

    #: The one character that a permanent session's cookie begins with, so that
    #: it is recognized without being verified.
    permanent_mark: str
    #: Its own secrets, newest first. Empty where it uses the application's.
    secrets: tuple[bytes, ...]
    #: Turns values into bytes and back.
    codec: Codec

    def seal(self, secrets: c.Sequence[bytes], name: str, *, encrypt: bool) -> Seal:
        """Protects the token.

        :param secrets: newest first, none of them empty: its own if it has any,
            or else the application's.
        :param name: the cookie's name.
        :param encrypt: the ``SESSION_ENCRYPT`` setting.
        :raises SessionConfigError: such a seal cannot be made.
        """


class NativeFormat:
    """This package's own format, the default: every storable value keeps its
    type, and the cookie is signed or encrypted.
    """

    permanent_mark = PERMANENT_MARK
    secrets: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self.codec: Codec = NativeCodec()

    def seal(self, secrets: c.Sequence[bytes], name: str, *, encrypt: bool) -> Seal:
        return EncryptedSeal(secrets, name) if encrypt else SignedSeal(secrets, name)
