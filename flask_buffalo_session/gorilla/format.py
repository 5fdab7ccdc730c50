"""The format of Go's gorilla/sessions, which Buffalo applications use."""

from __future__ import annotations

import collections.abc as c

from ..codec import Codec
from ..errors import SessionConfigError
from ..seal import Seal, require_secrets
from .codec import GorillaCodec
from .securecookie import GorillaSeal, KeyPair, is_wrapped_id


class GorillaFormat:
    """The cookies of Go's gorilla/sessions: gorilla/securecookie and encoding/gob.

    With the same secret and cookie name, a Flask and a Buffalo application share
    one session, both ways::

        GorillaFormat()                              # SESSION_SECRET, as Buffalo
        GorillaFormat(hash_key, block_key)           # encrypted
        GorillaFormat(new_hash, None, old_hash)      # the old one still verifies

    :param key_pairs: the arguments of Go's ``sessions.NewCookieStore``: a hash key, a
        block key of 16, 24 or 32 bytes or None, then older pairs. The last block key
        may be left out. Without any keys, the secret and its fallbacks are the hash
        keys.
    :param registered: names of the Go types that are registered with ``gob.Register``
        in every Go program that shares the session, such as ``"time.Time"`` or
        ``"map[string]interface {}"``. A value of a type that is not listed is only
        stored if the session already holds one.
    :raises SessionConfigError: a key is not bytes or str, a hash key is missing or
        empty, or a name is not a str.
    """

    #: A gorilla cookie does not show whether its session is permanent. It begins with
    #: the base64 of its timestamp, which begins with this letter until the year 2096.
    permanent_prefix = "M"

    def __init__(
        self, *key_pairs: bytes | str | None, registered: c.Iterable[str] = ()
    ) -> None:
        keys = [_key(key) for key in key_pairs]
        keys += [None] * (len(keys) % 2)
        self._pairs = [
            (_hash_key(hash_key), block_key)
            for hash_key, block_key in zip(keys[::2], keys[1::2], strict=True)
        ]
        self._codec = GorillaCodec(_names(registered))
        self.codec: Codec = self._codec
        #: The hash keys. Empty if the format uses the application's secrets.
        self.secrets: tuple[bytes, ...] = tuple(pair[0] for pair in self._pairs)

    def seal(self, secrets: c.Sequence[bytes], name: str, *, encrypt: bool) -> Seal:
        """Return the seal for a cookie's name.

        :raises SessionConfigError: `encrypt` is set without a block key, or a key
            cannot be used.
        """
        if encrypt and not (self._pairs and self._pairs[0][1]):
            raise SessionConfigError(
                "SESSION_ENCRYPT needs a block key in the gorilla format: set"
                " SESSION_FORMAT = GorillaFormat(hash_key, block_key), with the Go"
                " application's keys."
            )
        return self.seal_of(secrets, name)

    def seal_of(self, secrets: c.Sequence[bytes], name: str) -> GorillaSeal:
        """Return the seal for a cookie's name. It encrypts if there is a block key."""
        pairs: list[KeyPair] = self._pairs or [(secret, None) for secret in secrets]
        return GorillaSeal(pairs, name, sound=self._is_token)

    def _is_token(self, token: bytes) -> bool:
        return is_wrapped_id(token) or self._codec.is_record(token)


def _key(key: object) -> bytes | None:
    if isinstance(key, str):
        return key.encode("utf-8", "surrogatepass")
    if key is None or isinstance(key, bytes):
        return key
    # The message must not contain the key.
    raise SessionConfigError(
        f"GorillaFormat: a key must be bytes or str, not a {type(key).__name__}."
    )


def _hash_key(key: bytes | None) -> bytes:
    require_secrets([key or b""])
    return key or b""


def _names(registered: object) -> frozenset[str]:
    if isinstance(registered, str) or not isinstance(registered, c.Iterable):
        raise SessionConfigError(
            "GorillaFormat: registered= must be a list of names of Go types."
        )
    names = list(registered)
    if not all(isinstance(name, str) and name for name in names):
        raise SessionConfigError(
            "GorillaFormat: registered= must be a list of names of Go types."
        )
    return frozenset(names)
