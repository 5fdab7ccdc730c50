"""Encrypted records: their bytes, as docs/reference/formats.md describes them."""

from __future__ import annotations

import hashlib
import hmac
import re
import sys
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from flask_buffalo_session.errors import RejectedError, SessionConfigError
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.records import RecordCipher
from flask_buffalo_session.stores.base import storage_key
from tests.unit.test_codec import FORMATS, RECORD

SECRET, OLD = b"an example, not to be used", b"an older secret, not to be used"
TOKEN = urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")


def derived(secret: bytes, use: bytes, length: int) -> bytes:
    """Return a key, following docs/reference/formats.md."""
    info = b"flask-buffalo-session.v1." + use
    return HKDF(SHA256(), length=length, salt=None, info=info).derive(secret)


def test_the_documented_record_is_encrypted_as_documented() -> None:
    """It matches the worked example in docs/reference/formats.md, byte for byte."""
    block = re.search(r"```text\n(e1 .*?)```", FORMATS, re.DOTALL)
    assert block
    assert TOKEN in FORMATS
    session_id = hashlib.sha256(TOKEN.encode()).hexdigest()
    documented = bytes.fromhex(block[1])
    data = NativeCodec().dumps(RECORD)
    assert RecordCipher([SECRET]).encrypt(data, session_id) == documented
    cipher = AESSIV(derived(SECRET, b"records", 64))
    assert cipher.decrypt(documented[1:], [session_id.encode()]) == data
    assert RecordCipher([OLD, SECRET]).decrypt(documented, session_id) == data


def test_the_documented_owner_is_indexed_as_documented() -> None:
    """The name is an HMAC under a key for owners alone."""
    (name,) = re.findall(r"^([0-9a-f]{64})$", FORMATS, re.MULTILINE)
    key = derived(SECRET, b"owners", 32)
    assert hmac.digest(key, b"42", "sha256").hex() == name
    assert RecordCipher([SECRET]).owner_names("42") == [name]
    assert RecordCipher([OLD, SECRET]).owner_names("42")[1] == name


# No record is empty. cryptography before version 45 refuses to encrypt nothing.
@given(data=st.binary(min_size=1), token=st.text(), other=st.text())
def test_a_record_decrypts_under_its_own_id(
    data: bytes, token: str, other: str
) -> None:
    """Under another id it is ``corrupt``, and so are its bytes without the envelope."""
    cipher, session_id = RecordCipher([SECRET]), storage_key(token)
    sealed = cipher.encrypt(data, session_id)
    assert cipher.decrypt(sealed, session_id) == data
    assert len(sealed) == len(data) + 17
    if token != other:
        with pytest.raises(RejectedError, match="corrupt"):
            cipher.decrypt(sealed, storage_key(other))
    for damaged in (data, sealed[1:], sealed[:-1], sealed + b"x"):
        with pytest.raises(RejectedError, match="corrupt"):
            cipher.decrypt(damaged, session_id)


@given(owner=st.text(st.characters(exclude_categories=[])))
def test_every_owner_has_a_name_in_the_index(owner: str) -> None:
    """With lone surrogates, too, which UTF-8 does not have."""
    (name,) = RecordCipher([SECRET]).owner_names(owner)
    assert re.fullmatch("[0-9a-f]{64}", name)


def test_missing_cryptography_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    for module in list(sys.modules):
        if module.partition(".")[0] == "cryptography":
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(SessionConfigError, match=r"SESSION_ENCRYPT.*\[crypto\]"):
        RecordCipher([SECRET])


def test_the_documented_sizes_are_right() -> None:
    """Operators plan for them."""
    page = (Path(__file__).parents[2] / "docs/howto/encrypt.md").read_text()
    added = len(RecordCipher([SECRET]).encrypt(b"x", "id")) - 1
    assert f"{added} bytes longer" in page
