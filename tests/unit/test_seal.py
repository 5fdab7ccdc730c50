"""Test the seals, which protect the token in the cookie."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import sys
import time
import tracemalloc
import typing as t
import zlib
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from itsdangerous import TimestampSigner
from itsdangerous.encoding import base64_decode, base64_encode

from flask_buffalo_session import BuffaloSession, NativeFormat
from flask_buffalo_session.codec import Record
from flask_buffalo_session.errors import RejectedError, SessionConfigError
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.seal import (
    MAX_TOKEN,
    EncryptedSeal,
    Seal,
    SignedSeal,
    Ticket,
)
from tests.conftest import Clock

NAME = "_buffalo_session"
OLD, NEW = b"the older one of two secrets", b"the newer one of two secrets"
HOUR = 3600

Maker: t.TypeAlias = t.Callable[..., Seal]

MAKERS: dict[str, Maker] = {"signed": SignedSeal, "encrypted": EncryptedSeal}

#: Every character that a cookie's value may hold (RFC 6265, section 4.1.1).
COOKIE_CHARACTERS = {chr(n) for n in range(0x21, 0x7F)} - set('",;\\')

# Hypothesis changes its own inputs. It may use the fixture's seal again and again.
same_seal = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
tokens = st.text(st.characters(max_codepoint=255))


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Maker:
    return MAKERS[request.param]


@pytest.fixture
def seal(make: Maker) -> Seal:
    return make([NEW], NAME)


def reason(seal: Seal, text: str, max_age: int = HOUR) -> str:
    """Return the reason why the seal rejects a text."""
    with pytest.raises(RejectedError) as caught:
        seal.unseal(text, max_age=max_age)
    return caught.value.reason


# Round trips


@same_seal
@given(token=tokens, permanent=st.booleans())
@example(token="", permanent=True)
@example(token="".join(map(chr, range(256))) * 10, permanent=False)
def test_unseal_returns_any_token(seal: Seal, token: str, permanent: bool) -> None:
    """A token may contain every character that a cookie can carry without quotes."""
    before = int(time.time())
    text = seal.seal(token, permanent=permanent)
    ticket = seal.unseal(text, max_age=HOUR)
    assert ticket == Ticket(token, ticket.issued, permanent)
    assert before <= ticket.issued <= time.time()
    assert set(text) <= COOKIE_CHARACTERS


def test_unseal_returns_any_last_byte(seal: Seal) -> None:
    """Base64 padding must not be confused with the token."""
    for lead in ("", "t", "to"):
        for last in map(chr, range(256)):
            text = seal.seal(lead + last, permanent=False)
            assert seal.unseal(text, max_age=HOUR).token == lead + last


def test_the_permanent_flag_is_protected(seal: Seal) -> None:
    """The flag controls ``Expires``, so a client must not be able to change it."""
    text = seal.seal("token", permanent=True)
    assert text[0] == NativeFormat.permanent_mark
    assert reason(seal, "b" + text[1:]) == "bad-signature"
    text = seal.seal("token", permanent=False)
    assert text[0] != NativeFormat.permanent_mark
    assert reason(seal, NativeFormat.permanent_mark + text[1:]) == "bad-signature"


def test_a_client_cannot_read_an_encrypted_text() -> None:
    """A client can read a signed text."""
    token = "a token of some length"
    shown = base64_encode(token.encode()).decode()
    assert shown in SignedSeal([NEW], NAME).seal(token, permanent=False)
    encrypted = EncryptedSeal([NEW], NAME)
    first, second = (encrypted.seal(token, permanent=False) for _ in range(2))
    assert shown not in first
    assert first != second, "a nonce was used twice"


# Texts of other cookies, applications and seals


def test_the_text_of_another_cookie_is_rejected(make: Maker) -> None:
    """Cookies A and B have the same secret, but A's value is not valid as B's."""
    text = make([NEW], "A").seal("token", permanent=False)
    assert reason(make([NEW], "B"), text) == "bad-signature"
    assert reason(make([NEW], "a"), text) == "bad-signature"
    assert make([NEW], "A").unseal(text, max_age=HOUR).token == "token"


def test_a_text_with_another_secret_is_rejected(make: Maker) -> None:
    """One of the other secrets only has the same beginning."""
    text = make([NEW], NAME).seal("token", permanent=False)
    for secret in (OLD, NEW + b"!", NEW[:-1]):
        assert reason(make([secret], NAME), text) == "bad-signature"


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("token", ["token", "x" * 5000])
def test_a_text_of_the_other_seal_is_rejected(kind: str, token: str) -> None:
    """Above all, a signed text is rejected where encryption is on."""
    (other,) = MAKERS.keys() - {kind}
    text = MAKERS[kind]([NEW], NAME).seal(token, permanent=False)
    assert reason(MAKERS[other]([NEW], NAME), text) == "bad-signature"


def test_a_plain_payload_is_rejected(seal: Seal) -> None:
    """The payload is neither signed nor encrypted."""
    body = "br" + base64_encode(b"token").decode()
    stamp = base64_encode(int(time.time()).to_bytes(4, "big")).decode()
    for text in (body, f"{body}.{stamp}", f"{body}.{stamp}.", f"{body}.{stamp}.AAAA"):
        assert reason(seal, text) == "bad-signature"


# Secrets


def test_a_text_with_an_older_secret_is_accepted(make: Maker) -> None:
    """This holds as long as the old secret is a fallback."""
    text = make([OLD], NAME).seal("token", permanent=True)
    both = make([NEW, OLD], NAME)
    assert both.unseal(text, max_age=HOUR)[::2] == ("token", True)


def test_the_newest_secret_seals(make: Maker) -> None:
    """The older secrets can be dropped later."""
    text = make([NEW, OLD], NAME).seal("token", permanent=False)
    assert make([NEW], NAME).unseal(text, max_age=HOUR).token == "token"
    assert reason(make([OLD], NAME), text) == "bad-signature"


def test_a_text_with_a_dropped_secret_is_rejected(make: Maker) -> None:
    """This is why secrets are replaced."""
    text = make([OLD], NAME).seal("token", permanent=False)
    assert reason(make([NEW], NAME), text) == "bad-signature"


@pytest.mark.parametrize(
    "secrets", [[], [b""], [NEW, b""], [b"", NEW], [bytes(32)]], ids=repr
)
def test_an_empty_secret_is_refused(make: Maker, secrets: list[bytes]) -> None:
    """As a fallback, too: anybody could sign with it."""
    with pytest.raises(SessionConfigError, match="empty secret"):
        make(secrets, NAME)


def test_any_other_secret_is_accepted(make: Maker) -> None:
    """Only zero bytes are as weak as an empty secret."""
    for byte in range(1, 256):
        text = make([bytes([byte, 0])], NAME).seal("token", permanent=False)
        assert reason(make([NEW], NAME), text) == "bad-signature"


# Age


def test_a_text_never_expires_early_and_at_most_two_seconds_late(
    make: Maker, clock: Clock
) -> None:
    """A timestamp has whole seconds."""
    for fraction in (0.0, 0.25, 0.999):
        clock.now = 1_800_000_000 + fraction
        seal = make([NEW], NAME)
        text = seal.seal("token", permanent=False)
        for age in (0, 10, 10.0 - 1e-6, 10):
            clock.now = 1_800_000_000 + fraction + age
            assert seal.unseal(text, max_age=10).token == "token"
        clock.now = 1_800_000_000 + 11
        assert reason(seal, text, max_age=10) == "expired"
        clock.now += 10**9
        assert reason(seal, text, max_age=10) == "expired"


def test_a_text_from_the_future_is_accepted(seal: Seal, clock: Clock) -> None:
    """Clocks may be set back by an hour or by years."""
    text = seal.seal("token", permanent=False)
    clock.now -= 20 * 365 * 86400
    assert seal.unseal(text, max_age=10).token == "token"


def test_a_forged_text_is_rejected_for_its_signature_first(
    seal: Seal, clock: Clock
) -> None:
    """The reason must not reveal whether the text is also too old."""
    text = seal.seal("token", permanent=False)
    clock.tick(10**6)
    assert reason(seal, text) == "expired"
    assert reason(seal, flipped(text, 5, "!")) == "bad-signature"


# Texts that a client made up or changed


@same_seal
@given(text=st.text(st.characters(exclude_categories=[])))
@example(text="")
@example(text=".")
@example(text="..")
@example(text="br..")
@example(text="\ud800.\udfff.x")
@example(text="\u00fc.AAAA.AAAA")
@example(text="\u0660.\u0661.\u0662")
@example(text="A" * 200_000)
@example(text="." * 200_000)
def test_an_arbitrary_text_is_rejected(seal: Seal, text: str) -> None:
    """The error is always the same: a bad signature."""
    assert reason(seal, text) == "bad-signature"


@same_seal
@given(
    text=st.text(st.sampled_from("ABab01-_=+/. "), max_size=80),
    lead=st.sampled_from(["", "br", "bz", "~r", "~z"]),
)
def test_an_arbitrary_text_of_the_right_alphabet_is_rejected(
    seal: Seal, text: str, lead: str
) -> None:
    """Without the secret, no text gets further into the parser."""
    assert reason(seal, lead + text) == "bad-signature"


def flipped(text: str, index: int, character: str) -> str:
    return text[:index] + character + text[index + 1 :]


@pytest.mark.parametrize("token", ["", "t", "to", "token" * 9], ids=len)
def test_every_changed_character_is_detected(seal: Seal, token: str) -> None:
    """Base64 ignores some bits; a changed character is detected even there."""
    text = seal.seal(token, permanent=False)
    others = "ABCDEFGHQgwZabprz0189-_.=+/ \n\0\u00e9\ud800"
    for index, character in enumerate(text):
        for other in others:
            if other != character:
                assert reason(seal, flipped(text, index, other)) == "bad-signature"


def test_every_other_last_character_is_detected(make: Maker) -> None:
    """The last character of a base64 text has unused bits."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    seal = make([NEW], NAME)
    for length in range(4):
        text = seal.seal("x" * length, permanent=False)
        ends = [match.start() - 1 for match in re.finditer(r"\.|$", text)]
        for end in ends:
            for other in set(alphabet) - {text[end]}:
                assert reason(seal, flipped(text, end, other)) == "bad-signature"


def test_every_truncation_is_detected(seal: Seal) -> None:
    """At both ends, at every character."""
    text = seal.seal("token" * 9, permanent=False)
    for end in range(len(text)):
        assert reason(seal, text[:end]) == "bad-signature"
        assert reason(seal, text[end + 1 :]) == "bad-signature"


def test_additions_are_detected(seal: Seal) -> None:
    """The text is doubled, quoted, padded, or has something before or after it."""
    text = seal.seal("token", permanent=False)
    for other in (
        text + text,
        f"{text}.{text}",
        f'"{text}"',
        f" {text}",
        f"{text} ",
        f"{text}\n",
        f"{text}=",
        f"{text}==",
        f"{text}.",
        f".{text}",
        text.replace(".", "..", 1),
        text.replace(".", "=.", 1),
        text.replace("br", "br=", 1),
        text.replace("br", "br\n", 1),
    ):
        assert reason(seal, other) == "bad-signature"


# Texts with a good signature that this package did not make. They come from another
# version of the package, or from somebody with the secret.


def signed(value: bytes, timestamp: bytes | None = None) -> str:
    """Sign a payload without the seal."""
    if timestamp is None:
        timestamp = base64_encode(int(time.time()).to_bytes(4, "big"))
    key = hmac.digest(NEW, b"flask-buffalo-session.v1.sign." + NAME.encode(), "sha256")
    content = value + b"." + timestamp
    return (
        content + b"." + base64_encode(hmac.digest(key, content, "sha256"))
    ).decode()


def test_a_text_signed_by_hand_is_accepted() -> None:
    """This proves that the texts below fail for their content alone."""
    seal = SignedSeal([NEW], NAME)
    assert seal.unseal(signed(b"~r" + base64_encode(b"x")), max_age=HOUR).token == "x"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"b",
        b"~",
        b"bx" + base64_encode(b"token"),
        b"brA",
        b"bzA",
        b"bz",
        b"bz" + base64_encode(b"no zlib stream"),
        b"bz" + base64_encode(zlib.compress(b"cut short")[:-1]),
        b"bz" + base64_encode(zlib.compress(b"token") + b"more"),
        b"bz" + base64_encode(zlib.compress(b"token") * 2),
    ],
)
def test_a_signed_payload_that_is_malformed_is_corrupt(value: bytes) -> None:
    """Only a bug could have made such a payload. It gives a fresh session, not an
    error.
    """
    assert reason(SignedSeal([NEW], NAME), signed(value)) == "corrupt"


@pytest.mark.parametrize(
    "timestamp", [b"A", b"A" * 400, b"_" * 4000, base64_encode(b"\xff" * 9)], ids=len
)
def test_a_signed_timestamp_that_is_malformed_is_corrupt(timestamp: bytes) -> None:
    """A timestamp that is too long cannot be compared."""
    text = signed(b"br" + base64_encode(b"token"), timestamp)
    assert reason(SignedSeal([NEW], NAME), text) == "corrupt"


def test_a_timestamp_may_have_the_documented_length() -> None:
    """Eight bytes are enough for every possible cookie."""
    text = signed(b"br" + base64_encode(b"token"), base64_encode(b"\xff" * 8))
    ticket = SignedSeal([NEW], NAME).unseal(text, max_age=HOUR)
    assert ticket == Ticket("token", 2**64 - 1, False)


def test_a_signed_text_without_timestamp_is_rejected() -> None:
    """The plain Signer of itsdangerous makes such texts."""
    key = hmac.digest(NEW, b"flask-buffalo-session.v1.sign." + NAME.encode(), "sha256")
    for value in (b"br" + base64_encode(b"token"), b"", b"brAAAA"):
        text = (
            value + b"." + base64_encode(hmac.digest(key, value, "sha256"))
        ).decode()
        with pytest.raises(RejectedError):
            SignedSeal([NEW], NAME).unseal(text, max_age=HOUR)


def test_a_small_text_cannot_fill_the_memory() -> None:
    """A cookie of 68 KB, correctly signed, would inflate to 50 MB."""
    text = signed(b"bz" + base64_encode(zlib.compress(bytes(50_000_000), 9)))
    assert len(text) < 70_000
    seal = SignedSeal([NEW], NAME)
    tracemalloc.start()
    try:
        assert reason(seal, text) == "corrupt"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_TOKEN


# Compression


@pytest.mark.parametrize(
    ("token", "packing"),
    [
        ("x" * 1024, "r"),
        ("x" * 1025, "z"),
        ("x" * MAX_TOKEN, "z"),
        ("".join(chr(n * n * 7919 % 256) for n in range(50)), "r"),
    ],
    ids=["1 KB", "more", "largest", "small"],
)
def test_long_tokens_are_compressed(token: str, packing: str) -> None:
    """Tokens above one kilobyte are. The longest token can be inflated again."""
    seal = SignedSeal([NEW], NAME)
    text = seal.seal(token, permanent=False)
    assert text[1] == packing
    assert (len(text) < len(token)) == (packing == "z")
    assert seal.unseal(text, max_age=HOUR).token == token


def test_a_token_that_compression_would_not_shorten_is_not_compressed() -> None:
    """Records with many hashes or ids are nearly random."""
    noise = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(256))
    seal = SignedSeal([NEW], NAME)
    text = seal.seal(noise.decode("latin-1"), permanent=False)
    assert text[1] == "r"
    assert seal.unseal(text, max_age=HOUR).token.encode("latin-1") == noise


def test_encrypted_texts_are_never_compressed() -> None:
    """Otherwise the length of a text would reveal something about its content."""
    seal = EncryptedSeal([NEW], NAME)
    noise = "".join(chr(n * n % 251) for n in range(5000))
    lengths = {len(seal.seal(token, permanent=False)) for token in ("x" * 5000, noise)}
    assert lengths == {len(base64_encode(bytes(12 + 5000 + 16))) + 2 + 1 + 6}


# The glance


def test_the_glance_agrees_with_the_seal(seal: Seal, clock: Clock) -> None:
    """The glance reads the age of a cookie without verifying it. It decides whether the
    cookie is due for a refresh.
    """
    # The encodings of the second and the third are "-A" and "_w".
    for now in (1, 248, 255, 256, 1_800_000_000, 2**32, 2**40):
        clock.now = now + 0.5
        for token in ("", "token", "x" * 5000):
            text = seal.seal(token, permanent=True)
            assert seal.issued(text) == now
            assert seal.unseal(text, max_age=HOUR).issued == now


@same_seal
@given(text=st.text(st.characters(exclude_categories=[])))
@example(text="br.\ud800.x")
@example(text="br.A.x")
@example(text="br.A")
@example(text="." * 1000)
@example(text="br." + "_" * 100_000)
@example(text="br." + "_" * 100_000 + ".x")
def test_the_glance_never_fails(seal: Seal, text: str) -> None:
    """It never returns a number that is too large to compute with."""
    issued = seal.issued(text)
    assert issued is None or 0 <= issued < 2**100
    assert abs(time.time() - (issued or 0)) >= 0


# Verified by other libraries


@pytest.mark.parametrize("token", ["token", "x" * 5000], ids=["short", "long"])
def test_itsdangerous_verifies_a_signed_text(token: str) -> None:
    """The text is in the format of its TimestampSigner, with HMAC and SHA-256."""
    text = SignedSeal([NEW, OLD], NAME).seal(token, permanent=True)
    signer = TimestampSigner(
        NEW,
        salt=b"flask-buffalo-session.v1.sign." + NAME.encode(),
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )
    value, when = signer.unsign(text, max_age=HOUR, return_timestamp=True)
    assert abs(when.timestamp() - time.time()) < 5
    assert value[:1] == b"~"
    body = base64_decode(value[2:])
    assert (zlib.decompress(body) if value[1:2] == b"z" else body).decode() == token


def test_the_seal_accepts_a_text_that_itsdangerous_signed() -> None:
    """The TimestampSigner uses the same key."""
    signer = TimestampSigner(
        [OLD, NEW],
        salt=b"flask-buffalo-session.v1.sign." + NAME.encode(),
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )
    text = signer.sign(b"br" + base64_encode(b"token")).decode()
    assert SignedSeal([NEW], NAME).unseal(text, max_age=HOUR).token == "token"


def decrypted(text: str, secret: bytes) -> bytes:
    """Return the token in an encrypted text, following docs/reference/formats.md."""
    info = b"flask-buffalo-session.v1.encrypt." + NAME.encode()
    key = HKDF(SHA256(), length=32, salt=None, info=info).derive(secret)
    value, timestamp = text.encode().split(b".")
    sealed = base64.urlsafe_b64decode(value[2:] + b"==")
    return AESGCM(key).decrypt(sealed[:12], sealed[12:], value[:2] + timestamp)


def test_cryptography_decrypts_an_encrypted_text() -> None:
    """It needs the documented key, nonce and associated data."""
    text = EncryptedSeal([NEW, OLD], NAME).seal("token", permanent=True)
    assert text[:2] == "~r"
    assert decrypted(text, NEW) == b"token"
    with pytest.raises(InvalidTag):
        decrypted(text, OLD)
    with pytest.raises(InvalidTag):
        decrypted("b" + text[1:], NEW)


# The missing extra


def test_missing_cryptography_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error at the start of the application names the extra and the setting."""
    for module in list(sys.modules):
        if module.partition(".")[0] == "cryptography":
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(SessionConfigError, match=r"SESSION_ENCRYPT.*\[crypto\]"):
        EncryptedSeal([NEW], NAME)
    app = Flask(__name__)
    app.config.update(SESSION_SECRET=NEW, SESSION_ENCRYPT=True)
    with pytest.raises(SessionConfigError, match=r"SESSION_ENCRYPT.*\[crypto\]"):
        BuffaloSession(app)
    SignedSeal([NEW], NAME)


# The documentation


def test_the_longest_token_has_the_documented_length() -> None:
    """Other implementations of the format need the same limit."""
    document = (Path(__file__).parents[2] / "docs/reference/formats.md").read_text()
    assert f"more than {MAX_TOKEN:,} bytes is not sealed" in document


def test_the_seals_write_the_documented_cookies(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They match the worked example in docs/reference/formats.md."""
    document = (Path(__file__).parents[2] / "docs/reference/formats.md").read_text()
    secret = b"an example, not to be used"
    assert f"`{secret.decode()}`" in document
    codec = NativeCodec()
    record = Record(
        created=1_700_000_000,
        nonce=bytes(range(12)),
        values={
            "user_id": codec.encode(42, "user_id"),
            "cart": codec.encode([("tea", 2)], "cart"),
        },
    )
    token = codec.dumps(record).decode("latin-1")
    clock.now = 1_700_000_000.5
    monkeypatch.setattr("os.urandom", lambda size: bytes(range(size)))
    signed, encrypted = re.findall(r"^[b~]r[\w.-]{80,}$", document, re.MULTILINE)
    assert SignedSeal([secret], NAME).seal(token, permanent=False) == signed
    assert EncryptedSeal([secret], NAME).seal(token, permanent=True) == encrypted
    assert decrypted(encrypted, secret).decode("latin-1") == token
