"""Test which cookies of gorilla/securecookie the seal accepts."""

from __future__ import annotations

import base64
import hmac
import subprocess
import sys
import typing as t

import pytest
from flask import Flask, session
from hypothesis import assume, example, given
from hypothesis import strategies as st

from flask_buffalo_session import BuffaloSession, GorillaFormat, MemoryStore
from flask_buffalo_session.codec import Record
from flask_buffalo_session.errors import (
    RejectedError,
    SessionConfigError,
    SessionTooLargeError,
)
from flask_buffalo_session.gorilla.codec import GorillaCodec
from flask_buffalo_session.seal import Seal, Ticket
from flask_buffalo_session.sessions import Session
from tests.conftest import Clock, Desk, make_app

NAME = "_buffalo_session"
KEY = b"a hash key that is long enough"
HOUR = 3600


def seal_of(*keys: bytes | str | None, name: str = NAME) -> Seal:
    return GorillaFormat(*keys).seal([KEY], name, encrypt=False)


def reason(text: str, *keys: bytes | str | None, max_age: int = HOUR) -> str:
    with pytest.raises(RejectedError) as caught:
        seal_of(*keys).unseal(text, max_age=max_age)
    return caught.value.reason


def signed(value: bytes, key: bytes = KEY) -> str:
    """Return a cookie's text with a valid MAC."""
    mac = hmac.digest(key, NAME.encode() + b"|" + value, "sha256")
    return base64.urlsafe_b64encode(value + b"|" + mac).decode()


@given(token=st.text(st.characters(max_codepoint=255), max_size=300))
@pytest.mark.parametrize("block_key", [None, b"b" * 16, b"b" * 24, b"b" * 32])
def test_any_token_is_sealed_and_unsealed(block_key: bytes | None, token: str) -> None:
    """This holds for signed and encrypted cookies. The timestamp is right, too."""
    seal = seal_of(KEY, block_key)
    text = seal.seal(token, permanent=True)
    if block_key and not token:
        # Go, too, encrypts an empty value to a text that it cannot decrypt.
        assert reason(text, KEY, block_key) == "corrupt"
        return
    ticket = seal.unseal(text, max_age=HOUR)
    assert ticket == Ticket(token, seal.issued(text) or 0, None)


@given(key=st.binary(min_size=1, max_size=200), token=st.text("ab", max_size=90))
@example(key=b"k" * 64, token="")
@example(key=b"k" * 65, token="")
def test_a_hash_key_may_have_any_length(key: bytes, token: str) -> None:
    """Go, too, hashes a key that is longer than a block of SHA-256."""
    assume(key.strip(b"\0"))
    seal = seal_of(key)
    text = seal.seal(token, permanent=False)
    # A MAC has 32 bytes, and a separator stands before it.
    value = base64.urlsafe_b64decode(text)[:-33]
    assert signed(value, key) == text
    assert seal.unseal(text, max_age=HOUR).token == token


def test_an_encrypted_text_cannot_be_read() -> None:
    """Encrypting the same token twice gives two different texts."""
    seal = seal_of(KEY, b"b" * 32)
    first, second = (seal.seal("token", permanent=False) for _ in range(2))
    inner = base64.urlsafe_b64decode(first).split(b"|")[1]
    assert b"token" not in base64.urlsafe_b64decode(inner)
    assert first != second


def test_a_cookie_expires_after_its_maximum_age(clock: Clock) -> None:
    """The age counts in whole seconds. A timestamp in the future is accepted, as by the
    native seal.
    """
    text = seal_of().seal("token", permanent=False)
    assert seal_of().issued(text) == int(clock.now)
    clock.tick(HOUR)
    assert seal_of().unseal(text, max_age=HOUR).token == "token"
    clock.tick(1)
    assert reason(text) == "expired"
    clock.tick(-2 * HOUR)
    assert seal_of().unseal(text, max_age=HOUR).token == "token"


def test_the_first_key_pair_signs_and_every_pair_verifies() -> None:
    """A cookie of a pair that is no longer listed is rejected."""
    old = seal_of(b"old" * 9, b"o" * 16).seal("old", permanent=False)
    oldest = seal_of(b"oldest" * 9).seal("oldest", permanent=False)
    keys = (KEY, None, b"old" * 9, b"o" * 16, b"oldest" * 9)
    assert seal_of(*keys).unseal(old, max_age=HOUR).token == "old"
    assert seal_of(*keys).unseal(oldest, max_age=HOUR).token == "oldest"
    new = seal_of(*keys).seal("new", permanent=False)
    assert seal_of(KEY).unseal(new, max_age=HOUR).token == "new"
    assert reason(old, KEY) == "bad-signature"


def test_without_keys_the_secrets_are_the_hash_keys() -> None:
    """Buffalo uses its SESSION_SECRET in the same way."""
    text = seal_of(b"older").seal("x", permanent=False)
    seal = GorillaFormat().seal([KEY, b"older"], NAME, encrypt=False)
    assert seal.unseal(text, max_age=HOUR).token == "x"
    assert GorillaFormat().secrets == ()
    assert GorillaFormat("one", None, b"two").secrets == (b"one", b"two")


@pytest.mark.parametrize("kind", ["token", "record"])
def test_two_pairs_may_share_a_hash_key(kind: str) -> None:
    """The MAC fits every pair. Only the block key that was used gives a valid value."""
    token = "A" * 43
    if kind == "record":
        codec = GorillaCodec()
        record = Record(None, b"", {"a": codec.encode("b", "a")})
        token = codec.dumps(record).decode("latin-1")
    both = seal_of(KEY, b"n" * 32, KEY, b"o" * 32, KEY, None)
    for keys in ((KEY, b"n" * 32), (KEY, b"o" * 32), (KEY,)):
        text = seal_of(*keys).seal(token, permanent=False)
        assert both.unseal(text, max_age=HOUR).token == token
    text = seal_of(KEY, b"x" * 32).seal(token, permanent=False)
    with pytest.raises(RejectedError, match="corrupt"):
        both.unseal(text, max_age=HOUR)


def test_a_cookie_of_another_name_is_rejected() -> None:
    """The MAC covers the cookie's name."""
    text = seal_of(KEY, name="other").seal("x", permanent=False)
    assert reason(text, KEY) == "bad-signature"


@pytest.mark.parametrize(
    "keys", [(KEY,), (KEY, b"b" * 32)], ids=["signed", "encrypted"]
)
def test_a_cookie_with_a_changed_character_is_rejected(keys: tuple[bytes, ...]) -> None:
    """Go's base64 ignores stray bits and line breaks. The seal rejects them, too."""
    text = seal_of(*keys).seal("a token", permanent=False)
    for place in range(len(text)):
        for other in "Ab_-=\n+/.\xff":
            if other != text[place]:
                changed = text[:place] + other + text[place + 1 :]
                assert reason(changed, *keys) == "bad-signature", (place, other)
    for changed in (
        text + "\n",
        "\r\n" + text,
        text + "=",
        text + "A",
        text[:-1],
        text * 2,
    ):
        assert reason(changed, *keys) == "bad-signature"


@given(text=st.text(max_size=200))
@example("A" * 200_000)
@example("\ud800")
@example("|")
@example("MTc5|")
@example(base64.urlsafe_b64encode(b"1|2|" + bytes(32)).decode())
def test_any_other_text_is_rejected(text: str) -> None:
    """Unsealing raises only a RejectedError, and ``issued`` raises nothing."""
    assert reason(text) == "bad-signature"
    issued = seal_of().issued(text)
    assert issued is None or isinstance(issued, int)


@pytest.mark.parametrize(
    "value",
    [b"", b"|", b"x|QQ==", b"-5|QQ==", b"1_0|QQ==", b"9" * 20 + b"|QQ==", b"\xb2|QQ=="],
)
def test_a_malformed_timestamp_is_rejected(value: bytes) -> None:
    """The MAC is valid. Only another program with the key can make such a cookie."""
    assert reason(signed(value)) == "corrupt"


def test_a_malformed_value_is_rejected(clock: Clock) -> None:
    """The value is not base64, or too short for an encrypted value."""
    now = b"%d|" % clock.now
    assert reason(signed(now + b"Q")) == "corrupt"
    assert reason(signed(now + b"QR==")) == "corrupt"
    assert reason(signed(now + b"Q|Q")) == "corrupt"
    short = signed(now + base64.urlsafe_b64encode(bytes(16)))
    assert reason(short, KEY, b"b" * 16) == "corrupt"


def test_a_cookie_has_at_most_4096_bytes() -> None:
    """The seal refuses to make or read a longer one, as gorilla does."""
    seal = seal_of()
    with pytest.raises(SessionTooLargeError) as caught:
        seal.seal("x" * 3000, permanent=False)
    assert caught.value.limit == 4096
    assert reason(signed(b"1" * 3100)) == "bad-signature"


def test_macs_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seal compares the MAC of every key, even after one fits."""
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def spy(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return compare(a, b)

    text = seal_of(KEY).seal("x", permanent=False)
    monkeypatch.setattr("hmac.compare_digest", spy)
    seal_of(KEY, None, b"old").unseal(text, max_age=HOUR)
    assert len(compared) == 2


# Configuration errors


@pytest.mark.parametrize(
    "keys",
    [(b"",), ("",), (None,), (KEY, None, b""), (b"\0\0",), (KEY, None, None, None)],
)
def test_an_empty_hash_key_is_an_error(keys: tuple[t.Any, ...]) -> None:
    """An empty key would protect nothing."""
    with pytest.raises(SessionConfigError, match="empty secret"):
        GorillaFormat(*keys)


@pytest.mark.parametrize("key", [5, bytearray(b"x"), [KEY]])
def test_a_key_of_another_type_is_an_error(key: t.Any) -> None:
    """The message names the type and never the value."""
    with pytest.raises(SessionConfigError, match=type(key).__name__):
        GorillaFormat(key)


@pytest.mark.parametrize("registered", ["time.Time", 5, [5], [""], [[]]])
def test_registered_must_be_a_list_of_names(registered: t.Any) -> None:
    """A single str is not a list of its letters."""
    with pytest.raises(SessionConfigError, match="registered="):
        GorillaFormat(registered=registered)


@pytest.mark.parametrize("size", [0, 8, 15, 33, 64])
def test_a_block_key_of_another_length_is_an_error(size: int) -> None:
    """AES allows three lengths."""
    with pytest.raises(SessionConfigError, match="16, 24 or 32"):
        seal_of(KEY, b"b" * size)


def test_encryption_needs_a_block_key() -> None:
    """SESSION_ENCRYPT alone names no block key."""
    with pytest.raises(SessionConfigError, match=r"SESSION_ENCRYPT needs a block key"):
        make_app(SESSION_FORMAT="gorilla", SESSION_ENCRYPT=True)
    with pytest.raises(SessionConfigError, match=r"SESSION_ENCRYPT"):
        make_app(
            SESSION_FORMAT=GorillaFormat(KEY, None, KEY, b"b" * 32),
            SESSION_ENCRYPT=True,
        )
    make_app(SESSION_FORMAT=GorillaFormat(KEY, b"b" * 32), SESSION_ENCRYPT=True)


def test_a_format_with_keys_needs_no_session_secret() -> None:
    """The application starts without SESSION_SECRET and signs with the format's key."""
    app = Flask("shop")
    BuffaloSession(app, format=GorillaFormat(KEY))
    app.add_url_rule("/", view_func=lambda: session.setdefault("a", "b"))
    assert app.test_client().get("/").headers["Set-Cookie"].startswith(f"{NAME}=MT")


def test_a_block_key_without_cryptography_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message names the extra to install. Signing works without cryptography."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(SessionConfigError, match=r"\[crypto\]"):
        seal_of(KEY, b"b" * 16)
    seal_of(KEY)


def test_signing_does_not_import_cryptography() -> None:
    """The test runs in a process of its own."""
    code = (
        "import sys\n"
        "from flask_buffalo_session import GorillaFormat\n"
        "seal = GorillaFormat('key').seal([], 'n', encrypt=False)\n"
        "seal.unseal(seal.seal('x', permanent=False), max_age=60)\n"
        "assert 'cryptography' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Permanent sessions


def test_the_record_says_whether_a_session_is_permanent() -> None:
    """The cookie cannot say it."""
    desk = Desk(MemoryStore())
    desk.codec = GorillaCodec()
    for permanent in (True, False):
        first = desk.session()
        first["a"] = "b"
        first.permanent = permanent
        first.save()
        again = Session(desk, Ticket(first.cookie or "", 0, None))
        assert again.permanent is permanent
        assert again.cookie_permanent is permanent
