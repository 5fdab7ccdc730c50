"""One target under libFuzzer: ``python -m tests.fuzz.child TARGET FINDING [FLAG ...]``.

The child writes an input that makes the target fail to the file FINDING.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["flask_buffalo_session"]):
    from .seeds import seeds
    from .targets import TARGETS

from .limits import LONGEST, cost, measured


class TooMuchError(Exception):
    """An input takes too much time or memory."""


def main() -> None:
    name, finding, *flags = sys.argv[1:]
    # The first call of each kind is slow, and must not count.
    for seed in seeds(name):
        TARGETS[name](seed)

    def run(data: bytes) -> None:
        try:
            _check(name, data)
        except BaseException:
            Path(finding).write_bytes(data)
            raise

    # libFuzzer starts this command again if it needs another process.
    again = shlex.join([sys.executable, "-m", "tests.fuzz.child", name, finding])
    atheris.Setup([again, *flags], run)
    atheris.Fuzz()


def _check(name: str, data: bytes) -> None:
    if not cost(lambda: TARGETS[name](data)).too_much or len(data) > LONGEST:
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        least = measured(name, Path(file.name))
    if least.too_much:
        raise TooMuchError(least)


if __name__ == "__main__":
    main()
