"""Buffalo's flash messages, beside Flask's own ``flash()``."""

from __future__ import annotations

import collections.abc as c
import typing as t

if t.TYPE_CHECKING:
    from .sessions import Session

#: The session name Buffalo keeps its flash messages under.
FLASH_NAME = "_flash_"


class Flash:
    """Messages that are shown once, by kind, as ``c.Flash()`` in Buffalo.

    A view over ``session["_flash_"]``, a dict of lists, so messages added by
    two requests at once are both kept.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, kind: str, message: str) -> None:
        """Add one message to a kind, such as ``"success"`` or ``"danger"``."""
        self._messages().setdefault(kind, []).append(message)

    def set(self, kind: str, messages: c.Iterable[str]) -> None:
        """Replace the messages of a kind."""
        self._messages()[kind] = list(messages)

    def delete(self, kind: str) -> None:
        """Delete a kind. A missing one is no error."""
        messages = self._session.get(FLASH_NAME, {})
        messages.pop(kind, None)
        if not messages:
            self.clear()

    def clear(self) -> None:
        """Delete every message."""
        self._session.delete(FLASH_NAME)

    def take(self) -> dict[str, list[str]]:
        """All messages by kind, once: they are deleted as they are handed out,
        as with ``session.get_once()``.
        """
        return t.cast("dict[str, list[str]]", self._session.get_once(FLASH_NAME, {}))

    def _messages(self) -> dict[str, list[str]]:
        return t.cast("dict[str, list[str]]", self._session.setdefault(FLASH_NAME, {}))
