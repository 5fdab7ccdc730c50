"""Measure everything and put the tables into ``docs/performance.md``."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from . import instructions, report, wall
from .suite import Suite
from .suites import SUITES

_PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"

_PACKAGES = (
    "flask",
    "werkzeug",
    "itsdangerous",
    "ormsgpack",
    "cryptography",
)

_NO_VALGRIND = "Instructions were not counted: valgrind is not installed."


def main() -> None:
    parts = [_versions(), *(_measured(suite) for suite in SUITES.values())]
    measured = "\n\n".join(parts)
    print(measured)
    page = _PAGE.read_text("utf-8")
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _PAGE.write_text(f"{before}{_BEGIN}\n\n{measured}\n\n{_END}{after}", "utf-8")


def _measured(suite: Suite) -> str:
    parts = [f"### {suite.title}"]
    if instructions.available():
        _say(f"{suite.title}: counting instructions, which takes minutes.")
        results = instructions.measure(suite)
        parts.append(report.tables(suite, "instructions", results))
    else:
        _say(_NO_VALGRIND)
        parts.append(_NO_VALGRIND)
    _say(f"{suite.title}: measuring wall time.")
    parts.append(report.tables(suite, "wall time", wall.measure(suite)))
    return "\n\n".join(parts)


def _versions() -> str:
    names = [f"{package} {version(package)}" for package in _PACKAGES]
    if instructions.available():
        command = ["valgrind", "--version"]
        valgrind = subprocess.run(command, check=True, capture_output=True, text=True)
        names.append(valgrind.stdout.strip().replace("-", " "))
    return (
        f"{platform.python_implementation()} {platform.python_version()},"
        f" {', '.join(names)}."
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
