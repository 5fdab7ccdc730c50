"""Use a Flask and a Go application at one address, with one browser."""

from __future__ import annotations

import collections.abc as c
import http.cookiejar
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.support import gopeer
from tests.support.servers import free_port

ROOT = Path(__file__).parents[2]


class Browser:
    """A client that follows redirects and keeps cookies."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.jar)
        )

    def get(self, path: str) -> str:
        with self.opener.open(self.address + path, timeout=10) as response:
            return str(response.read().decode())

    def post(self, path: str, **fields: str) -> str:
        data = urllib.parse.urlencode(fields).encode()
        with self.opener.open(self.address + path, data, timeout=10) as response:
            return str(response.read().decode())


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> c.Iterator[str]:
    """Start the demo as ``make demo-buffalo`` does, and return its address."""
    gopeer.require_go()
    address = f"http://127.0.0.1:{(port := free_port())}"
    environ = {
        **os.environ,
        "PORT": str(port),
        "GOCACHE": str(tmp_path_factory.mktemp("go")),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "examples.with_buffalo"],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_for(address + "/account", process)
            yield address
        finally:
            process.terminate()
            process.wait(10)


def wait_for(address: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.1)
        else:
            return


@pytest.fixture
def browser(address: str) -> Browser:
    return Browser(address)


def user(page: str) -> str | None:
    found = re.search(r'id="user">(.*?)<', page)
    return found and found[1]


def flashes(page: str) -> list[str]:
    return re.findall(r'id="flash">(.*?)<', page)


def test_one_login_for_both(browser: Browser) -> None:
    """A login on Go counts on Flask, and a logout on Go counts on both."""
    page = browser.post("/login", name="Ann")
    assert "served by Flask" in page
    assert user(page) == "Ann"
    assert flashes(page) == ["Welcome, Ann, says Go."]
    assert flashes(browser.get("/")) == []
    page = browser.get("/account")
    assert "served by Go" in page
    assert user(page) == "Ann"
    page = browser.post("/logout")
    assert user(page) is None
    assert flashes(page) == ["Goodbye, says Go."]
    assert user(browser.get("/account")) == "nobody"


def test_a_cart_that_flask_changes_is_seen_on_go(browser: Browser) -> None:
    """Flask edits a dict in place, and Go reads a map."""
    browser.post("/login", name="Ann")
    for sku in ("bell", "hay", "bell"):
        browser.post(f"/cart/{sku}")
    page = browser.get("/account")
    assert re.findall(r"<tr><th>(\w+)<td>(\d+)", page) == [("bell", "2"), ("hay", "1")]
    # Go has written the cookie since then, perhaps with the cart in another order.
    page = browser.post("/cart/hay")
    assert 'id="count-hay">2<' in page
    assert 'id="count-bell">2<' in page
    assert user(page) == "Ann"


def test_a_message_goes_either_way_and_is_shown_once(browser: Browser) -> None:
    """Flask and Go show each other's flash messages, in the form of Buffalo's
    ``c.Flash()``.
    """
    browser.post("/account", add="flash")
    assert flashes(browser.get("/")) == ["A message that Go left, for Flask to show."]
    assert flashes(browser.get("/")) == []
    page = browser.post("/message")
    assert flashes(page) == ["A message that Flask left, for Go to show."]
    assert flashes(browser.get("/account")) == []


def test_there_is_one_cookie(browser: Browser) -> None:
    """Flask and Go share one cookie."""
    browser.post("/login", name="Ann")
    browser.post("/cart/bell")
    assert [cookie.name for cookie in browser.jar] == ["_shop_session"]


def test_a_forged_cookie_is_rejected_by_both(browser: Browser) -> None:
    """Each application starts a fresh session."""
    browser.post("/login", name="Ann")
    (cookie,) = browser.jar
    assert cookie.value
    cookie.value = cookie.value[:-8] + "AAAAAAA="
    assert user(browser.get("/")) is None
    assert user(browser.get("/account")) == "nobody"
