"""Check what ``make release`` has built, or print what the releaser does next."""

from __future__ import annotations

import collections.abc as c
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION: str = CONFIG["project"]["version"]
NAME = f"{CONFIG['project']['name'].replace('-', '_')}-{VERSION}"

#: What the build adds to the files of the sdist and the wheel.
METADATA = {
    "sdist": {"PKG-INFO", "pyproject.toml", ".gitignore"},
    "wheel": {
        f"{NAME}.dist-info/{file}"
        for file in (
            *("METADATA", "WHEEL", "RECORD", "entry_points.txt"),
            "licenses/LICENSE",
        )
    },
}

NEXT = f"""
dist/ is ready for release. What is left to do:

1. Push the commit, and wait until its workflow "Tests" passes.
2. git tag -a v{VERSION} -m "Version {VERSION}"
3. git push origin v{VERSION}
4. Approve the job "publish" of the workflow "Publish" on GitHub.
5. pip install flask-buffalo-session=={VERSION} in a clean environment.

docs/releasing.md describes each step.
"""


def check_version(tag: str | None) -> None:
    """Check that the version, the change log and the tag agree.

    :param tag: the tag of the release, if there is one yet.
    """
    changes = (ROOT / "CHANGES.md").read_text()
    heading = rf"^## \[{re.escape(VERSION)}\] - \d{{4}}-\d\d-\d\d$"
    if not re.search(heading, changes, re.MULTILINE):
        sys.exit(
            f"CHANGES.md has no heading for this version: rename [Unreleased] to"
            f" '## [{VERSION}] - <date>', and begin an empty [Unreleased] above it."
        )
    link = f"[{VERSION}]: {CONFIG['project']['urls']['Source']}/releases/tag/v{VERSION}"
    if link not in changes.splitlines():
        sys.exit(f"CHANGES.md has no link for this version: add '{link}' at its top.")
    if tag not in (None, f"v{VERSION}"):
        sys.exit(
            f"The tag {tag} is not that of version {VERSION}: change the version in"
            f" pyproject.toml, or tag v{VERSION}."
        )


def check_contents() -> None:
    """Compare the files in the sdist and the wheel with those that git knows."""
    targets = CONFIG["tool"]["hatch"]["build"]["targets"]
    with tarfile.open(ROOT / "dist" / f"{NAME}.tar.gz") as sdist:
        names = [member.name for member in sdist.getmembers() if member.isfile()]
    compare(
        "sdist",
        {name.removeprefix(f"{NAME}/") for name in names},
        tracked(targets["sdist"]["include"]),
    )
    with zipfile.ZipFile(ROOT / "dist" / f"{NAME}-py3-none-any.whl") as wheel:
        compare("wheel", set(wheel.namelist()), tracked(targets["wheel"]["packages"]))


def tracked(paths: c.Iterable[str]) -> set[str]:
    """Return the files in these paths that git knows."""
    # In a container, the folder may belong to another user than the one who builds.
    trusted = f"safe.directory={ROOT}"
    command = ["git", "-c", trusted, "ls-files", "-z", "--", *paths]
    listing = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(listing.stdout.rstrip("\0").split("\0"))


def compare(kind: str, found: set[str], expected: set[str]) -> None:
    """List the files, and check that none is missing or too much.

    :param kind: "sdist" or "wheel".
    """
    print(f"The {kind} holds {len(found)} files:")
    for name in sorted(found):
        print(f"  {name}")
    expected = expected | METADATA[kind]
    if found != expected:
        sys.exit(
            f"The {kind} is wrong. Missing: {sorted(expected - found)}."
            f" Not known to git: {sorted(found - expected)}."
        )


def main(action: str, tag: str | None = None) -> None:
    match action:
        case "version":
            check_version(tag)
        case "contents":
            check_contents()
        case "next":
            print(NEXT)
        case _:
            sys.exit("Use one of: version [TAG], contents, next.")


if __name__ == "__main__":
    main(*sys.argv[1:])
