"""What both codecs need: where a value is, and what is wrong with it."""

from __future__ import annotations

import typing as t

from .errors import shown
from .registry import ConversionError

SURROGATES = "contains lone surrogates, which UTF-8 cannot encode"

DAMAGED = "the stored bytes are damaged: delete the name or assign a new value"

SAME_KEY = "two keys of the dict would be stored as the same key"

TOO_DEEP = "nested too deeply"


def path_of(name: t.Hashable) -> str:
    """Return the path of a name's value, as error messages show it."""
    return f"session[{shown(name)}]"


class ValuePath:
    """Where a value is, for an error message.

    The encoders make a path for every value they reach and show almost none. So a
    path only links to the one above it, and becomes text on demand.

    :param parent: the path of the value around this one, or the session's name for
        the outermost value.
    :param form: a format string for the step from `parent` to here.
    :param step: the index, key or field that `form` shows.
    """

    __slots__ = ("_form", "_parent", "_step", "depth")

    def __init__(self, parent: t.Any, form: str = "", step: object = None) -> None:
        self._parent = parent
        self._form = form
        self._step = step
        self.depth: int = parent.depth + 1 if isinstance(parent, ValuePath) else 0

    def __str__(self) -> str:
        steps, path = [], self
        while isinstance(path._parent, ValuePath):
            steps.append(path._form.format(shown(path._step)))
            path = path._parent
        return "".join([path_of(path._parent), *reversed(steps)])


def is_lazy_text(value: object) -> bool:
    """Return whether a value acts as a str without being one.

    Babel's lazy strings do: they translate themselves once the language is known,
    and a str answers for their methods.
    """
    if isinstance(value, str):
        return False
    try:
        method = getattr(value, "casefold", None)
    except Exception:  # noqa: BLE001 - a proxy may have no object behind it
        return False
    return isinstance(getattr(method, "__self__", None), str)


def class_shown(kind: type) -> str:
    """Return a class's full name."""
    return f"{kind.__module__}.{kind.__qualname__}"


def problem_shown(problem: Exception) -> str:
    """Return the reason why a conversion failed.

    The message of an error that an application's function raises may quote the
    value, so only the error's class is named.
    """
    if isinstance(problem, ConversionError):
        return str(problem)
    return f"it cannot be converted, because of a {type(problem).__name__}"
