"""Test that the examples and references in the documentation are right."""

from __future__ import annotations

import ast
import collections.abc as c
import datetime as dt
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

import flask_buffalo_session
from flask_buffalo_session import signals
from flask_buffalo_session.cli import session_cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REPOSITORY = "https://github.com/flask-buffalo-session/flask-buffalo-session"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run(page: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Run the blocks of a page from top to bottom, as a reader would type them."""
    monkeypatch.setenv("SESSION_SECRET", "x" * 32)
    module = ModuleType(f"docs_{page.stem}".replace("-", "_"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), module.__dict__)
    return module


# Of the tutorial, test_tutorial.py writes the files and runs them.
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent.name != "tutorial"], ids=name_of
)
def test_examples_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No page has an error."""
    run(page, monkeypatch)


def test_the_recipes_for_tests_pass(tmp_path: Path) -> None:
    """The page about testing is a test file."""
    blocks = BLOCK.findall((ROOT / "docs/howto/testing.md").read_text())
    file = tmp_path / "test_recipes.py"
    file.write_text("\n".join(blocks))
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={tmp_path}", file],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stdout
    assert re.search(r"^\d\d passed", result.stdout, re.MULTILINE), result.stdout


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_files_are_valid(page: Path) -> None:
    """Links to other sites are not checked."""
    text = page.read_text()
    for target in LINK.findall(text):
        assert (page.parent / target).exists(), target
    for target in re.findall(rf"{REPOSITORY}/(?:blob|tree)/main/([^)#\s]+)", text):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name_of)
def test_links_stay_in_the_site(page: Path) -> None:
    """The site has no other files. A link to one of them leads to the repository."""
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).resolve().is_relative_to(DOCS), target


def test_the_login_guide_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user logs in, sees the account and logs out."""
    client = run(DOCS / "howto/login.md", monkeypatch).app.test_client()
    user = {"name": "ann", "password": "open sesame"}
    assert client.get("/account").location == "/login"
    assert client.post("/login", data={**user, "name": "bob"}).status_code == 403
    client.post("/login", data=user)
    assert client.get("/account").text == "user 42"
    client.post("/logout")
    assert client.get("/account").location == "/login"


def test_the_guide_to_remember_users_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a user who asks for it is remembered, and for longer than the others."""
    app = run(DOCS / "howto/remember-me.md", monkeypatch).app
    response = app.test_client().post("/login")
    assert "Expires=" not in response.headers["Set-Cookie"]
    remembered = app.test_client().post("/login", data={"remember": "yes"})
    assert "Expires=" in remembered.headers["Set-Cookie"]
    ends = [dt.datetime.fromisoformat(end.text) for end in (response, remembered)]
    assert ends[1] - ends[0] > dt.timedelta(days=58)
    assert app.test_client().post("/admin/login").text == "logged in"


def test_the_guide_to_passwords_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password is asked for again once the login is ten minutes old."""
    client = run(DOCS / "howto/confirm-password.md", monkeypatch).app.test_client()
    password = {"password": "open sesame"}
    client.post("/login", data=password)
    assert client.post("/email").text == "changed"
    now = time.time() + 11 * 60
    monkeypatch.setattr(time, "time", lambda: now)
    assert client.post("/email").location == "/confirm-password"
    assert client.post("/confirm-password", data={"password": "x"}).status_code == 403
    assert client.post("/confirm-password", data=password).location == "/email"
    assert client.post("/email").text == "changed"


def test_the_guide_to_devices_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user ends one session, a new password the others, and nobody a stranger's."""
    page = run(DOCS / "howto/devices.md", monkeypatch)
    laptop, phone, stranger = [page.app.test_client() for _ in range(3)]
    assert stranger.get("/devices").location == "/login"
    laptop.post("/login")
    phone.post("/login")
    first, second = laptop.get("/devices").json
    other = second if first["current"] else first
    stranger.post(f"/devices/{other['id']}/end")
    assert phone.get("/devices").status_code == 200
    laptop.post(f"/devices/{other['id']}/end")
    assert phone.get("/devices").location == "/login"
    phone.post("/login")
    laptop.post("/password")
    assert phone.get("/devices").location == "/login"
    assert len(laptop.get("/devices").json) == 1


def test_the_guide_to_polling_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passive view reads the session."""
    client = run(DOCS / "howto/polling.md", monkeypatch).app.test_client()
    assert client.get("/unread").json == {"unread": 0}


def test_the_guide_to_apis_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exempt view sends no cookie and no ``Vary``."""
    response = run(DOCS / "howto/api.md", monkeypatch).app.test_client().get("/health")
    assert response.json == {"ok": True}
    assert {"Set-Cookie", "Vary"}.isdisjoint(response.headers.keys())


def test_the_first_example_in_the_readme_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cart is kept, and the flash message is shown once."""
    monkeypatch.setenv("SESSION_SECRET", "x" * 32)
    namespace: dict[str, object] = {"__name__": "readme"}
    exec(BLOCK.findall((ROOT / "README.md").read_text())[0], namespace)
    client = namespace["app"].test_client()  # type: ignore[attr-defined]
    client.post("/login")
    client.post("/cart/tea")
    client.post("/cart/milk")
    cart = ["tea", "milk"]
    assert client.get("/").json == {"flash": "Welcome back!", "cart": cart}
    assert client.get("/").json == {"flash": None, "cart": cart}


def test_the_figures_in_the_readme_are_the_measured_ones() -> None:
    """`make bench` rewrites the page about performance. Copy its figures then."""
    page = (DOCS / "reference/performance.md").read_text()
    table = page[page.index("**Instructions a request, times the floor**") :]
    rows = re.findall(r"^\| ([a-z ,]+) \| L \| ([\d.]+) \| \**([\d.]+)", table, re.M)
    measured = {request: ratios for request, *ratios in rows[::-1]}
    readme = (ROOT / "README.md").read_text()
    for words, request in (
        ("does not use the session", "untouched"),
        ("reads a value", "read"),
        ("changes a value", "write"),
    ):
        assert f"| {words} | {' | '.join(measured[request])} |" in readme


def test_the_soak_in_the_readme_is_that_of_the_evidence() -> None:
    """Copy the figures of Redis when they change."""
    page = (DOCS / "explanation/evidence.md").read_text()
    found = re.search(
        r"redis: 600 s, (\d+) browsers, ([\d,]+) requests, .*?, (\d+) store restarts,"
        r" (\d+) workers killed, .*?; 0 lost updates, 0 resurrected sessions,",
        page,
    )
    assert found is not None
    browsers, requests, restarts, killed = found.groups()
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"{browsers} browsers sent {requests} requests" in readme
    assert (
        f"Redis restarted {restarts} times and {killed} workers were killed" in readme
    )


def test_every_setting_is_documented() -> None:
    """Each setting that the configuration reads is in the table."""
    read = (ROOT / "flask_buffalo_session/config.py").read_text()
    settings = set(re.findall(r'"((?:SESSION|PERMANENT|MAX)_[A-Z_]+)"', read))
    documented = (ROOT / "docs/reference/settings.md").read_text()
    assert len(settings) > 15
    assert [name for name in sorted(settings) if f"`{name}`" not in documented] == []


def test_every_public_name_is_in_the_reference() -> None:
    """A new name needs a line in ``docs/reference/api``."""
    pages = "\n".join(page.read_text() for page in DOCS.glob("reference/api/*.md"))
    modules = ["errors", "previous", "signals", "testing"]
    names = {*flask_buffalo_session.__all__, *vars(signals)} - {*modules, "session"}
    documented = set(re.findall(r"auto\w+:: (?:[\w.]+\.)?(\w+)", pages))
    public = {name for name in names if not name.startswith("_")}
    assert public - documented <= {"Namespace", "annotations"}


def test_every_command_on_the_pages_exists() -> None:
    """The targets of make, and the commands of ``flask session``."""
    pages = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
    text = "\n".join(page.read_text() for page in pages)
    for folder, makefile in (("", "Makefile"), ("-C tests ", "tests/Makefile")):
        rules = re.findall(r"^([a-z -]+):", (ROOT / makefile).read_text(), re.MULTILINE)
        named = re.findall(rf"(?:`|\$ )make {folder}([a-z][a-z -]*[a-z])", text)
        targets = {target for targets in named for target in targets.split()}
        assert len(targets) > 3
        assert targets <= {target for rule in rules for target in rule.split()}
    commands = set(re.findall(r"flask(?: --debug)? session ([a-z]+)", text))
    assert len(commands) > 3
    assert commands <= set(session_cli.commands)


def messages() -> c.Iterator[str]:
    """Yield the text of the package's messages, with "…" for what varies."""
    for file in (ROOT / "flask_buffalo_session").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "…"
                    for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value.replace("%s", "…")


def test_every_message_to_troubleshoot_exists() -> None:
    """The headings are messages of the package, word for word."""
    page = (DOCS / "howto/troubleshoot.md").read_text()
    below = page.partition("## With a message")[2]
    headings = re.findall(r"^### (.+)$", below, re.MULTILINE)
    assert len(headings) > 15
    known = re.sub("…+", "…", "\n".join(messages()))
    assert [
        text for text in headings if text.replace("`", "") not in known.replace("`", "")
    ] == []


def test_every_test_that_is_evidence_exists() -> None:
    """Each promise there points to tests."""
    pages = ("explanation/evidence.md", "howto/checklist.md")
    text = "\n".join((DOCS / page).read_text() for page in pages)
    named = re.findall(r"`([^`\s]+::[^`\s]+)`", text)
    assert len(named) > 60
    parts: list[str] = []
    for name in named:
        path = name.split("::")
        if path[0] == "…":
            # "…" stands for the class or the file of the name before.
            path = [*parts[: len(parts) + 1 - len(path)], *path[1:]]
        parts = path
        (file,) = (ROOT / "tests").rglob(parts[0])
        source = file.read_text()
        for part in parts[1:]:
            assert re.search(rf"(?:def|class) {part}\b", source), "::".join(parts)
