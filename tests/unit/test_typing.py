"""Test the types of the public names with mypy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def checked(*arguments: str) -> tuple[int, str]:
    """Return mypy's exit code and its errors in these files.

    `make types` checks the package itself. Some of its code is for other systems, and
    so unreachable here.
    """
    options = ["--strict", "--warn-unreachable", "--follow-imports=silent"]
    result = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return result.returncode, result.stdout + result.stderr


def test_the_public_names_are_typed() -> None:
    """All assertions in tests/typing hold; mypy finds all expected errors."""
    code, output = checked("tests/typing")
    assert code == 0, output


def test_a_wrong_type_is_an_error(tmp_path: Path) -> None:
    """Otherwise the test above would also pass with untyped names."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from flask_buffalo_session import BuffaloSession, session\n"
        "BuffaloSession(name=5)\n"
        "session.flash.take().append(1)\n"
        "session.new + ''\n"
    )
    code, output = checked(str(wrong))
    assert code == 1
    assert [line.partition(": error:")[1] for line in output.splitlines()[:3]] == (
        [": error:"] * 3
    )
    assert "Found 3 errors" in output
