"""What Buffalo's own code keeps in a session.

Its flash messages are JSON in a ``[]byte``, under the name ``_flash_``. Buffalo asserts
the Go types of these values, and drops the connection if one has another type.
"""

from __future__ import annotations

import collections.abc as c
import json
import re
import typing as t

from ..bases import as_base
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


def plain_messages(value: t.Any) -> dict[str, list[str]]:
    """Return messages of nothing but dicts, lists and str.

    :raises SessionTypeError: the value is no dict of lists of str.
    """
    value = as_base(value)
    if type(value) is not dict:
        raise _not_messages()
    messages = {}
    for kind, texts in value.items():
        kind, texts = as_base(kind), as_base(texts)
        if type(texts) is not list:
            raise _not_messages()
        texts = list(map(as_base, texts))
        if not all(map(is_text, (kind, *texts))):
            raise _not_messages()
        messages[str(kind)] = list(map(str, texts))
    return messages


def _not_messages() -> SessionTypeError:
    return SessionTypeError(
        path_of(FLASH_NAME),
        "Buffalo keeps its flash messages here, and takes nothing but a dict of str"
        " to list of str: use session.flash, or another name",
    )


def json_of(messages: dict[str, list[str]]) -> bytes:
    """Return the bytes that Go's json.Marshal makes of messages.

    :raises SessionTypeError: a message contains lone surrogates.
    """
    text = json.dumps(
        messages, ensure_ascii=False, separators=(",", ":"), sort_keys=True
    )
    text = text.translate(_ESCAPES)
    text = text.replace("\\b", "\\u0008").replace("\\f", "\\u000c")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise SessionTypeError(path_of(FLASH_NAME), SURROGATES) from None


# The names whose Go types Buffalo's code asserts: the Go type, and what fits it here.
_ASSERTED: dict[t.Hashable, tuple[str, str, c.Callable[[object], bool]]] = {
    "requestor_id": ("string", "str", is_text),
    "authenticity_token": ("[]byte", "bytes", lambda value: type(value) is bytes),
}


def check_asserted(name: t.Hashable, value: object) -> None:
    """Check that Buffalo's code accepts a new value.

    :raises SessionTypeError: Buffalo would drop the connection.
    """
    if name not in _ASSERTED:
        return
    go_type, needed, fits = _ASSERTED[name]
    if not fits(as_base(value)):
        raise SessionTypeError(
            path_of(name),
            f"Buffalo keeps a {go_type} here, and drops the connection if it finds"
            f" another type: store {needed}, or use another name",
        )
