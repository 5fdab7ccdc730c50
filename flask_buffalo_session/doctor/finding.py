"""What the doctor reports."""

from __future__ import annotations

import re
import typing as t


class Finding(t.NamedTuple):
    """A setting that is unsafe or contradicts another. Never contains a secret.

    :param about: the setting.
    :param problem: what is wrong, without a full stop.
    :param fix: what to do, in sentences.
    :param note: whether the setting may be intended.
    """

    about: str
    problem: str
    fix: str
    note: bool = False

    def __str__(self) -> str:
        return f"{self.about}: {self.problem}. {self.fix}"


def one_line(error: Exception) -> str:
    """Return an error's message in one line, without the login of a URL and without
    a full stop at the end.
    """
    line = " ".join(str(error).split()).rstrip(".")
    return re.sub(r"//\S*@", "//***@", line)
