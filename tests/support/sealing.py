"""Seal a body of any bytes, as docs/reference/formats.md describes the cookies.

An attacker who has the secret could send these cookies. The package never makes them,
because its seals only take tokens.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import Signer


def signed(
    secret: str, name: str, flags: bytes, body: bytes, timestamp: bytes
) -> bytes:
    """Return a signed cookie of the native format.

    :param name: the cookie's name.
    :param flags: whether the session is permanent, and how the body is packed.
    :param timestamp: base64url of the time.
    """
    signer = Signer(
        secret.encode(),
        salt=b"flask-buffalo-session.v1.sign." + name.encode(),
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )
    return signer.sign(flags + _unpadded(body) + b"." + timestamp)


def encrypted(
    secret: str, name: str, flags: bytes, body: bytes, timestamp: bytes
) -> bytes:
    """Return an encrypted cookie of the native format, with a nonce of zeros."""
    info = b"flask-buffalo-session.v1.encrypt." + name.encode()
    key = HKDF(SHA256(), length=32, salt=None, info=info).derive(secret.encode())
    nonce = bytes(12)
    sealed = nonce + AESGCM(key).encrypt(nonce, body, flags + timestamp)
    return flags + _unpadded(sealed) + b"." + timestamp


def gorilla(secret: str, name: str, timestamp: bytes, value: bytes) -> bytes:
    """Return a cookie of the gorilla format.

    :param timestamp: the time in decimal.
    :param value: what follows the timestamp. It should be base64.
    """
    stamped = timestamp + b"|" + value
    mac = hmac.digest(secret.encode(), name.encode() + b"|" + stamped, "sha256")
    return urlsafe_b64encode(stamped + b"|" + mac)


def gorilla_encrypted_body(block_key: str, body: bytes) -> bytes:
    """Return a body as the gorilla format encrypts it, with an IV of zeros."""
    iv = bytes(16)
    return iv + Cipher(AES(block_key.encode()), CTR(iv)).encryptor().update(body)


def _unpadded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
