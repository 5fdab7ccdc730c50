"""What the doctor reports."""

from __future__ import annotations

import collections.abc as c
import re
import typing as t

from ..origin import Origin


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


def own_findings(
    origin: Origin, findings: c.Iterable[Finding], known: c.Collection[Finding] = ()
) -> list[Finding]:
    """Return what concerns a session alone, with the names of its own settings.

    :param known: what was found in other sessions of the application.
    """
    if origin.session is None:
        return list(findings)
    return [
        Finding(
            f"{origin.label} {origin.worded(finding.about)}",
            origin.worded(finding.problem),
            origin.worded(finding.fix),
            finding.note,
        )
        for finding in findings
        # A note about a setting concerns the session that has the setting.
        if finding not in known and (finding.about in origin.given or not finding.note)
    ]


def one_line(error: Exception) -> str:
    """Return an error's message in one line, without the login of a URL and without
    a full stop at the end.
    """
    line = " ".join(str(error).split()).rstrip(".")
    return re.sub(r"//\S*@", "//***@", line)
