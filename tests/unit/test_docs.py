"""The examples in the documentation run as they stand."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page from top to bottom, as a reader would type it in."""
    monkeypatch.setenv("SESSION_SECRET", "x" * 32)
    module = ModuleType(f"docs_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), module.__dict__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Those to files of this project."""
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_first_example_does_what_the_readme_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cart is kept and the flash shown once."""
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


def test_every_setting_is_documented() -> None:
    """Whatever the configuration reads is in the table."""
    read = (ROOT / "flask_buffalo_session/config.py").read_text()
    settings = set(re.findall(r'"((?:SESSION|PERMANENT|MAX)_[A-Z_]+)"', read))
    documented = (ROOT / "docs/settings.md").read_text()
    assert len(settings) > 15
    assert [name for name in sorted(settings) if f"`{name}`" not in documented] == []


def test_every_test_that_is_named_exists() -> None:
    """A promise that points at no test is none."""
    named = re.findall(r"`([^`\s]+::[^`\s]+)`", (ROOT / "docs/security.md").read_text())
    assert len(named) > 60
    parts: list[str] = []
    for name in named:
        path = name.split("::")
        if path[0] == "…":
            # What stands before it: the same class, or the same file.
            path = [*parts[: len(parts) + 1 - len(path)], *path[1:]]
        parts = path
        (file,) = (ROOT / "tests").rglob(parts[0])
        source = file.read_text()
        for part in parts[1:]:
            assert re.search(rf"(?:def|class) {part}\b", source), "::".join(parts)
