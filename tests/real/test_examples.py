"""Run the examples and check what they claim."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import SECRET
from tests.support.servers import RedisServer, Servers, free_port

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Flask:
    """Return the application of a single-file example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app: Flask = module.app
    return app


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_SECRET", SECRET)


def test_hello() -> None:
    """The example logs in and shows a flash message once."""
    assert len((EXAMPLES / "hello.py").read_text().splitlines()) <= 20
    client = example("hello").test_client()
    assert client.get("/").json == {"flash": None, "user": None}
    client.get("/login/ann")
    assert client.get("/").json == {"flash": "Welcome, ann!", "user": "ann"}
    assert client.get("/").json == {"flash": None, "user": "ann"}


def test_api() -> None:
    """The page counts visits. The API has no session, no cookie and no ``Vary``."""
    client = example("api").test_client()
    client.get("/")
    assert "Visit 2" in client.get("/").text
    response = client.get("/api/status")
    assert response.json == {"status": "ok", "visits": 0}
    assert "Vary" not in response.headers
    assert "Set-Cookie" not in response.headers


def test_cart() -> None:
    """The cart outlives the logout, and the browser keeps its cookie."""
    client = example("cart").test_client()
    client.post("/login/ann")
    assert "Expires=" in client.post("/add/tea").headers["Set-Cookie"]
    page = client.post("/add/tea", follow_redirects=True).text
    assert "You are ann." in page
    assert "tea: 2" in page
    page = client.post("/logout", follow_redirects=True).text
    assert "You are not logged in." in page
    assert "tea: 2" in page


def test_login() -> None:
    """A wrong password is refused, and a logout elsewhere ends the other session."""
    app = example("login")
    here, phone = app.test_client(), app.test_client()
    assert here.get("/").location.startswith("/login")
    wrong = here.post("/login", data={"name": "ann", "password": "wrong"})
    assert "Wrong name or password." in wrong.text
    unknown = here.post("/login", data={"name": "eve", "password": "open sesame"})
    assert "Wrong name or password." in unknown.text
    for client in (here, phone):
        client.post("/login", data={"name": "ann", "password": "open sesame"})
    page = here.get("/").text
    assert "You are ann" in page
    assert page.count("this browser") == page.count("another browser") == 1
    page = here.post("/logout-elsewhere", follow_redirects=True).text
    assert "Logged out elsewhere: 1." in page
    assert "another browser" not in page
    assert phone.get("/").location.startswith("/login")
    assert here.post("/logout").location == "/login"
    assert here.get_cookie("_buffalo_session") is None
    assert here.get("/").location.startswith("/login")


def test_every_example_is_documented_with_a_command_that_exists() -> None:
    """The page lists each example, and make knows each command."""
    page = (EXAMPLES.parent / "docs/howto/examples.md").read_text()
    files = set(re.findall(r"/main/examples/(\w+)", page))
    assert files == {
        path.stem for path in EXAMPLES.iterdir() if path.stem != "__pycache__"
    }
    targets = re.findall(r"`make ([\w-]+)", page)
    assert len(targets) >= len(files)
    for target in targets:
        # A dry run fails for an unknown target.
        command = ["make", "--dry-run", target]
        assert subprocess.run(command, cwd=EXAMPLES.parent, check=False).returncode == 0


@pytest.fixture(params=["cookie", "memory:", "sqlite", "redis"])
def setting(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sessions.db"
    if request.param == "redis":
        return servers.shared(RedisServer).url
    return str(request.param)


@pytest.fixture
def shop(setting: str, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.syspath_prepend(EXAMPLES.parent)
    from examples.shop.app import create_app

    return create_app(setting).test_client()


def panel(client: FlaskClient) -> dict[str, str]:
    """Return the page's panel about the session and the previous request."""
    rows = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", client.get("/").text)
    return {re.sub("<.*?>", "", k): re.sub("<.*?>", "", v) for k, v in rows}


class TestShop:
    def test_from_login_to_logout(self, shop: FlaskClient) -> None:
        """The cart survives the login, and the page shows each flash message once."""
        shop.post("/cart/bell")
        shop.post("/cart/bell")
        response = shop.post("/login", data={"name": "Ann"}, follow_redirects=True)
        assert "Welcome, Ann!" in response.text
        page = shop.get("/").text
        assert "Welcome, Ann!" not in page
        assert 'id="count-bell">2<' in page
        shop.post("/cart/bell", data={"change": "less"})
        assert 'id="count-bell">1<' in shop.get("/").text
        response = shop.post("/logout", follow_redirects=True)
        assert "Goodbye" in response.text
        page = shop.get("/").text
        assert "Goodbye" not in page
        assert "count-bell" not in page
        assert 'id="user"' not in page

    @pytest.mark.parametrize("name", ["cart", "saved", "user_id", "flash", "_flash_"])
    def test_no_session_name_locks_the_user_out(
        self, shop: FlaskClient, name: str
    ) -> None:
        """The shop still works after a user sets any name in the session."""
        data = {"name": name, "value": "<b>x</b>"}
        for path in ("/session/set", "/session/save", "/cart/bell"):
            assert shop.post(path, data=data).status_code == 303
            response = shop.get("/")
            assert response.status_code == 200
            assert "<b>" not in response.text

    def test_the_panel_shows_what_the_last_request_cost(
        self, shop: FlaskClient, setting: str
    ) -> None:
        """A read costs a load and a change costs a save.

        A cookie is set only when it is due.
        """
        shop.post("/cart/hay")
        shown = panel(shop)
        assert shown["request"] == "POST /cart/hay"
        assert shown["saved"] == "yes"
        in_cookie = "none: the cookie holds the session"
        assert shown["store calls"] == (in_cookie if setting == "cookie" else "save")
        assert shown["cookie set"].endswith("bytes")
        assert shown["cart"] == "{&#39;hay&#39;: {&#39;count&#39;: 1}}"
        assert (shown["id"] == "none") == (setting == "cookie")
        panel(shop)
        shown = panel(shop)
        assert shown["request"] == "GET /"
        assert shown["store calls"] == (in_cookie if setting == "cookie" else "load")
        assert shown["saved"] == "no"
        assert shown["cookie set"] == "no"

    def test_the_panel_shows_requests_of_this_browser_alone(
        self, shop: FlaskClient
    ) -> None:
        """The panel does not show the requests of another browser."""
        shop.post("/cart/hay")
        shop.application.test_client().post("/cart/bell")
        assert panel(shop)["request"] == "POST /cart/hay"

    def test_the_page_for_an_error_shows_the_login(
        self, shop: FlaskClient, setting: str
    ) -> None:
        """The user is still logged in, and the error page shows it."""
        shop.post("/login", data={"name": "Ben"})
        response = shop.post("/too-large", follow_redirects=True)
        assert response.status_code == (413 if setting == "cookie" else 200)
        assert '<span id="user">Ben</span>' in response.text

    def test_the_owners_name_is_explained(
        self, shop: FlaskClient, setting: str
    ) -> None:
        """The page explains ``_owner_`` if the session contains it."""
        shop.post("/login", data={"name": "Ben"})
        page = shop.get("/").text
        assert ("session.authenticate(owner=name)" in page) == (setting != "cookie")

    def test_the_methods(self, shop: FlaskClient) -> None:
        """Each button does what its name says."""

        def use(action: str, **data: str) -> str:
            response = shop.post(f"/session/{action}", data=data, follow_redirects=True)
            flash = re.search(r'id="flash".*?>(.*?)<', response.text)
            assert flash is not None
            return flash[1].replace("&#39;", "'")

        use("set", name="a", value="1")
        assert use("get", name="a") == "get('a') gave '1'"
        assert use("get_once", name="a") == "get_once('a') gave '1'"
        assert use("get", name="a") == "get('a') gave None"
        use("set", name="b", value="2")
        before = panel(shop)
        use("regenerate")
        after = panel(shop)
        assert after["b"] == "&#39;2&#39;"
        assert before["id"] == after["id"] == "none" or before["id"] != after["id"]
        use("delete", name="b")
        assert "b" not in panel(shop)
        assert use("save").startswith("save()")
        assert panel(shop)["saved"] in ("yes", "no")
        assert use("clear").startswith("clear()")
        assert "saved()" not in panel(shop)

    def test_the_sessions_of_a_user_are_listed_and_ended(
        self, shop: FlaskClient, setting: str
    ) -> None:
        """A store with an index lists the user's sessions, and a button ends the
        others.
        """
        phone = shop.application.test_client()
        for client in (shop, phone):
            client.post("/login", data={"name": "Ann"})
        page = shop.get("/").text
        if setting == "cookie":
            assert "Where you are logged in" not in page
            return
        assert page.count("last used") == page.count("<small>logged in") == 2
        assert page.count("<strong>this device</strong>") == 1
        response = shop.post("/logout-elsewhere", follow_redirects=True)
        assert "Logged out elsewhere: 1." in response.text
        assert response.text.count("last used") == 1
        assert 'id="user"' in shop.get("/").text
        assert 'id="user"' not in phone.get("/").text

    def test_a_user_ends_only_their_own_sessions(
        self, shop: FlaskClient, setting: str
    ) -> None:
        """A button's id may be replaced by that of another user's session."""
        other = shop.application.test_client()
        for client in (other, shop):
            # A name of its own: a server keeps the sessions of other tests.
            client.post("/login", data={"name": f"user {time.monotonic_ns()}"})
        ids = []
        for client in (other, shop):
            ids += re.findall(r'name="id" value="(.*?)"', client.get("/").text)
        assert len(ids) == (0 if setting == "cookie" else 2)
        for chosen in ids:
            shop.post("/logout-there", data={"id": chosen})
        assert 'id="user"' in other.get("/").text
        assert ('id="user"' in shop.get("/").text) == (setting == "cookie")

    def test_a_login_without_a_date_is_listed(self, shop: FlaskClient) -> None:
        """Deleting the name of the user is a logout. The owner stays."""
        shop.post("/login", data={"name": "Cleo"})
        shop.post("/session/delete", data={"name": "user_id"})
        assert shop.get("/").status_code == 200

    def test_too_large(self, shop: FlaskClient, setting: str) -> None:
        """A session too large for a cookie gives an error page and loses nothing.

        A server-side store keeps it.
        """
        shop.post("/cart/salt")
        response = shop.post("/too-large")
        if setting == "cookie":
            assert response.status_code == 413
            assert "_buffalo_session=" not in str(response.headers)
            assert "too_large" in response.text
            assert "4,093" in response.text
        else:
            assert response.status_code == 303
        assert 'id="count-salt">1<' in shop.get("/").text


def test_no_password_is_shown() -> None:
    """The page names the store without the password in its URL."""
    sys.path.insert(0, str(EXAMPLES.parent))
    from examples.shop.app import redacted

    assert redacted("redis://:secret@localhost/0") == "redis://…@localhost/0"
    assert redacted("sqlite:///x.db") == "sqlite:///x.db"


def test_a_store_that_does_not_exist_is_a_message() -> None:
    """The demo ends with a message, not with a traceback."""
    result = subprocess.run(
        [sys.executable, "-m", "examples.shop"],
        cwd=EXAMPLES.parent,
        env={"SESSION_STORE": "nonsense:", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == "SESSION_STORE: no such kind of store\n"


def test_the_demo_starts_without_a_warning() -> None:
    """The demo serves one machine, so it needs no Secure cookie."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "examples.shop"],
        cwd=EXAMPLES.parent,
        env={**os.environ, "PORT": str(port), "SESSION_STORE": "cookie"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            for _ in range(100):
                try:
                    urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                except OSError:
                    time.sleep(0.1)
                else:
                    break
        finally:
            process.terminate()
        _, log = process.communicate()
    assert "GET / HTTP/1.1" in log
    assert "SESSION_COOKIE_SECURE" not in log


def test_gunicorn(servers: Servers) -> None:
    """Four workers on one Redis server lose no concurrent write."""
    port = free_port()
    environ = {
        **os.environ,
        "PORT": str(port),
        "SESSION_STORE": servers.shared(RedisServer).url,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "app:app"],
        cwd=EXAMPLES / "gunicorn",
        env=environ,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            cookie = first_cookie(f"{address}/visit/first", process)

            def visit(number: int) -> int:
                request = Request(f"{address}/visit/{number}", b"", {"Cookie": cookie})
                with urlopen(request, timeout=10) as response:
                    return int(json.load(response)["worker"])

            with ThreadPoolExecutor(16) as pool:
                served_by = set(pool.map(visit, range(200)))
            with urlopen(Request(address, headers={"Cookie": cookie})) as response:
                visits = json.load(response)
        finally:
            process.terminate()
    assert visits == {"first": 1, **{str(number): 1 for number in range(200)}}
    assert len(served_by) > 1


def first_cookie(address: str, process: subprocess.Popen[bytes]) -> str:
    """Wait for the server, and return the first cookie that it sets."""
    end = time.monotonic() + 30
    while True:
        try:
            with urlopen(Request(address, b"")) as response:
                return str(response.headers["Set-Cookie"]).partition(";")[0]
        except URLError:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
