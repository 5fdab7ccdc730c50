"""Use the demo in a real browser, as a person does."""

from __future__ import annotations

import collections.abc as c
import http.client
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.servers import free_port, require

ROOT = Path(__file__).parents[2]
ARTIFACTS = Path(
    os.environ.get("ARTIFACTS")
    or Path(tempfile.gettempdir(), "flask-buffalo-session-artifacts")
)

QUIET = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

FIREFOX = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1"
)

# A new page has a new window, without what the old one was marked with.
ARRIVED = "return !window.left && document.readyState === 'complete'"


@pytest.fixture(scope="module", params=["cookie", "memory:", "sqlite:///{}/shop.db"])
def address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> c.Iterator[str]:
    """Start the demo as ``make demo`` does, and return its address."""
    address = f"http://127.0.0.1:{(port := free_port())}/"
    store = request.param.format(tmp_path_factory.mktemp("shop"))
    environ = {**os.environ, "PORT": str(port), "SESSION_STORE": store}
    with subprocess.Popen(
        [sys.executable, "-m", "examples.shop"],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for(address, process)
            yield address
        finally:
            process.terminate()


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        assert process.poll() is None, "the demo ended by itself"
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the demo does not answer")


@pytest.fixture
def browser(tmp_path: Path) -> c.Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = require("chromium", "chromium")
    for argument in (*QUIET, f"--user-data-dir={tmp_path}", "--window-size=1200,1000"):
        options.add_argument(argument)
    service = webdriver.ChromeService(require("chromedriver", "chromium-driver"))
    driver = webdriver.Chrome(options, service)
    try:
        yield driver
    finally:
        driver.quit()


def test_shopping(address: str, browser: WebDriver) -> None:
    """Log in, add to the cart twice, reload, see the flash once, log out."""

    def click(css: str) -> None:
        browser.execute_script("window.left = true")
        browser.find_element(By.CSS_SELECTOR, css).click()
        # Between two pages the driver may have errors of its own for an answer.
        wait = WebDriverWait(browser, 10, ignored_exceptions=[WebDriverException])
        wait.until(lambda _: browser.execute_script(ARRIVED))

    def texts(css: str) -> list[str]:
        return [found.text for found in browser.find_elements(By.CSS_SELECTOR, css)]

    browser.get(address)
    browser.find_element(By.ID, "login-name").send_keys("Ann")
    click(".bar button")
    assert texts("#user") == ["Ann"]
    assert texts("#flash") == ["Welcome, Ann!"]

    click("#add-bell")
    click("#add-bell")
    assert texts("#count-bell") == ["2"]
    assert texts("#flash") == ["Brass bell: 2 in the cart."]
    screenshot(browser, "desktop", 1200)

    browser.set_window_size(1200, 900)
    click("button[formaction$='/get']")
    scrolled = browser.execute_script("scrollTo(0, 150); return scrollY")
    click("button[formaction$='/set']")
    assert browser.execute_script("return scrollY") == scrolled > 0

    click("#add-salt")
    log_in_elsewhere(address, FIREFOX)
    browser.get(address)
    assert texts("#cost code") == ["GET /"]

    if texts("#logins li"):
        for agent in (IPHONE, "curl/8.5"):
            log_in_elsewhere(address, agent)
        browser.refresh()
        # Within a second, any of the logins may be the last one used.
        browsers = ["A browser on a device", "Chrome on Linux", "Firefox on Windows"]
        assert sorted(texts("#logins .browser")) == [*browsers, "Safari on an iPhone"]
        assert texts("#logins .current .browser") == ["Chrome on Linux"]
        assert texts("#logins strong") == ["this device"]
        (here,) = texts("#logins .current p")
        assert re.search(r"logged in \d\d:\d\d:\d\d UTC\nlast used \d\d:", here)
        screenshot(browser, "logins", 1200)
        click("button[aria-label='Log out Safari on an iPhone']")
        assert sorted(texts("#logins .browser")) == browsers
        assert texts("#flash") == ["Logged out there."]
        click("#logout-elsewhere")
        assert texts("#logins .browser") == ["Chrome on Linux"]
        assert texts("#flash") == ["Logged out elsewhere: 2."]

    browser.refresh()
    assert texts("#flash") == []
    assert texts("#count-bell") == ["2"]

    click("#make-too-large")
    if texts("#too-large"):
        assert texts("#user") == ["Ann"]
        assert browser.execute_script("return scrollY") == 0
        screenshot(browser, "too-large", 1200)
        browser.get(address)
    assert texts("#count-bell") == ["2"]

    if texts("#logins li"):
        click("#logins .current button")
        assert texts("#user") == []
        assert texts("#flash") == ["Logged out there."]
        browser.find_element(By.ID, "login-name").send_keys("Ann")
        click(".bar button")
        click("#add-bell")

    browser.set_window_size(390, 844)
    browser.get(address)
    panel = browser.find_element(By.CSS_SELECTOR, ".panel")
    assert panel.location["y"] < 844, "the panel begins on the first screen"
    screenshot(browser, "phone", 390)
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= browser.execute_script("return window.innerWidth")

    click(".bar button")
    assert texts("#user") == []
    assert texts("#count-bell") == []
    assert len(texts("#flash")) == 1
    browser.refresh()
    assert texts("#flash") == []


def log_in_elsewhere(address: str, agent: str) -> None:
    """Log in with the same name in another browser."""
    # http.client does not follow the redirect, so this is the server's last request.
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=5)
    form = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": agent}
    connection.request("POST", "/login", "name=Ann", form)
    assert connection.getresponse().status == 303
    connection.close()


def screenshot(browser: WebDriver, name: str, width: int) -> None:
    """Keep a screenshot in a folder outside the repository."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    height = browser.execute_script("return document.documentElement.scrollHeight")
    browser.set_window_size(width, max(height, 844))
    assert browser.save_screenshot(str(ARTIFACTS / f"shop-{name}.png"))
