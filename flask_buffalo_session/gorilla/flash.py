"""Buffalo's flash messages: JSON in a ``[]byte``, under the name ``_flash_``."""

from __future__ import annotations

import json
import re
import typing as t

from ..errors import SessionTypeError
from ..flash import FLASH_NAME
from ..values import SURROGATES, path_of
from .gob.reader import Boxed
from .gob.types import BYTES
from .scalars import is_text


def messages_of(value: Boxed | None) -> dict[str, list[str]]:
    """Return Buffalo's messages by kind. Any other value counts as no messages."""
    if value is None or value.type is not BYTES:
        return {}
    try:
        found = json.loads(value.value.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    messages = {_as_go(kind): listed or [] for kind, listed in found.items()}
    sound = all(
        isinstance(listed, list) and all(isinstance(text, str) for text in listed)
        for listed in messages.values()
    )
    if not sound:
        return {}
    return {kind: list(map(_as_go, listed)) for kind, listed in messages.items()}


def _as_go(text: str) -> str:
    """Return a text as Go's json.Unmarshal reads it, without lone surrogates."""
    return _SURROGATE.sub("\ufffd", text)


_SURROGATE = re.compile("[\ud800-\udfff]")


# The characters that Go's json.Marshal escapes and Python's json does not.
_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def json_of(messages: t.Any) -> t.Any:
    """Return the bytes that Go's json.Marshal makes of messages. Any other value is
    returned as it is.

    :raises SessionTypeError: a message contains lone surrogates.
    """
    if not isinstance(messages, dict):
        return messages
    try:
        listed = {
            _str(kind): list(map(_str, texts)) for kind, texts in messages.items()
        }
        text = json.dumps(
            listed, ensure_ascii=False, separators=(",", ":"), sort_keys=True
        )
        text = text.translate(_ESCAPES)
        return text.replace("\\b", "\\u0008").replace("\\f", "\\u000c").encode()
    except TypeError:
        return messages
    except UnicodeEncodeError:
        raise SessionTypeError(path_of(FLASH_NAME), SURROGATES) from None


def _str(text: t.Any) -> str:
    """Return a text as a str.

    :raises TypeError: the value is no text.
    """
    if not is_text(text):
        raise TypeError
    return str(text)
