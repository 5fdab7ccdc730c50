"""Test the check of instructions: what it compares, and when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.check import Cost, allowed, changes

FLOOR = 300_000.0
BASELINE = {
    "untouched S": Cost(1.005, 6_000),
    "write L": Cost(2.9, 670_000),
}


def test_an_unchanged_case_is_not_dearer() -> None:
    """The build of Python only changes the floor."""
    for floor in (FLOOR, FLOOR * 0.8):
        assert changes(BASELINE, BASELINE, floor) == {"untouched S": 0, "write L": 0}


@pytest.mark.parametrize(
    "dearer",
    [BASELINE["write L"]._replace(python=3.1), Cost(2.9, 730_000)],
    ids=["python", "libraries"],
)
def test_a_dearer_case_is_found_by_its_name(dearer: Cost) -> None:
    """Both parts of a cost count."""
    found = changes({**BASELINE, "write L": dearer}, BASELINE, FLOOR)
    assert [name for name in found if found[name] > allowed(name)] == ["write L"]


def test_an_untouched_case_may_change_less() -> None:
    """A session that is not used costs next to nothing."""
    dearer = {**BASELINE, "untouched S": Cost(1.02, 6_000)}
    change = changes(dearer, BASELINE, FLOOR)["untouched S"]
    assert allowed("untouched S") < change < allowed("write L")


def test_another_version_of_python_may_differ_more() -> None:
    """Its builds execute other instructions for the same code."""
    for name in BASELINE:
        assert allowed(name, same_python=False) == 2 * allowed(name)


def test_other_cases_than_the_stored_ones_are_an_error() -> None:
    """The message says which command stores them."""
    with pytest.raises(ValueError, match="run `make -C tests instructions-baseline`"):
        changes(BASELINE, {"write L": Cost(2.9, 670_000)}, FLOOR)


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_a_missing_valgrind_is_a_failure_only_in_ci(
    ci: str, code: int, tmp_path: Path
) -> None:
    """Elsewhere the check is skipped. Both say what to install."""
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.check"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": str(tmp_path), "CI": ci},
    )
    assert result.returncode == code
    said = result.stdout + result.stderr
    assert "valgrind is missing: install Debian's package valgrind" in said
