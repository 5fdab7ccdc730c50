"""Parameters of tests: their names, and which of them only ``make check`` runs."""

from __future__ import annotations

import collections.abc as c
import re
import typing as t

import pytest


def stable_repr(value: object) -> str:
    """Return ``repr(value)`` without memory addresses.

    Parallel test runs need it: each process must give a test the same name.
    """
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def exhaustive_except(names: c.Iterable[str], *representatives: str) -> list[t.Any]:
    """Return fixture parameters of which only the representatives run in ``make test``.

    :raises ValueError: a representative is not among the names.
    """
    names = list(names)
    if missing := set(representatives) - set(names):
        raise ValueError(f"no such parameter: {', '.join(sorted(missing))}")
    return [
        name
        if name in representatives
        else pytest.param(name, marks=pytest.mark.exhaustive)
        for name in names
    ]
