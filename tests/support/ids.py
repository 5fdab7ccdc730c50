"""The names of parameters in the names of tests."""

from __future__ import annotations

import re


def stable_repr(value: object) -> str:
    """Return ``repr(value)`` without memory addresses.

    Parallel test runs need it: each process must give a test the same name.
    """
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
