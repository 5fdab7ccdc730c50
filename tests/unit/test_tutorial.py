"""Follow the tutorial as a reader does, page by page in one folder."""

from __future__ import annotations

import collections.abc as c
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import SECRET

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs/tutorial"

# The sentence above a block says what a reader does with it.
FILE = re.compile(
    r"(?:Write this into|Replace|Add this to) `([\w./]+)`"
    r"(?: with this|, above the line with `(\w+)`)?:\n\n"
    r"```\w+\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
COMMAND = re.compile(r"^\$ (.+)$", re.MULTILINE)

#: Commands that a test need not run: they install, serve, or are the shell's own.
NOT_RUN = ("mkdir ", "cd ", "python3 -m venv", ". .venv/", "pip install ", "flask run ")

ANN = {"name": "ann", "password": "open sesame"}


class Reader:
    """A reader with a folder, an environment and the tutorial.

    :param folder: where the reader writes the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    def follow(self, *pages: str) -> None:
        """Write the files of some pages."""
        for page in pages:
            for name, above, block in FILE.findall((TUTORIAL / page).read_text()):
                file = self.folder / name
                file.parent.mkdir(exist_ok=True)
                if above:
                    lines = file.read_text().splitlines(keepends=True)
                    (place,) = [n for n, line in enumerate(lines) if above in line]
                    block = "".join([*lines[:place], block, *lines[place:]])
                file.write_text(block)

    def app(self) -> Flask:
        """Import ``app.py`` as it is now."""
        spec = importlib.util.spec_from_file_location("shop", self.folder / "app.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["shop"] = module
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules["shop"]
        app: Flask = module.app
        app.debug = True
        return app

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder."""
        return subprocess.run(
            [sys.executable, "-m", *command],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environ,
        )


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    # `make test` sets it to nothing.
    monkeypatch.delenv("SESSION_STORE", raising=False)
    return Reader(tmp_path)


@pytest.fixture
def closing() -> c.Iterator[c.Callable[[Flask], Flask]]:
    """Close the stores of applications."""
    apps: list[Flask] = []

    def add(app: Flask) -> Flask:
        apps.append(app)
        return app

    yield add
    for app in apps:
        app.extensions["buffalo_session"].close()


def test_every_command_is_known() -> None:
    """A new command on a page needs a test below."""
    commands = {
        command
        for page in TUTORIAL.glob("*.md")
        for command in COMMAND.findall(page.read_text())
        if not command.startswith(NOT_RUN)
    }
    assert commands == {
        "flask session list ann",
        "python -m pytest",
        'export SESSION_SECRET="$(flask session secret)"',
        "flask session doctor",
        'export SESSION_STORE="redis://localhost:6379/0"',
    }


def test_part_1_keeps_a_cart(reader: Reader) -> None:
    """The cart counts, and the message is shown once."""
    reader.follow("cart.md")
    client = reader.app().test_client()
    assert "The cart is empty." in client.get("/").text
    client.post("/cart/tea")
    client.post("/cart/tea")
    client.post("/cart/gold")
    page = client.get("/").text
    assert "2 × tea" in page
    assert "gold" not in page
    assert "You have added tea." in page
    assert "You have added tea." not in client.get("/").text


def test_part_2_logs_in_and_out(reader: Reader) -> None:
    """The cart survives the login, and ends with the logout."""
    reader.follow("cart.md", "login.md")
    client = reader.app().test_client()
    client.post("/cart/jam")
    response = client.post("/login", data={**ANN, "password": "guess"})
    assert response.location == "/login"
    assert "is wrong." in client.get("/login").text
    assert client.post("/login", data={**ANN, "name": "bob"}).location == "/login"
    client.post("/login", data=ANN)
    page = client.get("/").text
    assert "Welcome, ann!" in page
    assert "1 × jam" in page
    client.post("/logout")
    page = client.get("/").text
    assert "The cart is empty." in page
    assert "Log in" in page


def test_part_3_lists_the_devices(
    reader: Reader, closing: c.Callable[[Flask], Flask]
) -> None:
    """Two logins are listed, one ends the other, and the terminal lists the rest."""
    reader.follow("cart.md", "login.md", "devices.md")
    app = closing(reader.app())
    laptop, phone = app.test_client(), app.test_client()
    assert laptop.get("/account").location == "/login"
    laptop.post("/login", data=ANN)
    phone.post("/login", data=ANN)
    assert laptop.get("/account").text.count("last seen") == 2
    laptop.post("/logout-elsewhere")
    page_text = laptop.get("/account").text
    assert "Sessions that have ended: 1." in page_text
    assert page_text.count("last seen") == page_text.count("(this browser)") == 1
    assert phone.get("/account").location == "/login"
    assert (reader.folder / "instance/sessions.db").exists()
    result = reader.run("flask", "session", "list", "ann")
    assert result.returncode == 0, result.stderr
    assert len(re.findall("[0-9a-f]{64}", result.stdout)) == 1


def test_part_4_passes_its_tests(reader: Reader) -> None:
    """All tests of the page pass, without a warning."""
    reader.follow("cart.md", "login.md", "devices.md", "tests.md")
    options = ["-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist"]
    result = reader.run("pytest", *options, f"--rootdir={reader.folder}")
    assert result.returncode == 0, result.stdout
    assert "5 passed" in result.stdout


def test_part_5_satisfies_the_doctor(reader: Reader) -> None:
    """The doctor finds the problem that the page names, and none after the change."""
    reader.follow("cart.md", "login.md", "devices.md")
    made = reader.run("flask", "session", "secret").stdout.strip()
    assert len(made) >= len(SECRET)
    reader.environ["SESSION_SECRET"] = made
    before = reader.run("flask", "session", "doctor")
    assert before.returncode == 1
    assert "Problems: 1." in before.stdout
    assert "SESSION_COOKIE_SECURE" in before.stdout
    reader.follow("production.md")
    after = reader.run("flask", "session", "doctor")
    assert after.returncode == 0, after.stdout
    reader.follow("tests.md")
    assert reader.run("pytest", "-p", "no:cacheprovider").returncode == 0
