"""One target under libFuzzer: ``python -m tests.fuzz.child TARGET FINDING [FLAG ...]``.

FINDING is the file for an input that makes the target fail.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["flask_buffalo_session"]):
    from .seeds import SEEDS
    from .targets import TARGETS

from .limits import LONGEST, cost, measured


class TooMuchError(Exception):
    """An input takes too much time or memory."""


def main() -> None:
    name, finding, *flags = sys.argv[1:]
    # What is only slow the first time must not count.
    for seed in SEEDS[name]():
        TARGETS[name](seed)

    def run(data: bytes) -> None:
        try:
            _check(name, data)
        except BaseException:
            Path(finding).write_bytes(data)
            raise

    # In the place of a program's name, as libFuzzer starts itself again for a merge.
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
