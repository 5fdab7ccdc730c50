"""Run the quick tests on other versions of Python and of the dependencies.

``make versions`` runs all sessions. ``make versions SESSIONS=lowest`` runs one.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import nox

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())["project"]

OLDEST, *_, NEWEST = PYTHONS = ["3.11", "3.12", "3.13", "3.14"]

#: A minimal requirement, such as ``redis[hiredis]>=5``, perhaps with a condition.
MINIMAL = re.compile(r"([\w-]+(?:\[[\w,]+\])?)>=([\d.]+)(;.*)?")

nox.needs_version = ">=2025.5"


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests with the newest version of each dependency."""
    install(session, "dev")
    run_tests(session)


@nox.session(python=OLDEST)
def flask_3_0(session: nox.Session) -> None:
    """Run the tests with the oldest Flask."""
    install(session, "dev")
    session.install(*(one for one in lowest() if one.startswith("flask==")))
    run_tests(session)


@nox.session(python=OLDEST)
def lowest_versions(session: nox.Session) -> None:
    """Run the tests with the lowest version of each dependency."""
    install(session, "dev")
    session.install(*lowest())
    run_tests(session)


@nox.session(python=PYTHONS)
def base(session: nox.Session) -> None:
    """Use the package without any of its extras."""
    session.install("--group", "base", ".")
    # The other tests need clients of stores.
    session.run("python", "-m", "pytest", "--noconftest", "tests/base")


@nox.session(python=OLDEST)
def servers(session: nox.Session) -> None:
    """Serve an application with each WSGI server, and with uWSGI, which is compiled."""
    install(session, "servers")
    run_tests(session, "tests/real/test_servers.py")


def install(session: nox.Session, group: str) -> None:
    """Install the package with its extras and a group of dependencies."""
    session.install("--group", group, ".[all]")


def run_tests(session: nox.Session, *paths: str) -> None:
    """Run the tests, except for the exhaustive ones.

    Arguments after ``--`` replace the paths.
    """
    session.run(
        *("python", "-m", "pytest", "-n", "auto", "--dist", "worksteal"),
        *("-m", "not exhaustive", *(session.posargs or paths)),
        # The examples use another store if it is set.
        env={"SESSION_STORE": ""},
    )


def lowest() -> list[str]:
    """Return the lowest versions that pyproject.toml allows, as pip's arguments."""
    wanted = PROJECT["dependencies"] + [
        requirement
        for extra in PROJECT["optional-dependencies"].values()
        for requirement in extra
        if not requirement.startswith(PROJECT["name"])
    ]
    found = [MINIMAL.fullmatch(requirement) for requirement in wanted]
    if not all(found):
        sys.exit("pyproject.toml has a requirement without a lower bound.")
    return [f"{match[1]}=={match[2]}{match[3] or ''}" for match in found if match]
