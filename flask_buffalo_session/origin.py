"""Where the settings of a session come from."""

from __future__ import annotations

import collections.abc as c
import re
import typing as t

_SETTING = re.compile(r"\b(?:SESSION|PERMANENT|MAX)_[A-Z_]+\b")


class Origin(t.NamedTuple):
    """Where the settings of a session come from.

    :param settings: the settings as they are now. ``init_app`` has read them once.
    :param session: the name of a named session; None for the main session.
    :param arguments: what ``named()`` calls each setting.
    :param given: the settings that ``named()`` was given.
    """

    settings: c.Mapping[str, t.Any]
    session: str | None = None
    arguments: c.Mapping[str, str] = {}
    given: frozenset[str] = frozenset()

    def worded(self, text: str) -> str:
        """Return a text about settings with the names that the application uses."""
        return _SETTING.sub(lambda key: self.arguments.get(key[0], key[0]), text)

    @property
    def label(self) -> str:
        """What begins a message about a named session; empty for the main session."""
        return "" if self.session is None else call(self.session)

    @property
    def title(self) -> str:
        """What a log calls the session."""
        return (
            "The session" if self.session is None else f'The session "{self.session}"'
        )


def call(session: str) -> str:
    """Return the call that defines a named session, for messages."""
    return f'named("{session}")'
