"""Cookies from outside: whatever a client sends is a session of its own or a fresh
one, with one logged reason, never an error and never a look-up that was forged.

Over every store and every format. What the formats do by themselves is in
test_seal.py, test_codec.py, test_gorilla_seal.py and test_gorilla_codec.py.
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
    """What attackers and broken clients make of a good cookie.

    :param token: what the good one carries.
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


class TestNotSignedHere:
    def test_a_changed_cookie_is_a_fresh_session(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Flipped, cut off, doubled, 200 KB, empty, not ASCII, or signed by another
        secret, name, salt or application: no look-up in the store.
        """
        texts = changed_texts(target.cookie, target.token)
        for kind, text in texts.items():
            target.check_fresh(text, "bad-signature", caplog, kind)
        assert target.values(target.cookie) == "{'user': 'ann'}"

    def test_every_changed_character_is_noticed(self, target: Target) -> None:
        """There is none without effect."""
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
    def test_any_header_is_answered(self, target: Target, text: str) -> None:
        """Never a 500, whatever is in it."""
        clean = text.replace("\r", "").replace("\n", "")
        clean = clean.encode("utf-8", "replace").decode()
        for header in (f"{NAME}={clean}", clean, f"{clean}; {NAME}={target.cookie}"):
            assert target.ask(header).status_code == 200

    def test_another_cookies_value_is_a_fresh_session(
        self,
        store: Store,
        formatting: Formatting,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The secret, the store and the format being the same."""
        one = Target(store, formatting, name="one")
        other = Target(store, formatting, name="one_")
        other.check_fresh(one.cookie, "bad-signature", caplog)
        one.check_fresh(other.cookie, "bad-signature", caplog)

    def test_another_applications_value_is_a_fresh_session(
        self,
        store: Store,
        formatting: Formatting,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Which has another secret, though the name and the store are the same."""
        one, other = Target(store, formatting), Target(store, formatting, OTHER)
        one.check_fresh(other.cookie, "bad-signature", caplog)
        other.check_fresh(one.cookie, "bad-signature", caplog)

    def test_no_weaker_way_to_read_is_tried(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What is not protected at all, what is only signed where encryption is on,
        and the other way round, with the same secret and name.
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
    def test_gorillas_mac_alone_is_not_enough_where_values_are_encrypted(
        self, store: Store, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is over the encrypted value, so it fits a value that is not encrypted
        too; what is in there is not taken for a session.
        """
        (other,) = {"gorilla", "gorilla-encrypted"} - {kind}
        target, weaker = Target(store, FORMATS[kind]), Target(store, FORMATS[other])
        reason = "corrupt" if target.store.stateless else "unknown"
        target.check_fresh(weaker.cookie, reason, caplog)

    def test_the_first_cookie_that_verifies_counts(self, target: Target) -> None:
        """Bad then good, good then bad, forged prefixes around."""
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
        """A header full of cookies must not keep the server busy."""
        bad, good = [f"{NAME}=bad"], f"{NAME}={target.cookie}"
        others = ["other=1"] * 20
        assert target.ask("; ".join([*others, *bad * 7, good])).text != "{}"
        assert target.ask("; ".join([*others, *bad * 8, good])).text == "{}"

    def test_a_forged_host_prefix_is_not_taken_for_the_cookie(
        self, store: Store, formatting: Formatting
    ) -> None:
        """A nameless cookie whose value looks like one."""
        target = Target(
            store, formatting, name="__Host-session", SESSION_COOKIE_SECURE=True
        )
        assert target.values(target.cookie) == "{'user': 'ann'}"
        assert target.ask(f"=__Host-session={target.cookie}").text == "{}"
        assert target.ask(f"__Host-session ={target.cookie}x").text == "{}"
        assert target.ask(f"session={target.cookie}").text == "{}"

    def test_a_session_is_taken_from_the_cookie_alone(self, target: Target) -> None:
        """Query, form and headers are ignored."""
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
        """With each secret. Encrypted cookies have a tag instead, which is compared
        inside of cryptography.
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


class TestSignedHere:
    """Correctly signed, as only who has the secret could, or a bug."""

    def test_what_is_no_session_is_a_fresh_one(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A list, an int, garbage, an unknown version, another format's."""
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
    def test_any_token_is_a_fresh_session(self, target: Target, token: str) -> None:
        """Which does not adopt what it was sent."""
        text = target.seal.seal(token, permanent=False)
        assert target.values(text) == "{}"
        if token != "\x00retired" or not target.store.stateless:
            assert target.text_in(target.send(text, "/login")) != text
        if not target.store.stateless:
            assert target.store.inner.load(token) is None

    def test_a_small_cookie_does_not_fill_the_memory(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """50 MB in a signed cookie of 50 KB are not inflated beyond the cap, in an
        encrypted one not at all; a gorilla cookie may claim to hold gigabytes.
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
        """In the cookie, sealed or not, and in a store's record."""
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
        """Put there by cachelib itself, which pickles what it is given. What is
        particular to memcached is in test_cache.py.
        """
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
    """The id in a cookie, on the stores that have ids."""

    @pytest.fixture
    def target(self, server_store: Store, formatting: Formatting) -> Target:
        return Target(server_store, formatting)

    def test_an_id_of_the_clients_choosing_is_never_adopted(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Signed, and as good as those that are issued here: the first write issues
        another, and nothing is under the one that was sent.
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

    def test_an_id_that_is_malformed_is_unknown(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Though it was signed; it reaches nothing outside the store."""
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

    def test_an_id_that_ended_is_not_adopted(self, target: Target) -> None:
        """For a minute it is an empty session that sets no cookie, so that a slow
        request starts none in its place.
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
        """Who reads the store can make no cookie of what is in it."""
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
    """Where a store's files are, if it has some."""
    name, servers = conftest.names.get(store, ("", None))
    if name in ("files", "cachelib-files"):
        return conftest.folder_of(name, servers)
    return None


NEW, OLD = "new" * 9, "old" * 9


class TestSecrets:
    def test_secrets_rotate(
        self, store: Store, formatting: Formatting, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Old cookies read while the old secret is a fallback; what is written
        verifies with the new one alone; once the old one is dropped, its cookies are
        rejected.
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
    def test_a_weak_secret_is_warned_about_once(
        self,
        store: Store,
        formatting: Formatting,
        secret: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Outside debug and testing mode, without showing it."""
        target = Target(store, formatting, secret)
        target.send(target.cookie)
        (record,) = told(caplog, "can guess it and forge sessions")
        assert record.levelno == logging.WARNING
        caplog.clear()
        modes: list[dict[str, t.Any]] = [{"TESTING": True}, {"DEBUG": True}]
        for mode in modes:
            target = Target(store, formatting, secret, **mode)
            assert target.values(target.cookie) == "{'user': 'ann'}"
        assert caplog.records == []

    @pytest.mark.parametrize("empty", ["", b"", "\0", b"\0" * 64, None])
    def test_a_formats_own_key_that_is_empty_is_an_error(self, empty: t.Any) -> None:
        """The first or an older one, with a block key or without. HMAC takes zero
        bytes for no key at all.
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
    """In the formats that use it, having no keys of their own."""

    @pytest.fixture(params=["signed", "encrypted", "gorilla"])
    def formatting(self, request: pytest.FixtureRequest) -> Formatting:
        return FORMATS[request.param]

    @pytest.mark.parametrize("key", ["SESSION_SECRET", "SECRET_KEY"])
    def test_fallbacks_that_are_none_are_an_error(
        self, formatting: Formatting, key: str
    ) -> None:
        """One string is not a list of letters, and an empty secret protects nothing.
        The setting is named and its value is not shown.
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
        """In force or as a fallback: to HMAC it is the empty key."""
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
        """The session reads as empty, whatever is sent, and the first write raises;
        the store is not asked. One warning.
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
        for text in (signed, signed_with_nothing(formatting, monkeypatch)):
            response = client.get("/", headers={"Cookie": f"{NAME}={text}"})
            assert (response.status_code, response.text) == (200, "{}")
            response = client.get("/login", headers={"Cookie": f"{NAME}={text}"})
            assert (response.status_code, response.text) == (503, "no secret")
            assert "Set-Cookie" not in response.headers
        assert counting.calls == []
        assert len(errors) == 2
        (record,) = told(caplog, "sessions are not protected")
        assert record.levelno == logging.WARNING


def told(caplog: pytest.LogCaptureFixture, words: str) -> list[logging.LogRecord]:
    """The lines of the log that say so. What else is unsafe stands beside it."""
    return [record for record in caplog.records if words in record.getMessage()]


def settings_of(formatting: Formatting) -> dict[str, t.Any]:
    """What chooses a format, without secrets."""
    chosen = formatting.settings(NEW)
    return {key: chosen[key] for key in ("SESSION_FORMAT", "SESSION_ENCRYPT")}


def signed_with_nothing(formatting: Formatting, monkeypatch: pytest.MonkeyPatch) -> str:
    """A cookie as the empty key would make it, were it not refused."""
    with monkeypatch.context() as allowing:
        for place in ("seal", "gorilla.securecookie"):
            name = f"flask_buffalo_session.{place}.require_secrets"
            allowing.setattr(name, lambda secrets: None)
        token = record_of(formatting.make().codec).decode("latin-1")
        return formatting.seal("").seal(token, permanent=False)
