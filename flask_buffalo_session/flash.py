"""Buffalo's flash messages, beside Flask's own ``flash()``."""

from __future__ import annotations

import collections.abc as c
import typing as t

#: The session name that Buffalo keeps its flash messages under.
FLASH_NAME = "_flash_"


class OnceMapping(t.Protocol):
    """The part of a session that flash messages use."""

    def get(self, name: t.Hashable, default: t.Any = None) -> t.Any: ...
    def get_once(self, name: t.Hashable, default: t.Any = None) -> t.Any: ...
    def delete(self, name: t.Hashable) -> None: ...
    def __setitem__(self, name: t.Hashable, value: t.Any) -> None: ...


class Flash:
    """Messages that are shown once, by kind, as ``c.Flash()`` in Buffalo.

    A view over ``session["_flash_"]``, a dict of lists. So messages that two requests
    add at once are both kept. Any other value there counts as no messages.
    """

    def __init__(self, session: OnceMapping) -> None:
        self._session = session

    def add(self, kind: str, message: str) -> None:
        """Add one message to a kind, such as ``"success"`` or ``"danger"``."""
        self._messages().setdefault(kind, []).append(message)

    def set(self, kind: str, messages: c.Iterable[str]) -> None:
        """Replace the messages of a kind."""
        self._messages()[kind] = list(messages)

    def delete(self, kind: str) -> None:
        """Delete a kind. A missing kind is no error."""
        messages = self._session.get(FLASH_NAME)
        if _are_messages(messages):
            messages.pop(kind, None)
        if not messages:
            self.clear()

    def clear(self) -> None:
        """Delete all messages."""
        self._session.delete(FLASH_NAME)

    def take(self) -> dict[str, list[str]]:
        """Return all messages by kind, and delete them, as ``session.get_once()``
        does.
        """
        messages = self._session.get_once(FLASH_NAME)
        return messages if _are_messages(messages) else {}

    def _messages(self) -> dict[str, list[str]]:
        messages = self._session.get(FLASH_NAME)
        if _are_messages(messages):
            return messages
        none: dict[str, list[str]] = {}
        self._session[FLASH_NAME] = none
        return none


def _are_messages(value: object) -> t.TypeGuard[dict[str, list[str]]]:
    return isinstance(value, dict) and all(
        isinstance(messages, list) for messages in value.values()
    )
