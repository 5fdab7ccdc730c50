"""Serve an application with gunicorn."""

from __future__ import annotations

import os
import sys
import typing as t
from pathlib import Path
from urllib.request import urlopen

from tests.support.servers import Server

_ROOT = Path(__file__).parent.parent

WORKERS, THREADS = 2, 4


class Gunicorn(Server):
    """Run two workers.

    :param worker: "gthread", with four threads each, or "gevent".
    :param environment: more environment variables for the application.
    """

    def __init__(self, folder: Path, worker: str, environment: dict[str, str]) -> None:
        super().__init__(folder)
        self._worker = worker
        self._environment = environment

    def command(self) -> list[str]:
        threads = ["--threads", str(THREADS)] if self._worker == "gthread" else []
        return [
            *(sys.executable, "-m", "gunicorn", "benchmarks.sites:from_environment()"),
            *("--bind", f"127.0.0.1:{self.port}", "--workers", str(WORKERS)),
            *("--worker-class", self._worker, *threads),
        ]

    def answers(self) -> bool:
        # Gunicorn listens before its workers have loaded the application.
        with urlopen(f"http://127.0.0.1:{self.port}/untouched", timeout=5):
            return True

    def how(self) -> dict[str, t.Any]:
        # Gunicorn makes a socket in the home folder.
        own = {"PYTHONPATH": str(_ROOT), "HOME": str(self.folder)}
        return {"env": {**os.environ, **own, **self._environment}}
