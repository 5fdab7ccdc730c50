"""The seal of Go's gorilla/securecookie: authenticated, and encrypted on demand.

The text is base64 of ``timestamp|base64(value)|mac``, as gorilla writes it.
"""

from __future__ import annotations

import collections.abc as c
import hmac
import os
import re
import time
import typing as t
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from ..errors import RejectedError, SessionConfigError, SessionTooLargeError
from ..seal import HMAC, Ticket, base64_decode, check_age, require_secrets

#: The longest text, in bytes, that gorilla/securecookie makes or reads.
MAX_LENGTH = 4096

#: A hash key, and a block key if values are encrypted.
KeyPair: t.TypeAlias = tuple[bytes, bytes | None]

_MAC_BYTES = 32
_TO_URL = bytes.maketrans(b"+/", b"-_")
_IV_BYTES = 16


class GorillaSeal:
    """Protects tokens as gorilla/securecookie does.

    :param pairs: newest first. The first pair seals, and all of them unseal.
    :param name: the cookie's name. Another cookie's text does not verify.
    :param sound: returns whether bytes are a token. If pairs share a hash key but not
        a block key, the MAC does not show which pair sealed a text; `sound` does.
    :raises SessionConfigError: a hash key is empty, a block key has a wrong length,
        or there is a block key and cryptography is not installed.
    """

    def __init__(
        self,
        pairs: c.Sequence[KeyPair],
        name: str,
        *,
        sound: c.Callable[[bytes], bool],
    ) -> None:
        require_secrets([hash_key for hash_key, _ in pairs])
        hash_keys = [hash_key for hash_key, _ in pairs]
        self._pairs = [
            _Pair(HMAC(hash_key), _cipher(block_key), hash_keys.count(hash_key) > 1)
            for hash_key, block_key in pairs
        ]
        self._name = name.encode() + b"|"
        self._sound = sound

    def seal(self, token: str, *, permanent: bool, issued: int | None = None) -> str:
        """Return the text for the cookie. It does not show `permanent`.

        :param issued: the time that the text bears, in seconds since the epoch; now by
            default.
        :raises SessionTooLargeError: gorilla would not read the text.
        """
        return self.seal_at(int(time.time()) if issued is None else issued, token)

    def seal_at(self, issued: int, token: str) -> str:
        """Return the text for the cookie, as if it had been sealed earlier.

        :param issued: when, in seconds since the epoch.
        :raises SessionTooLargeError: gorilla would not read the text.
        """
        pair = self._pairs[0]
        body = _wrapped(token)
        if pair.cipher is not None:
            iv = os.urandom(_IV_BYTES)
            body = iv + pair.cipher(iv, body)
        value = b"%d|%s" % (issued, _encoded(body))
        text = _encoded(value + b"|" + self._mac(pair, value))
        if len(text) > MAX_LENGTH:
            raise SessionTooLargeError(len(text), MAX_LENGTH, [])
        return text.decode("ascii")

    def unseal(self, text: str, *, max_age: int) -> Ticket:
        """Return what the text carries. It does not show whether the session is
        permanent.

        :raises RejectedError: the text does not verify, is too old or is malformed.
        """
        if len(text) > MAX_LENGTH:
            raise RejectedError("bad-signature", "longer than gorilla's cookies")
        try:
            sealed = _decoded(text.encode("ascii"))
        except (Base64Error, UnicodeEncodeError):
            raise RejectedError("bad-signature", "not a gorilla cookie") from None
        value, mac = sealed[: -_MAC_BYTES - 1], sealed[-_MAC_BYTES - 1 :]
        # All pairs are compared, so that the time does not reveal the matching one.
        pairs = [
            pair
            for pair in self._pairs
            if hmac.compare_digest(b"|" + self._mac(pair, value), mac)
        ]
        if not pairs:
            raise RejectedError("bad-signature", "the MAC is wrong")
        timestamp, _, encoded = value.partition(b"|")
        issued = _seconds(timestamp)
        check_age(issued, max_age)
        try:
            body = _decoded(encoded)
        except Base64Error:
            raise RejectedError("corrupt", "the value is malformed") from None
        return Ticket(_unwrapped(self._opened(pairs, body)), issued, None)

    def issued(self, text: str) -> int | None:
        try:
            return int(a2b_base64(text[:16].encode("ascii")).partition(b"|")[0])
        except ValueError:
            return None

    def _mac(self, pair: _Pair, value: bytes) -> bytes:
        return pair.hmac.digest(self._name + value)

    def _opened(self, pairs: list[_Pair], body: bytes) -> bytes:
        for pair in pairs:
            if pair.cipher is None:
                token = body
            elif len(body) <= _IV_BYTES:
                continue
            else:
                token = pair.cipher(body[:_IV_BYTES], body[_IV_BYTES:])
            if not pair.ambiguous or self._sound(token):
                return token
        raise RejectedError("corrupt", "it does not decrypt")


# A store's token, such as the ids that gorilla makes. No record matches, because a
# record has other bytes too.
_ID = re.compile(r"[A-Za-z0-9_-]{16,120}")

# The number of a string's type, which follows the length in a gob of a string.
_STRING = b"\x0c\x00"


def _wrapped(token: str) -> bytes:
    """Return what gorilla seals: a session, or a gob of the id of a stored session."""
    body = token.encode("latin-1")
    if not is_id(token):
        return body
    message = _STRING + bytes([len(body)]) + body
    return bytes([len(message)]) + message


def _unwrapped(body: bytes) -> str:
    return (body[4:] if is_wrapped_id(body) else body).decode("latin-1")


def is_id(token: str) -> bool:
    """Return whether a token is an id in a store, and not a session itself."""
    return _ID.fullmatch(token) is not None


def is_wrapped_id(body: bytes) -> bool:
    """Return whether bytes are a gob of an id."""
    text = body[4:].decode("latin-1")
    return is_id(text) and _wrapped(text) == body


class _Pair(t.NamedTuple):
    hmac: HMAC
    cipher: c.Callable[[bytes, bytes], bytes] | None
    ambiguous: bool


def _cipher(block_key: bytes | None) -> c.Callable[[bytes, bytes], bytes] | None:
    """Return AES in counter mode, where one function encrypts and decrypts."""
    if block_key is None:
        return None
    if len(block_key) not in (16, 24, 32):
        raise SessionConfigError("A gorilla block key must have 16, 24 or 32 bytes.")
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import CTR
    except ImportError as error:
        raise SessionConfigError(
            "A gorilla block key needs cryptography: install"
            " flask-buffalo-session[crypto]."
        ) from error
    algorithm = AES(block_key)

    def apply(iv: bytes, data: bytes) -> bytes:
        return Cipher(algorithm, CTR(iv)).encryptor().update(data)

    return apply


def _encoded(data: bytes) -> bytes:
    """Return URL-safe Base64 with padding, as Go writes it."""
    return b2a_base64(data, newline=False).translate(_TO_URL)


def _decoded(data: bytes) -> bytes:
    """Decode base64 that only one text stands for. Go ignores line breaks and stray
    bits, and so reads several texts as the same bytes.

    :raises binascii.Error: base64 makes this text of no bytes.
    """
    decoded = base64_decode(data)
    if _encoded(decoded) != data:
        raise Base64Error("another text for the same bytes")
    return decoded


def _seconds(timestamp: bytes) -> int:
    # An int64 has at most nineteen digits.
    if not timestamp.isdigit() or len(timestamp) > 19:
        raise RejectedError("corrupt", "the timestamp is malformed")
    return int(timestamp)
