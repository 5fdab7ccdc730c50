"""Send forged, damaged and foreign cookies to an application.

A client gets its own session or a fresh one. The application logs the reason once, and
no cookie causes an error or makes the store look up a forged id. The tests run with
every store and every format. test_seal.py, test_codec.py, test_gorilla_seal.py and
test_gorilla_codec.py test the formats alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import pickle
import secrets
import time
import tracemalloc
import typing as t
import warnings
import zlib
from pathlib import Path

import cachelib
import itsdangerous
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer

from flask_buffalo_session import CacheStore, GorillaFormat, Store, session
from flask_buffalo_session.errors import SessionConfigError, SessionSecretError
from flask_buffalo_session.gorilla.securecookie import GorillaSeal
from flask_buffalo_session.seal import EncryptedSeal, SignedSeal, base64_encode
from flask_buffalo_session.stores.base import new_token, storage_key
from tests import conftest
from tests.conftest import (
    FORMATS,
    NAME,
    SECRET,
    Counting,
    Formatting,
    make_app,
    redis_client,
)
from tests.support import sealing
from tests.support.servers import Servers
from tests.support.target import Target, Trap, foreign_records, keys_in, record_of

OTHER = "another secret, long enough too"


@pytest.fixture
def target(store: Store, formatting: Formatting) -> Target:
    return Target(store, formatting)


def changed_texts(good: str, token: str) -> dict[str, str]:
    """Return the cookies that attackers and broken clients make from a good cookie.

    :param token: the token in the good cookie.
    """
    serializer = URLSafeTimedSerializer(SECRET, salt="cookie-session")
    other_salt = itsdangerous.Signer(
        SECRET, salt="other", key_derivation="hmac", digest_method=hashlib.sha256
    )
    texts = {
        "flipped at the start": chr(ord(good[0]) ^ 1) + good[1:],
        "flipped in the middle": good[:20] + chr(ord(good[20]) ^ 1) + good[21:],
        "flipped at the end": good[:-5] + chr(ord(good[-5]) ^ 1) + good[-4:],
        "without its end": good[:-5],
        "without its beginning": good[5:],
        "half of it": good[: len(good) // 2],
        "doubled": good + good,
        "doubled with a dot": f"{good}.{good}",
        "of 200 KB": "A" * 200_000,
        "of 200 KB of dots": "." * 200_000,
        "good with 200 KB behind": good + "A" * 200_000,
        "empty": "",
        "one dot": ".",
        "quoted": f'"{good}"',
        "not ASCII": "gr\u00fc\u00dfe\U0001f403",
        "of another salt": other_salt.sign(good.rpartition(".")[0] or good).decode(),
        "Flask's own": str(serializer.dumps({"user": "admin"})),
        "plain JSON": base64.urlsafe_b64encode(b'{"user":"admin"}').decode(),
        "a pickle": base64.urlsafe_b64encode(pickle.dumps({"user": "x"})).decode(),
        "an id": secrets.token_urlsafe(32),
        "a path": "../../x",
    }
    for kind, formatting in FORMATS.items():
        texts[f"{kind} with another secret"] = formatting.seal(OTHER).seal(
            token, permanent=False
        )
        texts[f"{kind}, of another cookie"] = formatting.seal(
            SECRET, name="other"
        ).seal(token, permanent=False)
    return texts


class TestInvalidSignatures:
    def test_a_changed_cookie_gives_a_fresh_session(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The application rejects each cookie and does not ask the store.

        Cookies are flipped, cut off, doubled, 200 KB long, empty or not ASCII, or
        signed with another secret, name or salt.
        """
        texts = changed_texts(target.cookie, target.token)
        for kind, text in texts.items():
            target.check_fresh(text, "bad-signature", caplog, kind)
        assert target.values(target.cookie) == "{'user': 'ann'}"

    def test_every_changed_character_invalidates_the_cookie(
        self, target: Target
    ) -> None:
        """No character of the cookie can change without invalidating the cookie."""
        good = target.cookie
        for place, character in enumerate(good):
            other = "A" if character != "A" else "B"
            text = good[:place] + other + good[place + 1 :]
            assert target.values(text) == "{}", place
        assert not target.store.calls

    @settings(
        max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(text=st.text(max_size=300))
    @example("\x00")
    @example('"')
    @example("a=b; c")
    def test_no_cookie_header_is_an_error(self, target: Target, text: str) -> None:
        """No text in the Cookie header causes an error."""
        clean = text.replace("\r", "").replace("\n", "")
        clean = clean.encode("utf-8", "replace").decode()
        for header in (f"{NAME}={clean}", clean, f"{clean}; {NAME}={target.cookie}"):
            assert target.ask(header).status_code == 200

    def test_a_value_of_another_cookie_gives_a_fresh_session(
        self,
        store: Store,
        formatting: Formatting,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The cookies share secret, store and format, but not the name."""
        one = Target(store, formatting, name="one")
        other = Target(store, formatting, name="one_")
        other.check_fresh(one.cookie, "bad-signature", caplog)
        one.check_fresh(other.cookie, "bad-signature", caplog)

    def test_a_value_of_another_application_gives_a_fresh_session(
        self,
        store: Store,
        formatting: Formatting,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Both applications have the same store and cookie name, but not the secret."""
        one, other = Target(store, formatting), Target(store, formatting, OTHER)
        one.check_fresh(other.cookie, "bad-signature", caplog)
        other.check_fresh(one.cookie, "bad-signature", caplog)

    def test_a_cookie_with_another_protection_is_rejected(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Reject cookies that use the same secret and name with another protection.

        They are not protected at all, or signed where the application encrypts, or
        encrypted where it signs.
        """
        record = record_of(target.format.codec)
        for data in (record, target.token.encode("latin-1")):
            for text in (
                base64_encode(data).decode(),
                base64.urlsafe_b64encode(data).decode(),
                "br" + base64_encode(data).decode(),
                "br" + base64_encode(data).decode() + ".",
                data.hex(),
            ):
                target.check_fresh(text, "bad-signature", caplog)
        for kind, other in FORMATS.items():
            if type(other.seal(SECRET)) is not type(target.seal):
                text = other.seal(SECRET).seal(
                    record.decode("latin-1"), permanent=False
                )
                target.check_fresh(text, "bad-signature", caplog, kind)

    @pytest.mark.parametrize("kind", ["gorilla", "gorilla-encrypted"])
    def test_a_gorilla_mac_does_not_make_up_for_missing_encryption(
        self, store: Store, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Gorilla's MAC covers the value as it is sent, encrypted or not.

        So the MAC of a plain value verifies too. The application must still not read
        a session from that value.
        """
        (other,) = {"gorilla", "gorilla-encrypted"} - {kind}
        target, weaker = Target(store, FORMATS[kind]), Target(store, FORMATS[other])
        reason = "corrupt" if target.store.stateless else "unknown"
        target.check_fresh(weaker.cookie, reason, caplog)

    def test_the_first_cookie_that_verifies_counts(self, target: Target) -> None:
        """A bad cookie before or after the good one does no harm. Nor does a prefix."""
        good, bad = f"{NAME}={target.cookie}", f"{NAME}=bad"
        for header in (
            f"{bad}; {good}",
            f"{good}; {bad}",
            f"{bad}; {bad}; {good}; {bad}",
            f"=__Host-{NAME}=bad; {good}",
            f"__Host-{NAME}=bad; {good}",
            f"x{NAME}=bad; {good}",
            f"={NAME}=bad;{good}",
            f"{NAME}; {good}",
        ):
            assert target.ask(header).text == "{'user': 'ann'}", header
        assert not target.rejections
        second = target.text_in(target.send("bad", "/set/second"))
        for header, expected in (
            (f"{good}; {NAME}={second}", "{'user': 'ann'}"),
            (f"{NAME}={second}; {good}", "{'second': 'second'}"),
        ):
            assert target.ask(header).text == expected

    def test_at_most_eight_cookies_are_verified(self, target: Target) -> None:
        """A header full of bad cookies must not keep the server busy."""
        bad, good = [f"{NAME}=bad"], f"{NAME}={target.cookie}"
        others = ["other=1"] * 20
        assert target.ask("; ".join([*others, *bad * 7, good])).text != "{}"
        assert target.ask("; ".join([*others, *bad * 8, good])).text == "{}"

    def test_a_forged_host_prefix_does_not_name_the_session_cookie(
        self, store: Store, formatting: Formatting
    ) -> None:
        """Send a cookie without a name whose value looks like a cookie with a name."""
        target = Target(
            store, formatting, name="__Host-session", SESSION_COOKIE_SECURE=True
        )
        assert target.values(target.cookie) == "{'user': 'ann'}"
        assert target.ask(f"=__Host-session={target.cookie}").text == "{}"
        assert target.ask(f"__Host-session ={target.cookie}x").text == "{}"
        assert target.ask(f"session={target.cookie}").text == "{}"

    def test_a_session_is_read_only_from_the_cookie(self, target: Target) -> None:
        """The application ignores a token in the query, the form or a header."""
        client = target.app.test_client(use_cookies=False)
        for name in (NAME, "session", "session_id", "sid"):
            response = client.post(
                "/",
                query_string={name: target.cookie},
                data={name: target.cookie},
                headers={name: target.cookie, "Authorization": target.cookie},
            )
            assert (response.status_code, response.text) == (200, "{}")
        assert target.store.calls == []

    def test_signatures_are_compared_in_constant_time(
        self, formatting: Formatting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Compare the signature with each secret.

        An encrypted cookie has a tag, which the cryptography package compares.
        """
        compared: list[bytes] = []
        compare = hmac.compare_digest

        def spy(a: bytes, b: bytes) -> bool:
            compared.append(b)
            return compare(a, b)

        text = formatting.seal("old" * 9).seal("x", permanent=False)
        seal = formatting.seal("new" * 9, "old" * 9)
        monkeypatch.setattr("hmac.compare_digest", spy)
        assert seal.unseal(text, max_age=60).token == "x"
        assert len(compared) == (0 if isinstance(seal, EncryptedSeal) else 2)
        assert isinstance(seal, SignedSeal | EncryptedSeal | GorillaSeal)


class TestValidSignatures:
    """Send cookies with a correct signature and wrong content.

    Only a bug, or somebody who knows the secret, makes such a cookie.
    """

    def test_a_token_that_is_not_a_record_gives_a_fresh_session(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The cookie holds a list, an int, garbage or another format's record."""
        reason = "corrupt" if target.store.stateless else "unknown"
        for kind, data in foreign_records(target.format).items():
            if data:
                text = target.seal.seal(data.decode("latin-1"), permanent=False)
                target.check_fresh(text, reason, caplog, kind)

    @settings(
        max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(token=st.text(st.characters(max_codepoint=255), max_size=200))
    @example("")
    @example("\x00retired")
    @example("\x01")
    @example("\x01\x00\x00\x00\x00")
    def test_an_unknown_token_gives_a_fresh_session(
        self, target: Target, token: str
    ) -> None:
        """The new session gets a token of its own, not the one from the cookie."""
        text = target.seal.seal(token, permanent=False)
        assert target.values(text) == "{}"
        if token != "\x00retired" or not target.store.stateless:
            assert target.text_in(target.send(text, "/login")) != text
        if not target.store.stateless:
            assert target.store.inner.load(token) is None

    def test_a_compressed_cookie_does_not_fill_the_memory(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A signed cookie of 50 KB inflates to 50 MB: stop at the cap.

        An encrypted cookie is never inflated. A gorilla cookie may claim to hold
        gigabytes.
        """
        tracemalloc.start()
        try:
            for text, reason in bombs(target):
                tracemalloc.reset_peak()
                target.check_fresh(text, reason, caplog)
                assert tracemalloc.get_traced_memory()[1] < 8_000_000
        finally:
            tracemalloc.stop()

    def test_a_pickle_is_never_loaded(
        self, target: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Put a pickle into a plain cookie, a sealed cookie and a record."""
        trap = tmp_path / "trap"
        data = pickle.dumps(Trap(trap))
        plain = base64.urlsafe_b64encode(data).decode()
        target.check_fresh(plain, "bad-signature", caplog)
        sealed = target.seal.seal(data.decode("latin-1"), permanent=False)
        reason = "corrupt" if target.store.stateless else "unknown"
        target.check_fresh(sealed, reason, caplog)
        token = target.store.save(None, data, expected=None, max_age=3600)
        text = target.seal.seal(token, permanent=False)
        target.check_fresh(text, "corrupt", caplog)
        assert not trap.exists()
        pickle.loads(data)
        assert trap.exists()

    @pytest.mark.parametrize("kind", ["files", "redis", "simple"])
    def test_a_pickle_in_a_cache_is_never_loaded(
        self,
        kind: str,
        formatting: Formatting,
        servers: Servers,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """cachelib itself writes the pickle. test_cache.py tests memcached."""
        caches: dict[str, t.Callable[[], cachelib.BaseCache]] = {
            "files": lambda: cachelib.FileSystemCache(f"{tmp_path}/cache", threshold=0),
            "redis": lambda: cachelib.RedisCache(redis_client(servers)),
            "simple": lambda: cachelib.SimpleCache(threshold=10**9),
        }
        cache = caches[kind]()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target = Target(CacheStore(cache), formatting)
        token, trap = target.token, tmp_path / "trap"
        key = f"buffalo-session:{storage_key(token)}"
        assert cache.set(key, Trap(trap), 3600)
        target.check_fresh(target.cookie, "corrupt", caplog)
        assert not trap.exists()
        cache.get(key)
        assert trap.exists()


def bombs(target: Target) -> t.Iterator[tuple[str, str]]:
    """Yield cookies that decompress to far more data, and why each is rejected."""
    reason = "corrupt" if target.store.stateless else "unknown"
    seal = target.seal
    bomb = zlib.compress(b"\x01" * 50_000_000, 9)
    now = base64_encode(int(time.time()).to_bytes(4, "big"))
    if isinstance(seal, SignedSeal):
        yield sealing.signed(SECRET, NAME, b"bz", bomb, now).decode(), "corrupt"
    elif isinstance(seal, EncryptedSeal):
        yield sealing.encrypted(SECRET, NAME, b"bz", bomb, now).decode(), reason
    else:
        small = zlib.compress(b"\x01" * 2_000_000, 9)
        claims = foreign_records(target.format)["more values than there are"]
        for data in (small, claims):
            yield seal.seal(data.decode("latin-1"), permanent=False), reason


class TestIds:
    """Send ids in signed cookies, to the stores that have ids."""

    @pytest.fixture
    def target(self, server_store: Store, formatting: Formatting) -> Target:
        return Target(server_store, formatting)

    def test_an_id_that_the_client_chose_is_never_used(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The id is signed and has the right form, but the store has no such session.

        The first write issues a new id and stores nothing under the client's id.
        """
        for token in (new_token(), "a" * 43, "A" * 16):
            before = keys_in(target.store)
            text = target.seal.seal(token, permanent=False)
            target.check_fresh(text, "unknown", caplog)
            assert target.store.inner.load(token) is None
            assert len(keys_in(target.store) - before) == 1
            for path in ("/clear", "/regenerate"):
                response = target.send(text, path)
                assert "Set-Cookie" not in response.headers
            assert len(keys_in(target.store) - before) == 1

    def test_a_malformed_id_is_unknown(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The id is signed. It must not reach a file or key outside the store."""
        folder = folder_of(target.store.inner)
        around = set(folder.parent.iterdir()) if folder else set()
        for token in ("../../x", "/etc/passwd", "a\0b", "a\nb", "x" * 300, "*"):
            before = keys_in(target.store)
            text = target.seal.seal(token, permanent=False)
            target.check_fresh(text, "unknown", caplog)
            assert target.store.inner.load(token) is None
            (new,) = keys_in(target.store) - before
            assert token not in new
        assert not folder or set(folder.parent.iterdir()) == around

    def test_an_ended_id_is_not_used_again(self, target: Target) -> None:
        """For a minute the ended id gives an empty session that sets no cookie.

        So a slow request cannot start a new session in its place.
        """
        assert "Max-Age=0" in target.send(target.cookie, "/clear").headers["Set-Cookie"]
        for path in ("/login", "/"):
            response = target.send(target.cookie, path)
            assert (response.status_code, "Set-Cookie" in response.headers) == (
                200,
                False,
            )
        assert target.values(target.cookie) == "{}"

    def test_a_stores_keys_are_hashes_of_ids(self, target: Target) -> None:
        """Somebody who reads the store cannot make a cookie from its keys."""
        token = target.token
        record = target.store.inner.load(token)
        assert record is not None
        assert token.encode() not in record
        keys = keys_in(target.store)
        assert not any(token in key for key in keys)
        if folder_of(target.store.inner) is None:
            assert any(storage_key(token) in key for key in keys)
        for key in (storage_key(token), f"buffalo-session:{storage_key(token)}"):
            text = target.seal.seal(key, permanent=False)
            assert target.values(text) == "{}"


def folder_of(store: t.Any) -> Path | None:
    """Return the folder of a store, or None if the store has no files."""
    name, servers = conftest.names.get(store, ("", None))
    if name in ("files", "cachelib-files"):
        return conftest.folder_of(name, servers)
    return None


NEW, OLD = "new" * 9, "old" * 9


class TestSecrets:
    def test_secrets_rotate(
        self, store: Store, formatting: Formatting, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An old cookie verifies as long as its secret is a fallback.

        New cookies are sealed with the new secret only. Without the fallback, the
        application rejects old cookies.
        """
        old = Target(store, formatting, OLD)
        both = Target(store, formatting, NEW, OLD)
        new = Target(store, formatting, NEW)
        assert both.values(old.cookie) == "{'user': 'ann'}"
        new.check_fresh(old.cookie, "bad-signature", caplog)
        written = both.text_in(both.send(old.cookie, "/regenerate"))
        for text in (written, both.cookie):
            assert new.values(text) == "{'user': 'ann'}"
            old.check_fresh(text, "bad-signature", caplog)

    @pytest.mark.parametrize("secret", ["short", "buffalo-secret", "super secret key"])
    def test_a_weak_secret_logs_one_warning(
        self,
        store: Store,
        formatting: Formatting,
        secret: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Log one warning without the secret. Debug and testing mode log nothing."""
        target = Target(store, formatting, secret)
        target.send(target.cookie)
        (record,) = logged(caplog, "can guess it and forge sessions")
        assert record.levelno == logging.WARNING
        caplog.clear()
        modes: list[dict[str, t.Any]] = [{"TESTING": True}, {"DEBUG": True}]
        for mode in modes:
            target = Target(store, formatting, secret, **mode)
            assert target.values(target.cookie) == "{'user': 'ann'}"
        assert caplog.records == []

    @pytest.mark.parametrize("empty", ["", b"", "\0", b"\0" * 64, None])
    def test_an_empty_key_of_a_format_is_an_error(self, empty: t.Any) -> None:
        """Reject it as the first or an older key, with or without a block key.

        For HMAC, a key of zero bytes equals an empty key.
        """
        for keys in (
            (empty, None),
            (empty, b"b" * 16),
            (NEW, None, empty),
            (NEW, b"b" * 16, empty, b"b" * 16),
        ):
            with pytest.raises(SessionConfigError):
                GorillaFormat(*keys)


class TestTheApplicationsSecret:
    """Check SESSION_SECRET and SECRET_KEY in the formats without their own keys."""

    @pytest.fixture(params=["signed", "encrypted", "gorilla"])
    def formatting(self, request: pytest.FixtureRequest) -> Formatting:
        return FORMATS[request.param]

    @pytest.mark.parametrize("key", ["SESSION_SECRET", "SECRET_KEY"])
    def test_invalid_fallback_secrets_are_an_error(
        self, formatting: Formatting, key: str
    ) -> None:
        """Reject a string in place of a list, and a list with an empty secret.

        The error names the setting and does not show its value.
        """
        for fallbacks in ("old-secret", b"old-secret", [""], [OLD, ""], [b""], [None]):
            config = {"SESSION_SECRET": None, key: NEW, f"{key}_FALLBACKS": fallbacks}
            with pytest.raises(SessionConfigError, match=f"{key}_FALLBACKS") as caught:
                make_app(**{**settings_of(formatting), **config})
            assert "old" not in str(caught.value)

    @pytest.mark.parametrize("key", ["SESSION_SECRET", "SECRET_KEY"])
    def test_a_secret_of_zero_bytes_is_an_error(
        self, formatting: Formatting, key: str
    ) -> None:
        """Reject it as secret and as fallback. For HMAC it equals an empty key."""
        for zeros in ("\0", b"\0" * 32):
            for config in ({key: zeros}, {key: NEW, f"{key}_FALLBACKS": [zeros]}):
                with pytest.raises(SessionConfigError, match="empty secret"):
                    make_app(
                        **{"SESSION_SECRET": None, **settings_of(formatting), **config}
                    )

    @pytest.mark.parametrize("secret", [None, "", b""])
    def test_an_empty_secret_never_signs(
        self,
        store: Store,
        formatting: Formatting,
        secret: str | bytes | None,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The session reads as empty, and the first write raises an error.

        The application does not ask the store, and it logs one warning.
        """
        counting = Counting(store)
        app = make_app(counting, **settings_of(formatting), SESSION_SECRET=secret)
        errors: list[Exception] = []

        @app.get("/")
        def show() -> str:
            return repr(dict(session))

        @app.get("/login")
        def login() -> str:
            session["user"] = "ann"
            return "ok"

        @app.errorhandler(SessionSecretError)
        def no_secret(error: Exception) -> tuple[str, int]:
            errors.append(error)
            return "no secret", 503

        client = app.test_client(use_cookies=False)
        signed = Target(store, formatting).cookie
        for text in (signed, sealed_with_empty_secret(formatting, monkeypatch)):
            response = client.get("/", headers={"Cookie": f"{NAME}={text}"})
            assert (response.status_code, response.text) == (200, "{}")
            response = client.get("/login", headers={"Cookie": f"{NAME}={text}"})
            assert (response.status_code, response.text) == (503, "no secret")
            assert "Set-Cookie" not in response.headers
        assert counting.calls == []
        assert len(errors) == 2
        (record,) = logged(caplog, "sessions are not protected")
        assert record.levelno == logging.WARNING


def logged(caplog: pytest.LogCaptureFixture, words: str) -> list[logging.LogRecord]:
    """Return the log records whose message contains these words."""
    return [record for record in caplog.records if words in record.getMessage()]


def settings_of(formatting: Formatting) -> dict[str, t.Any]:
    """Return the settings that choose a format, without the secrets."""
    chosen = formatting.settings(NEW)
    return {key: chosen[key] for key in ("SESSION_FORMAT", "SESSION_ENCRYPT")}


def sealed_with_empty_secret(
    formatting: Formatting, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Return a cookie sealed with an empty key, which the seals normally reject."""
    with monkeypatch.context() as allowing:
        for place in ("seal", "gorilla.securecookie"):
            name = f"flask_buffalo_session.{place}.require_secrets"
            allowing.setattr(name, lambda secrets: None)
        token = record_of(formatting.make().codec).decode("latin-1")
        return formatting.seal("").seal(token, permanent=False)
