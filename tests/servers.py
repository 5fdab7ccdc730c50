"""Real programs for tests: where they are, and what to do where they are not."""

from __future__ import annotations

import os
import shutil
import socket

import pytest


def require(program: str, package: str) -> str:
    """The path of a program. Where it is missing the test is skipped, saying
    what to install; in CI it fails, as there it must not be missing.
    """
    path = shutil.which(program)
    if path is not None:
        return path
    message = f"{program} is missing: install Debian's package {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
