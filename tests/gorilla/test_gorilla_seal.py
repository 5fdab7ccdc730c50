"""The cookies of gorilla/securecookie: what verifies and what does not."""

from __future__ import annotations

import base64
import hmac
import subprocess
import sys
import typing as t

import pytest
from flask import Flask, session
from hypothesis import example, given
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
    """A text with a good MAC."""
    mac = hmac.digest(key, NAME.encode() + b"|" + value, "sha256")
    return base64.urlsafe_b64encode(value + b"|" + mac).decode()


@given(token=st.text(st.characters(max_codepoint=255), max_size=300))
@pytest.mark.parametrize("block_key", [None, b"b" * 16, b"b" * 24, b"b" * 32])
def test_any_token_comes_back(block_key: bytes | None, token: str) -> None:
    """Signed and encrypted; what it says of the time is right."""
    seal = seal_of(KEY, block_key)
    text = seal.seal(token, permanent=True)
    if block_key and not token:
        # As in Go, which encrypts nothing to nothing that it would decrypt.
        assert reason(text, KEY, block_key) == "corrupt"
        return
    ticket = seal.unseal(text, max_age=HOUR)
    assert ticket == Ticket(token, seal.issued(text) or 0, None)


def test_an_encrypted_text_cannot_be_read() -> None:
    """And is another one each time."""
    seal = seal_of(KEY, b"b" * 32)
    first, second = (seal.seal("token", permanent=False) for _ in range(2))
    inner = base64.urlsafe_b64decode(first).split(b"|")[1]
    assert b"token" not in base64.urlsafe_b64decode(inner)
    assert first != second


def test_age(clock: Clock) -> None:
    """As with the native seal: to the second, and none from the future refused."""
    text = seal_of().seal("token", permanent=False)
    assert seal_of().issued(text) == int(clock.now)
    clock.tick(HOUR)
    assert seal_of().unseal(text, max_age=HOUR).token == "token"
    clock.tick(1)
    assert reason(text) == "expired"
    clock.tick(-2 * HOUR)
    assert seal_of().unseal(text, max_age=HOUR).token == "token"


def test_rotation() -> None:
    """Each pair verifies, the first one writes."""
    old = seal_of(b"old" * 9, b"o" * 16).seal("old", permanent=False)
    oldest = seal_of(b"oldest" * 9).seal("oldest", permanent=False)
    keys = (KEY, None, b"old" * 9, b"o" * 16, b"oldest" * 9)
    assert seal_of(*keys).unseal(old, max_age=HOUR).token == "old"
    assert seal_of(*keys).unseal(oldest, max_age=HOUR).token == "oldest"
    new = seal_of(*keys).seal("new", permanent=False)
    assert seal_of(KEY).unseal(new, max_age=HOUR).token == "new"
    assert reason(old, KEY) == "bad-signature"


def test_without_keys_the_secrets_are_the_hash_keys() -> None:
    """As Buffalo uses SESSION_SECRET."""
    text = seal_of(b"older").seal("x", permanent=False)
    seal = GorillaFormat().seal([KEY, b"older"], NAME, encrypt=False)
    assert seal.unseal(text, max_age=HOUR).token == "x"
    assert GorillaFormat().secrets == ()
    assert GorillaFormat("one", None, b"two").secrets == (b"one", b"two")


@pytest.mark.parametrize("kind", ["token", "record"])
def test_one_hash_key_with_two_block_keys(kind: str) -> None:
    """The MAC fits both pairs, so what is inside decides."""
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


def test_another_name_does_not_verify() -> None:
    """The MAC covers it."""
    text = seal_of(KEY, name="other").seal("x", permanent=False)
    assert reason(text, KEY) == "bad-signature"


@pytest.mark.parametrize(
    "keys", [(KEY,), (KEY, b"b" * 32)], ids=["signed", "encrypted"]
)
def test_every_single_changed_character_is_noticed(keys: tuple[bytes, ...]) -> None:
    """Also the stray bits and line breaks that Go's base64 lets through."""
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
def test_any_text_is_rejected(text: str) -> None:
    """Nothing but a RejectedError; a glance at it does no harm either."""
    assert reason(text) == "bad-signature"
    issued = seal_of().issued(text)
    assert issued is None or isinstance(issued, int)


@pytest.mark.parametrize(
    "value",
    [b"", b"|", b"x|QQ==", b"-5|QQ==", b"1_0|QQ==", b"9" * 20 + b"|QQ==", b"\xb2|QQ=="],
)
def test_a_timestamp_that_is_none(value: bytes) -> None:
    """With a good MAC, which only another program with the key could make."""
    assert reason(signed(value)) == "corrupt"


def test_a_value_that_is_none(clock: Clock) -> None:
    """Not base64, or too short to be encrypted."""
    now = b"%d|" % clock.now
    assert reason(signed(now + b"Q")) == "corrupt"
    assert reason(signed(now + b"QR==")) == "corrupt"
    assert reason(signed(now + b"Q|Q")) == "corrupt"
    short = signed(now + base64.urlsafe_b64encode(bytes(16)))
    assert reason(short, KEY, b"b" * 16) == "corrupt"


def test_the_longest_text_is_gorillas() -> None:
    """4096 bytes, both ways."""
    seal = seal_of()
    with pytest.raises(SessionTooLargeError) as caught:
        seal.seal("x" * 3000, permanent=False)
    assert caught.value.limit == 4096
    assert reason(signed(b"1" * 3100)) == "bad-signature"


def test_macs_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key's, whichever fits."""
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def spy(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return compare(a, b)

    text = seal_of(KEY).seal("x", permanent=False)
    monkeypatch.setattr("hmac.compare_digest", spy)
    seal_of(KEY, None, b"old").unseal(text, max_age=HOUR)
    assert len(compared) == 2


# What is set up wrongly


@pytest.mark.parametrize(
    "keys",
    [(b"",), ("",), (None,), (KEY, None, b""), (b"\0\0",), (KEY, None, None, None)],
)
def test_an_empty_hash_key_is_an_error(keys: tuple[t.Any, ...]) -> None:
    """It would protect nothing."""
    with pytest.raises(SessionConfigError, match="empty secret"):
        GorillaFormat(*keys)


@pytest.mark.parametrize("key", [5, bytearray(b"x"), [KEY]])
def test_a_key_of_another_kind_is_an_error(key: t.Any) -> None:
    """Named by its kind, not by its value."""
    with pytest.raises(SessionConfigError, match=type(key).__name__):
        GorillaFormat(key)


@pytest.mark.parametrize("registered", ["time.Time", 5, [5], [""], [[]]])
def test_registered_has_to_be_names(registered: t.Any) -> None:
    """A bare str is not a list of letters."""
    with pytest.raises(SessionConfigError, match="registered="):
        GorillaFormat(registered=registered)


@pytest.mark.parametrize("size", [0, 8, 15, 33, 64])
def test_a_block_key_of_another_length_is_an_error(size: int) -> None:
    """AES has three."""
    with pytest.raises(SessionConfigError, match="16, 24 or 32"):
        seal_of(KEY, b"b" * size)


def test_encryption_needs_a_block_key() -> None:
    """SESSION_ENCRYPT alone does not say which."""
    with pytest.raises(SessionConfigError, match=r"SESSION_ENCRYPT needs a block key"):
        make_app(SESSION_FORMAT="gorilla", SESSION_ENCRYPT=True)
    with pytest.raises(SessionConfigError, match=r"SESSION_ENCRYPT"):
        make_app(
            SESSION_FORMAT=GorillaFormat(KEY, None, KEY, b"b" * 32),
            SESSION_ENCRYPT=True,
        )
    make_app(SESSION_FORMAT=GorillaFormat(KEY, b"b" * 32), SESSION_ENCRYPT=True)


def test_its_own_keys_need_no_secret() -> None:
    """And count as the secret where one is weak."""
    app = Flask("shop")
    BuffaloSession(app, format=GorillaFormat(KEY))
    app.add_url_rule("/", view_func=lambda: session.setdefault("a", "b"))
    assert app.test_client().get("/").headers["Set-Cookie"].startswith(f"{NAME}=MT")


def test_a_block_key_without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra to install is named; signing needs none."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(SessionConfigError, match=r"\[crypto\]"):
        seal_of(KEY, b"b" * 16)
    seal_of(KEY)


def test_signing_loads_no_cryptography() -> None:
    """In a process of its own."""
    code = (
        "import sys\n"
        "from flask_buffalo_session import GorillaFormat\n"
        "seal = GorillaFormat('key').seal([], 'n', encrypt=False)\n"
        "seal.unseal(seal.seal('x', permanent=False), max_age=60)\n"
        "assert 'cryptography' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The session that says what the cookie does not


def test_a_permanent_session_is_known_by_its_value() -> None:
    """The cookie has no mark for it."""
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
