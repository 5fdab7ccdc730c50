"""Cookies from outside: whatever a client sends is a session of its own or a
fresh one, with one logged reason, never an error and never a look-up.
"""

from __future__ import annotations

import base64
import logging
import pickle
import secrets
import typing as t
import zlib
from pathlib import Path

import pytest
from conftest import SECRET, Counting, make_app
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer

from flask_buffalo_session import CookieStore, MemoryStore, Store, session
from flask_buffalo_session.seal import EncryptedSeal, SignedSeal
from flask_buffalo_session.stores.base import storage_key

NAME = "_buffalo_session"


class Shop:
    """An application, and a client with a session of one name in it."""

    def __init__(self, store: Store, *, encrypt: bool) -> None:
        self.store = Counting(store)
        self.app = make_app(self.store, SESSION_ENCRYPT=encrypt)
        self.seal = (EncryptedSeal if encrypt else SignedSeal)([SECRET.encode()], NAME)

        @self.app.route("/", methods=["GET", "POST"])
        def show() -> str:
            return repr(dict(session))

        @self.app.get("/login")
        def login() -> str:
            session["user"] = "ann"
            return "ok"

        client = self.app.test_client()
        client.get("/login")
        cookie = client.get_cookie(NAME)
        assert cookie is not None
        self.cookie = cookie.value
        self.store.calls.clear()

    def ask(self, header: str, path: str = "/") -> t.Any:
        client: FlaskClient = self.app.test_client(use_cookies=False)
        return client.get(path, headers={"Cookie": header.encode().decode("latin-1")})

    def check_fresh(self, text: str, reason: str, caplog: t.Any) -> None:
        """A fresh session, one line in the log, no look-up, no cookie."""
        caplog.clear()
        self.store.calls.clear()
        with caplog.at_level(logging.INFO):
            response = self.ask(f"{NAME}={text}")
        assert (response.status_code, response.text) == (200, "{}")
        assert "Set-Cookie" not in response.headers
        assert [record.getMessage() for record in caplog.records] == [
            f"A session was rejected: {reason}."
        ]
        warned = reason in ("bad-signature", "corrupt")
        assert caplog.records[0].levelno == (
            logging.WARNING if warned else logging.INFO
        )
        if not self.store.stateless or reason == "bad-signature":
            assert self.store.calls == []


@pytest.fixture
def shop(store: Store, encrypt: bool) -> Shop:
    return Shop(store, encrypt=encrypt)


def changed_texts(good: str) -> dict[str, str]:
    """What attackers and broken clients make of a good cookie."""
    foreign = URLSafeTimedSerializer(SECRET, salt="cookie-session")
    return {
        "flipped at the start": chr(ord(good[0]) ^ 1) + good[1:],
        "flipped in the middle": good[:20] + chr(ord(good[20]) ^ 1) + good[21:],
        "truncated": good[:-5],
        "truncated to half": good[: len(good) // 2],
        "doubled": good + good,
        "doubled with a dot": f"{good}.{good}",
        "of 200 KB": "A" * 200_000,
        "of 200 KB of dots": "." * 200_000,
        "good with 200 KB behind": good + "A" * 200_000,
        "empty": "",
        "one dot": ".",
        "not ASCII": "gr\u00fc\u00dfe\U0001f403",
        "Flask's own": str(foreign.dumps({"user": "admin"})),
        "a pickle": base64.urlsafe_b64encode(pickle.dumps({"user": "x"})).decode(),
        "plain JSON": base64.urlsafe_b64encode(b'{"user":"admin"}').decode(),
        "with another secret": SignedSeal([b"other" * 9], NAME).seal(
            "x", permanent=False
        ),
        "of another cookie": SignedSeal([SECRET.encode()], "other").seal(
            "x", permanent=False
        ),
        "encrypted with another secret": EncryptedSeal([b"other" * 9], NAME).seal(
            "x", permanent=False
        ),
        "of another encrypted cookie": EncryptedSeal([SECRET.encode()], "other").seal(
            "x", permanent=False
        ),
    }


def test_a_cookie_that_does_not_verify_is_a_fresh_session(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """Each way to change one: no look-up in the store for any of them."""
    for text in changed_texts(shop.cookie).values():
        shop.check_fresh(text, "bad-signature", caplog)
    assert shop.ask(f"{NAME}={shop.cookie}").text == "{'user': 'ann'}"


def test_every_single_changed_character_is_noticed(shop: Shop) -> None:
    """No character of the text is without effect."""
    for place, character in enumerate(shop.cookie):
        for other in ("A", "b", "_", "."):
            if other != character:
                text = shop.cookie[:place] + other + shop.cookie[place + 1 :]
                assert shop.ask(f"{NAME}={text}").text == "{}", (place, other)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=300))
@example("\x00")
@example('"')
@example("a=b; c")
def test_any_text_is_answered(shop: Shop, text: str) -> None:
    """Never a 500, whatever is in the header."""
    clean = text.replace("\r", "").replace("\n", "").encode("utf-8", "replace").decode()
    for header in (f"{NAME}={clean}", clean, f"{clean}; {NAME}={shop.cookie}"):
        assert shop.ask(header).status_code == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token=st.text(st.characters(max_codepoint=255), max_size=200))
@example("")
@example("../../etc/passwd")
@example("a\0b")
@example("x" * 300)
@example("\x01")
@example("\x01\x00\x00\x00\x00")
def test_any_token_with_a_good_seal_is_answered(shop: Shop, token: str) -> None:
    """Signed lists, numbers, garbage, paths, unknown versions: a fresh session
    that does not adopt what it was sent.
    """
    text = shop.seal.seal(token, permanent=False)
    assert shop.ask(f"{NAME}={text}").text == "{}"
    response = shop.ask(f"{NAME}={text}", "/login")
    assert response.status_code == 200
    issued = response.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    assert issued != text
    if not shop.store.stateless:
        assert shop.store.load(token) is None


def test_a_small_cookie_does_not_fill_the_memory(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """50 MB in a signed cookie of 50 KB: not inflated beyond the cap."""
    import tracemalloc

    shop = Shop(store, encrypt=False)
    bomb = zlib.compress(b"\x01" * 50_000_000, 9)
    seal = t.cast(SignedSeal, shop.seal)
    payload = base64.urlsafe_b64encode(bomb).rstrip(b"=")
    text = seal._signer.sign(b"bz" + payload).decode()
    tracemalloc.start()
    shop.check_fresh(text, "corrupt", caplog)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000


def test_a_signed_cookie_is_not_read_where_encryption_is_on(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """No weaker decoder is tried; nor the other way round."""
    for encrypt in (True, False):
        shop = Shop(store, encrypt=encrypt)
        other = Shop(store, encrypt=not encrypt)
        shop.check_fresh(other.cookie, "bad-signature", caplog)


class Bomb:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> t.Any:
        return Path.touch, (self.path,)


def test_a_pickle_is_never_loaded(store: Store, encrypt: bool, tmp_path: Path) -> None:
    """In the cookie, sealed or not, and in a store's record."""
    mark = tmp_path / "pwned"
    data = pickle.dumps(Bomb(mark))
    shop = Shop(store, encrypt=encrypt)
    token = shop.store.save(None, data, expected=None, max_age=3600)
    for text in (
        shop.seal.seal(token, permanent=False),
        shop.seal.seal(data.decode("latin-1"), permanent=False),
        base64.urlsafe_b64encode(data).decode(),
    ):
        assert shop.ask(f"{NAME}={text}").text == "{}"
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists()


def test_of_several_cookies_the_first_that_verifies_counts(shop: Shop) -> None:
    """Bad then good, good then bad, forged prefixes around."""
    good, bad = f"{NAME}={shop.cookie}", f"{NAME}=bad"
    for header in (
        f"{bad}; {good}",
        f"{good}; {bad}",
        f"{bad}; {bad}; {good}; {bad}",
        f"=__Host-{NAME}=bad; {good}",
        f"x{NAME}=bad; {good}",
        f"={NAME}=bad;{good}",
    ):
        assert shop.ask(header).text == "{'user': 'ann'}", header


def test_a_forged_host_prefix_is_not_taken_for_the_cookie() -> None:
    """A nameless cookie whose value looks like one (CVE-2023-23934)."""
    name = "__Host-session"
    app = make_app(SESSION_NAME=name, SESSION_COOKIE_SECURE=True)

    @app.get("/")
    def show() -> str:
        session.setdefault("user", "ann")
        return repr(session.new)

    client = app.test_client(use_cookies=False)
    cookie = client.get("/").headers["Set-Cookie"].partition(";")[0]
    assert cookie.startswith(f"{name}=")
    assert client.get("/", headers={"Cookie": cookie}).text == "False"
    assert client.get("/", headers={"Cookie": f"={cookie}"}).text == "True"


def test_an_id_is_taken_from_the_cookie_alone(server_store: Store) -> None:
    """Query, form and headers are ignored (session exchange)."""
    shop = Shop(server_store, encrypt=False)
    response = shop.app.test_client(use_cookies=False).post(
        f"/?{NAME}={shop.cookie}",
        data={NAME: shop.cookie},
        headers={NAME: shop.cookie, "X-Session-Id": shop.cookie},
    )
    assert response.text == "{}"


def test_logs_name_neither_ids_nor_cookies_nor_values(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """At any level, for any event."""
    with caplog.at_level(logging.DEBUG):
        shop.ask(f"{NAME}={shop.cookie}")
        shop.ask(f"{NAME}={shop.cookie}x")
        token = secrets.token_urlsafe(32)
        unknown = shop.seal.seal(token, permanent=False)
        shop.ask(f"{NAME}={unknown}")
    assert caplog.records
    for secret in (shop.cookie, token, unknown, "ann", SECRET):
        assert secret not in caplog.text
    if not shop.store.stateless:
        assert storage_key(token)[:16] in caplog.text


@pytest.mark.parametrize("encrypt", [False, True])
def test_a_broken_random_source_fails_the_request(
    server_store: Store, encrypt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No weak id is made."""
    shop = Shop(server_store, encrypt=encrypt)

    def broken(*_: object) -> bytes:
        raise OSError("no entropy")

    monkeypatch.setattr("os.urandom", broken)
    monkeypatch.setattr("secrets.token_urlsafe", broken)
    response = shop.ask("", "/login")
    assert response.status_code == 500
    assert "Set-Cookie" not in response.headers


def test_signatures_are_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every candidate secret goes through :func:`hmac.compare_digest`."""
    import hmac

    compared: list[bytes] = []
    compare = hmac.compare_digest

    def spy(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return compare(a, b)

    seal = SignedSeal([b"new" * 9, b"old" * 9], NAME)
    text = SignedSeal([b"old" * 9], NAME).seal("x", permanent=False)
    monkeypatch.setattr("hmac.compare_digest", spy)
    assert seal.unseal(text, max_age=60).token == "x"
    assert len(compared) == 2


def test_sessions_of_another_application_do_not_verify() -> None:
    """The same name with another secret."""
    one, other = Flask("one"), Flask("other")
    for app, secret in ((one, "one" * 9), (other, "other" * 9)):
        app.config.update(SESSION_SECRET=secret, SESSION_STORE=CookieStore())
    assert MemoryStore() is not MemoryStore()
    from flask_buffalo_session import BuffaloSession

    texts: list[str] = []
    for app in (one, other):
        BuffaloSession(app)

        @app.get("/")
        def view() -> str:
            found = repr(dict(session))
            session["a"] = 1
            return found

        client = app.test_client(use_cookies=False)
        header = {"Cookie": texts[0]} if texts else {}
        response = client.get("/", headers=header)
        assert response.text == "{}"
        texts.append(response.headers["Set-Cookie"].partition(";")[0])
